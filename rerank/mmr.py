"""Maximal marginal relevance: relevant items that differ from those already in the list.

Carbonell & Goldstein, The use of MMR, diversity-based reranking (SIGIR 1998), equation 1:

    next = argmax_i  λ·rel(i) − (1−λ)·max_{j chosen} sim(i, j)

Both terms lie in [0, 1], so that λ has the same effect for every ranker: relevance is normalised over the pool of
each query, and similarity is the cosine, with negative values set to 0. As the chosen set only grows, the objective
never rises along the list, so it can serve as the list's score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from reccore import Bundle, Candidates, ComponentConfig, ItemTable, QueryBatch, Vocabulary
from reccore.arrays import BoolArray, FloatArray, IntArray
from reccore.bundle import BundleWriter
from reccore.candidates import concatenate
from rerank.base import BaseReranker
from rerank.similarity import Similarity, VectorSimilarity, similarity_vectors

RANK_SCORE = "rank_score"

_VECTORS_FILE = "vectors.npz"
_FLOATS_PER_CHUNK = 1 << 23


class MMRConfig(ComponentConfig):
    """Options of MMR.

    Attributes:
        trade_off: λ in [0, 1]. 1 keeps the input order; 0 considers similarity alone after the first item.
        pool: number of first candidates to choose from. The rest follow in their old order if a longer list is
            requested.
        similarity: how items are compared; an item without a vector or genre is similar to none.
        relevance: ``min_max`` scales the scores of the pool to [0, 1]: gaps between scores count, the ranker's
            offset and scale do not. ``rank`` goes from 1 for the first of the pool to 0 for the last in equal steps:
            only the order counts.
    """

    trade_off: float = Field(0.7, ge=0.0, le=1.0)
    pool: int = Field(100, ge=1)
    similarity: Similarity = VectorSimilarity()
    relevance: Literal["min_max", "rank"] = "min_max"


class MMR(BaseReranker):
    """Greedy MMR over the first candidates of each query; vectorised over queries, one step per pick.

    Takes O(picks·pool·D) time per query. Of equal objectives the earlier candidate wins, so that a query's answer does
    not depend on the rest of the batch.

    The output keeps every feature and adds ``rank_score``, the input's score. Its ``score`` is the objective at the
    moment of the choice, in [−1, 1] and never rising along the row; items beyond the pool follow in their old order
    with −2, −3, ….
    """

    name: ClassVar[str] = "mmr"
    Config: ClassVar[type[ComponentConfig]] = MMRConfig
    config: MMRConfig

    def __init__(self, config: MMRConfig | Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        self._unit: FloatArray = np.zeros((0, 1), dtype=np.float32)  # (N, D) rows of length 1, or 0

    @property
    def vectors_of(self) -> str | None:
        """The channel that ``similarity`` names, if any."""
        similarity = self.config.similarity
        return similarity.channel if isinstance(similarity, VectorSimilarity) else None

    @property
    def meaning(self) -> str:
        relevance, similarity = self.config.trade_off, 1.0 - self.config.trade_off
        scaled = "the place before" if self.config.relevance == "rank" else "the score before"
        return (
            f"what the list is ordered by (MMR): {relevance:.2g} × relevance − {similarity:.2g} × similarity to the "
            f"nearest film above; relevance is {scaled}, from 1 for the first to 0 for the last of the "
            f"{self.config.pool} from which it chooses"
        )

    @property
    def vectors(self) -> FloatArray:
        """(N, D) rows of length one, or zero, whose cosine compares items."""
        return self._unit

    def _fit(self, items: ItemTable, vectors: FloatArray | None, vocabulary: Vocabulary) -> None:
        self._unit = similarity_vectors(self.config.similarity, items, vectors, vocabulary)

    def _rerank(self, queries: QueryBatch, candidates: Candidates, k: int) -> Candidates:
        k = min(k, candidates.k)
        if candidates.item_idx.size == 0:
            return candidates.with_features({RANK_SCORE: candidates.score})
        rows_at_once = max(1, _FLOATS_PER_CHUNK // (min(self.config.pool, candidates.k) * self._unit.shape[1]))
        parts = [
            self._rerank_chunk(candidates.select(slice(start, start + rows_at_once)), k)
            for start in range(0, len(candidates), rows_at_once)
        ]
        return concatenate(parts, k)

    def _rerank_chunk(self, candidates: Candidates, k: int) -> Candidates:
        pool = candidates.head(self.config.pool)
        columns, objective = self._greedy(pool, min(k, pool.k))
        if k > pool.k:
            beyond = np.arange(pool.k, k, dtype=np.int64)
            after = -1.0 - np.arange(1, len(beyond) + 1)
            shape = (len(candidates), len(beyond))
            columns = np.concatenate([columns, np.broadcast_to(beyond, shape)], axis=1)
            objective = np.concatenate([objective, np.broadcast_to(after, shape)], axis=1)
        rank_score = np.where(candidates.mask, candidates.score, np.nan).astype(np.float32)
        chosen = candidates.with_features({RANK_SCORE: rank_score}).take(columns)
        score = np.where(chosen.mask, objective, -np.inf).astype(np.float32)
        return Candidates(chosen.item_idx, score, chosen.features)

    def _greedy(self, pool: Candidates, picks: int) -> tuple[IntArray, npt.NDArray[np.float64]]:
        """Columns in the order of choice and the objective of each, both (B, picks); -1 where none is left."""
        trade_off = self.config.trade_off
        rows = np.arange(len(pool))
        free = pool.mask.copy()
        relevance = self._relevance(pool.score, free)
        vectors = self._unit[np.where(free, pool.item_idx, 0)]  # (B, P, D)
        closest = np.zeros(free.shape, dtype=np.float32)  # (B, P): largest similarity to what was chosen
        columns = np.full((len(pool), picks), -1, dtype=np.int64)
        objective = np.full((len(pool), picks), -np.inf)
        for pick in range(picks):
            value = np.where(free, trade_off * relevance - (1.0 - trade_off) * closest, -np.inf)  # (B, P)
            column = value.argmax(axis=1)  # of equals the first
            left = free[rows, column]
            columns[left, pick] = column[left]
            objective[left, pick] = value[left, column[left]]
            free[rows, column] = False
            # einsum, not BLAS: equal vectors give equal sums wherever they stand, so ties stay ties.
            similarity = np.einsum("bpd,bd->bp", vectors, vectors[rows, column])
            closest = np.maximum(closest, np.minimum(similarity, 1.0))
        return columns, objective

    def _relevance(self, score: FloatArray, mask: BoolArray) -> npt.NDArray[np.float64]:
        """(B, P) in [0, 1], never rising along a row, 0 on padding.

        Column order is the ranking, so a score above an earlier one counts as equal to it. Scores at the lowest
        float32 (items without a score of the ranker) get 0 and do not affect the scale.
        """
        last = np.maximum(mask.sum(axis=1, keepdims=True) - 1, 1)
        if self.config.relevance == "rank":
            return np.where(mask, 1.0 - np.arange(mask.shape[1]) / last, 0.0)
        usable = mask & (score > np.finfo(np.float32).min)
        falling = np.minimum.accumulate(np.where(usable, score, np.inf).astype(np.float64), axis=1)
        high = np.where(usable, falling, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
        low = np.where(usable, falling, np.inf).min(axis=1, keepdims=True, initial=np.inf)
        spread = np.where(high > low, high - low, 1.0)
        flat = np.where(high > low, 0.0, 1.0)  # equal scores are all equally relevant
        return np.where(usable, (falling - np.where(usable, low, 0.0)) / spread + flat, 0.0)

    def _write(self, bundle: BundleWriter) -> None:
        bundle.arrays(_VECTORS_FILE, {"unit": self._unit})

    def _read(self, bundle: Bundle) -> None:
        self._unit = bundle.arrays(_VECTORS_FILE)["unit"]
