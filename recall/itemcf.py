"""Item-based collaborative filtering: films watched by the same people as the films of the history.

Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001; the damping of
active users is the inverse user frequency of Breese et al., UAI 1998.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy import sparse

from recall.cooccurrence import top_neighbours
from recall.similarity import ItemSimilarityConfig, ItemSimilarityRecall
from reccore import Interactions, RunOptions, TrainingData


class ItemCFConfig(ItemSimilarityConfig):
    """Options of ``ItemCF``, beside those of its family.

    Attributes:
        neighbours: similar items kept for each item.
        user_damping: a user with n events has weight log(1 + n)^−user_damping in every co-occurrence.
        shrinkage: added to the denominator; pulls similarities that rest on few users towards 0.
        history_cap: only a user's latest ``history_cap`` events form pairs, which bounds the quadratic cost.
    """

    neighbours: int = Field(default=100, ge=1)
    user_damping: float = Field(default=1.0, ge=0, le=10)
    shrinkage: float = Field(default=0.0, ge=0)
    history_cap: int = Field(default=500, ge=2)


class ItemCF(ItemSimilarityRecall):
    """Cosine between the columns of the weighted user–item matrix, top neighbours of each item.

    With w_u the damped weight of user u, sim(i, j) = Σ_{u∈i∩j} w_u / (√(Σ_{u∈i} w_u · Σ_{u∈j} w_u) + shrinkage).
    Fitting takes Σ_u min(n_u, history_cap)² multiply-adds and memory for one dense row per thread.
    """

    name = "itemcf"
    Config = ItemCFConfig
    config: ItemCFConfig

    def _similarity(self, data: TrainingData, options: RunOptions) -> sparse.csr_matrix:
        return item_similarity(data.interactions, self.config, progress=options.progress)


def item_similarity(interactions: Interactions, config: ItemCFConfig, *, progress: bool = False) -> sparse.csr_matrix:
    """(N, N) float32 CSR with at most ``neighbours`` positive entries per row, none on the diagonal."""
    events = interactions.latest(config.history_cap).to_csr()
    events.data[:] = 1.0
    n_events = np.diff(events.indptr)
    weight = (np.log1p(np.maximum(n_events, 1)) ** -config.user_damping).astype(np.float32)
    norm = np.sqrt(np.asarray(events.T @ weight, dtype=np.float32))
    return top_neighbours(
        events.indptr,
        events.indices,
        weight=weight,
        norm=norm,
        neighbours=config.neighbours,
        window=config.history_cap,
        shrinkage=config.shrinkage,
        progress="item similarities" if progress else None,
    )
