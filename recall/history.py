"""Weights of the events of a history."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from reccore import QueryBatch
from reccore.arrays import FloatArray


def recency_weights(queries: QueryBatch, half_life: float | None) -> FloatArray:
    """(L,) exponential decay of every history event, 1 for the latest; ``half_life`` in events, None = no decay."""
    if half_life is None:
        return np.ones(len(queries.history_idx), dtype=np.float32)
    age = np.repeat(queries.history_offsets[1:] - 1, queries.lengths) - np.arange(len(queries.history_idx))
    return np.exp2(-age / half_life).astype(np.float32)


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
