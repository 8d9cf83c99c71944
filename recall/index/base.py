"""The interface of an index: from a query vector to the items with the greatest inner product."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from recall.index import INDEXES
from reccore import ArtefactError, Bundle, Candidates, Component, ComponentConfig, DataError, Exclusions, Vocabulary
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter
from reccore.errors import NotFittedError

# Inner products of vectors within this bound cannot overflow float32 below 10⁸ dimensions.
LARGEST_ENTRY = 1e15


class BaseIndexConfig(ComponentConfig):
    """Options of an index.

    Attributes:
        kind: name of the index class; selects the options that exist.
    """

    kind: str

    def create(self, n_items: int) -> BaseIndex:
        """An empty index with these options, for a catalogue of ``n_items``."""
        return INDEXES[self.kind](self)


class BaseIndex(Component[Any]):
    """Finds the items whose vectors have the greatest inner product with a query vector.

    Row ``i`` of the vectors is the item with ``item_idx`` ``i``; there is no other id. Cosine similarity
    is the inner product of normalised vectors, so normalise both sides before they come here.
    Subclasses implement ``_build`` and ``_search``; arguments are validated here.
    """

    kind: ClassVar[str] = "index"
    Config: ClassVar[type[BaseIndexConfig]]
    _vectors: FloatArray

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._n_items = 0
        self._dimension = 0

    @property
    def n_items(self) -> int:
        """Number of vectors, 0 before ``build``."""
        return self._n_items

    @property
    def dimension(self) -> int:
        """Entries of each vector, 0 before ``build``."""
        return self._dimension

    @property
    def vectors(self) -> FloatArray:
        """(N, D) the indexed vectors themselves, for reading only; memory-mapped in a loaded approximate index."""
        return self._vectors

    def build(self, vectors: FloatArray, seed: int = 0) -> Self:
        """Index the catalogue; what was indexed before is forgotten.

        Args:
            vectors: (N, D) float32, one row per item in the order of ``item_idx``.
            seed: of whatever is drawn at random; the same seed builds the same index.

        Raises:
            ValueError: no rows or no columns.
            DataError: an entry that is not finite, or beyond ``LARGEST_ENTRY``.
        """
        vectors = _checked("item vector", vectors)
        if vectors.size == 0:
            raise ValueError(f"an index needs at least one vector with one entry, got shape {vectors.shape}")
        self._n_items, self._dimension = vectors.shape
        self._vocabulary = None
        self._build(vectors, seed)
        return self

    def search(self, queries: FloatArray, k: int, exclude: Exclusions | None = None) -> Candidates:
        """The best ``k`` items of each query vector, (B, min(k, N)), ties by ``item_idx``.

        Args:
            queries: (B, D) float32; B may be 0.
            k: at least 1; more than the catalogue holds is allowed.
            exclude: items never to offer, one row per query; by default none.

        Raises:
            NotFittedError: before ``build`` or ``load``.
            ValueError: ``k`` below 1, vectors of another dimension, or not one row of exclusions per query.
            DataError: a query vector that is not finite, or beyond ``LARGEST_ENTRY``.
        """
        if self._n_items == 0:
            raise NotFittedError(f"index {self.name} is empty; call build() or load() first")
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        queries = _checked("query vector", queries)
        if queries.shape[1] != self._dimension:
            raise ValueError(f"query vectors have {queries.shape[1]} entries, the index holds {self._dimension}")
        exclude = Exclusions.nothing(len(queries)) if exclude is None else exclude
        if len(exclude) != len(queries):
            raise ValueError(f"{len(queries)} queries but {len(exclude)} rows of exclusions")
        k = min(k, self._n_items)
        if len(queries) == 0:
            return Candidates.empty(0, k)
        return self._search(queries, k, exclude)

    def save(self, path: Path | str, vocabulary: Vocabulary | None = None, **facts: Any) -> None:
        """Write the index as a bundle of its own.

        Args:
            path: folder to create or replace.
            vocabulary: what the rows mean; a loaded index has one already.
            facts: further entries of the manifest.

        Raises:
            NotFittedError: nothing was built.
            ValueError: no vocabulary, or one with another number of items than there are vectors.
        """
        if self._n_items == 0:
            raise NotFittedError(f"index {self.name} is empty; call build() or load() first")
        vocabulary = self._vocabulary if vocabulary is None else vocabulary
        if vocabulary is None:
            raise ValueError(f"index {self.name} needs the vocabulary its rows belong to; pass it to save()")
        if len(vocabulary.items) != self._n_items:
            raise ValueError(f"{self._n_items} vectors but {len(vocabulary.items)} items in the vocabulary")
        self._vocabulary = vocabulary
        super().save(path, **facts)

    @abstractmethod
    def is_exact(self) -> bool:
        """Whether ``search`` returns the true best items, always."""

    @property
    @abstractmethod
    def n_bytes(self) -> int:
        """Memory of what was built, in bytes."""

    @abstractmethod
    def _build(self, vectors: FloatArray, seed: int) -> None:
        """(N, D) finite, contiguous float32, N and D at least 1."""

    @abstractmethod
    def _search(self, queries: FloatArray, k: int, exclude: Exclusions) -> Candidates:
        """(B, D) finite, contiguous float32, B at least 1, 1 ≤ k ≤ N."""

    @abstractmethod
    def _write_vectors(self, bundle: BundleWriter) -> None:
        """Write the vectors in the form of this index."""

    @abstractmethod
    def _read_vectors(self, bundle: Bundle) -> tuple[int, int]:
        """Restore what ``_write_vectors`` wrote; returns (N, D) as found."""

    def _write(self, bundle: BundleWriter) -> None:
        self._write_vectors(bundle)

    def _read(self, bundle: Bundle) -> None:
        self._n_items, self._dimension = self._read_vectors(bundle)
        if self._n_items != len(self.vocabulary.items):
            raise ArtefactError(
                f"{bundle.path} is damaged: {self._n_items} vectors but {len(self.vocabulary.items)} items"
            )


def _checked(what: str, vectors: FloatArray) -> FloatArray:
    vectors = np.ascontiguousarray(vectors)
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise ValueError(f"{what}s must be a (rows, entries) array of floats, got {vectors.dtype} {vectors.shape}")
    usable = np.abs(vectors) <= LARGEST_ENTRY  # False for NaN too
    if not usable.all():
        row, column = np.argwhere(~usable)[0]
        raise DataError(
            f"{what} {row} holds {vectors[row, column]}; entries must be finite and at most {LARGEST_ENTRY:g}. "
            "A model whose training diverged writes such vectors; lower its learning rate"
        )
    return vectors.astype(np.float32, copy=False)
