"""The pass over the stored documents: rows into sorted runs, and what deciding between documents takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from data_collector.tmdb import schema
from data_collector.tmdb.documents import Movie, Rejected, parse_document
from data_collector.tmdb.shards import StoredDocument
from data_collector.tmdb.star_rows import Coding, Source, rows_of
from data_collector.tmdb.star_runs import SortedRuns
from reccore.progress import progress

CHUNK_DOCUMENTS = 200  # few enough for the processor's cache, many enough for columns to pay


@dataclass(frozen=True)
class Reject:
    """A document that is no movie: place, id and time of the record; why, in general and in particular."""

    where: str
    tmdb_id: int
    fetched: float
    reason: str
    detail: str


@dataclass
class Collected:
    """What the pass leaves behind.

    Attributes:
        runs: table → rows of all readable documents, with their document's number in ``doc``.
        coding: categories, and how many values were nulled.
        tmdb_ids, fetched: of every readable document, by its number.
        rejects: documents that are no movies, in the order read.
        credit_bits, credit_docs: 64 bits of every credit's id and its document's number, chunk by chunk.
    """

    runs: dict[str, SortedRuns]
    coding: Coding = field(default_factory=Coding)
    tmdb_ids: list[int] = field(default_factory=list)
    fetched: list[float] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    credit_bits: list[np.ndarray] = field(default_factory=list)
    credit_docs: list[np.ndarray] = field(default_factory=list)

    @property
    def n_readable(self) -> int:
        return len(self.tmdb_ids)

    def latest(self) -> np.ndarray:
        """(documents,) bool: whether a document is its movie's latest; of equal times the one that was read later."""
        ids, fetched = np.array(self.tmdb_ids, dtype=np.int64), np.array(self.fetched)
        order = np.lexsort((fetched, ids))  # stable
        last = np.append(ids[order][1:] != ids[order][:-1], True)
        mask = np.zeros(len(ids), dtype=bool)
        mask[order[last]] = True
        return mask


def collect(documents: Iterable[StoredDocument], folder: Path, *, show_progress: bool = True) -> Collected:
    """Read all documents.

    Args:
        documents: in any order, movies may repeat.
        folder: where rows are set aside, in files without a name.
        show_progress: a bar or lines on stderr.

    Raises:
        OSError: a disk refused.
    """
    runs = {name: SortedRuns(folder, "tmdbId") for name in schema.KEYS if name != schema.PEOPLE}
    collected = Collected({**runs, schema.PEOPLE: SortedRuns(folder, "personId", thin_out=latest_people)})
    waiting: list[tuple[Source, Movie]] = []
    with progress("read documents", None, unit="documents", enabled=show_progress) as advance:
        for stored in documents:
            try:
                movie = parse_document(stored)
            except Rejected as why:
                reject = Reject(stored.where, stored.tmdb_id, stored.fetched, why.reason, why.detail)
                collected.rejects.append(reject)
            else:
                waiting.append((Source(collected.n_readable, stored.language, stored.fetched), movie))
                collected.tmdb_ids.append(movie.id)
                collected.fetched.append(stored.fetched)
            if len(waiting) == CHUNK_DOCUMENTS:
                _set_aside(waiting, collected)
                waiting = []
            advance()
    if waiting:
        _set_aside(waiting, collected)
    return collected


def _set_aside(movies: list[tuple[Source, Movie]], collected: Collected) -> None:
    tables = rows_of(movies, collected.coding)
    for name, rows in tables.items():
        collected.runs[name].add(rows)
    credits = tables[schema.MOVIE_PEOPLE]
    collected.credit_bits.append(bits_of(credits["creditId"]))
    collected.credit_docs.append(credits["doc"].to_numpy())


def latest_people(people: pa.Table) -> pa.Table:
    """The latest row of each person, by time of the fetch, then number of the document. The table is by person."""
    ids = people["personId"].to_numpy()
    if not len(ids):
        return people
    order = np.lexsort((people["doc"].to_numpy(), people["fetched"].to_numpy(), ids))
    return people.take(pa.array(order[np.append(ids[1:] != ids[:-1], True)]))


def bits_of(texts: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """(n,) uint64 of (n,) texts: the same for the same text, and for two others once in 2⁶⁴."""
    values: Any = texts.to_numpy() if isinstance(texts, pa.ChunkedArray) else texts.to_numpy(zero_copy_only=False)
    bits: np.ndarray = pd.util.hash_array(values, categorize=False)
    return bits
