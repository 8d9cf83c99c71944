"""Item-based collaborative filtering: films watched by the same people as the films of the history.

Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001; the damping of
active users is the inverse user frequency of Breese et al., UAI 1998.
"""

from __future__ import annotations

from math import ceil

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse

from recall.cooccurrence import NeighbourRule, top_neighbours
from recall.pair_sums import PairHistories, PairRule, PairSimilarityRecall, Reals
from recall.similarity import ItemSimilarityConfig
from recall.unique_events import latest_distinct
from reccore import Interactions, RunOptions, TrainingData
from reccore.arrays import FloatArray, IntArray

# Beyond so many half-lives a pair weighs less than a millionth and is left out.
HALF_LIVES_IN_WINDOW = 20


class ItemCFConfig(ItemSimilarityConfig):
    """Options of ``ItemCF``, beside those of its family.

    Attributes:
        half_life: exponential decay of the history at retrieval; half-life in events, None = no decay.
        neighbours: similar items kept for each item.
        user_damping: a user with n events has weight log(1 + n)^−user_damping in every co-occurrence.
        shrinkage: added to the denominator; pulls similarities that rest on few users towards 0.
        pair_half_life: exponential decay of a pair with the distance of its two events in the history; half-life in
            events, None = every pair of a history counts alike. Fitting is then linear in the number of events.
        history_cap: only a user's latest ``history_cap`` events form pairs, which bounds the quadratic cost.
    """

    half_life: float | None = Field(default=3.0, gt=0)
    neighbours: int = Field(default=200, ge=1)
    user_damping: float = Field(default=1.0, ge=0, le=10)
    shrinkage: float = Field(default=0.0, ge=0)
    pair_half_life: float | None = Field(default=10.0, ge=0.1)
    history_cap: int = Field(default=500, ge=2)


class ItemCF(PairSimilarityRecall):
    """Cosine between the columns of the weighted user–item matrix, top neighbours of each item.

    With w_u the damped weight of user u and d the distance of the events of i and j in u's history,
    sim(i, j) = Σ_{u∈i∩j} w_u · 2^(−d / pair_half_life) / (√(Σ_{u∈i} w_u · Σ_{u∈j} w_u) + shrinkage).
    Of repeated events of a user and an item the latest counts. Fitting takes
    Σ_u n_u · min(n_u, history_cap, 40 · pair_half_life) multiply-adds and memory for one dense row per thread.
    """

    name = "itemcf"
    Config = ItemCFConfig
    config: ItemCFConfig

    def _count(self, data: TrainingData, options: RunOptions) -> sparse.csr_matrix:
        return item_similarity(data.interactions, self.config, progress=options.progress)

    def _histories(self, events: Interactions) -> PairHistories:
        return weighted_histories(events, self.config)

    def _rule(self) -> PairRule:
        window, weights = _pair_weights(self.config)
        return PairRule(window, window, np.ones(window + 1, dtype=np.float32) if weights is None else weights)

    def _divisors(self, events: Interactions) -> tuple[Reals, Reals]:
        norm = _norms(self._histories(events), events.n_items)
        return norm, norm

    @property
    def _shrinkage(self) -> float:
        return self.config.shrinkage

    @property
    def _n_kept(self) -> int:
        return self.config.neighbours


def item_similarity(interactions: Interactions, config: ItemCFConfig, *, progress: bool = False) -> sparse.csr_matrix:
    """(N, N) float32 CSR with at most ``neighbours`` positive entries per row, none on the diagonal."""
    histories = weighted_histories(interactions, config)
    return top_neighbours(
        histories.offsets,
        histories.items,
        weight=histories.weight,
        norm=_norms(histories, interactions.n_items),
        pairs=neighbour_rule(config),
        progress="item similarities" if progress else None,
    )


def weighted_histories(interactions: Interactions, config: ItemCFConfig) -> PairHistories:
    """The latest events, each item once, and the weight of each user."""
    offsets, items = latest_distinct(interactions, config.history_cap)
    return PairHistories(offsets, items, user_weights(np.diff(offsets), config))


def user_weights(n_items: IntArray, config: ItemCFConfig) -> FloatArray:
    """(U,) float32 weights of users with so many items."""
    weight: FloatArray = (np.log1p(np.maximum(n_items, 1)) ** -config.user_damping).astype(np.float32)
    return weight


def _norms(histories: PairHistories, n_items: int) -> FloatArray:
    return norms_of(weight_sums(histories, n_items))


def weight_sums(histories: PairHistories, n_items: int) -> npt.NDArray[np.float64]:
    """(N,) float64 sum of the weights of each item's users."""
    weights = np.repeat(histories.weight, np.diff(histories.offsets))
    return np.bincount(histories.items, weights=weights, minlength=n_items).astype(np.float64)


def norms_of(sums: npt.NDArray[np.float64]) -> FloatArray:
    """(N,) float32 √Σ w_u over the users of each item; 1 for an item without users, which has no pairs."""
    return np.where(sums > 0, np.sqrt(sums), 1.0).astype(np.float32)


def neighbour_rule(config: ItemCFConfig) -> NeighbourRule:
    """Which pairs of events count, and how much."""
    window, pair_weight = _pair_weights(config)
    return NeighbourRule(config.neighbours, window, config.shrinkage, pair_weight)


def _pair_weights(config: ItemCFConfig) -> tuple[int, FloatArray | None]:
    """The greatest distance of a pair, and the weight of each distance up to it."""
    if config.pair_half_life is None:
        return config.history_cap, None
    window = min(config.history_cap, ceil(HALF_LIVES_IN_WINDOW * config.pair_half_life))
    return window, np.exp2(-np.arange(window + 1) / config.pair_half_life).astype(np.float32)
