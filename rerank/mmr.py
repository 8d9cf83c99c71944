"""Maximal marginal relevance: relevant items that differ from those already in the list.

Carbonell & Goldstein, The use of MMR, diversity-based reranking (SIGIR 1998), equation 1:

    next = argmax_i  λ·rel(i) − (1−λ)·max_{j chosen} sim(i, j)

Both terms lie in [0, 1], so that λ has the same effect for every ranker: relevance is normalised over the pool of
each query, and similarity is the cosine, with negative values set to 0. As the chosen set only grows, the objective
never rises along the list, so it can serve as the list's score.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from reccore import Candidates, ComponentConfig, QueryBatch
from rerank.greedy import Choice, GreedyConfig, cosines_with, gather_columns, no_choice, relevance_of
from rerank.similarity import Similarity, SimilarityReranker, VectorSimilarity


class MMRConfig(GreedyConfig):
    """Options of MMR: those of ``GreedyConfig``, and how items are compared.

    Attributes:
        similarity: how items are compared; an item without a vector or genre is similar to none.
    """

    similarity: Similarity = VectorSimilarity()


class MMR(SimilarityReranker):
    """Greedy MMR over the first candidates of each query.

    Takes O(picks·pool·D) time per query. Of equal objectives the earlier candidate wins. The objective is in [−1, 1].
    """

    name: ClassVar[str] = "mmr"
    Config: ClassVar[type[ComponentConfig]] = MMRConfig
    config: MMRConfig

    @property
    def meaning(self) -> str:
        relevance, similarity = self.config.trade_off, 1.0 - self.config.trade_off
        scaled = "the place before" if self.config.relevance == "rank" else "the score before"
        return (
            f"what the list is ordered by (MMR): {relevance:.2g} × relevance − {similarity:.2g} × similarity to the "
            f"nearest film above; relevance is {scaled}, from 1 for the first to 0 for the last of the "
            f"{self.config.pool} from which it chooses"
        )

    def _choose(self, queries: QueryBatch, pool: Candidates, picks: int) -> Choice:
        relevance = relevance_of(pool.score, pool.mask, self.config.relevance)
        columns, objective = no_choice(len(pool), picks)
        _choose_rows(self.vectors, pool.item_idx, pool.counts, relevance, self.config.trade_off, columns, objective)
        return columns, objective


@njit(nogil=True, cache=True)
def _choose_rows(
    unit: np.ndarray,
    item_idx: np.ndarray,
    counts: np.ndarray,
    relevance: np.ndarray,
    trade_off: float,
    columns: np.ndarray,
    objective: np.ndarray,
) -> None:
    """Fill ``columns`` and ``objective`` (B, picks) row by row."""
    for row in range(len(item_idx)):
        n = counts[row]
        vectors = gather_columns(unit, item_idx[row, :n])  # (D, n)
        cosine = np.zeros(n, dtype=np.float32)
        closest = np.zeros(n, dtype=np.float32)  # largest similarity to what was chosen
        free = np.ones(n, dtype=np.bool_)
        for pick in range(min(n, columns.shape[1])):
            best, best_value = -1, -np.inf
            for p in range(n):
                value = trade_off * relevance[row, p] - (1.0 - trade_off) * closest[p]
                if free[p] and value > best_value:  # of equals the first
                    best, best_value = p, value
            columns[row, pick], objective[row, pick] = best, best_value
            free[best] = False
            cosines_with(vectors, best, cosine)
            for p in range(n):
                closest[p] = max(closest[p], min(cosine[p], np.float32(1.0)))
