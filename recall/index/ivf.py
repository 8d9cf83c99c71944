"""Inverted file (Sivic and Zisserman, ICCV 2003; Jégou et al., TPAMI 2011): search the nearest lists alone."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from recall.index.approximate import ApproximateConfig, ApproximateIndex, hnsw_over
from recall.index.exact import faiss
from recall.index.kmeans import assign, spherical_kmeans
from reccore import ComponentConfig
from reccore.arrays import FloatArray, IntArray

# Lists shorter than this cost more to choose than to read.
ITEMS_PER_LIST = 64
# Vectors that the codes are fitted to.
TRAINING_VECTORS = 65_536
# The graph over the centres, which chooses the lists of a query.
CENTRE_LINKS, CENTRE_EF_CONSTRUCTION, CENTRE_EF_SEARCH = 32, 40, 32


class InvertedFileConfig(ApproximateConfig):
    """Options of every inverted file.

    Attributes:
        n_lists: lists that the catalogue is divided into; None takes 8·√N, but at least 64 items a list.
        nprobe: lists that a query searches.
    """

    n_lists: int | None = Field(default=None, ge=1)
    nprobe: int = Field(default=16, ge=1)


class IVFConfig(InvertedFileConfig):
    """Options of ``IVFIndex``."""

    kind: Literal["ivf"] = "ivf"


class InvertedFile(ApproximateIndex):
    """Items in lists by the nearest of C centres; a query searches the lists of the centres nearest to it.

    The centres are directions: lists fit vectors of similar length, best unit vectors. They are searched by a
    graph, each query on its own, so that a batch finds what a single query finds. Subclasses choose the code.
    """

    parameter: ClassVar[str] = "nprobe"

    def _build_faiss(self, vectors: FloatArray, seed: int) -> Any:
        n_lists = default_lists(len(vectors)) if self.config.n_lists is None else self.config.n_lists
        centres = spherical_kmeans(vectors, min(n_lists, len(vectors)), seed)
        quantizer = faiss.IndexHNSWFlat(vectors.shape[1], CENTRE_LINKS, faiss.METRIC_INNER_PRODUCT)
        quantizer.hnsw.rng = faiss.RandomGenerator(seed)
        index = self._coded(hnsw_over(quantizer, centres, CENTRE_EF_CONSTRUCTION), vectors.shape[1], seed)
        rng = np.random.default_rng(seed)
        index.train(vectors[np.sort(rng.permutation(len(vectors))[:TRAINING_VECTORS])])
        lists = assign(vectors, centres)
        index.add_core(len(vectors), faiss.swig_ptr(vectors), None, faiss.swig_ptr(lists))
        return index

    @abstractmethod
    def _coded(self, quantizer: Any, dimension: int, seed: int) -> Any:
        """FAISS's empty inverted file over the given centres."""

    def _most_effort(self) -> int:
        return int(self._index.nlist)

    def _probe(self, queries: FloatArray, n: int, nprobe: int) -> IntArray:
        graph = faiss.SearchParametersHNSW(efSearch=max(CENTRE_EF_SEARCH, 2 * nprobe))
        options = faiss.SearchParametersIVF(nprobe=nprobe, quantizer_params=graph)
        return np.asarray(self._index.search(queries, n, params=options)[1])


class IVFIndex(InvertedFile):
    """Inverted file with 8 bits an entry: the vectors' own order but for close races, at a quarter of the bytes."""

    name: ClassVar[str] = "ivf"
    Config: ClassVar[type[ComponentConfig]] = IVFConfig
    faiss_class: ClassVar[type[Any]] = faiss.IndexIVFScalarQuantizer
    config: IVFConfig

    def _coded(self, quantizer: Any, dimension: int, seed: int) -> Any:
        by_residual = False  # one range per entry for all lists: nothing to add up while reading
        return faiss.IndexIVFScalarQuantizer(
            quantizer,
            dimension,
            quantizer.ntotal,
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
            by_residual,
        )

    def _nearest(self, queries: FloatArray, n: int, effort: int) -> IntArray:
        return self._probe(queries, n, effort)


def default_lists(n_items: int) -> int:
    """8·√N lists, of at least 64 items on average."""
    return max(1, min(round(8 * math.sqrt(n_items)), n_items // ITEMS_PER_LIST))
