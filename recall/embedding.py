"""Channels that are an encoder of queries, an encoder of items, and an index between them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol, runtime_checkable

from recall.base import BaseRecall
from recall.index import INDEXES, BaseIndex
from reccore import Bundle, Candidates, Exclusions, QueryBatch
from reccore.arrays import FloatArray
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
    """Retrieves by inner product of ``encode_queries`` with an index over ``encode_items``.

    The index is a bundle of its own inside the channel's, so that it can be read without the encoders.
    """

    index: BaseIndex

    @abstractmethod
    def encode_queries(self, queries: QueryBatch) -> FloatArray:
        """(B, D) float32; unknown history items (-1) are passed over."""

    @abstractmethod
    def encode_items(self) -> FloatArray:
        """(N, D) float32, row = item index."""

    def _retrieve(self, queries: QueryBatch, k: int, exclude: Exclusions) -> Candidates:
        return self.index.search(self.encode_queries(queries), k, exclude)

    def _write(self, bundle: BundleWriter) -> None:
        self.index.save(bundle.path(INDEX_FOLDER), self.vocabulary)

    def _read(self, bundle: Bundle) -> None:
        self.index = INDEXES.load(bundle.path / INDEX_FOLDER)
