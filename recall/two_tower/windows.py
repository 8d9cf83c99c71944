"""What a transformer user tower reads: windows of histories, in training with every position a query."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.features import UserEncoder
from recall.two_tower.transformer import GAP_CODES, RATING_CODES, SequenceInputs
from reccore import Interactions, QueryBatch
from reccore.arrays import BoolArray, FloatArray, IntArray, offsets_from_lengths, ragged_positions, row_of_each
from reccore.queries import LatestEvents

LENGTH_NOISE = 0.1
"""Windows are batched by length times 1 ± this, so that batches are even and still differ between epochs."""


def rating_codes(rating: FloatArray) -> IntArray:
    """Half-star steps from 1; 0 = none."""
    steps: IntArray = np.where(np.isnan(rating), -1.0, np.round(rating * 2.0)).astype(np.int64)
    return np.clip(steps + 1, 0, RATING_CODES - 1)


def gap_codes(time: IntArray, offsets: IntArray) -> IntArray:
    """(L,) codes of the time since the event before, of L events in CSR rows; 0 for the first of a row."""
    gap = np.diff(time, prepend=time[:1])
    codes = 1 + np.log2(np.maximum(gap, 0) + 1.0).astype(np.int64)
    codes[offsets[:-1][np.diff(offsets) > 0]] = 0
    return np.minimum(codes, GAP_CODES - 1)


def sequence_inputs(queries: QueryBatch, encoder: UserEncoder, history_length: int) -> SequenceInputs:
    """One query at the end of the latest ``history_length`` events of each history."""
    length = int(min(history_length, max(queries.lengths.max(initial=0), 1)))
    ratings, times = queries.history_rating, queries.history_time
    latest = LatestEvents.of(queries.history_offsets[:-1], queries.history_offsets[1:], length)
    rows = np.arange(len(queries))
    return _inputs(
        latest,
        queries.history_idx,
        ratings=None if ratings is None else rating_codes(ratings),
        gaps=None if times is None else gap_codes(times, queries.history_offsets),
        continued=queries.lengths > length,
        facts=encoder.fact_codes(queries.user_idx),
        asked=rows * (length + 1) + latest.lengths,
        when=None if encoder.query_time is None else encoder.query_time.of_queries(queries),
    )


class WindowExamples:
    """Every event of the fit split as an example once an epoch, in windows of up to ``history_length`` events.

    A user with more events is cut at places drawn anew each epoch. The event before a cut is read again by the
    window after it, so that only first events are predicted from an empty history.
    """

    def __init__(self, interactions: Interactions, encoder: UserEncoder, config: TwoTowerConfig) -> None:
        self.interactions = interactions
        self.query_time = encoder.query_time
        self.history_length = config.history_length
        # A batch is at least one window.
        fewest_windows = int(-(-interactions.lengths // config.history_length).sum())
        self.n_batches = min(math.ceil(interactions.n_events / config.batch_size), fewest_windows)
        self.facts = encoder.fact_codes(np.arange(interactions.n_users))
        rating, time = interactions.rating, interactions.timestamp
        self.ratings = None if rating is None else rating_codes(rating)
        self.gaps = None if time is None else gap_codes(time, interactions.user_offsets)

    def __len__(self) -> int:
        return self.interactions.n_events

    def batches(self, shuffle: np.random.Generator) -> list[IntArray]:
        """Windows (n, 3) of each batch: user, first target, end of targets, counted from the user's first event.

        Batches hold windows of like length and nearly equal numbers of targets, and come in random order.
        """
        lengths = self.interactions.lengths
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
        windows = np.stack([user, start, stop], axis=1)[order]
        parts = np.split(windows, self._cuts(windows[:, 2] - windows[:, 1]))
        return [parts[number] for number in shuffle.permutation(self.n_batches)]

    def _cuts(self, n_targets: IntArray) -> IntArray:
        """Where to cut windows into ``n_batches`` parts, none empty, of nearly equal numbers of targets."""
        number = np.arange(1, self.n_batches)
        before = np.cumsum(n_targets) - n_targets
        cuts = np.searchsorted(before, number * len(self) / self.n_batches)
        cuts = np.maximum.accumulate(cuts - number) + number  # each after the one before
        return np.minimum(cuts, len(n_targets) - self.n_batches + number)

    def events(self, windows: IntArray) -> IntArray:
        """(P,) which event each target is."""
        user, start, stop = windows.T
        return ragged_positions(self.interactions.user_offsets[user] + start, stop - start)

    def batch(self, windows: IntArray) -> tuple[SequenceInputs, Tensor]:
        """Inputs and target items (P,) of the given windows."""
        user, start, stop = windows.T
        read_from = np.maximum(start - 1, 0)
        offset = self.interactions.user_offsets[user]
        length = int(max((stop - 1 - read_from).max(), 1))
        latest = LatestEvents.of(offset + read_from, offset + stop - 1, length)
        n_targets = stop - start
        row = row_of_each(offsets_from_lengths(n_targets))
        position = ragged_positions(start - read_from, n_targets)
        events = self.events(windows)
        inputs = _inputs(
            latest,
            self.interactions.item_idx,
            ratings=self.ratings,
            gaps=self.gaps,
            continued=read_from > 0,
            facts=self.facts[user],
            asked=row * (length + 1) + position,
            when=self._asked_at(events, first=events == offset[row]),
        )
        return inputs, torch.from_numpy(self.interactions.item_idx[events])

    def _asked_at(self, events: IntArray, first: BoolArray) -> IntArray | None:
        """(P, 2) codes of queries asked when each target happened, with the event before it as the latest read."""
        return None if self.query_time is None else self.query_time.of_events(self.interactions, events, first)


def _inputs(
    latest: LatestEvents,
    items: IntArray,
    *,
    ratings: IntArray | None,
    gaps: IntArray | None,
    continued: BoolArray,
    facts: IntArray,
    asked: IntArray,
    when: IntArray | None,
) -> SequenceInputs:
    """Tensors of the windows ``latest`` of flat items, rating codes and gap codes (L,)."""
    return SequenceInputs(
        history=torch.from_numpy(latest.take(items, -1)),
        continued=torch.from_numpy(continued.astype(np.int64)),
        facts=torch.from_numpy(facts),
        ratings=None if ratings is None else torch.from_numpy(latest.take(ratings, 0)),
        gaps=None if gaps is None else torch.from_numpy(latest.take(gaps, 0)),
        asked=torch.from_numpy(asked),
        when=None if when is None else torch.from_numpy(when),
    )
