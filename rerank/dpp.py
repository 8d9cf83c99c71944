"""Determinantal point process: the list whose items are relevant and span a large volume.

Chen, Zhang & Zhou, Fast greedy MAP inference for determinantal point process to improve recommendation diversity
(NeurIPS 2018), equation 15 and algorithm 1:

    maximise over lists Y   λ·Σ_{i∈Y} rel(i) + (1−λ)·log det S_Y

This is log det of the kernel L = Diag(q)·S·Diag(q) up to the factor 1−λ, with the quality q = exp(rel)^(λ / (2(1−λ))).
S_ij = (1 + cos(i, j)) / 2 is positive semi-definite and counts opposite items as most different; ``jitter`` on its
diagonal keeps the determinant of duplicates above zero. A greedy step adds the item with the largest
λ·rel(i) + (1−λ)·log d_i², where d_i² = det S_{Y∪i} / det S_Y comes from the incremental Cholesky factor of S_Y.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit
from pydantic import Field

from reccore import Candidates, ComponentConfig, QueryBatch
from rerank.greedy import Choice, GreedyConfig, cosines_with, gather_columns, no_choice, relevance_of
from rerank.similarity import Similarity, SimilarityReranker, VectorSimilarity


class DPPConfig(GreedyConfig):
    """Options of the DPP: those of ``GreedyConfig``, the similarity and its jitter.

    Attributes:
        similarity: how items are compared; an item without a vector or genre has cosine 0 with every other.
        jitter: added to the diagonal of the kernel. The lower it is, the more a duplicate of a chosen item loses: its
            log d² falls to about log(2·jitter).
    """

    similarity: Similarity = VectorSimilarity()
    jitter: float = Field(0.01, ge=1e-6, le=1.0)


class DPP(SimilarityReranker):
    """Fast greedy MAP over the first candidates of each query.

    Takes O(picks·pool·(D + picks)) time and O(picks·pool) memory per query. Of equal objectives the earlier candidate
    wins. The objective is the gain of the step; it never rises along the list, since d² never rises.
    """

    name: ClassVar[str] = "dpp"
    Config: ClassVar[type[ComponentConfig]] = DPPConfig
    config: DPPConfig

    def _choose(self, queries: QueryBatch, pool: Candidates, picks: int) -> Choice:
        relevance = relevance_of(pool.score, pool.mask, self.config.relevance)
        columns, objective = no_choice(len(pool), picks)
        _choose_rows(
            self.vectors,
            pool.item_idx,
            pool.counts,
            relevance,
            self.config.trade_off,
            self.config.jitter,
            columns,
            objective,
        )
        return columns, objective


@njit(nogil=True, cache=True)
def _choose_rows(
    unit: np.ndarray,
    item_idx: np.ndarray,
    counts: np.ndarray,
    relevance: np.ndarray,
    trade_off: float,
    jitter: float,
    columns: np.ndarray,
    objective: np.ndarray,
) -> None:
    """Fill ``columns`` and ``objective`` (B, picks) row by row."""
    for row in range(len(item_idx)):
        n = counts[row]
        vectors = gather_columns(unit, item_idx[row, :n])  # (D, n)
        cosine = np.zeros(n, dtype=np.float32)
        picks = min(n, columns.shape[1])
        factor = np.zeros((picks, n))  # row t: the t-th entries of the Cholesky vectors of all candidates
        squared = np.full(n, 1.0 + jitter)  # d²
        free = np.ones(n, dtype=np.bool_)
        for pick in range(picks):
            best, best_value = -1, -np.inf
            for p in range(n):
                value = trade_off * relevance[row, p] + (1.0 - trade_off) * np.log(squared[p])
                if free[p] and value > best_value:  # of equals the first
                    best, best_value = p, value
            columns[row, pick], objective[row, pick] = best, best_value
            free[best] = False
            cosines_with(vectors, best, cosine)
            _extend_factor(factor, pick, best, cosine, squared, jitter)


@njit(nogil=True, cache=True)
def _extend_factor(
    factor: np.ndarray, pick: int, chosen: int, cosine: np.ndarray, squared: np.ndarray, jitter: float
) -> None:
    """e = (S_chosen,i − ⟨c_chosen, c_i⟩) / d_chosen for every candidate i; append it to c_i and subtract e² from d²."""
    n = len(cosine)
    entry = factor[pick]
    for p in range(n):
        entry[p] = 0.5 + 0.5 * min(max(cosine[p], np.float32(-1.0)), np.float32(1.0))
    for t in range(pick):
        value = factor[t, chosen]
        for p in range(n):
            entry[p] -= value * factor[t, p]
    root = np.sqrt(squared[chosen])
    for p in range(n):
        entry[p] /= root
        squared[p] = max(squared[p] - entry[p] * entry[p], 0.5 * jitter)  # rounding never reaches the bound
