"""The interface of a recall channel, and the base of channels that score the whole catalogue."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from recall.topk import top_k_dense
from reccore import (
    Candidates,
    Component,
    Exclusions,
    Holdout,
    Interactions,
    QueryBatch,
    RunOptions,
    TrainingData,
)
from reccore.arrays import FloatArray, IntArray
from reccore.candidates import concatenate

MAX_QUERIES_PER_CHUNK = 1024
# Dense scores of one chunk stay within 64 MB of float32.
SCORES_PER_CHUNK = 1 << 24


def queries_per_chunk(n_columns: int) -> int:
    """Rows of a chunk whose dense scores have ``n_columns`` numbers a row, such as one per item or per user."""
    return min(max(SCORES_PER_CHUNK // max(n_columns, 1), 1), MAX_QUERIES_PER_CHUNK)


class BaseRecall(Component[Any]):
    """Offers the items of the whole catalogue that a user is likely to choose next, and scores given items.

    Subclasses implement ``_fit``, ``_retrieve`` and ``_score``, and ``_prepare`` where both need the same encoding of
    a query. The public methods validate their arguments and split batches into chunks.
    """

    kind: ClassVar[str] = "recall"
    keeps_checkpoints: ClassVar[bool] = False
    """Whether ``fit`` writes checkpoints into ``RunOptions.checkpoint_dir`` and can go on from them."""

    @property
    def query_time(self) -> bool:
        """Whether the channel reads ``as_of`` as the time of the event to predict.

        Training examples, validation queries and requests must then all carry that time, and results belong on a
        leaderboard of their own. Other channels ignore ``as_of``.
        """
        return False

    @property
    def reads_item_graph(self) -> bool:
        """Whether ``TrainingData.item_graph`` is read."""
        return False

    def fit(self, data: TrainingData, *, valid: Holdout | None = None, options: RunOptions | None = None) -> Self:
        """Learn from the fit split.

        Args:
            data: events, item and user facts of the fit split; the only source of training targets.
            valid: queries and targets for choosing the epoch.
            options: seed, device, progress.
        """
        options = options or RunOptions()
        options.apply_threads()
        self._vocabulary = None
        self._fit(data, valid, options)
        self._vocabulary = data.vocabulary
        return self

    def prepare(self, queries: QueryBatch) -> Any:
        """Encode queries once, for calls of ``retrieve`` and ``score`` on the same queries.

        Returns:
            What this channel reads of the queries, one row per query: query vectors, sparse rows, or the queries.
            Memory grows with B; callers with many queries prepare them in batches.

        Raises:
            NotFittedError: before ``fit`` or ``load``.
        """
        return self._prepare(queries.known_items_only(len(self.vocabulary.items)))

    def retrieve(
        self, queries: QueryBatch, k: int, *, exclude: Exclusions | None = None, prepared: Any = None
    ) -> Candidates:
        """The best ``k`` items for each query, (B, min(k, N)).

        Args:
            queries: histories may be empty and may hold unknown items (-1), which are ignored. A query that the
                channel cannot answer gets an empty row.
            k: at least 1; may exceed the size of the catalogue.
            exclude: items never to offer; by default the query's whole history. Pass
                ``Exclusions.nothing(len(queries))`` to allow repeats.
            prepared: ``prepare(queries)``, computed here if None.

        Raises:
            ValueError: ``k`` below 1, or exclusions or prepared rows differ in number from the queries.
            NotFittedError: before ``fit`` or ``load``.
        """
        n_items = len(self.vocabulary.items)
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        exclude = Exclusions.of_history(queries) if exclude is None else exclude
        if len(exclude) != len(queries):
            raise ValueError(f"{len(queries)} queries but {len(exclude)} rows of exclusions")
        k = min(k, n_items)
        parts = [
            self._retrieve(encoded, k, exclude.rows(rows.start, rows.stop))
            for rows, encoded in self._prepared_chunks(queries, prepared)
        ]
        return concatenate(parts, k)

    def score(self, queries: QueryBatch, candidates: Candidates, *, prepared: Any = None) -> FloatArray:
        """The channel's own score of each given item, whether or not it would offer the item.

        Args:
            queries: as in ``retrieve``.
            candidates: (B, K) items; their scores are not read.
            prepared: ``prepare(queries)``, computed here if None.

        Returns:
            (B, K) float32 in the order of the candidates' columns, the score that ``retrieve`` gives for the same
            item; NaN where the channel has no score for the item or the query, −inf on padding.

        Raises:
            ValueError: candidates or prepared rows differ in number from the queries, or an item lies outside the
                catalogue.
            NotFittedError: before ``fit`` or ``load``.
        """
        self._check(queries, candidates)
        scores: FloatArray = np.empty(candidates.item_idx.shape, dtype=np.float32)
        item_idx = candidates.item_idx if candidates.is_full else np.maximum(candidates.item_idx, 0)
        for rows, encoded in self._prepared_chunks(queries, prepared):
            scores[rows] = self._score(encoded, item_idx[rows])
        if not candidates.is_full:
            scores[~candidates.mask] = -np.inf
        return scores

    def score_latest(self, queries: QueryBatch, candidates: Candidates, latest: Sequence[int]) -> FloatArray:
        """``score`` by the latest n known events of each history alone, (W, B, K) for W numbers n.

        Raises:
            ValueError, NotFittedError: see ``score``.
        """
        self._check(queries, candidates)
        known = queries.known_items_only(len(self.vocabulary.items))
        scores = self._score_latest(known, np.maximum(candidates.item_idx, 0), latest)
        scores[:, ~candidates.mask] = -np.inf
        return scores

    def similarities(self, item: int) -> FloatArray | None:
        """(N,) similarity of every item to one item, −inf where there is none; None for a channel that has no such.

        Raises:
            NotFittedError: before ``fit`` or ``load``.
        """
        return None

    def refit(self, data: TrainingData, options: RunOptions | None = None) -> Self:
        """A new channel of the same configuration, fitted on other events without a validation set.

        A channel that chose its number of epochs on validation trains that many here.
        """
        return type(self)(self.config).fit(data, options=options)

    def update(
        self,
        data: TrainingData,
        before: Interactions,
        options: RunOptions | None = None,
        *,
        memory: Path | None = None,
    ) -> Self:
        """A new channel of the same configuration for events that came later, made from this one where that is cheaper.

        By default it is fitted anew.

        Args:
            data: old and new events; users and items of this channel keep their indices, others come behind them.
            before: the events that this channel was fitted on.
            options: seed, device, progress.
            memory: folder for what the next update can start from; other content is replaced. None = keep nothing.
        """
        return self.refit(data, options)

    def refit_facts(self) -> dict[str, Any]:
        """Plain values that decide the result of ``refit`` besides configuration, data and seed."""
        return {}

    def _check(self, queries: QueryBatch, candidates: Candidates) -> None:
        """Raise ``ValueError`` for candidates that do not fit the queries or the catalogue."""
        if len(queries) != len(candidates):
            raise ValueError(f"{len(queries)} queries but {len(candidates)} rows of candidates")
        n_items, largest = len(self.vocabulary.items), candidates.largest_item
        if largest >= n_items:
            raise ValueError(f"candidate index {largest} outside the catalogue of {n_items} items")

    def _prepared_chunks(self, queries: QueryBatch, prepared: Any) -> Iterator[tuple[slice, Any]]:
        """Row slices small enough for dense scores, each with its prepared rows."""
        if prepared is not None and _n_rows(prepared) != len(queries):
            raise ValueError(f"{len(queries)} queries but {_n_rows(prepared)} prepared rows")
        n_items = len(self.vocabulary.items)
        step = queries_per_chunk(n_items)
        if prepared is not None and 0 < len(queries) <= step:
            yield slice(0, len(queries)), prepared
            return
        known = queries.known_items_only(n_items)
        for start in range(0, len(queries), step):
            rows = slice(start, min(start + step, len(queries)))
            if prepared is None:
                yield rows, self._prepare(known.select(rows))
            else:
                yield rows, prepared.select(rows) if isinstance(prepared, QueryBatch) else prepared[rows]

    @abstractmethod
    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None: ...

    def _prepare(self, queries: QueryBatch) -> Any:
        """What has one row per query and slices of rows, such as an array; all history items are known."""
        return queries

    @abstractmethod
    def _retrieve(self, prepared: Any, k: int, exclude: Exclusions) -> Candidates:
        """Answer one chunk of what ``_prepare`` returns, 1 ≤ k ≤ N."""

    def _score_latest(self, queries: QueryBatch, item_idx: IntArray, latest: Sequence[int]) -> FloatArray:
        """(W, B, K) scores of items of the catalogue; all history items are known, padding arrives as item 0."""
        candidates = Candidates(item_idx, np.zeros(item_idx.shape, dtype=np.float32))
        return np.stack([self.score(queries.latest(n), candidates) for n in latest])

    @abstractmethod
    def _score(self, prepared: Any, item_idx: IntArray) -> FloatArray:
        """(B, K) scores of items of the catalogue for one chunk, NaN where there is none; padding arrives as item 0."""


class DenseRecall(BaseRecall):
    """A channel with one formula for the whole catalogue, ``_scores``; retrieval and scoring follow from it."""

    @abstractmethod
    def _scores(self, prepared: Any) -> FloatArray:
        """(B, N) float32 for one chunk, which is not changed; −inf where the channel has no score."""

    def _retrieve(self, prepared: Any, k: int, exclude: Exclusions) -> Candidates:
        return top_k_dense(self._scores(prepared), k, exclude)

    def _score(self, prepared: Any, item_idx: IntArray) -> FloatArray:
        scores = np.take_along_axis(self._scores(prepared), item_idx, axis=1)
        scores[np.isneginf(scores)] = np.nan
        return scores


def _n_rows(prepared: Any) -> int:
    return len(prepared) if isinstance(prepared, QueryBatch) else int(prepared.shape[0])
