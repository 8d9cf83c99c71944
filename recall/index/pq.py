"""Product quantisation in an inverted file (Jégou, Douze and Schmid, TPAMI 2011), re-ranked by exact scores."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from recall.index.approximate import largest_divisor
from recall.index.base import BaseIndexConfig
from recall.index.exact import faiss
from recall.index.ivf import InvertedFile, InvertedFileConfig
from reccore.arrays import FloatArray, IntArray

BITS = 8
ITERATIONS, VECTORS_PER_CODE_WORD = 8, 64  # more of either hardly move a code word


class PQConfig(InvertedFileConfig):
    """Options of ``PQIndex``; those of the lists are ``InvertedFileConfig``'s.

    Attributes:
        subvectors: upper limit of the bytes of a code, which are the largest divisor of D up to it; None: D/4.
        rerank: number of items scored exactly, as a multiple of the items wanted.
    """

    kind: Literal["pq"] = "pq"
    subvectors: int | None = Field(default=None, ge=1)
    rerank: int = Field(default=4, ge=1)


class PQIndex(InvertedFile):
    """Inverted file of one byte per few entries, for catalogues whose vectors do not fit into memory.

    Codes alone are too coarse for a recall of .99, so ``rerank`` times the items wanted are fetched and scored by
    their vectors, which are memory-mapped files.
    """

    name: ClassVar[str] = "pq"
    Config: ClassVar[type[BaseIndexConfig]] = PQConfig
    alternatives: ClassVar[tuple[dict[str, int], ...]] = ({"rerank": 2}, {"rerank": 4}, {"rerank": 8}, {"rerank": 16})
    faiss_class: ClassVar[type[Any]] = faiss.IndexIVFPQ
    config: PQConfig

    def _coded(self, quantizer: Any, dimension: int, seed: int) -> Any:
        subvectors = largest_divisor(dimension, self.config.subvectors or max(1, dimension // 4))
        index = faiss.IndexIVFPQ(quantizer, dimension, quantizer.ntotal, subvectors, BITS, faiss.METRIC_INNER_PRODUCT)
        index.pq.cp.seed = seed
        index.pq.cp.niter = ITERATIONS
        index.pq.cp.max_points_per_centroid = VECTORS_PER_CODE_WORD
        index.pq.cp.min_points_per_centroid = 1  # no warning for small catalogues
        return index

    def _nearest(self, queries: FloatArray, n: int, effort: int) -> IntArray:
        return self._probe(queries, min(n * self.config.rerank, self.n_items), effort)
