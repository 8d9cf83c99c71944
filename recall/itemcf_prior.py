"""Item-based collaborative filtering that shrinks to popularity where the history is short.

Similarities of one or two films say little, and a new user is better served by what is popular: below ten events
plain ItemCF ranks worse than popularity. The mean similarity to the history is therefore shrunk towards a popularity
prior, as Bayesian averages are: with n events in the history the similarities have weight n / (n + prior).
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy import sparse

from recall.base import BaseRecall, DenseRecall
from recall.history import history_matrix
from recall.itemcf import ItemCF, ItemCFConfig
from reccore import Bundle, Holdout, QueryBatch, RunOptions, TrainingData
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter


class ItemCFPriorConfig(ItemCFConfig):
    """Options of ``ItemCFPrior``, beside those of ``ItemCF``; pairs do not decay by default.

    All pairs of a history predict better what a new user will watch at any later time, near pairs the next film.

    Attributes:
        half_life, neighbours, pair_half_life: as in ``ItemCFConfig``.
        prior: number of events that popularity counts for: with that many events in the history, similarities and
            popularity weigh the same. 0 = none, which leaves the ranking of ``ItemCF``.
    """

    half_life: float | None = Field(default=4.0, gt=0)
    neighbours: int = Field(default=100, ge=1)
    pair_half_life: float | None = Field(default=None, ge=0.1)
    prior: float = Field(default=5.0, ge=0)


class ItemCFPrior(DenseRecall, ItemCF):
    """score(i | h) = λ · Σ_j w_j sim(j, i) / Σ_j w_j + (1 − λ) · popularity(i), with λ = n / (n + prior).

    Here j runs over the n known events of the history, w_j is their exponential decay and popularity the item's events
    divided by those of the most popular item. Answers every query; for an empty history the ranking is popularity.
    Every item has a score, so retrieval is that of ``DenseRecall``.
    """

    name = "itemcf_prior"
    Config = ItemCFPriorConfig
    config: ItemCFPriorConfig
    popularity: FloatArray  # (N,) in [0, 1]

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        super()._fit(data, valid, options)
        counts = data.interactions.item_counts()
        self.popularity = (counts / max(int(counts.max(initial=0)), 1)).astype(np.float32)

    def _prepare(self, queries: QueryBatch) -> sparse.csr_matrix:
        """(B, N+1): the weighted mean similarities, and the weight of popularity in the last column."""
        n_items = len(self.popularity)
        history = history_matrix(queries, n_items, self.config.half_life)
        total = np.asarray(history.sum(axis=1)).ravel()
        weight = queries.lengths / np.maximum(queries.lengths + self.config.prior, 1e-9)
        scaled = sparse.diags_array((weight / np.maximum(total, 1e-9)).astype(np.float32)) @ history
        rest = sparse.csr_matrix((1.0 - weight).astype(np.float32)[:, None])
        return sparse.csr_matrix(sparse.hstack([scaled @ self.similarity, rest]))

    _score_latest = BaseRecall._score_latest

    def _scores(self, prepared: sparse.csr_matrix) -> FloatArray:
        dense = prepared.toarray()
        scores: FloatArray = dense[:, :-1] + dense[:, -1:] * self.popularity
        return scores

    def _write(self, bundle: BundleWriter) -> None:
        super()._write(bundle)
        bundle.arrays("popularity.npz", {"popularity": self.popularity})

    def _read(self, bundle: Bundle) -> None:
        super()._read(bundle)
        self.popularity = bundle.arrays("popularity.npz")["popularity"]
