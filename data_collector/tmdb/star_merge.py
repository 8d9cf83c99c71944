"""Merge sorted runs into the Parquet files, a part at a time, without the rows of superseded documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_collector.tmdb import schema
from data_collector.tmdb.star_collect import Collected, hash64
from data_collector.tmdb.star_rows import timestamps
from reccore.progress import progress

COMPRESSION = "zstd"
ROW_GROUP_ROWS = {  # rows of movies contain long texts
    schema.MOVIES: 1 << 15,
    schema.PEOPLE: 1 << 18,
    schema.MOVIE_PEOPLE: 1 << 18,
    schema.MOVIE_COMPANIES: 1 << 18,
}


@dataclass(frozen=True)
class Written:
    """Rows by table, and credits dropped because a movie fetched later has a credit with the same id."""

    rows: dict[str, int]
    repeated_credits: int


def write_tables(collected: Collected, folder: Path, *, show_progress: bool = True) -> Written:
    """Write every table.

    Raises:
        OSError: a disk error.
    """
    pa.default_memory_pool().release_unused()  # memory of the reading pass
    latest = collected.latest()
    repeated = _RepeatedCredits.find(collected, latest)
    parts = _Parts(collected, latest, repeated)
    sources = {
        schema.MOVIES: parts.kept(schema.MOVIES),
        schema.MOVIE_PEOPLE: parts.credits(),
        schema.PEOPLE: parts.people(),  # after the credits, which collect the people to keep
        schema.MOVIE_COMPANIES: parts.kept(schema.MOVIE_COMPANIES),
        schema.REJECTS: iter([_rejects(collected)]),
    }
    rows = {}
    with progress("write tables", len(sources), unit="tables", enabled=show_progress) as advance:
        for name, source in sources.items():
            rows[name.removesuffix(".parquet")] = _write(folder / name, name, source)
            advance()
    return Written(rows, len(repeated.docs))


class _Parts:
    """Rows of the final tables, in the order of their key."""

    def __init__(self, collected: Collected, latest: np.ndarray, repeated: _RepeatedCredits) -> None:
        self._collected = collected
        self._latest = latest
        self._repeated = repeated
        self._credited = np.empty(0, dtype=np.int64)

    def kept(self, name: str) -> Iterator[pa.Table]:
        """Rows of the latest documents."""
        for part in self._collected.runs[name].parts(ROW_GROUP_ROWS[name]):
            yield part.filter(pa.array(self._latest[part["doc"].to_numpy()]))

    def credits(self) -> Iterator[pa.Table]:
        """Credits; also collects the ids of their people."""
        for part in self.kept(schema.MOVIE_PEOPLE):
            credits = self._repeated.drop(part)
            self._credited = np.union1d(self._credited, credits["personId"].to_numpy())
            yield self._named(credits, "department", "job")

    def people(self) -> Iterator[pa.Table]:
        """People with credits."""
        for part in self._collected.runs[schema.PEOPLE].parts(ROW_GROUP_ROWS[schema.PEOPLE]):
            known = np.isin(part["personId"].to_numpy(), self._credited, assume_unique=True)
            people = self._named(part.filter(pa.array(known)), "knownForDepartment")
            yield _with_column(people, "gender", _gender_names(people["gender"]))

    def _named(self, rows: pa.Table, *columns: str) -> pa.Table:
        for name in columns:
            rows = _with_column(rows, name, self._collected.coding.categories[name].decode(rows[name]))
        return rows


@dataclass(frozen=True)
class _RepeatedCredits:
    """Credits dropped because a movie fetched later has the same credit id. TMDb sends none, but keys must be unique.

    Attributes:
        hashes: hashes of repeated ids.
        ids, docs: credit id and document number of each dropped credit.
    """

    hashes: np.ndarray
    ids: list[str]
    docs: list[int]

    @classmethod
    def find(cls, collected: Collected, latest: np.ndarray) -> _RepeatedCredits:
        """Compare the hashes of all used ids, and the ids themselves only for equal hashes.

        Clears the hashes in ``collected``, its largest arrays.
        """
        hashes = np.concatenate([np.empty(0, np.uint64), *collected.credit_hashes])
        collected.credit_hashes.clear()
        docs = np.concatenate([np.empty(0, np.int32), *collected.credit_docs])
        collected.credit_docs.clear()
        hashes = hashes[latest[docs]]
        hashes.sort()
        suspects = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
        if not len(suspects):
            return cls(suspects, [], [])
        found = []
        for part in collected.runs[schema.MOVIE_PEOPLE].parts(ROW_GROUP_ROWS[schema.MOVIE_PEOPLE]):
            suspect = latest[part["doc"].to_numpy()] & np.isin(hash64(part["creditId"]), suspects)
            found.append(part.select(["creditId", "doc"]).filter(pa.array(suspect)).to_pandas())
        credits = pd.concat(found)
        credits["fetched"] = np.array(collected.fetched)[credits["doc"].to_numpy()]
        credits = credits.sort_values(["fetched", "doc"], kind="stable")
        dropped = credits[credits.duplicated("creditId", keep="last")]
        return cls(suspects, dropped["creditId"].tolist(), dropped["doc"].tolist())

    def drop(self, credits: pa.Table) -> pa.Table:
        """The rows without the dropped credits."""
        if not self.ids:
            return credits
        dropped = set(zip(self.ids, self.docs, strict=True))
        keep = np.ones(len(credits), dtype=bool)
        for row in np.flatnonzero(np.isin(hash64(credits["creditId"]), self.hashes)):
            keep[row] = (credits["creditId"][row].as_py(), credits["doc"][row].as_py()) not in dropped
        return credits.filter(pa.array(keep))


def _gender_names(codes: pa.ChunkedArray) -> pa.DictionaryArray:
    """Names of TMDb's codes; null for 0."""
    names = schema.GENDERS[1:]
    codes = codes.combine_chunks()
    indices = pc.if_else(pc.greater(codes, 0), pc.subtract(codes, 1), None)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()))


def _with_column(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)


def _rejects(collected: Collected) -> pa.Table:
    rejects = collected.rejects
    return pa.table(
        {
            "where": pa.array([reject.where for reject in rejects], pa.string()),
            "tmdbId": pa.array([reject.tmdb_id for reject in rejects], pa.int64()),
            "fetched": timestamps([reject.fetched for reject in rejects]),
            "reason": pa.array([reject.reason for reject in rejects], pa.string()),
            "detail": pa.array([reject.detail for reject in rejects], pa.string()),
        }
    )


def _write(path: Path, name: str, parts: Iterable[pa.Table]) -> int:
    """Write a table with one row group per non-empty part; returns the number of rows."""
    target = schema.SCHEMAS[name]
    order = [(column, "ascending") for column in schema.SORTED_BY.get(name, ())]
    sorting = pq.SortingColumn.from_ordering(target, order) if order else None
    n_rows = 0
    with pq.ParquetWriter(path, target, compression=COMPRESSION, sorting_columns=sorting) as writer:
        for part in parts:
            if len(part):
                writer.write_table(part.select(target.names).cast(target), row_group_size=len(part))
                n_rows += len(part)
    return n_rows
