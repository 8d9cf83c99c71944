"""Swing: two items are similar if many pairs of users chose both, and those users otherwise share little.

Yang et al., "Large scale product graph construction for recommendation in e-commerce", 2020 (arXiv:2010.05525). The
weights of the users follow Alibaba's Alink: (n + user_smoothing)^−user_damping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit, prange
from pydantic import Field
from scipy import sparse

from recall.greatest import greatest_in_blocks, write_greatest
from recall.similarity import ItemSimilarityConfig, ItemSimilarityRecall
from recall.unique_events import latest_distinct
from reccore import Interactions, RunOptions, TrainingData
from reccore.arrays import IntArray, offsets_from_lengths, ragged_positions, row_of_each

ITEMS_PER_BLOCK = 256


class SwingConfig(ItemSimilarityConfig):
    """Options of ``Swing``, beside those of its family.

    Attributes:
        half_life: exponential decay of the history at retrieval; half-life in events, None = no decay.
        neighbours: similar items kept for each item.
        alpha: added to the number of items that a pair of users shares; the greater, the less a small overlap counts
            for more than a large one.
        user_smoothing: a user with n items has weight (n + user_smoothing)^−user_damping.
        user_damping: its exponent; 0 = all users weigh alike.
        source_damping: similarities of an item with n users count n^−source_damping; 2 gives about the mean over the
            pairs of its users, 0 their sum, with which the frequent films of a history decide.
        popularity_damping: similarities to an item with n users count n^−popularity_damping; at 0 popular films win.
        history_cap: only a user's latest ``history_cap`` events are read.
        users_per_item: users drawn for each item at random by the seed; all pairs of them are compared.
    """

    half_life: float | None = Field(default=2.0, gt=0)
    neighbours: int = Field(default=200, ge=1)
    alpha: float = Field(default=10.0, gt=0)
    user_smoothing: float = Field(default=5.0, ge=0)
    user_damping: float = Field(default=0.35, ge=0, le=5)
    source_damping: float = Field(default=1.5, ge=0, le=3)
    popularity_damping: float = Field(default=1.0, ge=0, le=2)
    history_cap: int = Field(default=200, ge=2)
    users_per_item: int = Field(default=200, ge=2)


class Swing(ItemSimilarityRecall):
    """Sum over pairs of users, top neighbours of each item.

    With U_i the users of item i, I_u the items of user u and w_u the user's weight,
    sim(i, j) = |U_i|^−source_damping · |U_j|^−popularity_damping · Σ_{u<v ∈ U_i∩U_j} w_u · w_v / (alpha + |I_u ∩ I_v|).
    The paper has neither damping; its sum grows with the square of the users that both items share, and so favours
    popular films. Of an item with more than ``users_per_item`` users, so many are drawn, and the sum is scaled by the
    number of all pairs over that of the drawn ones. Fitting takes at most N · users_per_item² / 2 · history_cap steps
    on all threads, and memory for some dense rows per thread.
    """

    name = "swing"
    Config = SwingConfig
    config: SwingConfig

    def _similarity(self, data: TrainingData, options: RunOptions) -> sparse.csr_matrix:
        return swing_similarity(data.interactions, self.config, seed=options.seed, progress=options.progress)


def swing_similarity(
    interactions: Interactions, config: SwingConfig, *, seed: int, progress: bool = False
) -> sparse.csr_matrix:
    """(N, N) float32 CSR with at most ``neighbours`` positive entries per row, none on the diagonal."""
    n_items = interactions.n_items
    offsets, items = latest_distinct(interactions, config.history_cap)
    n_users = np.bincount(items, minlength=n_items)
    item_offsets, drawn = _users_of_items(row_of_each(offsets), items, n_users, config.users_per_item, seed)
    items = items.astype(np.int32)
    terms = SwingTerms.of(np.diff(offsets), n_users, config)

    def similar(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        return swing_block(start, item_offsets[start : stop + 1], drawn, offsets, items, terms)

    return greatest_in_blocks(similar, n_items, ITEMS_PER_BLOCK, "swing" if progress else None)


def draws(seed: int, start: int, n: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1) of ``n`` events from the place ``start`` on; users of the least numbers are drawn."""
    return np.random.Generator(np.random.PCG64(seed).advance(start)).random(n)


