"""Channels that are one item–item similarity matrix: only its computation differs between them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from pydantic import Field
from scipy import sparse

from recall.base import BaseRecall
from recall.history import history_matrix, latest_first
from recall.sparse_rows import SparseRows, entries, prefix_entries, sum_rows
from recall.topk import top_k_dense, top_k_sparse
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

Similarity: TypeAlias = sparse.csr_matrix | FloatArray
"""(N, N) float32; row i holds the similarities of history item i to the items it supports."""


class ItemSimilarityConfig(ComponentConfig):
    """Options of every channel of this family.

    Attributes:
        half_life: exponential decay of the history at retrieval; half-life in events, None = no decay.
    """

    half_life: float | None = Field(default=4.0, gt=0)


class ItemSimilarityRecall(BaseRecall):
    """An item's score is the recency-weighted sum of its similarities to the items of the history.

    Subclasses compute the matrix in ``_similarity``, sparse or dense. An item whose sum is 0 has no score and is not
    offered. A query whose history is empty, or holds only items without similar ones, gets an empty row.
    """

    config: ItemSimilarityConfig
    _similarity_matrix: Similarity
    _rows: SparseRows | None

    @abstractmethod
    def _similarity(self, data: TrainingData, options: RunOptions) -> Similarity:
        """(N, N) float32 similarities."""

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        self.similarity = self._similarity(data, options)

    @property
    def similarity(self) -> Similarity:
        """(N, N) similarities."""
        return self._similarity_matrix

    @similarity.setter
    def similarity(self, matrix: Similarity) -> None:
        self._similarity_matrix = matrix
        self._rows = None if isinstance(matrix, np.ndarray) else SparseRows.of(matrix)

    def _prepare(self, queries: QueryBatch) -> SparseRows | FloatArray:
        """(B, N) sums; O(Σ neighbours of the history) time and memory per query, in a dense matrix all N."""
        half_life, n_items = self.config.half_life, self.similarity.shape[0]
        if self._rows is None:
            dense: FloatArray = history_matrix(queries, n_items, half_life) @ self.similarity
            return dense
        return sum_rows(latest_first(queries, n_items, half_life), self._rows)

    def _retrieve(self, prepared: SparseRows | FloatArray, k: int, exclude: Exclusions) -> Candidates:
        if isinstance(prepared, np.ndarray):
            return top_k_dense(np.where(prepared == 0.0, np.float32(-np.inf), prepared), k, exclude)
        return top_k_sparse(prepared, k, exclude)

    def _score(self, prepared: SparseRows | FloatArray, item_idx: IntArray) -> FloatArray:
        scores: FloatArray
        if isinstance(prepared, np.ndarray):
            scores = np.take_along_axis(prepared, item_idx, axis=1)
        else:
            scores = entries(prepared, item_idx)
        scores[scores == 0.0] = np.nan
        return scores

    def _score_latest(self, queries: QueryBatch, item_idx: IntArray, latest: Sequence[int]) -> FloatArray:
        if self._rows is None:
            return super()._score_latest(queries, item_idx, latest)
        lengths = sorted(set(latest))
        events = latest_first(queries.latest(lengths[-1]), self._rows.n_columns, self.config.half_life)
        scores = prefix_entries(events, self._rows, np.array(lengths), item_idx)
        scores[scores == 0.0] = np.nan
        return scores.transpose(1, 0, 2)[[lengths.index(n) for n in latest]]

    def similarities(self, item: int) -> FloatArray:
        """(N,) row of the matrix: what the item in a history supports; −inf for items that it does not support."""
        row = self.similarity[item]
        dense: FloatArray = row.copy() if isinstance(row, np.ndarray) else row.toarray()[0]
        dense[dense == 0.0] = -np.inf
        return dense

    def _write(self, bundle: BundleWriter) -> None:
        matrix = self.similarity
        if isinstance(matrix, np.ndarray):
            bundle.arrays("similarity.npz", {"dense": matrix})
            return
        bundle.arrays("similarity.npz", {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr})

    def _read(self, bundle: Bundle) -> None:
        stored = bundle.arrays("similarity.npz")
        if "dense" in stored:
            self.similarity = stored["dense"]
            return
        n_items = len(self.vocabulary.items)
        self.similarity = sparse.csr_matrix(
            (stored["data"], stored["indices"], stored["indptr"]), shape=(n_items, n_items)
        )
