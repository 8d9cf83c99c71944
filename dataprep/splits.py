"""Split protocols: the events a model learns from and the events it has to predict.

Every protocol cuts each user's ordered events at two places:

    fit            events [0, fit_stop)          source of all fitted state
    validation     events [fit_stop, valid_stop) targets; their histories are the fit events
    test           events [valid_stop, end)      targets; their histories include the validation events
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from reccore import ConfigError, DataError, Holdout, Interactions, QueryBatch
from reccore.arrays import BoolArray, IntArray, offsets_from_lengths, ragged_positions


@dataclass(frozen=True)
class TargetRule:
    """Which held-out events are targets, and of which query.

    Attributes:
        one_per_query: every target has a query of its own, whose history ends right before it; else the targets of a
            user share one query.
        rated_above: only events with a higher rating are targets; None, or data without ratings = all.
    """

    one_per_query: bool = False
    rated_above: float | None = None


@dataclass(frozen=True, eq=False)
class Split:
    """Events and the two cuts of a protocol.

    Attributes:
        interactions: all events.
        fit_stop: (U,) number of fit events of each user.
        valid_stop: (U,) number of fit and validation events of each user.
        protocol: name of the protocol that made the cuts.
        targets: which held-out events are targets.
    """

    interactions: Interactions
    fit_stop: IntArray
    valid_stop: IntArray
    protocol: str
    targets: TargetRule = TargetRule()

    def fit(self) -> Interactions:
        """Events of the fit split, the only source of fitted state."""
        return self.interactions.first(self.fit_stop)

    def liked_fit(self) -> Interactions:
        """Fit events that the target rule would count: what trained networks learn from under ``last_three``."""
        fit = self.fit()
        if not self._rates_targets:
            return fit
        liked = self._is_target(fit, np.arange(fit.n_events))
        return Interactions(
            user_offsets=offsets_from_lengths(liked)[fit.user_offsets],
            item_idx=fit.item_idx[liked],
            n_items=fit.n_items,
            rating=None if fit.rating is None else fit.rating[liked],
            timestamp=None if fit.timestamp is None else fit.timestamp[liked],
        )

    def label(self, part: str) -> str:
        """Protocol and part (``valid`` or ``test``) for reports."""
        if self.targets.rated_above is not None and self.interactions.rating is None:
            return f"{self.protocol} ({part}; no ratings, so every row counts)"
        return f"{self.protocol} ({part})"

    @property
    def _rates_targets(self) -> bool:
        return self.targets.rated_above is not None and self.interactions.rating is not None

    def _is_target(self, events: Interactions, at: IntArray) -> BoolArray:
        """(len(at),) whether the target rule counts the events ``at``."""
        if self.targets.rated_above is None or events.rating is None:
            return np.ones(len(at), dtype=bool)
        above: BoolArray = events.rating[at] > self.targets.rated_above
        return above

    def history(self) -> Interactions:
        """Events in the history of a test query: fit and validation."""
        return self.interactions.first(self.valid_stop)

    def valid(self, *, query_time: bool = False, draw: Callable[[int], IntArray] | None = None) -> Holdout:
        """Users with validation targets.

        Args:
            query_time: give each query the time of its first target.
            draw: number of queries → those to take, so that the histories of the others are not gathered.
        """
        return self._holdout(self.fit_stop, self.valid_stop, query_time, draw)

    def test(self, *, query_time: bool = False) -> Holdout:
        """Users with test targets."""
        return self._holdout(self.valid_stop, self.interactions.lengths, query_time)

    @property
    def n_valid_targets(self) -> int:
        """Number of validation targets; no history is read."""
        return int(self._queries_of(self.fit_stop, self.valid_stop)[2].sum())

    def test_facts(self) -> dict[str, int | float | None]:
        """Numbers of test targets and of their users, and the share of tied first targets; no history is read."""
        users, stops, counts = self._queries_of(self.valid_stop, self.interactions.lengths)
        tied = self._tied(users, stops)
        return {
            "test_targets": int(counts.sum()),
            "test_users": len(np.unique(users)),
            "tied_targets": None if tied is None or len(users) == 0 else round(float(tied.mean()), 4),
        }

    def _tied(self, users: IntArray, stops: IntArray) -> BoolArray | None:
        """(B,) whether the first target of a query has the time of the event before it; None without times."""
        events = self.interactions
        if events.timestamp is None:
            return None
        first = events.user_offsets[users] + stops
        previous = np.maximum(first - 1, events.user_offsets[users])
        tied: BoolArray = (stops > 0) & (events.timestamp[first] == events.timestamp[previous])
        return tied

    def _holdout(
        self, start: IntArray, stop: IntArray, query_time: bool, draw: Callable[[int], IntArray] | None = None
    ) -> Holdout:
        """Targets are events ``start[u] … stop[u]-1`` of every user, as far as the target rule counts them.

        With ``query_time`` the query contains the time of its first target; such results are ranked apart.
        """
        events = self.interactions
        users, stops, counts = self._queries_of(start, stop)
        if draw is not None:
            drawn = draw(len(users))
            users, stops, counts = users[drawn], stops[drawn], counts[drawn]
        first = events.user_offsets[users] + stops
        queries = events.queries(users, stops)
        tied = self._tied(users, stops)
        if query_time:
            queries = with_query_time(events, first, queries)
        at = ragged_positions(first, counts)
        rating = None if events.rating is None else events.rating[at]
        return Holdout(queries, offsets_from_lengths(counts), events.item_idx[at], tied, rating)

    def _queries_of(self, start: IntArray, stop: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """User, history length and number of targets of every query."""
        users = np.flatnonzero(stop > start)
        if not self.targets.one_per_query:
            return users, start[users], (stop - start)[users]
        counts = (stop - start)[users]
        users, stops = np.repeat(users, counts), ragged_positions(start[users], counts)
        kept = self._is_target(self.interactions, self.interactions.user_offsets[users] + stops)
        return users[kept], stops[kept], np.ones(int(kept.sum()), dtype=np.int64)


def with_query_time(events: Interactions, targets: IntArray, queries: QueryBatch) -> QueryBatch:
    """The queries with the times of the events ``targets`` (B,) as ``as_of``: the option ``--query_time``.

    Raises:
        DataError: the events have no times.
    """
    if events.timestamp is None:
        raise DataError("--query_time needs timestamps, and this data set has none")
    return replace(queries, as_of=events.timestamp[targets])


class SplitProtocol(ABC):
    """A rule that cuts each user's events into fit, validation and test."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name that ``parse_protocol`` accepts."""

    @property
    def targets(self) -> TargetRule:
        """Which held-out events are targets."""
        return TargetRule()

    @abstractmethod
    def split(self, interactions: Interactions) -> Split:
        """Cut the events.

        Raises:
            DataError: the protocol does not apply to these events.
        """


