"""The interface of a reranker."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from reccore import Candidates, Component, ItemTable, QueryBatch, Vocabulary
from reccore.arrays import FloatArray


class BaseReranker(Component[Any]):
    """Chooses and orders the final list, looking at the items of the list together.

    Built with what it needs (item vectors, genres). Subclasses implement ``_rerank``.
    """

    kind: ClassVar[str] = "rerank"

    def rerank(self, queries: QueryBatch, candidates: Candidates, k: int) -> Candidates:
        """The best ``k`` of the given candidates, in their final order; a subset of the input.

        Raises:
            ValueError: ``k`` below 1, rows of queries and candidates differ in number, or a candidate
                outside the catalogue.
            NotFittedError: before the reranker was given what it needs.
        """
        n_items = len(self.vocabulary.items)
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if len(queries) != len(candidates):
            raise ValueError(f"{len(queries)} queries but {len(candidates)} rows of candidates")
        if candidates.item_idx.max(initial=-1) >= n_items:
            raise ValueError(f"candidate index {candidates.item_idx.max()} outside the catalogue of {n_items} items")
        return self._rerank(queries, candidates, k)

    @classmethod
    @abstractmethod
    def build(
        cls,
        config: Mapping[str, Any] | None,
        items: ItemTable,
        vectors: FloatArray | None,
        vocabulary: Vocabulary,
    ) -> Self:
        """A reranker ready for use.

        Args:
            config: the reranker's options.
            items: catalogue facts.
            vectors: (N, D) item vectors, or None where no channel has any.
            vocabulary: what the item indices mean.
        """

    @abstractmethod
    def _rerank(self, queries: QueryBatch, candidates: Candidates, k: int) -> Candidates: ...
