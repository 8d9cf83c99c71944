"""Lists that another program made, as candidates of an evaluation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dataprep import ids
from dataprep.readers.lists import RANK, SCORE, read_lists
from evaluation.report import markdown_table
from reccore import Candidates, ConfigError, DataError, Exclusions, QueryBatch, Vocabulary
from reccore.arrays import FloatArray, IntArray, row_of_each

HEADING = "Lists made elsewhere"


@dataclass(frozen=True)
class ListFacts:
    """What a file of lists holds for the users of an evaluation.

    Attributes:
        name: of the system in the report: the file's, without its ending.
        rows: of the file.
        users: users of the evaluation that have a list.
        users_without: users of the evaluation that have none; each of their targets is a miss.
        rows_of_others: rows for users that are not asked about; left out.
        rows_seen: rows with a film of the user's history; left out, as for every other system.
        median_length: films per list that are left, of users with a list.
    """

    name: str
    rows: int
    users: int
    users_without: int
    rows_of_others: int
    rows_seen: int
    median_length: float


@dataclass(frozen=True, eq=False)
class ExternalLists:
    """The candidates (B, K) of a file of lists, scored by minus their place, and what became of its rows."""

    offer: Candidates
    facts: ListFacts

    @classmethod
    def read(
        cls,
        path: Path,
        vocabulary: Vocabulary,
        queries: QueryBatch,
        k: int,
        *,
        include_seen: bool = False,
    ) -> ExternalLists:
        """Read a file of lists and answer the queries from it.

        A list is in the order of its ranks where the file has them, otherwise of its scores; equal scores stand in the
        order of the films' ids, as everywhere.

        Args:
            path: see ``read_lists``; its name without the ending is the system's.
            vocabulary: of users and films.
            queries: B queries, one per user.
            k: most films of a list.
            include_seen: keep films of the history.

        Raises:
            ConfigError: a user has several queries, so that one list cannot answer them.
            DataError: see ``read_lists``; or a film that the data do not have, a film twice in one list, two films of
                one rank, or no list for any user of the evaluation.
        """
        _check_one_query_per_user(path, queries)
        table = read_lists(path)
        query = _query_of_each_row(table, vocabulary, queries)
        asked = query >= 0
        item_idx = _known_items(path, table, vocabulary)[asked]
        key = _sort_key(table)[asked]
        query = query[asked]
        if not len(query):
            raise DataError(f"{path} has no list for any of the {len(queries):,} users of the evaluation")
        order = np.lexsort((item_idx, key, query))
        query, item_idx, key = query[order], item_idx[order], key[order]
        _check_lists(path, vocabulary, queries, query, item_idx, key if RANK.name in table.column_names else None)
        kept = np.ones(len(query), dtype=bool) if include_seen else ~_seen(queries, query, item_idx)
        lengths = np.bincount(query[kept], minlength=len(queries))
        has_list = np.bincount(query, minlength=len(queries)) > 0
        facts = ListFacts(
            name=system_name(path),
            rows=table.num_rows,
            users=int(has_list.sum()),
            users_without=int((~has_list).sum()),
            rows_of_others=int((~asked).sum()),
            rows_seen=int((~kept).sum()),
            median_length=float(np.median(lengths[has_list])),
        )
        return cls(_candidates(query[kept], item_idx[kept], len(queries), k), facts)


def system_name(path: Path) -> str:
    """What a file of lists is called in reports: its name without its ending."""
    return Path(path.name.removesuffix(".gz")).stem


def _check_one_query_per_user(path: Path, queries: QueryBatch) -> None:
    known = queries.user_idx[queries.user_idx >= 0]
    if len(np.unique(known)) < len(known):
        raise ConfigError(
            f"{path} has one list per user, and under this protocol a user is asked about several times; evaluate "
            "under leave_one_out"
        )


def _query_of_each_row(table: pa.Table, vocabulary: Vocabulary, queries: QueryBatch) -> IntArray:
    """(n,) the query that each row answers, -1 for users that are not asked about."""
    query_of_user = np.full(len(vocabulary.users) + 1, -1, dtype=np.int64)  # the last entry is for unknown users
    query_of_user[queries.user_idx] = np.arange(len(queries))
    query_of_user[-1] = -1
    found: IntArray = query_of_user[ids.encode(vocabulary.users, table["userId"])]
    return found


def _known_items(path: Path, table: pa.Table, vocabulary: Vocabulary) -> IntArray:
    item_idx = ids.encode(vocabulary.items, table["movieId"])
    unknown = item_idx < 0
    if unknown.any():
        first = table["movieId"][int(np.flatnonzero(unknown)[0])].as_py()
        raise DataError(
            f"{path} recommends films that the data do not have, such as {first} ({int(unknown.sum()):,} rows); leave "
            "them out, or make lists of the films of processed/movies.parquet"
        )
    return item_idx


def _sort_key(table: pa.Table) -> np.ndarray:
    """(n,) the smaller, the earlier in the list."""
    if RANK.name in table.column_names:
        return np.asarray(table[RANK.name].to_numpy(), dtype=np.float64)
    return -np.asarray(table[SCORE.name].to_numpy(), dtype=np.float64)


def _check_lists(
    path: Path,
    vocabulary: Vocabulary,
    queries: QueryBatch,
    query: IntArray,
    item_idx: IntArray,
    rank: FloatArray | None,
) -> None:
    """Raise ``DataError`` for a film twice in one list, or two films of one rank; rows (n,) are in their order."""
    by_item = np.lexsort((item_idx, query))
    pairs = np.stack([query[by_item], item_idx[by_item]])
    if (repeated := np.flatnonzero((pairs[:, 1:] == pairs[:, :-1]).all(axis=0))).size:
        row = by_item[repeated[0]]
        user, film = _user_of(vocabulary, queries, query[row]), vocabulary.items.decode(item_idx[row : row + 1])[0]
        raise DataError(f"{path} recommends film {film} to user {user} twice ({repeated.size:,} repeated rows)")
    if rank is None:
        return
    if (tied := np.flatnonzero((query[1:] == query[:-1]) & (rank[1:] == rank[:-1]))).size:
        row = tied[0]
        user = _user_of(vocabulary, queries, query[row])
        raise DataError(f"{path} has two films of rank {rank[row]:g} for user {user}; the ranks of a list differ")


def _user_of(vocabulary: Vocabulary, queries: QueryBatch, query: IntArray) -> Any:
    return vocabulary.users.decode(queries.user_idx[query])


def _seen(queries: QueryBatch, query: IntArray, item_idx: IntArray) -> np.ndarray:
    """(n,) whether the film of each row is in the history of its query."""
    history = Exclusions.of_history(queries)
    span = max(int(item_idx.max(initial=0)), int(history.item_idx.max(initial=0))) + 1
    in_history = row_of_each(history.offsets) * span + history.item_idx
    return np.isin(query * span + item_idx, in_history[history.item_idx >= 0])


def _candidates(query: IntArray, item_idx: IntArray, n_queries: int, k: int) -> Candidates:
    """Rows in the order of query and place as candidates (B, K), whatever the size of the scores in the file."""
    first = np.searchsorted(query, np.arange(n_queries))
    place = np.arange(len(query)) - first[query]
    kept = place < k
    offered = np.full((n_queries, k), -1, dtype=np.int64)
    scores = np.full((n_queries, k), -np.inf, dtype=np.float32)
    offered[query[kept], place[kept]] = item_idx[kept]
    scores[query[kept], place[kept]] = -place[kept]
    return Candidates(offered, scores)


def facts_table(lists: list[ExternalLists]) -> str:
    """Markdown: what became of the rows of every file."""
    header = ["system", "rows", "users", "users without a list", "rows of other users", "seen films", "films per list"]
    rows = []
    for facts in (given.facts for given in lists):
        counts = (facts.rows, facts.users, facts.users_without, facts.rows_of_others, facts.rows_seen)
        rows.append([facts.name, *(f"{count:,}" for count in counts), f"{facts.median_length:g}"])
    note = (
        "A user without a list counts as missed. Rows of users who are not asked about, and of films that the user has "
        "already seen, are left out. Films per list: the median of what is left; where it is below K, the figures at "
        "K cannot grow further."
    )
    return f"{note}\n\n{markdown_table(header, rows)}"


def facts_data(lists: list[ExternalLists]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [asdict(given.facts) for given in lists]
