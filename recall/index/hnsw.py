"""Hierarchical navigable small-world graph (Malkov and Yashunin, TPAMI 2020)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from recall.index.approximate import ApproximateConfig, FaissIndex, hnsw_over
from recall.index.base import BaseIndexConfig
from recall.index.exact import faiss
from reccore.arrays import FloatArray, IntArray


class HNSWConfig(ApproximateConfig):
    """Options of ``HNSWIndex``.

    Attributes:
        neighbours: M, links of an item on each level; the lowest level has twice as many.
        ef_construction: candidates for the links of a new item.
        ef_search: candidates that a search keeps; at least the number of fetched items.
    """

    kind: Literal["hnsw"] = "hnsw"
    neighbours: int = Field(default=24, ge=2, le=256)
    ef_construction: int = Field(default=100, ge=1)
    ef_search: int = Field(default=200, ge=1)


class HNSWIndex(FaissIndex):
    """A walk over a graph of near items, with vectors in 8-bit codes.

    Groups of more than about ten equal vectors disconnect the graph, so that a search misses the items beyond them;
    measure the recall. The fastest index for single queries on about 10⁵ items. The graph takes about 8·M bytes an
    item. One thread builds it, so that it is the same each time, at about 3,000 items/s for D = 128.
    """

    name: ClassVar[str] = "hnsw"
    Config: ClassVar[type[BaseIndexConfig]] = HNSWConfig
    parameter: ClassVar[str] = "ef_search"
    faiss_class: ClassVar[type[Any]] = faiss.IndexHNSWSQ
    config: HNSWConfig

    def _build_structure(self, vectors: FloatArray, seed: int) -> Any:
        index = faiss.IndexHNSWSQ(
            vectors.shape[1], faiss.ScalarQuantizer.QT_8bit, self.config.neighbours, faiss.METRIC_INNER_PRODUCT
        )
        index.hnsw.rng = faiss.RandomGenerator(seed)
        return hnsw_over(index, vectors, self.config.ef_construction)

    def _most_effort(self) -> int:
        return self.n_items

    def _nearest(self, queries: FloatArray, n: int, effort: int) -> IntArray:
        options = faiss.SearchParametersHNSW(efSearch=max(n, effort))
        return np.asarray(self._index.search(queries, n, params=options)[1])