@dataclass(frozen=True)
class LeaveLastN(SplitProtocol):
    """The last ``n`` events of a user are test, the ``n`` before them validation, the rest fit.

    All events of a user with fewer than 2n + 1 events are in the fit split.
    """

    n: int = 1

    @property
    def name(self) -> str:
        return "leave_one_out" if self.n == 1 else f"leave_last_{self.n}"

    def split(self, interactions: Interactions) -> Split:
        lengths = interactions.lengths
        held = np.where(lengths >= 2 * self.n + 1, self.n, 0)
        return Split(interactions, lengths - 2 * held, lengths - held, self.name)


@dataclass(frozen=True)
class LastThree(SplitProtocol):
    """The protocol of MetaSpore's two-tower demo: the last three events of a user are test, each with its own query.

    The history of a query is the true history up to its target; a target counts only if its rating is above 2. With
    one target per query Precision@K = Recall@K / K. MetaSpore describes no validation: here it is the event before the
    last three, under the same rule. All events of a user with fewer than five are in the fit split. Without ratings
    every row counts, and reports say so.
    """

    @property
    def name(self) -> str:
        return "last_three"

    @property
    def targets(self) -> TargetRule:
        return TargetRule(one_per_query=True, rated_above=2.0)

    def split(self, interactions: Interactions) -> Split:
        lengths = interactions.lengths
        enough = lengths >= 5
        return Split(
            interactions, lengths - np.where(enough, 4, 0), lengths - np.where(enough, 3, 0), self.name, self.targets
        )


