"""Channels that factorise the interactions: item factors in an index, user factors folded in from the history."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from pydantic import Field
from scipy import sparse

from recall.embedding import EmbeddingRecall
from recall.history import history_matrix
from recall.index.choose import IndexConfig
from recall.index.flat import FlatConfig
from reccore import Bundle, ComponentConfig, DataError, Holdout, IdMap, QueryBatch, RunOptions, TrainingData
from reccore.arrays import FloatArray


class FactorConfig(ComponentConfig):
    """Options of every channel of this family.

    Attributes:
        embedding_size: number of latent factors D.
        half_life: exponential decay of the history at fold-in; half-life in events, None = no decay.
        index: how the item factors are searched.
    """

    embedding_size: int = Field(default=64, ge=1)
    half_life: float | None = Field(default=10.0, gt=0)
    index: IndexConfig = FlatConfig()


class FactorRecall(EmbeddingRecall):
    """An item's score is the inner product of its factors with the query's, which are folded in from the history.

    ``user_idx`` is not read, so new users and fresh events need no retraining. Items without events have zero factors
    and are not in the index, so they are never offered. A history that is empty, or holds only such items, gets an
    empty row. Subclasses implement ``_factorise`` and ``_fold_in``.
    """

    config: FactorConfig
    item_factors: FloatArray  # (N, D); behind them what else a subclass multiplies with its queries

    @property
    def item_vectors(self) -> FloatArray:
        """(N, D) factors, for reading only, without what stands behind them."""
        return super().item_vectors[:, : self.config.embedding_size]

    @abstractmethod
    def _factorise(self, data: TrainingData, options: RunOptions) -> FloatArray:
        """(N, …) ``item_factors`` of at least one event; those of items without events are not used."""

    @abstractmethod
    def _fold_in(self, queries: QueryBatch) -> FloatArray:
        """(B, D) user factors from histories of known items; zero for an empty history."""

    def _weights(self, queries: QueryBatch) -> sparse.csr_matrix:
        """(B, N) decayed weights of the histories."""
        return history_matrix(queries, len(self.item_factors), self.config.half_life)

    def _set_factors(self, factors: FloatArray) -> None:
        """Keep the item factors (N, D); subclasses compute here what every fold-in needs."""
        self.item_factors = factors

    def encode_queries(self, queries: QueryBatch) -> FloatArray:
        """(B, D) folded-in user factors; zero for a history without known items."""
        return self._fold_in(queries.known_items_only(len(self.item_factors)))

    def encode_items(self) -> FloatArray:
        """(N, D) item factors; zero for items without events."""
        return self.item_factors

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        counts = data.interactions.item_counts()
        if not counts.any():
            raise DataError(f"{self.name} needs at least one event to learn from")
        factors = np.array(self._factorise(data, options), dtype=np.float32)
        factors[counts == 0] = 0.0
        self._index(factors, options.seed)

    def _index(self, factors: FloatArray, seed: int) -> None:
        """Take the factors (N, D), 0 for items without events, and build the index."""
        self._set_factors(factors)
        self.indexed = IdMap(np.flatnonzero(factors.any(axis=1)))
        rows = factors[self.indexed.ids]
        self.index = self.config.index.create(len(rows)).build(rows, seed)

    def _read(self, bundle: Bundle) -> None:
        super()._read(bundle)
        vectors = self.index.vectors
        factors = np.zeros((len(self.vocabulary.items), vectors.shape[1]), dtype=np.float32)
        factors[slice(None) if self.indexed is None else self.indexed.ids] = vectors
        self._set_factors(factors)
