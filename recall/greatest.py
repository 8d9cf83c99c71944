"""The greatest few entries of each row of an item–item matrix that compiled code computes row by row."""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy import sparse


@njit(cache=True)
def write_greatest(ids: np.ndarray, values: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
    """Write the greatest positive scores of one row, best first, ties to the lower column.

    Args:
        ids: (K,) -1 throughout; receives columns.
        values: (K,) receives scores.
        columns: (F,) increasing.
        scores: (F,) of these columns.
    """
    # Stable, so that equal scores keep the lower column.
    order = np.argsort(-scores, kind="mergesort")[: len(ids)]
    for slot in range(len(order)):
        if scores[order[slot]] > 0.0:
            ids[slot] = columns[order[slot]]
            values[slot] = scores[order[slot]]


def csr_of_greatest(ids: np.ndarray, values: np.ndarray, n_columns: int) -> sparse.csr_matrix:
    """(R, K) columns, -1 = none, and their values to a (R, ``n_columns``) float32 CSR with sorted columns."""
    found = ids >= 0
    indptr = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
    matrix = sparse.csr_matrix(
        (values[found].astype(np.float32), ids[found].astype(np.int32), indptr), shape=(len(ids), n_columns)
    )
    matrix.sort_indices()
    return matrix
