"""A split: the events a model learns from and the events it has to predict.

Every protocol (``dataprep.protocols``) cuts each user's ordered events at two places:

    fit            events [0, fit_stop)          source of all fitted state
    validation     events [fit_stop, valid_stop) targets; their histories are the fit events
    test           events [valid_stop, end)      targets; their histories include the validation events
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from reccore import DataError, Holdout, Interactions, QueryBatch
from reccore.arrays import BoolArray, IntArray, offsets_from_lengths, ragged_positions

QUERIES_AT_ONCE = 1 << 15
"""Histories of 200 events each take 130 MB."""


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

    def liked(self, events: Interactions) -> Interactions:
        """The events that the target rule would count: what networks learn from under ``last_three``.

        The given events themselves where the rule counts all.
        """
        if self.targets.rated_above is None or events.rating is None:
            return events
        liked = self._is_target(events, np.arange(events.n_events))
        return Interactions(
            user_offsets=offsets_from_lengths(liked)[events.user_offsets],
            item_idx=events.item_idx[liked],
            n_items=events.n_items,
            rating=events.rating[liked],
            timestamp=None if events.timestamp is None else events.timestamp[liked],
        )

    def label(self, part: str) -> str:
        """Protocol and part (``valid`` or ``test``) for reports."""
        if self.targets.rated_above is not None and self.interactions.rating is None:
            return f"{self.protocol} ({part}; no ratings, so every row counts)"
        return f"{self.protocol} ({part})"

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

    def seen_shares(self) -> dict[str, float]:
        """Share of the ``valid`` and of the ``test`` targets that lie in the history of their query; 0 without targets.

        Sorts the events of all histories, those of a part of the queries at a time.
        """
        cuts = {"valid": (self.fit_stop, self.valid_stop), "test": (self.valid_stop, self.interactions.lengths)}
        return {part: self._seen_share(*at) for part, at in cuts.items()}

    def _seen_share(self, start: IntArray, stop: IntArray) -> float:
        n_queries, seen, targets = len(self._queries_of(start, stop)[0]), 0, 0
        for first in range(0, n_queries, QUERIES_AT_ONCE):
            holdout = self._holdout(start, stop, query_time=False, draw=partial(_part, first))
            seen += int(holdout.seen_targets().sum())
            targets += len(holdout.target_idx)
        return seen / targets if targets else 0.0

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


def _part(first: int, n: int) -> IntArray:
    """The queries from ``first`` on that are looked at together, of n."""
    return np.arange(first, min(first + QUERIES_AT_ONCE, n))


def with_query_time(events: Interactions, targets: IntArray, queries: QueryBatch) -> QueryBatch:
    """The queries with the times of the events ``targets`` (B,) as ``as_of``: the option ``--query_time``.

    Raises:
        DataError: the events have no times.
    """
    if events.timestamp is None:
        raise DataError("--query_time needs timestamps, and this data set has none")
    return replace(queries, as_of=events.timestamp[targets])
