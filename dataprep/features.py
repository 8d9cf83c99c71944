"""User features, computed from a query's history alone, and item statistics.

User features exist in two shapes: at the end of given histories (serving, evaluation), and before every event
of a training split, where each event is a query whose history is the user's earlier events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, prange

from reccore import Interactions, ItemTable, QueryBatch
from reccore.arrays import FloatArray, IntArray, offsets_from_lengths
from reccore.compilation import announce_compilation

TOP_GENRES = 3

announce_compilation()


@dataclass(frozen=True, eq=False)
class QueryFeatures:
    """User features of B histories.

    Attributes:
        top_genres: (B, 3) int64, the history's most frequent genres, ties to the lower genre index, -1 = none.
        genre_share: (B, G) float32, share of each genre among the genre labels of the history; 0 when empty.
        mean_rating: (B,) float32, over the history's rated events; NaN where none is rated.
        activity: (B,) int64, number of events in the history.
    """

    top_genres: IntArray
    genre_share: FloatArray
    mean_rating: FloatArray
    activity: IntArray


def genre_counts(queries: QueryBatch, items: ItemTable) -> FloatArray:
    """(B, G) float32: how many history events carry each genre."""
    if items.n_genres == 0:
        return np.zeros((len(queries), 0), dtype=np.float32)
    counts: FloatArray = np.zeros((len(queries), items.n_genres), dtype=np.float32)
    if items.genre_offsets is not None and items.genre_idx is not None:
        _count_genres(queries.history_offsets, queries.history_idx, items.genre_offsets, items.genre_idx, counts)
    return counts


@njit(nogil=True, cache=True)
def _count_genres(
    offsets: np.ndarray, history: np.ndarray, genre_offsets: np.ndarray, genre_idx: np.ndarray, counts: np.ndarray
) -> None:
    """Add the genres of each row's items to ``counts`` (B, G)."""
    for row in range(len(counts)):
        for at in range(offsets[row], offsets[row + 1]):
            for genre in range(genre_offsets[history[at]], genre_offsets[history[at] + 1]):
                counts[row, genre_idx[genre]] += 1.0


@njit(nogil=True, cache=True)
def _top_genres(counts: np.ndarray, top: np.ndarray) -> None:
    """Fill ``top`` (B, 3), given as -1 everywhere, with the genres of the greatest counts (B, G) above 0."""
    for row in range(len(counts)):
        for slot in range(top.shape[1]):
            best, best_count = -1, np.float32(0.0)
            for genre in range(counts.shape[1]):
                taken = False
                for earlier in range(slot):
                    taken = taken or top[row, earlier] == genre
                if not taken and counts[row, genre] > best_count:
                    best, best_count = genre, counts[row, genre]
            top[row, slot] = best


def query_features(queries: QueryBatch, items: ItemTable) -> QueryFeatures:
    """Features at the end of each history; all history items must be known. O(L·G)."""
    counts = genre_counts(queries, items)
    total = counts.sum(axis=1, keepdims=True)
    top = np.full((len(queries), TOP_GENRES), -1, dtype=np.int64)
    _top_genres(counts, top)
    mean_rating = np.full(len(queries), np.nan, dtype=np.float32)
    if queries.history_rating is not None:
        sums, rated = _running_ratings(queries.history_rating)
        start, stop = queries.history_offsets[:-1], queries.history_offsets[1:]
        mean_rating = _mean(sums[stop] - sums[start], rated[stop] - rated[start])
    return QueryFeatures(top, counts / np.maximum(total, 1.0), mean_rating, queries.lengths)


@dataclass(frozen=True, eq=False)
class PrefixFeatures:
    """User features before each of E events: those of ``query_features`` for the earlier events of the same user.

    Attributes:
        top_genres: (E, 3) int8 (int16 beyond 127 genres), -1 = none.
        mean_rating: (E,) float32, over the earlier rated events, NaN where there is none; None without ratings.
        activity: (E,) int32, number of earlier events of the same user.
    """

    top_genres: np.ndarray
    mean_rating: FloatArray | None
    activity: np.ndarray


