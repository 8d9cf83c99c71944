"""Channels that are one item–item similarity matrix: only its computation differs between them."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from pydantic import Field
from scipy import sparse

from recall.base import BaseRecall
from recall.history import history_matrix
from recall.sparse_rows import entries, sum_rows
from recall.topk import top_k_sparse
from reccore import (
    Bundle,
    Candidates,
    ComponentConfig,
    Exclusions,
    Holdout,
    QueryBatch,
    RunOptions,
    TrainingData,
)
from reccore.arrays import FloatArray, IntArray
from reccore.bundle import BundleWriter


class ItemSimilarityConfig(ComponentConfig):
    """Options of every channel of this family.

    Attributes:
        half_life: exponential decay of the history at retrieval; half-life in events, None = no decay.
    """

    half_life: float | None = Field(default=4.0, gt=0)


class ItemSimilarityRecall(BaseRecall):
    """An item's score is the recency-weighted sum of its similarities to the items of the history.

    Subclasses compute the matrix in ``_similarity``. An item whose sum is 0 has no score and is not offered. A query
    whose history is empty, or holds only items without similar ones, gets an empty row.
    """

    config: ItemSimilarityConfig
    similarity: sparse.csr_matrix  # (N, N); row i holds the similarities of history item i to the items it supports

    @abstractmethod
    def _similarity(self, data: TrainingData, options: RunOptions) -> sparse.csr_matrix:
        """(N, N) float32 similarities."""

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        self.similarity = self._similarity(data, options)

    def _prepare(self, queries: QueryBatch) -> sparse.csr_matrix:
        """(B, N) sums; O(Σ neighbours of the history) time and memory per query."""
        return sum_rows(history_matrix(queries, self.similarity.shape[0], self.config.half_life), self.similarity)

    def _retrieve(self, prepared: sparse.csr_matrix, k: int, exclude: Exclusions) -> Candidates:
        return top_k_sparse(prepared, k, exclude)

    def _score(self, prepared: sparse.csr_matrix, item_idx: IntArray) -> FloatArray:
        scores = entries(prepared, item_idx)
        scores[scores == 0.0] = np.nan
        return scores

    def _write(self, bundle: BundleWriter) -> None:
        matrix = self.similarity
        bundle.arrays("similarity.npz", {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr})

    def _read(self, bundle: Bundle) -> None:
        stored = bundle.arrays("similarity.npz")
        n_items = len(self.vocabulary.items)
        self.similarity = sparse.csr_matrix(
            (stored["data"], stored["indices"], stored["indptr"]), shape=(n_items, n_items)
        )
