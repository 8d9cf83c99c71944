"""Inverted file (Sivic and Zisserman, ICCV 2003; Jégou et al., TPAMI 2011): search only the nearest lists."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from recall.index.approximate import ApproximateConfig, FaissIndex, hnsw_over
from recall.index.base import BaseIndexConfig
from recall.index.exact import faiss
from reccore.arrays import FloatArray, IntArray

# Shorter lists cost more time to choose than to read.
ITEMS_PER_LIST = 64
# More vectors per centre, or more iterations, hardly move the centres.
VECTORS_PER_CENTRE, ITERATIONS = 16, 4
# Number of vectors that the codes are fitted to.
TRAINING_VECTORS = 65_536
# Options of the graph over the centres, which finds the lists of a query.
CENTRE_LINKS, CENTRE_EF_CONSTRUCTION, CENTRE_EF_SEARCH = 32, 40, 32


class InvertedFileConfig(ApproximateConfig):
    """Options of every inverted file.

    Attributes:
        n_lists: number of lists; None: 8·√N, but at least 64 items a list on average.
        nprobe: number of lists that a query searches.
    """

    n_lists: int | None = Field(default=None, ge=1)
    nprobe: int = Field(default=16, ge=1)


class IVFConfig(InvertedFileConfig):
    """Options of ``IVFIndex``."""

    kind: Literal["ivf"] = "ivf"


class InvertedFile(FaissIndex):
    """Each item is in the list of the nearest of C centres; a query searches the lists of its nearest centres.

    The centres are directions, so the vectors should have similar lengths, best unit length. A graph finds the
    centres for each query on its own, so that a batch gives the results of single queries. Subclasses choose the
    code.
    """

    parameter: ClassVar[str] = "nprobe"

    def _build_structure(self, vectors: FloatArray, seed: int) -> Any:
        n_lists = default_lists(len(vectors)) if self.config.n_lists is None else self.config.n_lists
        kmeans = spherical_kmeans(vectors, min(n_lists, len(vectors)), seed)
        quantizer = faiss.IndexHNSWFlat(vectors.shape[1], CENTRE_LINKS, faiss.METRIC_INNER_PRODUCT)
        quantizer.hnsw.rng = faiss.RandomGenerator(seed)
        index = self._coded(hnsw_over(quantizer, kmeans.centroids, CENTRE_EF_CONSTRUCTION), vectors.shape[1], seed)
        rng = np.random.default_rng(seed)
        index.train(vectors[np.sort(rng.permutation(len(vectors))[:TRAINING_VECTORS])])
        lists = np.ascontiguousarray(kmeans.index.search(vectors, 1)[1][:, 0])
        index.add_core(len(vectors), faiss.swig_ptr(vectors), None, faiss.swig_ptr(lists))
        return index

    @abstractmethod
    def _coded(self, quantizer: Any, dimension: int, seed: int) -> Any:
        """An empty FAISS inverted file over the given centres."""

    def _most_effort(self) -> int:
        return int(self._index.nlist)

    def _probe(self, queries: FloatArray, n: int, nprobe: int) -> IntArray:
        graph = faiss.SearchParametersHNSW(efSearch=max(CENTRE_EF_SEARCH, 2 * nprobe))
        options = faiss.SearchParametersIVF(nprobe=nprobe, quantizer_params=graph)
        return np.asarray(self._index.search(queries, n, params=options)[1])


class IVFIndex(InvertedFile):
    """Inverted file with 8 bits an entry: a quarter of the bytes, and only items with close scores change places."""

    name: ClassVar[str] = "ivf"
    Config: ClassVar[type[BaseIndexConfig]] = IVFConfig
    faiss_class: ClassVar[type[Any]] = faiss.IndexIVFScalarQuantizer
    config: IVFConfig

    def _coded(self, quantizer: Any, dimension: int, seed: int) -> Any:
        by_residual = False  # codes of all lists share one range per entry, so a search adds no offsets
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


def spherical_kmeans(vectors: FloatArray, n_centres: int, seed: int) -> Any:
    """``faiss.Kmeans`` with ``n_centres`` unit ``centroids`` of the directions of the vectors (N, D), and an ``index``.

    The centres are seeded by k-means++ (Arthur and Vassilvitskii, SODA 2007): from random seeds, tight groups lose
    their only centre and a search must visit more lists. O(C²·D) time. The same seed gives the same centres.
    """
    rng = np.random.default_rng(seed)
    sample = vectors[np.sort(rng.permutation(len(vectors))[: VECTORS_PER_CENTRE * n_centres])]
    faiss.normalize_L2(sample)
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        n_centres,
        niter=ITERATIONS,
        seed=seed,
        spherical=True,
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
        min_points_per_centroid=1,
        max_points_per_centroid=VECTORS_PER_CENTRE,
    )
    kmeans.train(sample)
    return kmeans


def default_lists(n_items: int) -> int:
    """8·√N lists, of at least 64 items on average."""
    return max(1, min(round(8 * math.sqrt(n_items)), n_items // ITEMS_PER_LIST))
