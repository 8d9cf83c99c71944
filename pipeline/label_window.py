"""The label windows: the fit events that a ranker learns from, and queries of users who play new."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from loguru import logger

from dataprep.prepare import Prepared
from dataprep.protocols import GlobalTime, parse_protocol
from dataprep.splits import with_query_time
from reccore import ConfigError, DataError, Exclusions, Holdout, Interactions, RunOptions
from reccore.arrays import BoolArray, FloatArray, IntArray, offsets_from_lengths, ragged_positions

WindowKind: TypeAlias = Literal["own_history", "moment"]
"""``own_history``: the window is the last fit events of every user, whatever their date. ``moment``: it opens for all
users at the same time, so that nothing of what any of them did later is known."""

LABEL_EVENTS = 10
LABEL_SHARE = 0.2
MOMENT_SHARE = 0.9
"""Share of the fit events that are before a window that opens at one moment."""
SHORT_HISTORY = 20
QUERIES_OF_NEW_USER = 10
JUDGE_SHARE = 0.5
"""Share of the users who play new users that choose the rule for short histories; the ranker learns from the others."""
MIN_JUDGES = 20
"""With fewer of them there is no choice: it would follow chance."""
LATE_SHARE = 0.5
"""At most this share of the users who came after a moment play new users. The others ask in the window with no event
first, and without them the ranker does not learn that."""


@dataclass(frozen=True, eq=False)
class LabelWindow:
    """The label events of every user, each with a query of the history before it, and queries of new users.

    There may be several windows, one before the other; the queries of the earliest come first. Queries are places in
    the events; ``select`` makes those of some rows, because the histories of all of them together take some hundred
    times the memory of their places.

    Attributes:
        fit: the fit events.
        start: (U,) number of fit events before the window, which channels may know; 0 for users who play new users.
            With several windows that of the latest.
        users: (B,) the user of each query; the query itself does not name a new user.
        stops: (B,) number of events in the history of each query.
        window: (B,) which window the query is of: 0 = the latest, 1 = the one before.
        new: (B,) True for queries of new users; they come last, and are of the latest window.
        judging: (B,) True for the queries of new users that the ranker does not learn from either, so that they can
            choose the rule for short histories.
        query_time: whether a query has the time of its first target.
        earlier_starts: (U,) number of events before window 1, 2, …
    """

    fit: Interactions
    start: IntArray
    users: IntArray
    stops: IntArray
    window: IntArray
    new: BoolArray
    judging: BoolArray
    query_time: bool
    earlier_starts: tuple[IntArray, ...] = ()

    def __len__(self) -> int:
        return len(self.users)

    @property
    def starts(self) -> tuple[IntArray, ...]:
        """(U,) number of fit events before each window, the latest first."""
        return (self.start, *self.earlier_starts)

    @property
    def target_counts(self) -> IntArray:
        """(B,) targets of each query: its label event, or of a new user all later fit events."""
        return self._counts(np.arange(len(self)))

    @property
    def target_rating(self) -> FloatArray | None:
        """(L,) rating of each target of each query, NaN where it is unknown; None = no ratings."""
        first = self.fit.user_offsets[self.users] + self.stops
        return None if self.fit.rating is None else self.fit.rating[ragged_positions(first, self.target_counts)]

    def select(self, rows: IntArray) -> tuple[Holdout, Exclusions]:
        """The given queries with their targets, and the items of the fit events after the targets of each."""
        fit, users, stops = self.fit, self.users[rows], self.stops[rows]
        target, counts, left = fit.user_offsets[users] + stops, self._counts(rows), self._left(rows)
        queries = fit.queries(users, stops)
        if self.query_time:
            queries = with_query_time(fit, target, queries)
        queries = replace(queries, user_idx=np.where(self.new[rows], -1, users))
        at = ragged_positions(target, counts)
        rating = None if fit.rating is None else fit.rating[at]
        holdout = Holdout(queries, offsets_from_lengths(counts), fit.item_idx[at], target_rating=rating)
        later = fit.item_idx[ragged_positions(target + counts, left - counts)]
        return holdout, Exclusions(offsets_from_lengths(left - counts), later)

    @property
    def holdout(self) -> Holdout:
        """All queries with their targets."""
        return self.select(np.arange(len(self)))[0]

    @property
    def later(self) -> Exclusions:
        """The items of the fit events after each query's targets."""
        return self.select(np.arange(len(self)))[1]

    def _left(self, rows: IntArray) -> IntArray:
        """Fit events from the first target of each of the given queries on."""
        offsets, users = self.fit.user_offsets, self.users[rows]
        return offsets[users + 1] - offsets[users] - self.stops[rows]

    def _counts(self, rows: IntArray) -> IntArray:
        """Targets of each of the given queries."""
        counts: IntArray = np.where(self.new[rows], self._left(rows), 1)
        return counts


