"""Exact search with FAISS's vectors and heap (Douze et al., "The Faiss library", 2024), ties included."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import faiss as typed_faiss
import numpy as np

from recall.index.base import BaseIndex, BaseIndexConfig
from recall.index.brute_force import rescore, search_dense
from reccore import ArtefactError, Bundle, Candidates, ComponentConfig, Exclusions
from reccore.arrays import FloatArray, row_of_each
from reccore.bundle import BundleWriter
from reccore.candidates import concatenate

# The type declarations of FAISS lack most of its exports, and some are wrong.
faiss: Any = typed_faiss

FILE = "index.faiss"
# Items proposed beyond k, because float32 scores can misplace items that lie close together.
SLACK = 8
# Size of one float32 product: 16 MB.
QUERIES_PER_CHUNK, ITEMS_PER_BLOCK = 256, 16_384


def read_faiss(path: Path) -> Any:
    """The FAISS index in a file.

    Raises:
        ArtefactError: it holds none.
    """
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise ArtefactError(f"{path} is not a FAISS index: {error}") from error


class FlatConfig(BaseIndexConfig):
    """``FlatIndex`` has no options."""

    kind: Literal["flat"] = "flat"


class FlatIndex(BaseIndex):
    """Exact search over the vectors of ``faiss.IndexFlatIP``, with exclusion, reproducible scores and exact ties.

    Float32 products with blocks of items go through FAISS's top-k heap, with excluded items masked in between: a
    long history costs no more than a short one, and batches take a half to a sixth of ``IndexFlatIP.search``'s time.

    The sums of a float32 product depend on the size of the batch, and the heap breaks ties in any order. So
    ``SLACK`` items more than ``k`` are proposed, their scores are computed again in float64, and the best ``k``
    are taken, ties by ``item_idx``. Where rounding could have hidden a better item behind the last proposed one
    (such as a group of equal vectors at the k-th place), the query is scored against the whole catalogue in
    float64. The result always equals that of ``BruteForceIndex``.

    O(B·N·D) time; memory of the vectors plus a bounded chunk.
    """

    name: ClassVar[str] = "flat"
    Config: ClassVar[type[ComponentConfig]] = FlatConfig

    def is_exact(self) -> bool:
        return True

    @property
    def n_bytes(self) -> int:
        return int(self._vectors.nbytes)

    def _build(self, vectors: FloatArray, seed: int) -> None:
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        self._use(index)

    def _use(self, index: Any) -> None:
        self._index = index
        # A view of FAISS's own memory, not a copy; valid as long as the index is.
        self._vectors: FloatArray = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(-1, index.d)
        self._largest_norm = float(np.sqrt(np.einsum("nd,nd->n", self._vectors, self._vectors, dtype=np.float64).max()))

    def _search(self, queries: FloatArray, k: int, exclude: Exclusions) -> Candidates:
        if k + SLACK >= self.n_items:
            return search_dense(queries, self._vectors, k, exclude)
        parts = []
        for start in range(0, len(queries), QUERIES_PER_CHUNK):
            stop = min(start + QUERIES_PER_CHUNK, len(queries))
            parts.append(self._search_chunk(queries[start:stop], k, exclude.rows(start, stop)))
        return concatenate(parts, k)

    def _search_chunk(self, queries: FloatArray, k: int, exclude: Exclusions) -> Candidates:
        proposed = self._propose(queries, k + SLACK, exclude)
        best = proposed.reordered(rescore(queries, self._vectors, proposed.item_idx)).head(k)
        # The error of a float32 inner product is at most D·2⁻²⁴·‖q‖·‖v‖; twice that also covers the rounding.
        norms = np.sqrt(np.einsum("bd,bd->b", queries, queries, dtype=np.float64))
        margin = 2 * (self.dimension + 2) * 2.0**-24 * norms * self._largest_norm
        all_found = proposed.item_idx[:, -1] < 0  # the catalogue holds no further item
        rows = np.flatnonzero(~all_found & (best.score[:, -1] <= proposed.score[:, -1] + margin))
        if len(rows):
            exact = search_dense(queries[rows], self._vectors, k, exclude.select(rows))
            best.item_idx[rows], best.score[rows] = exact.item_idx, exact.score
        return best

    def _propose(self, queries: FloatArray, n: int, exclude: Exclusions) -> Candidates:
        """The best ``n`` items by float32 scores, ties in any order."""
        item_idx, score = np.empty((len(queries), n), dtype=np.int64), np.empty((len(queries), n), dtype=np.float32)
        heap = faiss.float_minheap_array_t()
        heap.nh, heap.k = item_idx.shape
        heap.ids, heap.val = faiss.swig_ptr(item_idx), faiss.swig_ptr(score)
        heap.heapify()
        order = np.argsort(exclude.item_idx)
        excluded, row = exclude.item_idx[order], row_of_each(exclude.offsets)[order]
        for start in range(0, self.n_items, ITEMS_PER_BLOCK):
            products = queries @ self._vectors[start : start + ITEMS_PER_BLOCK].T
            low, high = np.searchsorted(excluded, (start, start + products.shape[1]))
            products[row[low:high], excluded[low:high] - start] = -np.inf  # the heap never takes -inf
            heap.addn(products.shape[1], faiss.swig_ptr(products), start)
        heap.reorder()
        return Candidates(item_idx, np.where(item_idx < 0, np.float32(-np.inf), score))

    def _write_vectors(self, bundle: BundleWriter) -> None:
        bundle.path(FILE).write_bytes(faiss.serialize_index(self._index).tobytes())

    def _read_vectors(self, bundle: Bundle) -> tuple[int, int]:
        path = bundle.file(FILE)
        index = read_faiss(path)
        if not isinstance(index, faiss.IndexFlatIP):
            raise ArtefactError(f"{path} holds a {type(index).__name__}, an IndexFlatIP is needed")
        self._use(index)
        return int(index.ntotal), int(index.d)
