"""Cosine similarities of items that occur in the same histories, the greatest few per item: sparse, in blocks.

Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001. Item-based collaborative
filtering reads the result as similarities, the item graph of the two-tower as edges.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit, prange
from scipy import sparse

from reccore.arrays import FloatArray
from reccore.progress import track

ITEMS_PER_BLOCK = 2048


def top_neighbours(
    user_offsets: npt.NDArray[np.integer],
    items: npt.NDArray[np.integer],
    *,
    weight: FloatArray,
    norm: FloatArray,
    neighbours: int,
    window: int,
    shrinkage: float = 0.0,
    progress: str | None = None,
) -> sparse.csr_matrix:
    """The items of greatest cosine similarity to each item.

    sim(i, j) = Σ w_u / (norm_i · norm_j + shrinkage), summed over the pairs of an event of i and an event of
    j that lie at most ``window`` apart in the history of one user u. Takes at most 2 · window · E multiply-adds
    and memory for one dense row per thread, beside the result.

    Args:
        user_offsets: (U+1,) CSR offsets into ``items``.
        items: (E,) items of every user.
        weight: (U,) w_u, the weight of a pair of that user's events.
        norm: (N,) positive for items with events.
        neighbours: entries kept per row, ties by item index.
        window: greatest distance of two events, in events.
        shrinkage: added to the denominator; pulls similarities that rest on few events towards 0.
        progress: name of the progress bar; None = no bar.

    Returns:
        (N, N) float32 CSR, sorted, positive entries, none on the diagonal.
    """
    n_items = len(norm)
    user_offsets = user_offsets.astype(np.int64, copy=False)  # one type for all callers, so that Numba compiles once
    items = items.astype(np.int32, copy=False)
    position = np.arange(len(items), dtype=sparse.get_index_dtype(maxval=len(items)))
    by_item = sparse.csr_matrix((position, items, user_offsets), shape=(len(weight), n_items)).tocsc()
    kept = min(neighbours, max(n_items - 1, 1))
    blocks = range(0, n_items, ITEMS_PER_BLOCK)
    parts = []
    for start in track(blocks, progress or "", unit="blocks", enabled=progress is not None):
        stop = min(start + ITEMS_PER_BLOCK, n_items)
        block = by_item.indptr[start : stop + 1]
        parts.append(
            _block_neighbours(
                start, block, by_item.data, by_item.indices, user_offsets, items, weight, norm, shrinkage, kept, window
            )
        )
    ids = np.concatenate([part[0] for part in parts])  # (N, kept), -1 = none
    values = np.concatenate([part[1] for part in parts])
    found = ids >= 0
    indptr = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
    matrix = sparse.csr_matrix((values[found], ids[found].astype(np.int32), indptr), shape=(n_items, n_items))
    matrix.sort_indices()
    return matrix


@njit(parallel=True, cache=True)
def _block_neighbours(
    first: int,
    item_offsets: np.ndarray,
    positions: np.ndarray,
    users: np.ndarray,
    user_offsets: np.ndarray,
    user_items: np.ndarray,
    weight: np.ndarray,
    norm: np.ndarray,
    shrinkage: float,
    n_neighbours: int,
    window: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of the items from ``first`` on: row-wise sparse product, top-N of each row before the next row."""
    n_rows = len(item_offsets) - 1
    ids = np.full((n_rows, n_neighbours), -1, dtype=np.int64)
    values = np.zeros((n_rows, n_neighbours), dtype=np.float32)
    n_lanes = 16
    for lane in prange(n_lanes):
        total = np.zeros(len(norm), dtype=np.float32)
        touched = np.empty(len(norm), dtype=np.int64)
        for row in range(lane, n_rows, n_lanes):
            item = first + row
            n_touched = 0
            for at in range(item_offsets[row], item_offsets[row + 1]):
                user, here = users[at], positions[at]
                start = max(user_offsets[user], here - window)
                stop = min(user_offsets[user + 1], here + window + 1)
                for other_at in range(start, stop):
                    other = user_items[other_at]
                    if total[other] == 0.0:
                        touched[n_touched] = other
                        n_touched += 1
                    total[other] += weight[user]
            found = np.sort(touched[:n_touched])
            score = np.empty(n_touched, dtype=np.float32)
            for slot in range(n_touched):
                other = found[slot]
                same = other == item
                score[slot] = 0.0 if same else total[other] / (norm[item] * norm[other] + shrinkage)
                total[other] = 0.0
            # Stable, so that equal similarities keep the lower item index.
            order = np.argsort(-score, kind="mergesort")[:n_neighbours]
            for slot in range(len(order)):
                if score[order[slot]] > 0.0:
                    ids[row, slot] = found[order[slot]]
                    values[row, slot] = score[order[slot]]
    return ids, values
