"""Queries to a recommender: a batch of histories, each with a user and a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from reccore.arrays import BoolArray, FloatArray, IntArray, check_offsets, offsets_from_lengths, ragged_positions

UNKNOWN_TIME = -1
V = TypeVar("V", bound=np.generic)


@dataclass(frozen=True, eq=False)
class PaddedHistory:
    """The latest ``T`` events of each history, oldest first, padded on the right.

    Attributes:
        item_idx: (B, T) int64, -1 where padded.
        lengths: (B,) int64, number of valid slots.
        rating: (B, T) float32 or None, 0 where padded.
        time: (B, T) int64 Unix seconds or None, 0 where padded.
    """

    item_idx: IntArray
    lengths: IntArray
    rating: FloatArray | None = None
    time: IntArray | None = None

    @property
    def mask(self) -> BoolArray:
        """(B, T), True on valid slots."""
        return self.item_idx >= 0


@dataclass(frozen=True, eq=False)
class LatestEvents:
    """Positions in flat event arrays of the latest ``T`` events of B rows, oldest first, padded on the right.

    Attributes:
        at: (B, T) int64 positions in the flat arrays, 0 where padded.
        lengths: (B,) int64, number of valid slots.
    """

    at: IntArray
    lengths: IntArray

    @classmethod
    def of(cls, starts: IntArray, stops: IntArray, length: int) -> LatestEvents:
        """``[max(start, stop - length), stop)`` of every row, B·T work."""
        kept = np.minimum(stops - starts, length)
        slots = np.arange(length, dtype=np.int64)
        return cls(np.where(slots < kept[:, None], (stops - kept)[:, None] + slots, 0), kept)

    def take(self, values: npt.NDArray[V], fill: int) -> npt.NDArray[V]:
        """(B, T) of flat ``values`` (L,), ``fill`` where padded."""
        if len(values) == 0:
            return np.full(self.at.shape, fill, dtype=values.dtype)
        valid = np.arange(self.at.shape[1]) < self.lengths[:, None]
        return np.where(valid, values[self.at], np.asarray(fill, dtype=values.dtype))


def gather_latest(
    starts: IntArray,
    stops: IntArray,
    length: int,
    item_idx: IntArray,
    rating: FloatArray | None = None,
    time: IntArray | None = None,
) -> PaddedHistory:
    """Gather ``[max(start, stop - length), stop)`` of flat event arrays into padded rows, B·T work."""
    events = LatestEvents.of(starts, stops, length)
    return PaddedHistory(
        item_idx=events.take(item_idx, -1),
        lengths=events.lengths,
        rating=None if rating is None else events.take(rating, 0),
        time=None if time is None else events.take(time, 0),
    )


@dataclass(frozen=True, eq=False)
class QueryBatch:
    """B queries; the history travels with the query, so new users and fresh events need no retraining.

    Attributes:
        history_offsets: (B+1,) int64 CSR offsets into the history arrays.
        history_idx: (L,) int64 item indices, oldest first within a row; -1 for an unknown item.
        user_idx: (B,) int64, -1 for an unknown user; an additional input that a model may ignore.
        as_of: (B,) int64 Unix seconds of the query, or ``UNKNOWN_TIME``.
        history_rating: (L,) float32 or None.
        history_time: (L,) int64 Unix seconds or None.
    """

    history_offsets: IntArray
    history_idx: IntArray
    user_idx: IntArray
    as_of: IntArray
    history_rating: FloatArray | None = None
    history_time: IntArray | None = None

    def __post_init__(self) -> None:
        check_offsets("history_offsets", self.history_offsets, len(self.history_idx))
        for name in ("user_idx", "as_of"):
            if getattr(self, name).shape != (len(self),):
                raise ValueError(f"{name} must have shape ({len(self)},), got {getattr(self, name).shape}")
        for name in ("history_rating", "history_time"):
            values = getattr(self, name)
            if values is not None and values.shape != self.history_idx.shape:
                raise ValueError(
                    f"{name} must have the shape of history_idx {self.history_idx.shape}, got {values.shape}"
                )

    @classmethod
    def from_histories(
        cls,
        histories: Sequence[Sequence[int]],
        *,
        ratings: Sequence[Sequence[float]] | None = None,
        times: Sequence[Sequence[int]] | None = None,
        user_idx: npt.ArrayLike | None = None,
        as_of: npt.ArrayLike | None = None,
    ) -> QueryBatch:
        """Queries from lists.

        Args:
            histories: B lists of item indices, oldest first; -1 = unknown item.
            ratings: rating of each event.
            times: Unix seconds of each event.
            user_idx: (B,); by default unknown.
            as_of: (B,) Unix seconds; by default the time of each history's last event, if ``times`` are given.

        Raises:
            ValueError: ratings or times whose lengths differ from those of the histories.
        """
        lengths = np.array([len(history) for history in histories], dtype=np.int64)
        for name, rows in (("ratings", ratings), ("times", times)):
            if rows is not None and [len(row) for row in rows] != lengths.tolist():
                raise ValueError(f"{name} must have as many values as the histories have events, {lengths.tolist()}")
        offsets, n = offsets_from_lengths(lengths), len(lengths)
        time = None if times is None else _flat(times, np.int64)
        if as_of is None:
            as_of = np.full(n, UNKNOWN_TIME, np.int64)
            if time is not None:
                as_of[lengths > 0] = time[offsets[1:][lengths > 0] - 1]
        return cls(
            history_offsets=offsets,
            history_idx=_flat(histories, np.int64),
            user_idx=np.full(n, -1, np.int64) if user_idx is None else np.asarray(user_idx, dtype=np.int64),
            as_of=np.asarray(as_of, dtype=np.int64),
            history_rating=None if ratings is None else _flat(ratings, np.float32),
            history_time=time,
        )

    def __len__(self) -> int:
        return len(self.history_offsets) - 1

    @cached_property
    def lengths(self) -> IntArray:
        """(B,) length of each history."""
        return np.diff(self.history_offsets)

    def padded(self, length: int) -> PaddedHistory:
        """The latest ``length`` events of every history, oldest first, right-padded."""
        return gather_latest(
            self.history_offsets[:-1],
            self.history_offsets[1:],
            length,
            self.history_idx,
            self.history_rating,
            self.history_time,
        )

    def latest_positions(self, n: int) -> IntArray:
        """(B, n) positions in the history arrays of the latest ``n`` events of each history, the last one first.

        -1 where a history has no such event: the place of a value for that, appended to an array of the events.
        """
        ago = np.arange(n)
        at: IntArray = np.where(ago < self.lengths[:, None], self.history_offsets[1:, None] - 1 - ago, -1)
        return at

    def select(self, rows: npt.ArrayLike | slice) -> QueryBatch:
        """The given rows as a new batch; a contiguous slice shares memory.

        ``rows`` are row numbers, a boolean mask (B,) or a slice, as in NumPy.
        """
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._contiguous(start, max(start, stop))
            rows = np.arange(start, stop, step)
        chosen = np.arange(len(self), dtype=np.int64)[np.asarray(rows)] if np.size(rows) else np.empty(0, np.int64)
        lengths = self.lengths[chosen]
        return self._gathered(
            offsets_from_lengths(lengths), ragged_positions(self.history_offsets[chosen], lengths), chosen
        )

    def latest(self, n: int | IntArray) -> QueryBatch:
        """The same queries with the latest ``n`` events of each history alone; ``n`` is one number or (B,)."""
        if len(self) == 1:
            stop = len(self.history_idx)
            start = max(stop - int(np.max(n)), 0)
            return self if start == 0 else self._part(slice(start, stop), np.array([0, stop - start], dtype=np.int64))
        kept = np.minimum(self.lengths, n)
        return self._gathered(
            offsets_from_lengths(kept), ragged_positions(self.history_offsets[1:] - kept, kept), slice(None)
        )

    def known_items_only(self, n_items: int) -> QueryBatch:
        """The same queries without history items outside ``0 … n_items-1``."""
        lowest, highest = self._item_range
        if lowest >= 0 and highest < n_items:
            return self
        known = (self.history_idx >= 0) & (self.history_idx < n_items)
        running = offsets_from_lengths(known)
        return self._gathered(running[self.history_offsets], np.flatnonzero(known), slice(None))

    @cached_property
    def _item_range(self) -> tuple[int, int]:
        """Lowest and highest item index of all histories; 0 and -1 without events."""
        if len(self.history_idx) == 0:
            return 0, -1
        return int(self.history_idx.min()), int(self.history_idx.max())

    def _contiguous(self, start: int, stop: int) -> QueryBatch:
        low, high = self.history_offsets[start], self.history_offsets[stop]
        return QueryBatch(
            history_offsets=self.history_offsets[start : stop + 1] - low,
            history_idx=self.history_idx[low:high],
            user_idx=self.user_idx[start:stop],
            as_of=self.as_of[start:stop],
            history_rating=None if self.history_rating is None else self.history_rating[low:high],
            history_time=None if self.history_time is None else self.history_time[low:high],
        )

    def _part(self, events: slice, offsets: IntArray) -> QueryBatch:
        """The same queries with these events alone, sharing memory."""
        return QueryBatch(
            history_offsets=offsets,
            history_idx=self.history_idx[events],
            user_idx=self.user_idx,
            as_of=self.as_of,
            history_rating=None if self.history_rating is None else self.history_rating[events],
            history_time=None if self.history_time is None else self.history_time[events],
        )

    def _gathered(self, offsets: IntArray, at: IntArray, rows: Any) -> QueryBatch:
        return replace(
            self,
            history_offsets=offsets,
            history_idx=self.history_idx[at],
            user_idx=self.user_idx[rows],
            as_of=self.as_of[rows],
            history_rating=None if self.history_rating is None else self.history_rating[at],
            history_time=None if self.history_time is None else self.history_time[at],
        )


def joined_queries(batches: Sequence[QueryBatch]) -> QueryBatch:
    """At least one batch, all with the same columns, as one batch."""
    ratings = [batch.history_rating for batch in batches if batch.history_rating is not None]
    times = [batch.history_time for batch in batches if batch.history_time is not None]
    return QueryBatch(
        history_offsets=offsets_from_lengths(np.concatenate([batch.lengths for batch in batches])),
        history_idx=np.concatenate([batch.history_idx for batch in batches]),
        user_idx=np.concatenate([batch.user_idx for batch in batches]),
        as_of=np.concatenate([batch.as_of for batch in batches]),
        history_rating=np.concatenate(ratings) if ratings else None,
        history_time=np.concatenate(times) if times else None,
    )


def _flat(rows: Sequence[Sequence[Any]], dtype: type[V]) -> npt.NDArray[V]:
    """All rows one after another."""
    return np.concatenate([np.empty(0, dtype), *(np.asarray(row, dtype=dtype) for row in rows)])
