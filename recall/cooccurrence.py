"""Cosine similarities of items that occur in the same histories, the greatest few per item: sparse, in blocks.

Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001. Item-based collaborative
filtering reads the result as similarities, the item graph of the two-tower as edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import sparse

from recall.greatest import greatest_in_blocks
from recall.topk import run_rows
from recall.topk_kernels import item_of, score_of, scratch, select
from reccore import Interactions
from reccore.arrays import FloatArray, offsets_from_lengths

ITEMS_PER_BLOCK = 2048
LEAST_POSITIVE = np.float32(1e-45)


@dataclass(frozen=True, eq=False)
class NeighbourRule:
    """Which pairs of events count, how much, and how many neighbours an item keeps.

    Attributes:
        neighbours: entries kept per row, ties by item index.
        window: greatest distance of two events, in events.
        shrinkage: added to the denominator; pulls similarities that rest on few events towards 0.
        pair_weight: (window+1,) positive, by the distance of the two events; None = 1 at every distance.
    """

    neighbours: int
    window: int
    shrinkage: float = 0.0
    pair_weight: FloatArray | None = None


def top_neighbours(
    user_offsets: npt.NDArray[np.integer],
    items: npt.NDArray[np.integer],
    *,
    weight: FloatArray,
    norm: FloatArray,
    pairs: NeighbourRule,
    progress: str | None = None,
) -> sparse.csr_matrix:
    """The items of greatest cosine similarity to each item.

    sim(i, j) = Σ w_u · pair_weight_d / (norm_i · norm_j + shrinkage), summed over the pairs of an event of i and an
    event of j that lie d ≤ ``window`` apart in the history of one user u. Takes at most 2 · window · E multiply-adds
    and memory for one dense row per thread, beside the result.

    Args:
        user_offsets: (U+1,) CSR offsets into ``items``.
        items: (E,) items of every user.
        weight: (U,) w_u, the weight of a pair of that user's events.
        norm: (N,) positive for items with events.
        pairs: which pairs count.
        progress: name of the progress bar; None = no bar.

    Returns:
        (N, N) float32 CSR, sorted, positive entries, none on the diagonal.
    """
    n_items = len(norm)
    user_offsets = user_offsets.astype(np.int64, copy=False)  # one type for all callers, so that Numba compiles once
    items = items.astype(np.int32, copy=False)
    position = np.arange(len(items), dtype=sparse.get_index_dtype(maxval=len(items)))
    by_item = sparse.csr_matrix((position, items, user_offsets), shape=(len(weight), n_items)).tocsc()

    def similar(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        events = by_item.indptr[start : stop + 1], by_item.data, by_item.indices, user_offsets, items
        return _run_block(start, events, weight, norm, pairs)

    return greatest_in_blocks(similar, n_items, ITEMS_PER_BLOCK, progress)


def neighbours_of_block(
    start: int,
    stop: int,
    user_offsets: npt.NDArray[np.integer],
    items: npt.NDArray[np.integer],
    *,
    weight: FloatArray,
    norm: FloatArray,
    pairs: NeighbourRule,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``start`` … ``stop``-1 of ``top_neighbours``, from the histories of all users who have one of these items.

    Returns:
        (R, K) int32 neighbours, -1 = none, and (R, K) float32 similarities, best first.
    """
    user_offsets, items = user_offsets.astype(np.int64, copy=False), items.astype(np.int32, copy=False)
    place = np.flatnonzero((items >= start) & (items < stop))
    place = place[np.argsort(items[place], kind="stable")]
    users = (np.searchsorted(user_offsets, place, side="right") - 1).astype(np.int32)
    item_offsets = offsets_from_lengths(np.bincount(items[place] - start, minlength=stop - start)).astype(np.int32)
    position = place.astype(sparse.get_index_dtype(maxval=len(items)))
    return _run_block(start, (item_offsets, position, users, user_offsets, items), weight, norm, pairs)


def _run_block(
    start: int, events: tuple[np.ndarray, ...], weight: FloatArray, norm: FloatArray, pairs: NeighbourRule
) -> tuple[np.ndarray, np.ndarray]:
    """``_block_neighbours`` on all threads."""
    shape = (len(events[0]) - 1, min(pairs.neighbours, max(len(norm) - 1, 1)))
    ids, values = np.full(shape, -1, dtype=np.int32), np.empty(shape, dtype=np.float32)
    given = pairs.pair_weight
    by_distance = np.zeros(0, dtype=np.float32) if given is None else given.astype(np.float32)
    rule = (weight, by_distance, norm, pairs.shrinkage, pairs.window)
    run_rows(_block_neighbours, start, *events, *rule, values, ids)
    return ids, values


def nearest_items(
    interactions: Interactions, *, neighbours: int, window: int, progress: str | None = None
) -> sparse.csr_matrix:
    """``top_neighbours`` with every pair counted alike: c(i, j) / √(c_i · c_j), with c_i the events of i."""
    return top_neighbours(
        interactions.user_offsets,
        interactions.item_idx,
        weight=np.ones(interactions.n_users, dtype=np.float32),
        norm=np.sqrt(interactions.item_counts()).astype(np.float32),
        pairs=NeighbourRule(neighbours, window),
        progress=progress,
    )


@njit(nogil=True, cache=True)
def _block_neighbours(
    first: int,
    item_offsets: np.ndarray,
    positions: np.ndarray,
    users: np.ndarray,
    user_offsets: np.ndarray,
    user_items: np.ndarray,
    weight: np.ndarray,
    pair_weight: np.ndarray,
    norm: np.ndarray,
    shrinkage: float,
    window: int,
    values: np.ndarray,
    ids: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    """Neighbours of the items from ``first`` on: row-wise sparse product, top-N of each row before the next row.

    An empty ``pair_weight`` weighs all distances alike.
    """
    n_rows, n_neighbours = ids.shape
    total = np.zeros(len(norm), dtype=np.float32)
    touched = np.empty(len(norm) + 1, dtype=np.int32)
    score = np.empty(len(norm), dtype=np.float32)
    excluded = np.zeros(len(norm), dtype=np.bool_)
    position, sample, keys = scratch(n_neighbours)
    for row in range(part, n_rows, n_parts):  # in turns, because popular items often lie together
        item = first + row
        n_touched = 0
        for at in range(item_offsets[row], item_offsets[row + 1]):
            user, here = users[at], positions[at]
            start = max(user_offsets[user], here - window)
            stop = min(user_offsets[user + 1], here + window + 1)
            added = weight[user]
            for near in range(start, stop):
                other = user_items[near]
                touched[n_touched] = other  # without a branch: the next one overwrites it if the item is not new
                n_touched += total[other] == 0.0
                total[other] += added if len(pair_weight) == 0 else added * pair_weight[abs(near - here)]
        for slot in range(n_touched):
            other = touched[slot]
            score[slot] = total[other] / (norm[item] * norm[other] + shrinkage)
            total[other] = 0.0
        excluded[item] = True
        n = select(score[:n_touched], touched, n_neighbours, 1, LEAST_POSITIVE, excluded, position, sample, keys)
        excluded[item] = False
        for slot in range(n):
            ids[row, slot] = item_of(keys[slot])
            values[row, slot] = score_of(keys[slot])