def kind_under(protocol: str) -> WindowKind:
    """The window that resembles the use under a protocol: one moment for all users where the protocol cuts by time."""
    return "moment" if isinstance(parse_protocol(protocol), GlobalTime) else "own_history"


def label_window(
    prepared: Prepared,
    *,
    kind: WindowKind = "own_history",
    label_windows: int = 1,
    max_queries: int | None,
    short_histories: float = 0.0,
    judge_below: int = 0,
    query_time: bool = False,
    options: RunOptions,
) -> LabelWindow:
    """Fit events of every user, each with a query; at most ``max_queries`` of them, drawn at random.

    ``own_history``: the last ``min(10, 20%)`` fit events of the user. ``moment``: up to ten after the moment that a
    tenth of all fit events come after; users without earlier events ask with none at first, as they do in use, unless
    they play new users.

    Each of further ``label_windows`` is cut by the same rule from the events before the one that follows it, of users
    who have enough. New users are of the latest window alone.

    By the time of the window users have long histories. So that a ranker learns to serve new users too, a share of
    ``short_histories`` of the users has no window: the channels learn nothing of them, and each asks several times with
    the first few events, see ``new_user_queries``. Under ``moment`` these are some of those who came after it, so that
    the channels know nothing later than their queries, or any users where too few came.

    With ``judge_below`` half of them ask with 0 … ``judge_below`` − 1 events and are for choosing a rule for such
    histories, see ``judge_queries``.

    With ``query_time`` the time of each query is that of its first target.

    Raises:
        ConfigError: fewer than one window.
        DataError: a moment is asked for and the events have no times, or all the same; or the events do not suffice for
            so many windows.
    """
    if label_windows < 1:
        raise ConfigError(f"label_windows must be at least 1, got {label_windows}")
    fit = prepared.split.fit()
    latest = _cut(fit, kind)
    came_later = latest[0] == 0 if kind == "moment" else None
    newcomers, asked = new_user_queries(fit.lengths, short_histories, max_queries, options, came_later)
    judges, judged = np.zeros((2, 0), dtype=np.int64)
    if judge_below > 0:
        judges, judged = judge_queries(fit.lengths, newcomers, judge_below, options)
    others = ~np.isin(newcomers, judges)
    newcomers, asked = np.concatenate([newcomers[others], judges]), np.concatenate([asked[others], judged])
    starts, counts = _cut_windows(fit, kind, label_windows, newcomers, latest)
    window = np.repeat(np.arange(label_windows)[::-1], [n_labels.sum() for n_labels in counts[::-1]])
    users = np.concatenate([np.repeat(np.arange(fit.n_users), n_labels) for n_labels in counts[::-1]])
    stops = np.concatenate([ragged_positions(*cut) for cut in zip(starts[::-1], counts[::-1], strict=True)])
    if max_queries is not None and len(users) > max_queries:
        chosen = np.sort(options.generator("label_queries").choice(len(users), max_queries, replace=False))
        users, stops, window = users[chosen], stops[chosen], window[chosen]
    at = np.arange(len(users) + len(newcomers))
    new, judging = at >= len(users), at >= len(at) - len(judges)
    users, stops = np.concatenate([users, newcomers]), np.concatenate([stops, asked])
    window = np.concatenate([window, np.zeros(len(newcomers), dtype=np.int64)])
    if query_time and fit.timestamp is None:
        raise DataError("--query_time needs timestamps, and this data set has none")
    return LabelWindow(fit, starts[0], users, stops, window, new, judging, query_time, tuple(starts[1:]))


def _cut_windows(
    fit: Interactions, kind: WindowKind, n_windows: int, newcomers: IntArray, latest: tuple[IntArray, IntArray]
) -> tuple[list[IntArray], list[IntArray]]:
    """(U,) number of events before each window, and of its labels, the latest window first; 0 for ``newcomers``."""
    starts: list[IntArray] = []
    counts: list[IntArray] = []
    for number in range(n_windows):
        start, n_labels = latest if number == 0 else _cut_earlier(fit.first(starts[-1]), kind, number)
        start[newcomers] = n_labels[newcomers] = 0
        if number > 0 and not n_labels.any():
            n_events = int(starts[-1].sum())
            raise DataError(
                f"label window {number + 1} would have no event: no user has enough of the {n_events:,} events "
                f"before window {number}; lower label_windows to {number}"
            )
        starts.append(start)
        counts.append(n_labels)
    return starts, counts


def _cut_earlier(before: Interactions, kind: WindowKind, number: int) -> tuple[IntArray, IntArray]:
    """``_cut`` of window ``number`` ≥ 1."""
    try:
        return _cut(before, kind)
    except DataError as error:
        raise DataError(f"label window {number + 1} cannot be cut: {error}; or lower label_windows") from error


