"""What a reranker compares items by: vectors of a recall channel, or genres."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Tag

from reccore import Bundle, ComponentConfig, ConfigError, DataError, ItemTable, Vocabulary
from reccore.arrays import FloatArray, unit_rows
from reccore.bundle import BundleWriter
from reccore.config import by_kind
from rerank.greedy import GreedyReranker

_VECTORS_FILE = "vectors.npz"


class VectorSimilarity(ComponentConfig):
    """Cosine of item vectors.

    Attributes:
        channel: name of the recall channel whose item vectors are compared.
    """

    kind: Literal["vectors"] = "vectors"
    channel: str = "two_tower"


class GenreSimilarity(ComponentConfig):
    """Cosine of genre sets: shared genres over the geometric mean of their numbers."""

    kind: Literal["genres"] = "genres"


Similarity = Annotated[
    Annotated[VectorSimilarity, Tag("vectors")] | Annotated[GenreSimilarity, Tag("genres")], by_kind("vectors")
]


class SimilarityReranker(GreedyReranker):
    """A greedy reranker whose option ``similarity`` chooses how items are compared."""

    def __init__(self, config: ComponentConfig | Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        self._unit: FloatArray = np.zeros((0, 1), dtype=np.float32)  # (N, D) rows of length 1, or 0

    @property
    def vectors_of(self) -> str | None:
        """The channel that ``similarity`` names, if any."""
        similarity = self.config.similarity
        return similarity.channel if isinstance(similarity, VectorSimilarity) else None

    @property
    def vectors(self) -> FloatArray:
        """(N, D) rows of length one, or zero, whose cosine compares items."""
        return self._unit

    def _fit(self, items: ItemTable, vectors: FloatArray | None, vocabulary: Vocabulary) -> None:
        self._unit = similarity_vectors(self.config.similarity, items, vectors, vocabulary)

    def _write(self, bundle: BundleWriter) -> None:
        bundle.arrays(_VECTORS_FILE, {"unit": self._unit})

    def _read(self, bundle: Bundle) -> None:
        self._unit = bundle.arrays(_VECTORS_FILE)["unit"]


def similarity_vectors(
    similarity: VectorSimilarity | GenreSimilarity,
    items: ItemTable,
    vectors: FloatArray | None,
    vocabulary: Vocabulary,
) -> FloatArray:
    """(N, D) rows of length one whose inner product is the similarity; zero rows for items that resemble nothing.

    Raises:
        ConfigError: no vectors are given, or no item has a genre.
        DataError: the number of rows differs from that of the vocabulary, or a vector is not finite.
    """
    if isinstance(similarity, GenreSimilarity):
        rows = items.genre_matrix()
        if not rows.any():
            raise ConfigError("similarity is by genres but no item has a genre; set similarity.kind to 'vectors'")
    elif vectors is None:
        raise ConfigError(
            f"similarity is by item vectors and channel {similarity.channel!r} has none; "
            "name another as similarity.channel, or set similarity.kind to 'genres'"
        )
    else:
        rows = vectors
    if rows.ndim != 2 or len(rows) != len(vocabulary.items):
        raise DataError(f"item vectors of shape {rows.shape} for {len(vocabulary.items)} items")
    if not np.isfinite(rows).all():
        raise DataError("item vectors must be finite; train the model that made them again")
    return unit_rows(rows.astype(np.float64)).astype(np.float32)
