"""What the approximate indexes share: FAISS proposes by short codes, exact scores decide."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field

from recall.index.base import BaseIndex, BaseIndexConfig
from recall.index.brute_force import rescore, search_dense
from recall.index.flat import FILE, faiss, read_faiss
from reccore import ArtefactError, Bundle, Candidates, Exclusions
from reccore.arrays import FloatArray, IntArray
from reccore.bundle import BundleWriter

VECTORS = "vectors.npy"
# A smaller catalogue is searched exactly: one matrix product is quicker than any structure.
SMALLEST = 1000
# Fetched beyond k and the exclusions, for the codes put close items in a slightly wrong order.
SLACK = 8
# A query that finds too few items searches so many times as much.
WIDENING = 8


class ApproximateConfig(BaseIndexConfig):
    """Options of every approximate index.

    Attributes:
        list_length: length of the lists that the search option was chosen for. Where more is asked for (a longer
            list, or one with many exclusions), as many times more is searched.
    """

    list_length: int = Field(default=100, ge=1)


class ApproximateIndex(BaseIndex):
    """Searches part of the catalogue, with one option that buys recall with time.

    FAISS proposes items by 8-bit or shorter codes; their scores are computed again from the vectors in float64,
    and the best are taken, ties by ``item_idx``. So an item's score is that of the exact indexes, and the only
    error is an item that was not proposed. Excluded items are fetched and dropped, and as many more are fetched.
    A query that still gets fewer than ``k`` searches wider, in the end the whole catalogue.

    A catalogue below ``SMALLEST`` is searched exactly. Vectors are memory-mapped when loaded, so that of them
    only those of proposed items need be in memory. The same seed, thread count and machine give the same index.
    """

    parameter: ClassVar[str]
    """The option that buys recall with time: more is slower and finds more."""
    alternatives: ClassVar[tuple[dict[str, int], ...]] = ({},)
    """Values of the other options that work at search, each set to be tried with a ``parameter`` of its own."""
    faiss_class: ClassVar[type[Any]]
    config: Any

    def is_exact(self) -> bool:
        return False

    @property
    def n_bytes(self) -> int:
        codes = 0 if self._index is None else int(faiss.serialize_index(self._index).size)
        return int(self._vectors.nbytes) + codes

    @property
    def effort(self) -> int:
        """Value of the option that buys recall with time."""
        return int(getattr(self.config, self.parameter))

    @property
    def most_effort(self) -> int:
        """The value beyond which nothing more is found."""
        return 1 if self._index is None else self._most_effort()

    def set_options(self, **options: int) -> Self:
        """Change options that work at search.

        Raises:
            ConfigError: an unknown option or a value out of range.
        """
        self.config = type(self.config).parse({**self.config.model_dump(), **options})
        return self

    def _build(self, vectors: FloatArray, seed: int) -> None:
        self._vectors: FloatArray = vectors.copy()
        self._index: Any = self._build_faiss(self._vectors, seed) if len(vectors) >= SMALLEST else None

    @abstractmethod
    def _build_faiss(self, vectors: FloatArray, seed: int) -> Any:
        """FAISS's index over (N, D) vectors, N at least ``SMALLEST``."""

    @abstractmethod
    def _most_effort(self) -> int: ...

    @abstractmethod
    def _nearest(self, queries: FloatArray, n: int, effort: int) -> IntArray:
        """(B, ≥ n) int64 item indices, each once in its row, -1 where fewer were found."""

    def _search(self, queries: FloatArray, k: int, exclude: Exclusions) -> Candidates:
        if self._index is None:
            return search_dense(queries, self._vectors, k, exclude)
        item_idx = np.full((len(queries), k), -1, dtype=np.int64)
        score = np.full((len(queries), k), -np.inf, dtype=np.float32)
        fetch = _power_of_two(k + exclude.lengths + SLACK)
        usual = int(_power_of_two(np.array([self.config.list_length + SLACK]))[0])
        short = [np.flatnonzero(2 * fetch > self.n_items)]  # so long a list is best taken from the whole catalogue
        for n in np.unique(fetch[2 * fetch <= self.n_items]).tolist():
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
            short.append(rows)
        rows = np.concatenate(short)
        if len(rows):
            found = search_dense(queries[rows], self._vectors, k, exclude.select(rows))
            item_idx[rows], score[rows] = found.item_idx, found.score
        return Candidates(item_idx, score)

    def _propose(self, queries: FloatArray, k: int, exclude: Exclusions, n: int, effort: int) -> Candidates:
        at = self._nearest(queries, n, effort)
        fetched = Candidates(at, np.zeros(at.shape, dtype=np.float32)).keep(~exclude.contains(at))
        return fetched.reordered(rescore(queries, self._vectors, fetched.item_idx)).head(k)

    def _write_vectors(self, bundle: BundleWriter) -> None:
        np.save(bundle.path(VECTORS), self._vectors, allow_pickle=False)
        if self._index is not None:
            bundle.path(FILE).write_bytes(faiss.serialize_index(self._index).tobytes())

    def _read_vectors(self, bundle: Bundle) -> tuple[int, int]:
        path = bundle.file(VECTORS)
        try:
            self._vectors = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{path} cannot be read: {error}") from error
        if self._vectors.ndim != 2 or self._vectors.dtype != np.float32:
            raise ArtefactError(f"{path} holds {self._vectors.dtype} {self._vectors.shape}, float32 (N, D) is needed")
        n_items, dimension = self._vectors.shape
        self._index = self._read_faiss(bundle) if n_items >= SMALLEST else None
        return n_items, dimension

    def _read_faiss(self, bundle: Bundle) -> Any:
        path = bundle.file(FILE)
        index = read_faiss(path)
        if not isinstance(index, self.faiss_class):
            raise ArtefactError(f"{path} holds FAISS's {type(index).__name__}, not {self.faiss_class.__name__}")
        if (index.ntotal, index.d) != self._vectors.shape:
            raise ArtefactError(f"{path} is damaged: {index.ntotal} codes of {index.d} entries for {VECTORS}")
        return index


@contextmanager
def one_faiss_thread() -> Iterator[None]:
    """Several threads add to an HNSW graph in an order of chance; one gives the same graph each time."""
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
