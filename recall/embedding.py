"""Channels that are an encoder of queries, an encoder of items, and an index between them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol, runtime_checkable

import numpy as np

from recall.base import BaseRecall
from recall.index import INDEXES, BaseIndex
from recall.index.brute_force import rescore
from reccore import Bundle, Candidates, Exclusions, QueryBatch
from reccore.arrays import FloatArray, IntArray
from reccore.bundle import BundleWriter

INDEX_FOLDER = "index"


@runtime_checkable
class VectorChannel(Protocol):
    """A channel whose score is the inner product of a query's and an item's vector, however it searches."""

    def encode_queries(self, queries: QueryBatch) -> FloatArray:
        """(B, D) float32."""

    def encode_items(self) -> FloatArray:
        """(N, D) float32, row = item index."""


class EmbeddingRecall(BaseRecall):
    """Scores by the inner product of a query's and an item's vector; an index over ``encode_items`` retrieves.

    A query may have I vectors; an item's score is then the greatest of its I inner products (multi-interest
    retrieval: Li et al., "Multi-interest network with dynamic routing", CIKM 2019). Scores are summed in float64.
    The index is a bundle of its own inside the channel's and can be read without the encoders.
    """

    index: BaseIndex

    @abstractmethod
    def encode_queries(self, queries: QueryBatch) -> FloatArray:
        """(B, D) or (B, I, D) float32; unknown history items (-1) are ignored."""

    @abstractmethod
    def encode_items(self) -> FloatArray:
        """(N, D) float32, row = item index."""

    def _prepare(self, queries: QueryBatch) -> FloatArray:
        return self.encode_queries(queries)

    def _retrieve(self, prepared: FloatArray, k: int, exclude: Exclusions) -> Candidates:
        n_vectors = prepared.shape[1] if prepared.ndim == 3 else 1
        query = np.repeat(np.arange(len(prepared)), n_vectors)
        found = self.index.search(prepared.reshape(len(query), prepared.shape[-1]), k, exclude.select(query))
        return found if n_vectors == 1 else _best_of_each_item(found, n_vectors)

    def _score(self, prepared: FloatArray, item_idx: IntArray) -> FloatArray:
        vectors = prepared.reshape(len(prepared), -1, prepared.shape[-1])  # (B, I, D)
        scores = [rescore(vectors[:, i], self.index.vectors, item_idx) for i in range(vectors.shape[1])]
        return np.maximum.reduce(scores)

    def _write(self, bundle: BundleWriter) -> None:
        self.index.save(bundle.path(INDEX_FOLDER), self.vocabulary)

    def _read(self, bundle: Bundle) -> None:
        self.index = INDEXES.load(bundle.path / INDEX_FOLDER)


def _best_of_each_item(found: Candidates, n_vectors: int) -> Candidates:
    """Merge the answers (B·I, k) of I vectors per query into (B, k), each item with its best score.

    Exact where the answers are: an item that is among the best k of its query is among the best k of the vector that
    scores it highest.
    """
    item_idx = found.item_idx.reshape(-1, n_vectors * found.k)
    score = found.score.reshape(item_idx.shape)
    order = np.lexsort((-score, item_idx), axis=1)  # the slots of an item in a run, its best score first
    item_idx, score = (np.take_along_axis(values, order, axis=1) for values in (item_idx, score))
    first = np.diff(item_idx, axis=1, prepend=-1) != 0
    best = Candidates(item_idx, score).keep(first)
    return best.reordered(best.score).head(found.k)
