"""Item-based collaborative filtering: films watched by the same people as the films of the history.

Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001; the damping of
active users is the inverse user frequency of Breese et al., UAI 1998.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy import sparse

from recall.base import BaseRecall
from recall.cooccurrence import top_neighbours
from recall.history import history_matrix
from reccore import (
    Bundle,
    Candidates,
    ComponentConfig,
    Exclusions,
    Holdout,
    Interactions,
    QueryBatch,
    RunOptions,
    TrainingData,
    top_k,
)
from reccore.bundle import BundleWriter


class ItemCFConfig(ComponentConfig):
    """Options of ``ItemCF``.

    Attributes:
        neighbours: similar items kept for each item.
        user_damping: a user with n events counts log(1 + n)^−user_damping in every co-occurrence.
        shrinkage: added to the denominator; pulls similarities that rest on few users towards 0.
        history_cap: only the latest so many events of a user form pairs, which bounds the quadratic cost.
        half_life: at retrieval an event counts half for every so many later ones; None counts all alike.
    """

    neighbours: int = Field(default=100, ge=1)
    user_damping: float = Field(default=1.0, ge=0, le=10)
    shrinkage: float = Field(default=0.0, ge=0)
    history_cap: int = Field(default=500, ge=2)
    half_life: float | None = Field(default=4.0, gt=0)


class ItemCF(BaseRecall):
    """Cosine between the columns of the weighted user–item matrix, top neighbours of each item.

    With w_u the damped weight of user u, sim(i, j) = Σ_{u∈i∩j} w_u / (√(Σ_{u∈i} w_u · Σ_{u∈j} w_u) + shrinkage).
    Fitting takes Σ_u min(n_u, history_cap)² multiply-adds and memory for one dense row per thread; the
    score of an item is the recency-weighted sum of its similarities to the history. An empty history, or
    one whose films have no neighbours, gets an empty row.
    """

    name = "itemcf"
    Config = ItemCFConfig
    config: ItemCFConfig
    similarity: sparse.csr_matrix  # (N, N), row i = neighbours of i

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        self.similarity = item_similarity(data.interactions, self.config, progress=options.progress)

    def _retrieve(self, queries: QueryBatch, k: int, exclude: Exclusions) -> Candidates:
        n_items = self.similarity.shape[0]
        scores = (history_matrix(queries, n_items, self.config.half_life) @ self.similarity).toarray()
        scores[scores == 0.0] = -np.inf  # no evidence is not an offer
        exclude.mask_scores(scores)
        return top_k(scores, k)

    def _write(self, bundle: BundleWriter) -> None:
        matrix = self.similarity
        arrays = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}
        bundle.arrays("similarity.npz", arrays)

    def _read(self, bundle: Bundle) -> None:
        stored = bundle.arrays("similarity.npz")
        n_items = len(self.vocabulary.items)
        self.similarity = sparse.csr_matrix(
            (stored["data"], stored["indices"], stored["indptr"]), shape=(n_items, n_items)
        )


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
