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
from reccore.arrays import FloatArray, IntArray, offsets_from_lengths, ragged_positions, row_of_each
from reccore.queries import PaddedHistory, gather_latest

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
    history = gather_latest(
        queries.history_offsets[:-1],
        queries.history_offsets[1:],
        length,
        queries.history_idx,
        None if ratings is None else rating_codes(ratings),  # type: ignore[arg-type]
        None if times is None else gap_codes(times, queries.history_offsets),
    )
    rows = np.arange(len(queries))
    return _inputs(
        history,
        continued=queries.lengths > length,
        facts=encoder.fact_codes(queries.user_idx),
        asked=rows * (length + 1) + history.lengths,
    )


class WindowExamples:
    """Every event of the fit split as an example once an epoch, in windows of up to ``history_length`` events.

    A user with more events is cut at places drawn anew each epoch. The event before a cut is read again by the
    window after it, so that only first events are predicted from an empty history.
    """

    def __init__(self, interactions: Interactions, encoder: UserEncoder, config: TwoTowerConfig) -> None:
        self.interactions = interactions
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
        history = gather_latest(
            offset + read_from,
            offset + stop - 1,
            length,
            self.interactions.item_idx,
            self.ratings,  # type: ignore[arg-type]
            self.gaps,
        )
        n_targets = stop - start
        row = row_of_each(offsets_from_lengths(n_targets))
        position = ragged_positions(start - read_from, n_targets)
        inputs = _inputs(
            history,
            continued=read_from > 0,
            facts=self.facts[user],
            asked=row * (length + 1) + position,
        )
        return inputs, torch.from_numpy(self.interactions.item_idx[self.events(windows)])


def _inputs(history: PaddedHistory, *, continued: np.ndarray, facts: IntArray, asked: IntArray) -> SequenceInputs:
    return SequenceInputs(
        history=torch.from_numpy(history.item_idx),
        continued=torch.from_numpy(continued.astype(np.int64)),
        facts=torch.from_numpy(facts),
        ratings=None if history.rating is None else torch.from_numpy(history.rating),
        gaps=None if history.time is None else torch.from_numpy(history.time),
        asked=torch.from_numpy(asked),
    )
