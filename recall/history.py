"""Weights of the events of a history."""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy import sparse

from recall.sparse_rows import SparseRows
from reccore import QueryBatch
from reccore.arrays import FloatArray, offsets_from_lengths

HALF_LIVES = 40
"""An event that is older weighs less than 10⁻¹² of the latest and is left out, so that a long history costs no more."""


def recency_weights(queries: QueryBatch, half_life: float | None) -> FloatArray:
    """(L,) exponential decay of every history event, 1 for the latest; ``half_life`` in events, None = no decay."""
    if half_life is None:
        return np.ones(len(queries.history_idx), dtype=np.float32)
    age = np.repeat(queries.history_offsets[1:] - 1, queries.lengths) - np.arange(len(queries.history_idx))
    return np.exp2(-age / half_life).astype(np.float32)


def within_half_lives(queries: QueryBatch, half_life: float | None) -> QueryBatch:
    """The queries without the events that are more than ``HALF_LIVES`` half-lives old."""
    longest = int(queries.lengths.max(initial=0))
    if half_life is None or longest <= HALF_LIVES * half_life:
        return queries
    return queries.latest(max(int(HALF_LIVES * half_life), 1))


def latest_first(queries: QueryBatch, n_items: int, half_life: float | None) -> SparseRows:
    """(B, N) recency weights of the events, the latest of each history first; an item may repeat."""
    recent = within_half_lives(queries, half_life)
    offsets, lengths = recent.history_offsets, recent.lengths
    ago = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    items = recent.history_idx[np.repeat(offsets[1:] - 1, lengths) - ago]
    weights = np.ones(len(ago)) if half_life is None else np.exp2(-ago / half_life)
    return SparseRows(offsets, items.astype(np.int32), weights.astype(np.float32), n_items)


def merged_events(queries: QueryBatch, n_items: int, half_life: float | None) -> SparseRows:
    """(B, N) weights of the histories, oldest first; the weights of a repeated item are summed in its first place."""
    weights = recency_weights(queries, half_life)
    lengths, items, sums = _merge_events(queries.history_offsets, queries.history_idx, weights, n_items)
    return SparseRows(offsets_from_lengths(lengths), items, sums, n_items)


@njit(nogil=True, cache=True)
def _merge_events(
    offsets: np.ndarray, items: np.ndarray, weights: np.ndarray, n_items: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of distinct items of each row, the items, and the sums of their weights."""
    lengths = np.zeros(len(offsets) - 1, dtype=np.int64)
    merged, sums = np.empty(len(items), dtype=np.int32), np.empty(len(items), dtype=np.float32)
    # Where each item of the row stands in ``merged``. Not filled, which would take longer than the history: a place is
    # that of an item only if the item stands there (Briggs & Torczon, "An efficient representation for sparse sets").
    place = np.empty(n_items, dtype=np.int32)
    end = 0
    for row in range(len(lengths)):
        start = end
        for at in range(offsets[row], offsets[row + 1]):
            item = items[at]
            there = place[item]
            if start <= there < end and merged[there] == item:
                sums[there] += weights[at]
            else:
                place[item], merged[end], sums[end] = end, item, weights[at]
                end += 1
        lengths[row] = end - start
    return lengths, merged[:end], sums[:end]


def history_matrix(queries: QueryBatch, n_items: int, half_life: float | None) -> sparse.csr_matrix:
    """(B, N) weights of the histories; the weights of a repeated item are summed."""
    matrix = sparse.csr_matrix(
        (recency_weights(queries, half_life), queries.history_idx, queries.history_offsets),
        shape=(len(queries), n_items),
        copy=True,
    )
    matrix.sum_duplicates()
    return matrix


def weighted_mean(history: sparse.csr_matrix, vectors: FloatArray) -> FloatArray:
    """(B, D) mean of the vectors (N, D) of each history by its weights (B, N); items with a zero vector do not count.

    A history without such items has a zero mean.
    """
    total: FloatArray = history @ vectors.any(axis=1).astype(np.float32)
    mean: FloatArray = (history @ vectors) / np.where(total > 0, total, 1.0)[:, None]
    return mean
