"""The interface of a reranker."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from typing import Any, ClassVar, Self

from reccore import Candidates, Component, ConfigError, ItemTable, QueryBatch, Vocabulary
from reccore.arrays import FloatArray


class BaseReranker(Component[Any]):
    """Chooses and orders the final list, considering its items together.

    A reranker learns nothing; ``fit`` gives it the item facts and vectors that it needs. Subclasses implement
    ``_fit`` and ``_rerank``.
    """

    kind: ClassVar[str] = "rerank"

    @property
    def vectors_of(self) -> str | None:
        """Name of the channel whose item vectors ``fit`` needs; None if it needs none."""
        return None

    @property
    def vectors(self) -> FloatArray | None:
        """(N, D) unit or zero vectors of items whose cosine is the similarity; None for a method without."""
        return None

    @property
    def trade_off(self) -> float | None:
        """λ between diversity (0) and relevance (1): the option ``trade_off``; None for a method without it."""
        value: float | None = getattr(self.config, "trade_off", None)
        return value

    @property
    def pool(self) -> int | None:
        """How many of the first candidates a list is chosen from: the option ``pool``; None = all of them."""
        value: int | None = getattr(self.config, "pool", None)
        return value

    @property
    def meaning(self) -> str:
        """What the score of the final list is, as a phrase."""
        return f"the score of the reranker {self.name}"

    def with_trade_off(self, value: float) -> Self:
        """A copy with another λ that shares the fitted state.

        Raises:
            ConfigError: the method has no trade-off, or the value is out of range.
        """
        if self.trade_off is None:
            raise ConfigError(f"reranker {self.name!r} has no trade_off between relevance and diversity")
        reranker = copy(self)
        reranker.config = self.Config.parse({**self.config.model_dump(), "trade_off": value})
        return reranker

    def fit(self, items: ItemTable, vectors: FloatArray | None, vocabulary: Vocabulary) -> Self:
        """Take over what the reranker needs.

        Args:
            items: facts of the N items of the catalogue.
            vectors: (N, D) item vectors of the channel ``vectors_of``; unused and may be None if that is None.
            vocabulary: the meaning of the item indices.

        Raises:
            ConfigError: what the configuration compares items by is missing.
            DataError: the vectors do not fit the vocabulary or are not finite.
        """
        self._fit(items, vectors, vocabulary)
        self._vocabulary = vocabulary
        return self

    def rerank(self, queries: QueryBatch, candidates: Candidates, k: int) -> Candidates:
        """The best ``k`` of the given candidates in their final order, (B, min(k, K)).

        Raises:
            ValueError: ``k`` below 1, different numbers of queries and rows of candidates, or a candidate outside
                the catalogue.
            NotFittedError: before ``fit`` or ``load``.
        """
        n_items = len(self.vocabulary.items)
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if len(queries) != len(candidates):
            raise ValueError(f"{len(queries)} queries but {len(candidates)} rows of candidates")
        if candidates.largest_item >= n_items:
            raise ValueError(f"candidate index {candidates.largest_item} outside the catalogue of {n_items} items")
        return self._rerank(queries, candidates, k)

    @abstractmethod
    def _fit(self, items: ItemTable, vectors: FloatArray | None, vocabulary: Vocabulary) -> None: ...

    @abstractmethod
    def _rerank(self, queries: QueryBatch, candidates: Candidates, k: int) -> Candidates: ...
