"""The interface of a ranker."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np

from ranking.calibration import Calibration
from ranking.config import LIKE
from reccore import (
    Bundle,
    Candidates,
    Component,
    ConfigError,
    ItemTable,
    QueryBatch,
    RankingSamples,
    RunOptions,
    UserTable,
    Vocabulary,
)
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter

CALIBRATION = "calibration.npz"
EXPECTED = "expected"
"""Name of the contribution that belongs to no feature: the score before the candidate's own features count."""


class BaseRanker(Component[Any]):
    """Scores the candidates of recall for a query, with everything known about user, item and both.

    Built with the item and user tables, so that a loaded ranker needs no training data. Subclasses
    implement ``tasks``, ``missing_columns``, ``_fit``, ``_score`` and ``_contributions``; arguments are validated here.
    """

    kind: ClassVar[str] = "ranking"
    _calibration: Calibration | None = None

    @property
    @abstractmethod
    def tasks(self) -> tuple[str, ...]:
        """Names of the labels it learns, such as ``click``."""

    @property
    def liked_from(self) -> float | None:
        """Least rating of an item that counts as liked; None if it does not learn the task ``like``."""
        return self.config.liked_from if LIKE in self.tasks else None

    def fit(
        self,
        samples: RankingSamples,
        *,
        items: ItemTable,
        users: UserTable,
        vocabulary: Vocabulary,
        valid: RankingSamples | None = None,
        options: RunOptions | None = None,
    ) -> Self:
        """Learn to put the labelled candidates first.

        Args:
            samples: queries, candidates and labels of the label window.
            items: catalogue facts; statistics of the events that the recall models of the latest label window saw. For
                earlier windows those of the samples take their place.
            users: user facts that do not depend on events.
            vocabulary: users and items behind the indices.
            valid: samples to choose an epoch by, and to calibrate the scores on, each query with its weight.
            options: seed, device, progress.

        Raises:
            ConfigError: the samples lack the labels of a task.
            ValueError: no query has a positive candidate for a task.
        """
        options = options or RunOptions()
        options.apply_threads()
        for task in self.tasks:
            for given in (samples, valid):
                if given is not None and task not in given.labels:
                    raise ConfigError(
                        f"{self.name} learns the task {task!r}; the samples have {', '.join(given.tasks)}"
                    )
            if not np.any(samples.labels[task] == 1.0):
                raise ValueError(
                    f"no query has a positive candidate for {task!r}; recall more items or label more events"
                )
        self._vocabulary = None
        self._fit(samples, items, users, valid, options)
        self._vocabulary = vocabulary
        self._calibration = None if valid is None else self._calibrate(valid)
        return self

    def _calibrate(self, valid: RankingSamples) -> Calibration | None:
        """Fitted on the labels of the first task; None if the config wants none, or one class has no row.

        Queries of new users are left out where there are others: their positives are all later events, not the next.
        """
        known = np.flatnonzero(valid.queries.user_idx >= 0)
        valid = valid.select(known) if len(known) else valid
        labels = valid.labels_of(self.tasks[0])
        labelled = ~np.isnan(labels)
        if self.config.calibration == "none" or len(np.unique(labels[labelled])) < 2:
            return None
        scores = self.score(valid.queries, valid.candidates)
        weight = None if valid.weight is None else np.repeat(valid.weight, labelled.sum(axis=1))
        return Calibration.fit(self.config.calibration, scores[labelled], labels[labelled], weight)

    def grown(self, items: ItemTable, users: UserTable, vocabulary: Vocabulary) -> Self:
        """The same ranker for a vocabulary with further items and users behind those of its own; see
        ``FeatureEncoder.grown``. What it learnt stays.

        Raises:
            ValueError: the tables are smaller than those of the fit.
            NotFittedError: before ``fit`` or ``load``.
        """
        if len(self.vocabulary.items) > items.n_items:
            raise ValueError(f"{len(self.vocabulary.items)} items do not fit in a table of {items.n_items}")
        again = copy(self)
        again._grow(items, users, vocabulary)
        again._vocabulary = vocabulary
        return again

    def score(self, queries: QueryBatch, candidates: Candidates) -> FloatArray:
        """(B, K) scores in the columns' own order, higher is better; −inf on padding. Never reorders.

        Raises:
            ValueError: rows of queries and candidates differ in number.
            NotFittedError: before ``fit`` or ``load``.
        """
        scores = self._score(self._known(queries, candidates), candidates)
        return np.where(candidates.mask, scores, -np.inf).astype(np.float32)

    def contributions(self, queries: QueryBatch, candidates: Candidates) -> dict[str, FloatArray]:
        """How much each feature adds to each score: name → (B, K), 0 on padding. Their sum is the score.

        ``EXPECTED`` is the part that all candidates of a query have alike. Costs some hundred times as much as scoring.

        Raises:
            ValueError: rows of queries and candidates differ in number.
            NotFittedError: before ``fit`` or ``load``.
        """
        return self._contributions(self._known(queries, candidates), candidates)

    @abstractmethod
    def missing_columns(self, candidates: Candidates) -> list[str]:
        """Features of candidates that it learnt from and that these candidates lack, so that it scores without them."""

    @property
    def is_calibrated(self) -> bool:
        """Whether scores can be turned into probabilities."""
        return self._calibration is not None

    def probability(self, queries: QueryBatch, candidates: Candidates) -> FloatArray:
        """(B, K) calibrated probabilities of the first task in the columns' own order; 0 on padding.

        Non-decreasing in ``score``. They hold for candidates offered as those of training were.

        Raises:
            ConfigError: the scores were not calibrated.
            ValueError, NotFittedError: see ``score``.
        """
        scores = self.score(queries, candidates)
        return np.where(candidates.mask, self.calibrated(scores), np.float32(0.0))

    def calibrated(self, scores: FloatArray) -> FloatArray:
        """Probabilities of scores that ``score`` returned.

        Raises:
            ConfigError: the scores were not calibrated.
        """
        if self._calibration is None:
            raise ConfigError(
                f"the scores of {self.name} were not calibrated; train it with calibration = isotonic or platt, and "
                "with validation samples that have positives and negatives"
            )
        return self._calibration(scores).astype(np.float32)

    def _known(self, queries: QueryBatch, candidates: Candidates) -> QueryBatch:
        """The queries without history items outside the catalogue, after checking both arguments."""
        n_items = len(self.vocabulary.items)
        if len(queries) != len(candidates):
            raise ValueError(f"{len(queries)} queries but {len(candidates)} rows of candidates")
        if candidates.largest_item >= n_items:
            raise ValueError(f"candidate index {candidates.largest_item} outside the catalogue of {n_items} items")
        return queries.known_items_only(n_items)

    def _write_common(self, bundle: BundleWriter) -> None:
        if self._calibration is not None:
            bundle.arrays(CALIBRATION, self._calibration.to_arrays())

    def _read_common(self, bundle: Bundle) -> None:
        if CALIBRATION in bundle.manifest["files"]:
            self._calibration = Calibration.from_arrays(bundle.arrays(CALIBRATION))

    @abstractmethod
    def _fit(
        self,
        samples: RankingSamples,
        items: ItemTable,
        users: UserTable,
        valid: RankingSamples | None,
        options: RunOptions,
    ) -> None: ...

    @abstractmethod
    def _grow(self, items: ItemTable, users: UserTable, vocabulary: Vocabulary) -> None:
        """Replace the tables; what is shared with the ranker that this one is a copy of must not be changed."""

    @abstractmethod
    def _score(self, queries: QueryBatch, candidates: Candidates) -> FloatArray: ...

    @abstractmethod
    def _contributions(self, queries: QueryBatch, candidates: Candidates) -> dict[str, FloatArray]: ...
