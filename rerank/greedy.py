"""Rerankers that choose one item after another from the first candidates."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit
from pydantic import Field

from reccore import Candidates, ComponentConfig, QueryBatch
from reccore.arrays import BoolArray, FloatArray, IntArray
from rerank.base import BaseReranker

RANK_SCORE = "rank_score"

Choice = tuple[IntArray, npt.NDArray[np.float64]]
"""Columns in the order of choice and the objective of each, both (B, picks); -1 and −inf where none is left."""


class GreedyConfig(ComponentConfig):
    """Options of a reranker that weighs relevance against a property of the list.

    Attributes:
        trade_off: λ in [0, 1]. 1 keeps the input order; 0 considers the property of the list alone.
        pool: number of first candidates to choose from. The rest follow in their old order if a longer list is
            requested.
        relevance: ``min_max`` scales the scores of the pool to [0, 1]: gaps between scores count, the ranker's
            offset and scale do not. ``rank`` goes from 1 for the first of the pool to 0 for the last in equal steps:
            only the order counts.
        sort_first: the first this many choices are put in the input's order. A list of that length has the same films
            and the same diversity, and starts with the most relevant ones.
    """

    trade_off: float = Field(0.7, ge=0.0, le=1.0)
    pool: int = Field(100, ge=1)
    relevance: Literal["min_max", "rank"] = "min_max"
    sort_first: int = Field(0, ge=0)


class GreedyReranker(BaseReranker):
    """Chooses from the first ``pool`` candidates; the others follow in their old order.

    The output keeps every feature and adds ``rank_score``, the input's score, unless an earlier stage has set it. Its
    ``score`` is the objective of the choice of that place; items beyond the pool continue below it in steps of one,
    from −2 or lower. A longer list starts with the items of a shorter one.
    """

    def _rerank(self, queries: QueryBatch, candidates: Candidates, k: int) -> Candidates:
        k = min(k, candidates.k)
        if RANK_SCORE not in candidates.features:
            rank_score = np.where(candidates.mask, candidates.score, np.nan).astype(np.float32)
            candidates = candidates.with_features({RANK_SCORE: rank_score})
        if candidates.item_idx.size == 0:
            return candidates.head(k)
        pool = candidates.k if self.pool is None else min(self.pool, candidates.k)
        first = Candidates(candidates.item_idx[:, :pool], candidates.score[:, :pool])
        sort_first = min(getattr(self.config, "sort_first", 0), pool)
        columns, objective = self._choose(queries, first, max(min(k, pool), sort_first))
        columns[:, :sort_first] = _ascending(columns[:, :sort_first])
        columns, objective = columns[:, :k], objective[:, :k]
        if k > pool:
            columns, objective = _continued(columns, objective, pool, k)
        chosen = candidates.take(columns)
        score = np.where(chosen.mask, objective, -np.inf).astype(np.float32)
        return Candidates(chosen.item_idx, score, chosen.features)

    @abstractmethod
    def _choose(self, queries: QueryBatch, pool: Candidates, picks: int) -> Choice:
        """Choose ``picks`` ≤ ``pool.k`` columns of every row, fewer where the row has fewer items.

        The pool has no features.
        """


def _ascending(columns: IntArray) -> IntArray:
    """Every row sorted, -1 last."""
    last = np.iinfo(np.int64).max
    ordered = np.sort(np.where(columns < 0, last, columns), axis=1)
    return np.where(ordered == last, -1, ordered)


def _continued(columns: IntArray, objective: npt.NDArray[np.float64], pool: int, k: int) -> Choice:
    """The choice followed by columns ``pool`` … ``k`` − 1 with falling objectives."""
    beyond = np.arange(pool, k, dtype=np.int64)
    lowest = np.minimum(np.where(np.isfinite(objective), objective, -1.0).min(axis=1, keepdims=True), -1.0)
    after = lowest - np.arange(1, len(beyond) + 1)
    shape = (len(columns), len(beyond))
    return (
        np.concatenate([columns, np.broadcast_to(beyond, shape)], axis=1),
        np.concatenate([objective, after], axis=1),
    )


def relevance_of(score: FloatArray, mask: BoolArray, how: Literal["min_max", "rank"]) -> npt.NDArray[np.float64]:
    """(B, P) in [0, 1], never rising along a row, 0 on padding.

    Column order is the ranking, so a score above an earlier one counts as equal to it. Scores at the lowest
    float32 (items without a score of the ranker) get 0 and do not affect the scale.
    """
    found = np.zeros(score.shape)
    _fill_relevance(score, mask, how == "rank", found)
    return found


@njit(nogil=True, cache=True)
def _fill_relevance(score: np.ndarray, mask: np.ndarray, by_rank: bool, found: np.ndarray) -> None:
    """Fill ``found`` (B, P), given as zeros."""
    least = np.finfo(np.float32).min
    for row in range(len(found)):
        n, lowest, highest = 0, np.inf, -np.inf
        for p in range(found.shape[1]):
            n += mask[row, p]
            if mask[row, p] and score[row, p] > least:
                lowest = min(lowest, np.float64(score[row, p]))  # never above an earlier one
                highest = max(highest, lowest)
                found[row, p] = lowest
        for p in range(found.shape[1]):
            if by_rank:
                found[row, p] = 1.0 - p / max(n - 1, 1) if mask[row, p] else 0.0
            elif mask[row, p] and score[row, p] > least:
                # Equal scores are all equally relevant.
                found[row, p] = (found[row, p] - lowest) / (highest - lowest) if highest > lowest else 1.0


def no_choice(n_rows: int, picks: int) -> Choice:
    """An empty choice for a compiled loop to fill."""
    return np.full((n_rows, picks), -1, dtype=np.int64), np.full((n_rows, picks), -np.inf)


@njit(nogil=True, cache=True)
def gather_columns(unit: np.ndarray, item_idx: np.ndarray) -> np.ndarray:
    """(D, P) vectors of items as columns, zero for -1."""
    vectors = np.zeros((unit.shape[1], len(item_idx)), dtype=np.float32)
    for p in range(len(item_idx)):
        if item_idx[p] >= 0:
            for d in range(unit.shape[1]):
                vectors[d, p] = unit[item_idx[p], d]
    return vectors


@njit(nogil=True, cache=True)
def cosines_with(vectors: np.ndarray, column: int, cosine: np.ndarray) -> None:
    """Write the inner products of one column of ``vectors`` (D, P) with every column to ``cosine`` (P,).

    Every sum runs over the dimensions in order, so equal vectors give equal sums wherever they stand: ties stay ties.
    """
    cosine[:] = 0.0
    for d in range(vectors.shape[0]):
        value = vectors[d, column]
        for p in range(vectors.shape[1]):
            cosine[p] += value * vectors[d, p]
