"""Base of the approximate indexes: a structure proposes items, exact scores decide."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field

from recall.index.base import BaseIndex, BaseIndexConfig
from recall.index.brute_force import rescore
from recall.index.exact import ExactSearch, faiss
from recall.index.flat import FILE, read_faiss
from recall.topk import top_k_of_pairs
from reccore import ArtefactError, Bundle, Candidates, Exclusions
from reccore.arrays import FloatArray, IntArray
from reccore.bundle import BundleWriter

VECTORS = "vectors.npy"
# Smaller catalogues are searched exactly: one matrix product is faster than any structure.
SMALLEST = 1000
# Items fetched beyond k and the exclusions, because codes misplace items that lie close together.
SLACK = 8
# Factor by which a query that found too few items increases its effort.
WIDENING = 8
# Exact search is faster beyond √N / 40 times the usual number of fetched items; with IVF the two were equally fast
# at 8 times for N = 120,000 and at about 16 times for N = 10⁶.
EXACT_BEYOND = 40


class ApproximateConfig(BaseIndexConfig):
    """Options of every approximate index.

    Attributes:
        list_length: length of the lists that the search option was tuned for. The effort grows in proportion for
            longer lists and for queries with many exclusions.
    """

    list_length: int = Field(default=100, ge=1)


class ApproximateIndex(BaseIndex):
    """Searches part of the catalogue; one option, the effort, trades time for recall.

    A structure such as lists, a graph or trees proposes items. Their scores are computed again from the vectors in
    float64, and the best are taken, ties by ``item_idx``. So scores equal those of the exact indexes, and the only
    error is an item that was not proposed. As many more items are fetched as the query excludes; excluded ones are
    dropped. A query with fewer than ``k`` items left searches with more effort and finally the whole catalogue;
    one with so many exclusions that exact search is faster is searched exactly at once.

    Catalogues below ``SMALLEST`` are searched exactly. Loaded vectors are memory-mapped; an approximate search
    reads only those of proposed items. The same seed, number of threads and machine give the same index.
    """

    parameter: ClassVar[str]
    """Name of the option that is the effort: a higher value is slower and finds more."""
    alternatives: ClassVar[tuple[dict[str, int], ...]] = ({},)
    """Values of the other search options; tuning finds the least ``parameter`` for each set."""
    config: Any

    def is_exact(self) -> bool:
        return False

    @property
    def n_bytes(self) -> int:
        return int(self._vectors.nbytes) + (0 if self._index is None else self._structure_bytes())

    @property
    def effort(self) -> int:
        """Value of the option named by ``parameter``."""
        return int(getattr(self.config, self.parameter))

    @property
    def least_effort(self) -> int:
        """The effort that tuning starts from."""
        return 1

    @property
    def most_effort(self) -> int:
        """The highest useful value of the effort."""
        return 1 if self._index is None else self._most_effort()

    def set_options(self, **options: int) -> Self:
        """Change search options.

        Raises:
            ConfigError: an unknown option or a value out of range.
        """
        self.config = type(self.config).parse({**self.config.model_dump(), **options})
        return self

    def _build(self, vectors: FloatArray, seed: int) -> None:
        self._use(vectors.copy())
        self._index: Any = self._build_structure(self._vectors, seed) if len(vectors) >= SMALLEST else None

    def _use(self, vectors: FloatArray) -> None:
        self._vectors: FloatArray = vectors
        self._exact = ExactSearch(vectors, coded=False)

    @abstractmethod
    def _build_structure(self, vectors: FloatArray, seed: int) -> Any:
        """What is searched, over (N, D) vectors, N at least ``SMALLEST``."""

    @abstractmethod
    def _most_effort(self) -> int: ...

    @abstractmethod
    def _nearest(self, queries: FloatArray, n: int, effort: int) -> IntArray:
        """(B, ≥ n) int64 item indices, each once in its row, -1 where fewer were found."""

    def _search(self, queries: FloatArray, k: int, exclude: Exclusions) -> Candidates:
        if self._index is None:
            return self._exact.search(queries, k, exclude)
        item_idx = np.full((len(queries), k), -1, dtype=np.int64)
        score = np.full((len(queries), k), -np.inf, dtype=np.float32)
        fetch = _power_of_two(k + exclude.lengths + SLACK)
        usual = int(_power_of_two(np.array([self.config.list_length + SLACK]))[0])
        most = min(usual * max(1, int(math.sqrt(self.n_items) / EXACT_BEYOND)), self.n_items // 2)
        unanswered = [np.flatnonzero(fetch > most)]
        for n in np.unique(fetch[fetch <= most]).tolist():
            rows = np.flatnonzero(fetch == n)
            effort = self.effort * max(1, n // usual)
            while True:
                found = self._propose(queries[rows], k, exclude.select(rows), n, min(effort, self.most_effort))
                full = found.counts == k
                item_idx[rows[full]], score[rows[full]] = found.item_idx[full], found.score[full]
                rows = rows[~full]
                if len(rows) == 0 or effort >= self.most_effort:
                    break
                effort *= WIDENING
            unanswered.append(rows)
        rows = np.concatenate(unanswered)
        if len(rows):
            found = self._exact.search(queries[rows], k, exclude.select(rows))
            item_idx[rows], score[rows] = found.item_idx, found.score
        return Candidates(item_idx, score)

    def _propose(self, queries: FloatArray, k: int, exclude: Exclusions, n: int, effort: int) -> Candidates:
        at = self._nearest(queries, n, effort)
        fetched = Candidates(at, np.zeros(at.shape, dtype=np.float32)).keep(~exclude.contains(at))
        return top_k_of_pairs(fetched.item_idx, rescore(queries, self._vectors, fetched.item_idx), k)

    def _write_vectors(self, bundle: BundleWriter) -> None:
        np.save(bundle.path(VECTORS), self._vectors, allow_pickle=False)
        if self._index is not None:
            self._write_structure(bundle)

    def _read_vectors(self, bundle: Bundle) -> tuple[int, int]:
        path = bundle.file(VECTORS)
        try:
            self._use(np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)))
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{path} cannot be read: {error}") from error
        if self._vectors.ndim != 2 or self._vectors.dtype != np.float32:
            raise ArtefactError(f"{path} holds {self._vectors.dtype} {self._vectors.shape}, float32 (N, D) is needed")
        n_items, dimension = self._vectors.shape
        self._index = self._read_structure(bundle) if n_items >= SMALLEST else None
        return n_items, dimension

    @abstractmethod
    def _structure_bytes(self) -> int:
        """Memory of the structure, beside the vectors."""

    @abstractmethod
    def _write_structure(self, bundle: BundleWriter) -> None: ...

    @abstractmethod
    def _read_structure(self, bundle: Bundle) -> Any:
        """Restore what ``_write_structure`` wrote; the vectors are there already."""


class FaissIndex(ApproximateIndex):
    """An approximate index of FAISS; proposals come from codes of at most 8 bits an entry."""

    faiss_class: ClassVar[type[Any]]

    def _structure_bytes(self) -> int:
        return int(faiss.serialize_index(self._index).size)

    def _write_structure(self, bundle: BundleWriter) -> None:
        bundle.path(FILE).write_bytes(faiss.serialize_index(self._index).tobytes())

    def _read_structure(self, bundle: Bundle) -> Any:
        path = bundle.file(FILE)
        index = read_faiss(path)
        if not isinstance(index, self.faiss_class):
            raise ArtefactError(f"{path} holds FAISS's {type(index).__name__}, not {self.faiss_class.__name__}")
        if (index.ntotal, index.d) != self._vectors.shape:
            raise ArtefactError(f"{path} is damaged: {index.ntotal} codes of {index.d} entries for {VECTORS}")
        return index


@contextmanager
def one_faiss_thread() -> Iterator[None]:
    """Limit FAISS to one thread: several add to an HNSW graph in random order, one builds the same graph each time."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def hnsw_over(index: Any, vectors: FloatArray, ef_construction: int) -> Any:
    """Fill an HNSW index."""
    index.hnsw.efConstruction = ef_construction
    with one_faiss_thread():
        index.train(vectors)
        index.add(vectors)
    return index


def largest_divisor(number: int, at_most: int) -> int:
    """The largest divisor of ``number`` that is not above ``at_most``."""
    return max(part for part in range(1, min(number, at_most) + 1) if number % part == 0)


def _power_of_two(wanted: IntArray) -> IntArray:
    powers: IntArray = 2 ** np.ceil(np.log2(wanted)).astype(np.int64)
    return powers