def _users_of_items(
    users: IntArray, items: IntArray, n_users: IntArray, cap: int, seed: int
) -> tuple[IntArray, IntArray]:
    """At most ``cap`` of the ``n_users`` (N,) users of each item, drawn without replacement.

    Returns:
        (N+1,) offsets, and (D,) users of every item, increasing.
    """
    order = np.lexsort((draws(seed, 0, len(items)), items))
    n_drawn = np.minimum(n_users, cap)
    drawn = order[ragged_positions(offsets_from_lengths(n_users)[:-1], n_drawn)]
    drawn = drawn[np.lexsort((users[drawn], items[drawn]))]
    return offsets_from_lengths(n_drawn), users[drawn]


@dataclass(frozen=True, eq=False)
class SwingTerms:
    """Weights of users and items, and the options of the sum.

    Attributes:
        weight: (U,) weights of the users.
        from_item: (N,) factor of the similarities of an item; scales the sum over drawn users to all.
        to_item: (N,) factor of the similarities to an item.
        alpha: added to the number of shared items.
        neighbours: similar items kept for each item.
    """

    weight: npt.NDArray[np.float64]
    from_item: npt.NDArray[np.float64]
    to_item: npt.NDArray[np.float64]
    alpha: float
    neighbours: int

    @classmethod
    def of(cls, lengths: IntArray, n_users: IntArray, config: SwingConfig) -> SwingTerms:
        """For users with ``lengths`` (U,) items, and items with ``n_users`` (N,) users."""
        n_drawn = np.minimum(n_users, config.users_per_item)
        pairs, drawn_pairs = (np.maximum(n * (n - 1), 1) for n in (n_users, n_drawn))
        return cls(
            weight=(np.maximum(lengths, 1) + config.user_smoothing) ** -config.user_damping,
            from_item=np.maximum(n_users, 1) ** -config.source_damping / (drawn_pairs / pairs),
            to_item=np.maximum(n_users, 1) ** -config.popularity_damping,
            alpha=config.alpha,
            neighbours=config.neighbours,
        )


def swing_block(
    start: int,
    item_offsets: IntArray,
    drawn: IntArray,
    user_offsets: IntArray,
    user_items: IntArray,
    terms: SwingTerms,
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of the items from ``start`` on.

    Args:
        start: the first item.
        item_offsets: (R+1,) offsets into ``drawn`` of the R items.
        drawn: users of each item, increasing.
        user_offsets: (U+1,) offsets into ``user_items``; only those of drawn users are read.
        user_items: int32 items of each user.
        terms: what is known of users and items.

    Returns:
        (R, K) neighbours, -1 = none, and (R, K) float32 similarities, best first.
    """
    n_kept = min(terms.neighbours, max(len(terms.to_item) - 1, 1))
    of_items = (terms.from_item, terms.to_item, n_kept)
    return _block(start, item_offsets, drawn, user_offsets, user_items, terms.weight, terms.alpha, *of_items)


@njit(parallel=True, cache=True)
def _block(
    first: int,
    item_offsets: np.ndarray,
    drawn: np.ndarray,
    user_offsets: np.ndarray,
    user_items: np.ndarray,
    weight: np.ndarray,
    alpha: float,
    from_item: np.ndarray,
    to_item: np.ndarray,
    n_kept: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of the items from ``first`` on; (R, ``n_kept``) columns and values, -1 = none."""
    n_rows = len(item_offsets) - 1
    ids = np.full((n_rows, n_kept), -1, dtype=np.int64)
    values = np.zeros((n_rows, n_kept), dtype=np.float32)
    n_lanes = 16
    for lane in prange(n_lanes):
        total = np.zeros(len(to_item), dtype=np.float64)
        owner = np.full(len(to_item), -1, dtype=np.int64)  # place in ``drawn`` of the user whose items were marked last
        shared = np.empty(len(to_item), dtype=np.int64)
        for row in range(lane, n_rows, n_lanes):
            item = first + row
            start, stop = item_offsets[row], item_offsets[row + 1]
            for one in range(start, stop):
                u = drawn[one]
                for at in range(user_offsets[u], user_offsets[u + 1]):
                    owner[user_items[at]] = one
                for two in range(one + 1, stop):
                    v = drawn[two]
                    n_shared = 0
                    for at in range(user_offsets[v], user_offsets[v + 1]):
                        # Written always and counted if shared: without a branch, which would be mispredicted.
                        shared[n_shared] = user_items[at]
                        n_shared += owner[user_items[at]] == one
                    increment = weight[u] * weight[v] / (alpha + n_shared)
                    for slot in range(n_shared):
                        total[shared[slot]] += increment
            total[item] = 0.0
            found = np.flatnonzero(total)
            score = (total[found] * from_item[item] * to_item[found]).astype(np.float32)
            total[found] = 0.0
            write_greatest(ids[row], values[row], found, score)
    return ids, values
