"""Transitions: films that were watched within a few events after the films of the history.

A first-order Markov chain over items (Rendle et al., "Factorizing personalized Markov chains", WWW 2010, without the
factorisation) whose transitions also skip some events, since many events of one sitting share a timestamp.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from pydantic import Field
from scipy import sparse

from recall.greatest import greatest_in_blocks, write_greatest
from recall.pair_sums import PairHistories, PairRule, PairSimilarityRecall, Reals
from recall.similarity import ItemSimilarityConfig
from reccore import Interactions, RunOptions, TrainingData

ITEMS_PER_BLOCK = 2048


class MarkovConfig(ItemSimilarityConfig):
    """Options of ``Markov``, beside those of its family.

    Attributes:
        half_life: exponential decay of the history at retrieval; half-life in events, None = no decay. Shorter than
            in other channels, since a transition says what comes next and not what fits in general.
        steps: greatest distance of a transition, in events; one of s steps counts 1/s.
        popularity_damping: a transition to an item with n events counts n^−popularity_damping.
        source_damping: a transition from an item with n events counts n^−source_damping; 1 gives the share of the
            source's events, 0 lets frequent films of the history decide.
        neighbours: following items kept for each item.
    """

    half_life: float | None = Field(default=3.0, gt=0)
    steps: int = Field(default=10, ge=1, le=1000)
    popularity_damping: float = Field(default=0.3, ge=0, le=2)
    source_damping: float = Field(default=0.5, ge=0, le=3)
    neighbours: int = Field(default=200, ge=1)


class Markov(PairSimilarityRecall):
    """Damped counts of transitions i → j, the most frequent followers of each item.

    sim(i, j) = n_i^−source_damping · n_j^−popularity_damping · Σ 1/s over the events of j that come s = 1 … ``steps``
    events after one of i in the same history, with n the numbers of events. The matrix is not symmetric. Fitting takes
    E · steps additions and memory for one dense row per thread, beside the result.
    """

    name = "markov"
    Config = MarkovConfig
    config: MarkovConfig

    def _count(self, data: TrainingData, options: RunOptions) -> sparse.csr_matrix:
        return transitions(data.interactions, self.config, progress=options.progress)

    def _histories(self, events: Interactions) -> PairHistories:
        return PairHistories(events.user_offsets, events.item_idx, np.ones(events.n_users, dtype=np.float32))

    def _rule(self) -> PairRule:
        by_distance = 1.0 / np.maximum(np.arange(self.config.steps + 1), 1)
        return PairRule(0, self.config.steps, by_distance)

    def _divisors(self, events: Interactions) -> tuple[Reals, Reals]:
        counts = np.maximum(events.item_counts(), 1).astype(np.float64)
        return counts**self.config.source_damping, counts**self.config.popularity_damping

    @property
    def _n_kept(self) -> int:
        return self.config.neighbours


def transitions(interactions: Interactions, config: MarkovConfig, *, progress: bool = False) -> sparse.csr_matrix:
    """(N, N) float32 CSR; row i holds at most ``neighbours`` positive entries of followers of i, none of itself."""
    n_items = interactions.n_items
    counts = np.maximum(interactions.item_counts(), 1).astype(np.float64)
    from_item, to_item = counts**-config.source_damping, counts**-config.popularity_damping
    offsets, items = interactions.user_offsets, interactions.item_idx.astype(np.int32)
    positions = np.argsort(items, kind="stable")
    item_offsets = np.searchsorted(items[positions], np.arange(n_items + 1))
    ends = np.repeat(offsets[1:], interactions.lengths)  # (E,) where the history of each event ends
    kept = min(config.neighbours, max(n_items - 1, 1))

    def followers(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        part = item_offsets[start : stop + 1]
        return _block(start, part, positions, ends, items, from_item, to_item, config.steps, kept)

    return greatest_in_blocks(followers, n_items, ITEMS_PER_BLOCK, "transitions" if progress else None)


@njit(parallel=True, cache=True)
def _block(
    first: int,
    item_offsets: np.ndarray,
    positions: np.ndarray,
    ends: np.ndarray,
    items: np.ndarray,
    from_item: np.ndarray,
    to_item: np.ndarray,
    steps: int,
    n_kept: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Followers of the items from ``first`` on; (R, ``n_kept``) columns and values, -1 = none."""
    n_rows = len(item_offsets) - 1
    ids = np.full((n_rows, n_kept), -1, dtype=np.int64)
    values = np.zeros((n_rows, n_kept), dtype=np.float32)
    n_lanes = 16
    for lane in prange(n_lanes):
        total = np.zeros(len(to_item), dtype=np.float64)
        touched = np.empty(len(to_item), dtype=np.int64)
        for row in range(lane, n_rows, n_lanes):
            item = first + row
            n_touched = 0
            for at in range(item_offsets[row], item_offsets[row + 1]):
                here = positions[at]
                for step in range(1, min(steps, ends[here] - here - 1) + 1):
                    other = items[here + step]
                    if other != item:
                        if total[other] == 0.0:
                            touched[n_touched] = other
                            n_touched += 1
                        total[other] += 1.0 / step
            found = np.sort(touched[:n_touched])
            score = np.empty(n_touched, dtype=np.float32)
            for slot in range(n_touched):
                other = found[slot]
                score[slot] = total[other] * from_item[item] * to_item[other]
                total[other] = 0.0
            write_greatest(ids[row], values[row], found, score)
    return ids, values
