"""The greatest few entries of each row of an item–item matrix that compiled code computes row by row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from scipy import sparse

from reccore.progress import track


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


def greatest_in_blocks(
    block: Callable[[int, int], tuple[np.ndarray, np.ndarray]], n_items: int, size: int, progress: str | None
) -> sparse.csr_matrix:
    """The (N, N) float32 CSR with sorted columns of rows that are computed in blocks.

    Args:
        block: first and last + 1 of some rows → (R, K) columns, -1 = none, and (R, K) values.
        n_items: N.
        size: rows of a block.
        progress: name of the progress bar; None = no bar.
    """
    starts = track(range(0, max(n_items, 1), size), progress or "", unit="blocks", enabled=progress is not None)
    parts = [block(start, min(start + size, n_items)) for start in starts]
    ids, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    found = ids >= 0
    indptr = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
    matrix = sparse.csr_matrix(
        (values[found].astype(np.float32), ids[found].astype(np.int32), indptr), shape=(n_items, n_items)
    )
    matrix.sort_indices()
    return matrix
