"""Read all stored documents once, write their rows to sorted runs, and keep what is needed to merge them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from data_collector.tmdb import schema
from data_collector.tmdb.documents import InvalidDocumentError, MovieDocument, parse_document
from data_collector.tmdb.shards import StoredDocument
from data_collector.tmdb.star_rows import Coding, DocumentOrigin, rows_of
from data_collector.tmdb.star_runs import SortedRuns
from reccore.progress import progress

CHUNK_DOCUMENTS = 200  # fits the processor's cache and is large enough for column operations


@dataclass(frozen=True)
class RejectedDocument:
    """A rejected document; fields as in the table of rejects."""

    where: str
    tmdb_id: int
    fetched: float
    reason: str
    detail: str


@dataclass
class Collected:
    """Result of the pass.

    Attributes:
        runs: rows of all valid documents, by table; column ``doc`` has the number of the document.
        coding: categories, and counts of values replaced by null.
        tmdb_ids, fetched: tmdbId and Unix seconds of every valid document, by its number.
        rejects: rejected documents, in the order read.
        credit_hashes, credit_docs: hash of every credit id and number of its document, one array per chunk.
    """

    runs: dict[str, SortedRuns]
    coding: Coding = field(default_factory=Coding)
    tmdb_ids: list[int] = field(default_factory=list)
    fetched: list[float] = field(default_factory=list)
    rejects: list[RejectedDocument] = field(default_factory=list)
    credit_hashes: list[np.ndarray] = field(default_factory=list)
    credit_docs: list[np.ndarray] = field(default_factory=list)

    @property
    def n_valid(self) -> int:
        return len(self.tmdb_ids)

    def latest(self) -> np.ndarray:
        """(documents,) bool: whether a document is the latest of its movie; of equal times, the one read later."""
        ids, fetched = np.array(self.tmdb_ids, dtype=np.int64), np.array(self.fetched)
        order = np.lexsort((fetched, ids))  # stable
        last = np.append(ids[order][1:] != ids[order][:-1], True)
        mask = np.zeros(len(ids), dtype=bool)
        mask[order[last]] = True
        return mask


def collect(documents: Iterable[StoredDocument], folder: Path, *, show_progress: bool = True) -> Collected:
    """Read all documents.

    Args:
        documents: documents in any order; movies may repeat.
        folder: folder for temporary files without a name.
        show_progress: show progress on stderr.

    Raises:
        OSError: a disk error.
    """
    runs = {name: SortedRuns(folder, "tmdbId") for name in schema.KEYS if name != schema.PEOPLE}
    collected = Collected({**runs, schema.PEOPLE: SortedRuns(folder, "personId", reduce_rows=latest_rows_of_people)})
    waiting: list[tuple[DocumentOrigin, MovieDocument]] = []
    with progress("read documents", None, unit="documents", enabled=show_progress) as advance:
        for stored in documents:
            try:
                movie = parse_document(stored)
            except InvalidDocumentError as why:
                reject = RejectedDocument(stored.where, stored.tmdb_id, stored.fetched, why.reason, why.detail)
                collected.rejects.append(reject)
            else:
                waiting.append((DocumentOrigin(collected.n_valid, stored.language, stored.fetched), movie))
                collected.tmdb_ids.append(movie.id)
                collected.fetched.append(stored.fetched)
            if len(waiting) == CHUNK_DOCUMENTS:
                _add_rows(waiting, collected)
                waiting = []
            advance()
    if waiting:
        _add_rows(waiting, collected)
    return collected


def _add_rows(movies: list[tuple[DocumentOrigin, MovieDocument]], collected: Collected) -> None:
    tables = rows_of(movies, collected.coding)
    for name, rows in tables.items():
        collected.runs[name].add(rows)
    credits = tables[schema.MOVIE_PEOPLE]
    collected.credit_hashes.append(hash64(credits["creditId"]))
    collected.credit_docs.append(credits["doc"].to_numpy())


def latest_rows_of_people(people: pa.Table) -> pa.Table:
    """The latest row of each person, by fetch time, then document number. ``people`` is sorted by person."""
    ids = people["personId"].to_numpy()
    if not len(ids):
        return people
    order = np.lexsort((people["doc"].to_numpy(), people["fetched"].to_numpy(), ids))
    return people.take(pa.array(order[np.append(ids[1:] != ids[:-1], True)]))


def hash64(texts: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """(n,) uint64 hashes of (n,) texts."""
    values: Any = texts.to_numpy() if isinstance(texts, pa.ChunkedArray) else texts.to_numpy(zero_copy_only=False)
    hashes: np.ndarray = pd.util.hash_array(values, categorize=False)
    return hashes
