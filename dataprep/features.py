"""What describes a user: functions of one query's history and of nothing else.

The same facts are needed in two shapes: at the end of given histories (serving, evaluation) and before
every single event of a training split (each event is a query whose history is what came before it).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from scipy import sparse

from reccore import Interactions, ItemTable, QueryBatch
from reccore.arrays import FloatArray, IntArray

TOP_GENRES = 3


@dataclass(frozen=True, eq=False)
class QueryFeatures:
    """User features of B histories.

    Attributes:
        top_genres: (B, 3) int64, the history's most frequent genres, ties to the lower genre index, -1 = none.
        genre_share: (B, G) float32, share of each genre among the genre labels of the history; 0 when empty.
        mean_rating: (B,) float32, NaN for an empty or unrated history.
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
    ones = np.ones(len(queries.history_idx), dtype=np.float32)
    history = sparse.csr_matrix(
        (ones, queries.history_idx, queries.history_offsets), shape=(len(queries), items.n_items)
    )
    return np.asarray(history @ items.genre_matrix(), dtype=np.float32)


def query_features(queries: QueryBatch, items: ItemTable) -> QueryFeatures:
    """Features at the end of each history; all history items must be known. O(L·G)."""
    counts = genre_counts(queries, items)
    total = counts.sum(axis=1, keepdims=True)
    n_top = min(TOP_GENRES, items.n_genres)
    order = np.argsort(-counts, axis=1, kind="stable")[:, :n_top]
    top = np.full((len(queries), TOP_GENRES), -1, dtype=np.int64)
    top[:, :n_top] = np.where(np.take_along_axis(counts, order, axis=1) > 0, order, -1)
    mean_rating = np.full(len(queries), np.nan, dtype=np.float32)
    if queries.history_rating is not None:
        sums = np.concatenate([[0.0], np.cumsum(queries.history_rating, dtype=np.float64)])
        some = queries.lengths > 0
        low, high = queries.history_offsets[:-1][some], queries.history_offsets[1:][some]
        mean_rating[some] = (sums[high] - sums[low]) / queries.lengths[some]
    return QueryFeatures(top, counts / np.maximum(total, 1.0), mean_rating, queries.lengths)


@dataclass(frozen=True, eq=False)
class PrefixFeatures:
    """User features before each of E events: what ``query_features`` says of the history up to there.

    Attributes:
        top_genres: (E, 3) int8 (int16 beyond 127 genres), -1 = none.
        mean_rating: (E,) float32, NaN for the first event of a user, or None without ratings.
        activity: (E,) int32, number of earlier events of the same user.
    """

    top_genres: np.ndarray
    mean_rating: FloatArray | None
    activity: np.ndarray


def prefix_features(interactions: Interactions, items: ItemTable) -> PrefixFeatures:
    """One pass over the events with running counts: O(E·G) time, about 11 bytes an event."""
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
        before = np.concatenate([[0.0], np.cumsum(interactions.rating, dtype=np.float64)])
        sums = before[:-1] - np.repeat(before[starts[:-1]], interactions.lengths)
        with np.errstate(invalid="ignore"):
            mean_rating = (sums / activity).astype(np.float32)
    return PrefixFeatures(top, mean_rating, activity)


@njit(parallel=True, cache=True)
def _prefix_top_genres(
    user_offsets: np.ndarray,
    item_idx: np.ndarray,
    genre_offsets: np.ndarray,
    genre_idx: np.ndarray,
    n_genres: int,
    top: np.ndarray,
) -> None:
    """Fill ``top`` (E, 3), which comes as -1 everywhere."""
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
        ``count`` (N,); ``mean_rating`` (N,), NaN without events, present with ratings; ``recent_count`` (N,),
        events among the latest ``recent_share`` of all by time, present with timestamps.
    """
    count = interactions.item_counts()
    statistics: dict[str, FloatArray] = {"count": count.astype(np.float32)}
    if interactions.rating is not None:
        sums = np.bincount(interactions.item_idx, weights=interactions.rating, minlength=interactions.n_items)
        with np.errstate(invalid="ignore"):
            statistics["mean_rating"] = (sums / count).astype(np.float32)
    if interactions.timestamp is not None and interactions.n_events:
        since = np.quantile(interactions.timestamp, 1.0 - recent_share)
        recent = interactions.item_idx[interactions.timestamp >= since]
        statistics["recent_count"] = np.bincount(recent, minlength=interactions.n_items).astype(np.float32)
    return statistics
