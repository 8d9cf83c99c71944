"""What sequence encoders read: windows of histories, in training with every position a query."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recall.neural.encoders.base import distinct_items
from recall.neural.user_codes import UserCodes
from reccore import Interactions, QueryBatch
from reccore.arrays import BoolArray, FloatArray, IntArray, offsets_from_lengths, ragged_positions, row_of_each
from reccore.queries import LatestEvents
from training.kernels.masking import PositiveItems

GAP_CODES = 32
"""0 = first event of a user, then log2 of seconds since the event before."""
LENGTH_NOISE = 0.1
"""Windows are batched by length times 1 ± this, so that batches are even and still differ between epochs."""


@dataclass(frozen=True, eq=False)
class WindowInputs:
    """Windows of histories, and the positions in them that are queries.

    Position 0 of a window is its start, before any event; position j comes after the window's j-th event.

    Attributes:
        history: (W, T) int64 item indices, oldest first, -1 = padding on the right.
        continued: (W,) int64, 1 where events before the window were cut off.
        user: (W,) int64, -1 = unknown.
        facts: (W, C) int64 codes of the user.
        ratings: (W, T) int64 codes of the ratings.
        gaps: (W, T) int64 codes of the time since the event before.
        query_positions: (P,) int64, window·(T + 1) + position of each query.
        times: (P, 2) int64 codes of the query's time, or None.
        event_times: (W, T) int64 seconds of the events, counted from any moment, or None where they are not read.
    """

    history: Tensor
    continued: Tensor
    user: Tensor
    facts: Tensor
    ratings: Tensor
    gaps: Tensor
    query_positions: Tensor
    times: Tensor | None = None
    event_times: Tensor | None = None

    def to(self, device: torch.device) -> WindowInputs:
        parts = {name: part.to(device) for name, part in vars(self).items() if part is not None}
        return replace(self, **parts)

    def positives(self) -> PositiveItems:
        length = self.history.shape[1]
        start = self.query_positions // (length + 1) * length
        return PositiveItems(self.history.flatten(), start, start + self.query_positions % (length + 1))


def gap_codes(time: IntArray, offsets: IntArray) -> IntArray:
    """(L,) codes of the time since the event before, of L events in CSR rows; 0 for the first of a row."""
    return _codes_of_gaps(np.diff(time, prepend=time[:1]), offsets)


def _codes_of_gaps(gap: IntArray, offsets: IntArray) -> IntArray:
    codes = np.minimum(1 + np.log2(np.maximum(gap, 0) + 1.0).astype(np.int64), GAP_CODES - 1)
    codes[offsets[:-1][np.diff(offsets) > 0]] = 0
    return codes


class WindowCodes:
    """Codes of the events of histories.

    Histories without ratings or times get typical codes where the model was trained on such: codes that no training
    event has would be random vectors.

    Args:
        users: boundaries and typical values of the fit split.
        reads_times: whether windows carry the times of their events too.
    """

    def __init__(self, users: UserCodes, *, reads_times: bool = False) -> None:
        self.users, self.reads_times = users, reads_times
        typical = np.array([users.typical_rating], dtype=np.float32)
        self.typical_rating = int(users.event_ratings(typical)[0]) if users.has_ratings else 0

    def of_events(
        self, rating: FloatArray | None, time: IntArray | None, offsets: IntArray
    ) -> tuple[IntArray, IntArray]:
        """Rating and gap codes (L,) of the L events of CSR rows; 0 everywhere for a model without such codes."""
        n = int(offsets[-1])
        ratings, gaps = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        if self.users.has_ratings:
            found = np.full(n, np.nan, dtype=np.float32) if rating is None else rating
            ratings = np.where(np.isnan(found), self.typical_rating, self.users.event_ratings(found))
        if self.users.has_times:
            typical = np.full(n, self.users.typical_gap, dtype=np.int64)
            gaps = _codes_of_gaps(typical, offsets) if time is None else gap_codes(time, offsets)
        return ratings, gaps

    def event_times(self, time: IntArray | None, offsets: IntArray) -> IntArray | None:
        """(L,) seconds of the L events of CSR rows, a typical gap apart where ``time`` is None; None if not read."""
        typical_gap = self.users.typical_gap
        if not self.reads_times or typical_gap is None:
            return None
        if time is not None:
            return time
        return ragged_positions(np.zeros(len(offsets) - 1, dtype=np.int64), np.diff(offsets)) * typical_gap

    def of_queries(self, queries: QueryBatch, history_length: int) -> WindowInputs:
        """One query at the end of the latest ``history_length`` events of each history."""
        length = int(min(history_length, max(queries.lengths.max(initial=0), 1)))
        latest = LatestEvents.of(queries.history_offsets[:-1], queries.history_offsets[1:], length)
        query_time = self.users.query_time
        return window_inputs(
            latest,
            queries.history_idx,
            self.of_events(queries.history_rating, queries.history_time, queries.history_offsets),
            continued=queries.lengths > length,
            user=np.where(self.users.users.known(queries.user_idx), queries.user_idx, -1),
            facts=self.users.fact_codes(queries.user_idx),
            query_positions=np.arange(len(queries)) * (length + 1) + latest.lengths,
            times=None if query_time is None else query_time.of_queries(queries),
            event_times=self.event_times(queries.history_time, queries.history_offsets),
        )


class WindowExamples:
    """Every event of the fit split as an example once an epoch, in windows of up to ``history_length`` events.

    A user with more events is cut at places drawn anew each epoch. The event before a cut is read again by the
    window after it, so that only first events are predicted from an empty history.

    With ``since`` (U,) windows begin at that event of each user, or as much earlier as makes the window a full one:
    in a shorter one the later events would be predicted from little.
    """

    def __init__(
        self,
        interactions: Interactions,
        codes: WindowCodes,
        history_length: int,
        batch_size: int,
        since: IntArray | None = None,
    ) -> None:
        self.interactions, self.history_length = interactions, history_length
        self.query_time = codes.users.query_time
        full = np.maximum(interactions.lengths - history_length, 0)
        self.begin = np.zeros_like(full) if since is None else np.minimum(since, full)  # (U,) of the first window
        n_targets = interactions.lengths - self.begin
        self._length = int(n_targets.sum())
        # A batch is at least one window.
        fewest_windows = int(-(-n_targets // history_length).sum())
        self.n_batches = min(math.ceil(self._length / batch_size), fewest_windows)
        self.facts = codes.users.fact_codes(np.arange(interactions.n_users))
        self.event_codes = codes.of_events(interactions.rating, interactions.timestamp, interactions.user_offsets)
        self.event_times = codes.event_times(interactions.timestamp, interactions.user_offsets)

    def __len__(self) -> int:
        return self._length

    def batches(self, shuffle: np.random.Generator) -> list[IntArray]:
        """Windows (n, 3) of each batch: user, first target, end of targets, counted from the user's first event.

        Batches hold windows of like length and nearly equal numbers of targets, and come in random order.
        """
        lengths = self.interactions.lengths - self.begin
        first = np.where(
            lengths > self.history_length, shuffle.integers(1, self.history_length + 1, len(lengths)), lengths
        )
        n_windows = (lengths > 0) + -(-(lengths - first) // self.history_length)
        user = np.repeat(np.arange(len(lengths)), n_windows)
        number = ragged_positions(np.zeros(len(lengths), dtype=np.int64), n_windows)
        stop = np.minimum(first[user] + number * self.history_length, lengths[user])
        start = np.where(number == 0, 0, first[user] + (number - 1) * self.history_length)
        noisy = (stop - start) * shuffle.uniform(1 - LENGTH_NOISE, 1 + LENGTH_NOISE, len(user))
        order = np.argsort(noisy, kind="stable")
        begin = self.begin[user]
        windows = np.stack([user, begin + start, begin + stop], axis=1)[order]
        parts = np.split(windows, self._cuts(windows[:, 2] - windows[:, 1]))
        return [parts[number] for number in shuffle.permutation(self.n_batches)]

    def _cuts(self, n_targets: IntArray) -> IntArray:
        """Where to cut windows into ``n_batches`` parts, none empty, of nearly equal numbers of targets."""
        number = np.arange(1, self.n_batches)
        before = np.cumsum(n_targets) - n_targets
        cuts = np.searchsorted(before, number * len(self) / self.n_batches)
        cuts = np.maximum.accumulate(cuts - number) + number  # each after the one before
        return np.minimum(cuts, len(n_targets) - self.n_batches + number)

    def events(self, rows: IntArray) -> IntArray:
        """(P,) which event each target is."""
        user, start, stop = rows.T
        return ragged_positions(self.interactions.user_offsets[user] + start, stop - start)

    def width(self, rows: IntArray) -> int:
        _, start, stop = rows.T
        return int(max((stop - 1 - np.maximum(start - 1, 0)).max(), 1))

    def users(self, rows: IntArray) -> IntArray:
        users: IntArray = rows[:, 0]
        return users

    def targets_of(self, rows: IntArray, own: IntArray) -> IntArray:
        _, start, stop = rows.T
        chosen = np.zeros(len(rows), dtype=np.bool_)
        chosen[own] = True
        return np.flatnonzero(np.repeat(chosen, stop - start))

    def items_read(self, rows: IntArray) -> Tensor:
        user, start, stop = rows.T
        offset = self.interactions.user_offsets[user]
        return distinct_items(self.interactions, offset + np.maximum(start - 1, 0), offset + stop - 1, self.width(rows))

    def batch(self, rows: IntArray, *, width: int | None = None) -> tuple[WindowInputs, Tensor]:
        """Inputs and target items (P,) of the given windows."""
        user, start, stop = rows.T
        read_from = np.maximum(start - 1, 0)
        offset = self.interactions.user_offsets[user]
        length = self.width(rows) if width is None else width
        latest = LatestEvents.of(offset + read_from, offset + stop - 1, length)
        n_targets = stop - start
        row = row_of_each(offsets_from_lengths(n_targets))
        position = ragged_positions(start - read_from, n_targets)
        events = self.events(rows)
        inputs = window_inputs(
            latest,
            self.interactions.item_idx,
            self.event_codes,
            continued=read_from > 0,
            user=user,
            facts=self.facts[user],
            query_positions=row * (length + 1) + position,
            times=self._times(events, first=events == offset[row]),
            event_times=self.event_times,
        )
        return inputs, torch.from_numpy(self.interactions.item_idx[events])

    def _times(self, events: IntArray, first: BoolArray) -> IntArray | None:
        """(P, 2) codes of the time of each target, counted from the event before it."""
        return None if self.query_time is None else self.query_time.of_events(self.interactions, events, first)


def window_inputs(
    latest: LatestEvents,
    items: IntArray,
    event_codes: tuple[IntArray, IntArray],
    *,
    continued: BoolArray,
    user: IntArray,
    facts: IntArray,
    query_positions: IntArray,
    times: IntArray | None,
    event_times: IntArray | None,
) -> WindowInputs:
    """Tensors of the windows ``latest`` of flat items (L,), their rating and gap codes, and their times."""
    ratings, gaps = event_codes
    return WindowInputs(
        history=torch.from_numpy(latest.take(items, -1)),
        continued=torch.from_numpy(continued.astype(np.int64)),
        user=torch.from_numpy(user),
        facts=torch.from_numpy(facts),
        ratings=torch.from_numpy(latest.take(ratings, 0)),
        gaps=torch.from_numpy(latest.take(gaps, 0)),
        query_positions=torch.from_numpy(query_positions),
        times=None if times is None else torch.from_numpy(times),
        event_times=None if event_times is None else torch.from_numpy(latest.take(event_times, 0)),
    )
