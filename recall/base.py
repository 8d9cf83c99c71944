"""The interface of a recall channel."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

from reccore import (
    Candidates,
    Component,
    Exclusions,
    Holdout,
    QueryBatch,
    RunOptions,
    TrainingData,
)
from reccore.candidates import concatenate

MAX_QUERIES_PER_CHUNK = 1024
# Dense scores of one chunk stay within 64 MB of float32.
SCORES_PER_CHUNK = 1 << 24


class BaseRecall(Component[Any]):
    """Offers, out of the whole catalogue, the items a user is likely to choose next.

    Subclasses implement ``_fit`` and ``_retrieve``; arguments are validated here.
    """

    kind: ClassVar[str] = "recall"

    @property
    def query_time(self) -> bool:
        """Whether ``as_of`` is read, and taken for the time of the event to predict.

        Such a channel has a leaderboard of its own: what it learns from, is validated on and is asked must all
        know that time. For any other channel ``as_of`` changes nothing.
        """
        return False

    def fit(self, data: TrainingData, *, valid: Holdout | None = None, options: RunOptions | None = None) -> Self:
        """Learn from the fit split.

        Args:
            data: events, item and user facts of the fit split; nothing else is looked at.
            valid: queries and targets to choose an epoch by; never used as training targets.
            options: seed, device, progress.
        """
        options = options or RunOptions()
        options.apply_threads()
        self._vocabulary = None
        self._fit(data, valid, options)
        self._vocabulary = data.vocabulary
        return self

    def retrieve(self, queries: QueryBatch, k: int, *, exclude: Exclusions | None = None) -> Candidates:
        """The best ``k`` items for each query, (B, min(k, N)).

        Args:
            queries: histories may hold unknown items (-1), which are passed over, and may be empty; a
                channel that cannot answer a query returns an empty row.
            k: at least 1; more than the catalogue holds is allowed.
            exclude: items never to offer; by default the query's whole history. Pass
                ``Exclusions.nothing(len(queries))`` to allow repeats.

        Raises:
            ValueError: ``k`` below 1, or one row of exclusions per query is missing.
            NotFittedError: before ``fit`` or ``load``.
        """
        n_items = len(self.vocabulary.items)
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        exclude = Exclusions.of_history(queries) if exclude is None else exclude
        if len(exclude) != len(queries):
            raise ValueError(f"{len(queries)} queries but {len(exclude)} rows of exclusions")
        k = min(k, n_items)
        known = queries.known_items_only(n_items)
        parts = []
        step = min(max(SCORES_PER_CHUNK // max(n_items, 1), 1), MAX_QUERIES_PER_CHUNK)
        for start in range(0, len(known), step):
            stop = min(start + step, len(known))
            parts.append(self._retrieve(known.select(slice(start, stop)), k, exclude.rows(start, stop)))
        return concatenate(parts, k)

    def refit(self, data: TrainingData, options: RunOptions | None = None) -> Self:
        """A new channel of the same configuration, fitted on other events without a validation set.

        A channel that chose its number of epochs on validation trains that many here.
        """
        return type(self)(self.config).fit(data, options=options)

    def refit_facts(self) -> dict[str, Any]:
        """Plain values that decide the result of ``refit`` besides configuration, data and seed."""
        return {}

    @abstractmethod
    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None: ...

    @abstractmethod
    def _retrieve(self, queries: QueryBatch, k: int, exclude: Exclusions) -> Candidates:
        """A chunk of queries small enough for dense scores, all items known, 1 ≤ k ≤ N."""