def prefix_features(interactions: Interactions, items: ItemTable) -> PrefixFeatures:
    """One pass over the events with running counts. O(E·G) time; the result takes about 11 bytes an event."""
    offsets, idx = items.genre_offsets, items.genre_idx
    if offsets is None or idx is None:
        offsets, idx = np.zeros(items.n_items + 1, dtype=np.int64), np.empty(0, dtype=np.int64)
    starts = interactions.user_offsets
    dtype = np.int8 if items.n_genres <= np.iinfo(np.int8).max else np.int16
    top = np.full((interactions.n_events, TOP_GENRES), -1, dtype=dtype)
    _prefix_top_genres(starts, interactions.item_idx, offsets, idx, max(items.n_genres, 1), top)
    activity = (np.arange(interactions.n_events) - np.repeat(starts[:-1], interactions.lengths)).astype(np.int32)
    mean_rating = None
    if interactions.rating is not None:
        sums, rated = (
            before[:-1] - np.repeat(before[starts[:-1]], interactions.lengths)
            for before in _running_ratings(interactions.rating)
        )
        mean_rating = _mean(sums, rated)
    return PrefixFeatures(top, mean_rating, activity)


def _running_ratings(rating: FloatArray) -> tuple[npt.NDArray[np.float64], IntArray]:
    """Sum and number of the ratings before each of E events and after the last, (E+1,) each; NaN is no rating."""
    rated = ~np.isnan(rating)
    sums = np.concatenate([[0.0], np.cumsum(np.where(rated, rating, 0), dtype=np.float64)])
    return sums, offsets_from_lengths(rated)


def _mean(sums: npt.NDArray[Any], counts: npt.NDArray[Any]) -> FloatArray:
    """``sums / counts`` as float32, NaN where the count is 0."""
    mean: npt.NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    return mean.astype(np.float32)


@njit(parallel=True, cache=True)
def _prefix_top_genres(
    user_offsets: np.ndarray,
    item_idx: np.ndarray,
    genre_offsets: np.ndarray,
    genre_idx: np.ndarray,
    n_genres: int,
    top: np.ndarray,
) -> None:
    """Fill ``top`` (E, 3), given as -1 everywhere."""
    for user in prange(len(user_offsets) - 1):
        counts = np.zeros(n_genres, dtype=np.int64)
        for event in range(user_offsets[user], user_offsets[user + 1]):
            for slot in range(TOP_GENRES):
                best, best_count = -1, 0
                for genre in range(n_genres):
                    taken = False
                    for earlier in range(slot):
                        taken = taken or top[event, earlier] == genre
                    if not taken and counts[genre] > best_count:
                        best, best_count = genre, counts[genre]
                top[event, slot] = best
            item = item_idx[event]
            for at in range(genre_offsets[item], genre_offsets[item + 1]):
                counts[genre_idx[at]] += 1


def item_statistics(interactions: Interactions, *, recent_share: float = 0.1) -> dict[str, FloatArray]:
    """Statistics of each item in the given events, which must be the fit split.

    Returns:
        ``count`` (N,) events; with ratings ``mean_rating`` (N,) and ``rating_variance`` (N,) over the rated events, NaN
        where none is rated; with timestamps ``recent_count`` (N,), events among the latest ``recent_share`` of all
        events, and ``previous_count`` (N,), events among as many before those.
    """
    n_items = interactions.n_items
    statistics: dict[str, FloatArray] = {"count": interactions.item_counts().astype(np.float32)}
    if interactions.rating is not None:
        rated = ~np.isnan(interactions.rating)
        item_idx, rating = interactions.item_idx[rated], interactions.rating[rated]
        n_rated = np.bincount(item_idx, minlength=n_items)
        sums = np.bincount(item_idx, weights=rating, minlength=n_items)
        statistics["mean_rating"] = _mean(sums, n_rated)
        squares = (rating - (sums / np.maximum(n_rated, 1))[item_idx]) ** 2
        statistics["rating_variance"] = _mean(np.bincount(item_idx, weights=squares, minlength=n_items), n_rated)
    if interactions.timestamp is not None and interactions.n_events:
        time = interactions.timestamp
        before, since = np.quantile(time, [max(1.0 - 2 * recent_share, 0.0), 1.0 - recent_share])
        for name, part in (("recent_count", time >= since), ("previous_count", (time >= before) & (time < since))):
            counts = np.bincount(interactions.item_idx[part], minlength=n_items)
            statistics[name] = counts.astype(np.float32)
    return statistics