@dataclass(frozen=True)
class GlobalTime(SplitProtocol):
    """Events at or after ``cut`` are test; the latest tenth of the earlier events is validation.

    Attributes:
        cut: Unix seconds; by default the 90% quantile of the times.
    """

    cut: int | None = None

    @property
    def name(self) -> str:
        return "global_time" if self.cut is None else f"global_time:{self.cut}"

    def split(self, interactions: Interactions) -> Split:
        times = interactions.timestamp
        return self.at_times(None if times is None else _Times(times)).split(interactions)

    def at_times(self, times: Times | None) -> TimeCuts:
        """The two moments at which events of these times are cut.

        Raises:
            DataError: there are no times, or a part of the split is empty.
        """
        if times is None:
            raise DataError("protocol global_time needs timestamps, and this data set has none")
        n, least, greatest = times.span(None)
        cut = int(times.quantile(0.9, None)) if self.cut is None else self.cut
        n_before, _, _ = times.span(cut)
        if n_before == 0 or n_before == n:
            raise DataError(f"global_time cut {cut} leaves one side empty; the data spans {least} to {greatest}")
        valid_cut = int(times.quantile(0.9, cut))
        if valid_cut <= least:
            raise DataError(
                f"global_time cut {cut} leaves the fit split empty: none of the {n_before:,} earlier events is "
                f"before the validation cut {valid_cut}; choose a later cut or another protocol"
            )
        return TimeCuts(valid_cut, cut, self.name)


class Times(Protocol):
    """Times of events, wherever they are."""

    def span(self, before: int | None) -> tuple[int, int, int]:
        """Number, least and greatest of all times, or of those before a moment; of none the last two are 0."""

    def quantile(self, share: float, before: int | None) -> float:
        """``np.quantile`` of the same times."""


@dataclass(frozen=True, eq=False)
class _Times:
    """Times in an array."""

    times: IntArray

    def span(self, before: int | None) -> tuple[int, int, int]:
        times = self._of(before)
        return (len(times), int(times.min()), int(times.max())) if len(times) else (0, 0, 0)

    def quantile(self, share: float, before: int | None) -> float:
        return float(np.quantile(self._of(before), share))

    def _of(self, before: int | None) -> IntArray:
        return self.times if before is None else self.times[self.times < before]


@dataclass(frozen=True)
class TimeCuts(SplitProtocol):
    """Events before ``valid_cut`` are fit, those from ``cut`` on test; a rule for any part of the users.

    Attributes:
        valid_cut: Unix seconds.
        cut: Unix seconds.
        protocol: name of the protocol.
    """

    valid_cut: int
    cut: int
    protocol: str

    @property
    def name(self) -> str:
        return self.protocol

    def split(self, interactions: Interactions) -> Split:
        times = interactions.timestamp
        if times is None:
            raise DataError(f"protocol {self.protocol} needs timestamps, and this data set has none")
        fit_stop, valid_stop = (
            np.diff(offsets_from_lengths(times < moment)[interactions.user_offsets])
            for moment in (self.valid_cut, self.cut)
        )
        return Split(interactions, fit_stop, valid_stop, self.name)


@dataclass(frozen=True)
class NoSplit(SplitProtocol):
    """All events are fit: for production, and for evaluation on a separate held-out file."""

    @property
    def name(self) -> str:
        return "none"

    def split(self, interactions: Interactions) -> Split:
        return Split(interactions, interactions.lengths, interactions.lengths, self.name)


def parse_protocol(text: str) -> SplitProtocol:
    """The protocol of that name.

    Raises:
        ConfigError: an unknown name or a malformed number.
    """
    name, _, value = text.partition(":")
    if text == "leave_one_out":
        return LeaveLastN(1)
    if text == "last_three":
        return LastThree()
    if text == "none":
        return NoSplit()
    if text.startswith("leave_last_") and text.removeprefix("leave_last_").isdecimal():
        n = int(text.removeprefix("leave_last_"))
        if n >= 1:
            return LeaveLastN(n)
    if name == "global_time" and (text == name or value.isdecimal()):
        return GlobalTime(int(value) if value else None)
    raise ConfigError(
        f"unknown protocol {text!r}; known: leave_one_out, leave_last_<n>, global_time[:<unix seconds>], last_three, "
        "none"
    )
