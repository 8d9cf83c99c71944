"""FAISS's flat inner-product index (Douze et al., "The Faiss library", 2024), made exact to the last tie."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import faiss
import numpy as np

from recall.index.base import BaseIndex, BaseIndexConfig
from recall.index.brute_force import rescore, search_dense
from reccore import ArtefactError, Bundle, Candidates, ComponentConfig, Exclusions
from reccore.arrays import BoolArray, FloatArray
from reccore.bundle import BundleWriter

FILE = "index.faiss"
# Fetched beyond k and the exclusions, so that a close race at the k-th place is seen.
SLACK = 8


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
    """``faiss.IndexFlatIP`` with exclusion, reproducible scores and exact ties.

    FAISS proposes, float64 decides. FAISS sums in float32, in another order for a batch than for a single
    query, and breaks ties as its heap happens to. So more than ``k`` items are fetched, their scores are
    computed again in float64, and the best ``k`` are taken, ties by ``item_idx``. Where float32 could have
    hidden a better item behind the last one fetched (a whole group of equal vectors at the k-th place),
    that query is scored against the whole catalogue. The answer is always that of ``BruteForceIndex``.

    Queries are grouped by the power of two of ``k`` plus their exclusions, so that one long history does
    not make a batch slow. O(B·N·D) time; memory of the vectors plus a bounded chunk.
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

    def _use(self, index: faiss.IndexFlatIP) -> None:
        self._index = index
        # A view of FAISS's own memory, not a copy; valid as long as the index is.
        self._vectors: FloatArray = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(-1, index.d)
        self._largest_norm = float(np.sqrt(np.einsum("nd,nd->n", self._vectors, self._vectors, dtype=np.float64).max()))

    def _search(self, queries: FloatArray, k: int, exclude: Exclusions) -> Candidates:
        wanted = k + exclude.lengths + SLACK
        fetch = np.minimum(2 ** np.ceil(np.log2(wanted)).astype(np.int64), self.n_items)
        item_idx = np.full((len(queries), k), -1, dtype=np.int64)
        score = np.full((len(queries), k), -np.inf, dtype=np.float32)
        uncertain = fetch == self.n_items  # so long a list is the whole catalogue: nothing to search for
        for n in np.unique(fetch[~uncertain]):
            rows = np.flatnonzero((fetch == n) & ~uncertain)
            found, certain = self._propose(queries[rows], k, exclude.select(rows), int(n))
            item_idx[rows], score[rows] = found.item_idx, found.score
            uncertain[rows] = ~certain
        rows = np.flatnonzero(uncertain)
        if len(rows):
            found = search_dense(queries[rows], self._vectors, k, exclude.select(rows))
            item_idx[rows], score[rows] = found.item_idx, found.score
        return Candidates(item_idx, score)

    def _propose(self, queries: FloatArray, k: int, exclude: Exclusions, n: int) -> tuple[Candidates, BoolArray]:
        """The best ``k`` of the ``n`` items FAISS finds, and for which rows no other item can be better."""
        proposed, at = self._index.search(queries, n)
        fetched = Candidates(at, proposed).keep(~exclude.contains(at))
        best = fetched.reordered(rescore(queries, self._vectors, fetched.item_idx)).head(k)
        # The error of a float32 inner product is at most D·2⁻²⁴·‖q‖·‖v‖; twice that also covers the rounding.
        norms = np.sqrt(np.einsum("bd,bd->b", queries, queries, dtype=np.float64))
        margin = 2 * (self.dimension + 2) * 2.0**-24 * norms * self._largest_norm
        return best, best.score[:, -1] > proposed[:, -1] + margin

    def _write_vectors(self, bundle: BundleWriter) -> None:
        bundle.path(FILE).write_bytes(faiss.serialize_index(self._index).tobytes())

    def _read_vectors(self, bundle: Bundle) -> tuple[int, int]:
        path = bundle.file(FILE)
        index = read_faiss(path)
        if not isinstance(index, faiss.IndexFlatIP):
            raise ArtefactError(f"{path} holds a {type(index).__name__}, an IndexFlatIP is needed")
        self._use(index)
        return int(index.ntotal), int(index.d)