def _cut(fit: Interactions, kind: WindowKind) -> tuple[IntArray, IntArray]:
    """(U,) number of events before the latest window of these events, and of its labels."""
    return _after_moment(fit) if kind == "moment" else _last_of_each(fit)


def _last_of_each(fit: Interactions) -> tuple[IntArray, IntArray]:
    """(U,) number of events before the window, and of labels, where it is cut from each user's own history."""
    n_labels = np.minimum(LABEL_EVENTS, (fit.lengths * LABEL_SHARE).astype(np.int64))
    return fit.lengths - n_labels, n_labels


def _after_moment(fit: Interactions) -> tuple[IntArray, IntArray]:
    """(U,) number of events before the window, and of labels, where it opens at one moment."""
    if fit.timestamp is None:
        raise DataError("a label window that opens at one moment needs timestamps, and this data set has none")
    moment = int(np.quantile(fit.timestamp, MOMENT_SHARE)) if fit.n_events else 0
    before = fit.timestamp < moment
    if not before.any():
        raise DataError(
            f"{fit.n_events:,} fit events leave none before the label window, which opens at {moment}; use the window "
            "of own histories (label_window = 'own_history')"
        )
    start = np.diff(offsets_from_lengths(before)[fit.user_offsets])
    return start, np.minimum(LABEL_EVENTS, fit.lengths - start)


def new_user_queries(
    lengths: IntArray,
    share: float,
    max_queries: int | None,
    options: RunOptions,
    came_later: BoolArray | None = None,
) -> tuple[IntArray, IntArray]:
    """Queries of users who play new users: the user of each, and of how many first events it consists.

    A user asks up to ``QUERIES_OF_NEW_USER`` times with 1 … ``SHORT_HISTORY`` events (the logarithm drawn evenly) and
    keeps at least one later event as a target. With ``max_queries`` the queries are at most that ``share`` of it.

    Args:
        lengths: (U,) fit events of each user.
        share: of the users, drawn at random among those with two events or more.
        max_queries: greatest number of label queries; None = no limit.
        options: seed.
        came_later: (U,) True for users whose first event is later than all that channels know. The users are at most a
            ``LATE_SHARE`` of these, or any where these would have fewer than ``MIN_JUDGES`` judges. None = any.
    """
    draws = options.generator("short_histories")
    limit = None if max_queries is None else int(share * max_queries)
    able = np.flatnonzero(lengths > 1)
    n_users = int(share * len(able)) if limit is None else min(int(share * len(able)), limit)
    if came_later is not None and n_users > 0:
        late = able[came_later[able]]
        most = int(LATE_SHARE * len(late))
        if int(JUDGE_SHARE * most) >= MIN_JUDGES:
            able, n_users = late, min(n_users, most)
        else:
            logger.info(
                "{:,} users came after the moment of the label window, too few to play new users: any do, though the "
                "channels know events that are later than theirs",
                len(late),
            )
    repeats = QUERIES_OF_NEW_USER if limit is None else min(QUERIES_OF_NEW_USER, limit // max(n_users, 1))
    users = np.repeat(np.sort(draws.choice(able, n_users, replace=False)), repeats)
    longest = np.minimum(SHORT_HISTORY, lengths[users] - 1)
    return users, _some_events(longest, draws)


def judge_queries(lengths: IntArray, newcomers: IntArray, below: int, options: RunOptions) -> tuple[IntArray, IntArray]:
    """Queries of those who choose a rule for short histories: the user of each, and its number of first events.

    A ``JUDGE_SHARE`` of the users who play new users, drawn at random, ask as often as before and with fewer than
    ``below`` events, and once more without any. No queries if these are fewer than ``MIN_JUDGES`` users.

    Args:
        lengths: (U,) fit events of each user.
        newcomers: the user of each query of a new user.
        below: least number of events that the rule is not for.
        options: seed.
    """
    draws = options.generator("short_history_rule")
    users = np.unique(newcomers)
    judges = np.sort(draws.permutation(users)[: int(JUDGE_SHARE * len(users))])
    if len(judges) < MIN_JUDGES:
        judges = judges[:0]
    again = newcomers[np.isin(newcomers, judges) & (below > 1)]
    asked = _some_events(np.minimum(below - 1, lengths[again] - 1), draws)
    return np.concatenate([judges, again]), np.concatenate([np.zeros(len(judges), dtype=np.int64), asked])


def _some_events(longest: IntArray, draws: np.random.Generator) -> IntArray:
    """1 … ``longest`` events for each, the logarithm drawn evenly."""
    return np.floor(np.exp(draws.random(len(longest)) * np.log(longest + 1))).astype(np.int64)
