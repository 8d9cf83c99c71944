"""Facts about histories that several features share; take them by ``batch.once``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ranking.features.declaration import FeatureBatch, FeatureTables
from ranking.features.kernels import label_sums, rating_deviations, sums_of_labels
from reccore.arrays import BoolArray, FloatArray, IntArray, row_of_each

V = TypeVar("V", bound=np.generic)
LATEST = 20
"""Features of the latest events read at most this many."""


def genre_rows(tables: FeatureTables) -> FloatArray:
    """(N+1, G) multi-hot genres; the last row, which -1 looks up, is empty."""
    return np.concatenate([tables.items.genre_matrix(), np.zeros((1, tables.items.n_genres), dtype=np.float32)])


def genre_number_rows(tables: FeatureTables) -> FloatArray:
    """(N+1,) number of genres; NaN where there is none, so that what is divided by it is missing."""
    number = tables.once(genre_rows).sum(axis=1)
    return np.where(number > 0, number, np.float32(np.nan))


def candidate_genres(batch: FeatureBatch) -> FloatArray:
    """(B, K, G) multi-hot genres of the candidates; zeros on padding."""
    genres: FloatArray = batch.tables.once(genre_rows)[batch.candidates.item_idx]
    return genres


def candidate_genre_number(batch: FeatureBatch) -> FloatArray:
    """(B, K) number of genres; NaN on padding and where there is none."""
    number: FloatArray = batch.tables.once(genre_number_rows)[batch.candidates.item_idx]
    return number


def mean_over_genres(batch: FeatureBatch, values: FloatArray) -> FloatArray:
    """Mean over each candidate's genres of (B, G) values of each query, (B, K); NaN without genres."""
    return sums_over_genres(batch, values) / batch.once(candidate_genre_number)


def sums_over_genres(batch: FeatureBatch, values: FloatArray) -> FloatArray:
    """Sums over each candidate's genres of (B, G) values of each query, (B, K); 0 without genres."""
    item_idx, genres = batch.candidates.item_idx, batch.tables.items.genres
    sums: FloatArray = np.zeros(item_idx.shape, dtype=np.float32)
    if genres is not None:
        sums_of_labels(values, item_idx, genres.offsets, genres.idx, sums)
    return sums


def event_rows(batch: FeatureBatch) -> IntArray:
    """(L,) query of each event of the histories."""
    return row_of_each(batch.queries.history_offsets)


def genre_sums(batch: FeatureBatch, weights: npt.NDArray[Any]) -> FloatArray:
    """(B, G) sums of the weights (L,) of the events of each history that carry each genre."""
    queries, genres = batch.queries, batch.tables.items.genres
    sums = np.zeros((len(queries), batch.tables.items.n_genres))
    if genres is not None:
        label_sums(queries.history_offsets, queries.history_idx, genres.offsets, genres.idx, weights, sums)
    return sums.astype(np.float32)


def genre_counts(batch: FeatureBatch) -> FloatArray:
    """(B, G) how many events of each history carry each genre."""
    return genre_sums(batch, np.ones(len(batch.queries.history_idx), dtype=np.float32))


@dataclass(frozen=True, eq=False)
class Ratings:
    """Ratings of the histories; without any, nothing is rated.

    Attributes:
        count: (B,) float64, rated events.
        mean: (B,) float64, NaN where nothing is rated.
        rated: (L,) which events are rated.
        deviation: (L,) rating less the mean of its history, 0 where not rated.
    """

    count: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    rated: BoolArray
    deviation: FloatArray


def ratings(batch: FeatureBatch) -> Ratings:
    """Ratings of the histories, each next to the mean of its history."""
    queries = batch.queries
    n, rating = len(queries.history_idx), queries.history_rating
    if rating is None:
        rating = np.full(n, np.nan, dtype=np.float32)
    counts, means, deviation = np.empty(len(queries)), np.empty(len(queries)), np.empty(n, dtype=np.float32)
    rating_deviations(queries.history_offsets, np.asarray(rating, dtype=np.float32), counts, means, deviation)
    return Ratings(counts, means, ~np.isnan(rating), deviation)


@dataclass(frozen=True, eq=False)
class Latest:
    """The latest ``LATEST`` events of each history, the last one first.

    Attributes:
        item_idx: (B, 20); -1 = no event.
        time: (B, 20) float64 Unix seconds, NaN = no event; all NaN if histories have no times.
        deviation: (B, 20) as in ``Ratings``, 0 where there is no event.
        rated: (B, 20) True on rated events.
    """

    item_idx: IntArray
    time: npt.NDArray[np.float64]
    deviation: FloatArray
    rated: BoolArray


def latest_events(batch: FeatureBatch) -> Latest:
    """The latest events of each history."""
    queries, of_all = batch.queries, batch.once(ratings)
    at = queries.latest_positions(LATEST)
    time = np.empty(0) if queries.history_time is None else queries.history_time
    return Latest(
        np.append(queries.history_idx, -1)[at],
        np.append(time, np.nan)[at] if len(time) else np.full(at.shape, np.nan),
        np.append(of_all.deviation, np.float32(0))[at],
        np.append(of_all.rated, False)[at],
    )


def segment_sums(values: npt.NDArray[V], offsets: IntArray) -> npt.NDArray[V]:
    """Sums of the rows (L, …) of each segment, (B, …); 0 for an empty one."""
    sums = np.zeros((len(offsets) - 1, *values.shape[1:]), dtype=values.dtype)
    filled = np.flatnonzero(offsets[1:] > offsets[:-1])
    if len(filled):
        sums[filled] = np.add.reduceat(values, offsets[filled], axis=0)
    return sums
