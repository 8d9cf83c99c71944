"""Events of all users, in sorted columns, so that a history is a slice without a copy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reccore.arrays import FloatArray, IntArray, check_offsets, offsets_from_lengths, ragged_positions, row_of_each
from reccore.errors import DataError
from reccore.queries import UNKNOWN_TIME, PaddedHistory, QueryBatch, gather_latest

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, eq=False)
class Interactions:
    """Events sorted by (user, time, tie order) with CSR offsets per user.

    Attributes:
        user_offsets: (U+1,) int64; the events of user ``u`` lie at ``user_offsets[u]:user_offsets[u+1]``.
        item_idx: (E,) int64, oldest event first within a user.
        n_items: size of the catalogue, at least ``item_idx.max() + 1``.
        rating: (E,) float32 or None.
        timestamp: (E,) int64 Unix seconds, not decreasing within a user, or None.
    """

    user_offsets: IntArray
    item_idx: IntArray
    n_items: int
    rating: FloatArray | None = None
    timestamp: IntArray | None = None

    def __post_init__(self) -> None:
        check_offsets("user_offsets", self.user_offsets, len(self.item_idx))
        for name in ("rating", "timestamp"):
            values = getattr(self, name)
            if values is not None and values.shape != self.item_idx.shape:
                raise ValueError(f"{name} must have the shape of item_idx {self.item_idx.shape}, got {values.shape}")
        if len(self.item_idx) and (self.item_idx.min() < 0 or self.item_idx.max() >= self.n_items):
            raise ValueError(f"item_idx must lie in 0…{self.n_items - 1}")

    @classmethod
    def from_events(
        cls,
        user_idx: IntArray,
        item_idx: IntArray,
        *,
        n_users: int,
        n_items: int,
        rating: FloatArray | None = None,
        timestamp: IntArray | None = None,
    ) -> Interactions:
        """Sort unsorted events by (user, time); equal times, and events without times, keep their order.

        Raises:
            ValueError: an index outside ``0 … n_users-1`` or ``0 … n_items-1``, or columns of unequal length.
        """
        if len(user_idx) and (user_idx.min() < 0 or user_idx.max() >= n_users):
            raise ValueError(f"user_idx must lie in 0…{n_users - 1}")
        keys = (user_idx,) if timestamp is None else (timestamp, user_idx)
        order = np.lexsort(keys)
        return cls(
            user_offsets=offsets_from_lengths(np.bincount(user_idx, minlength=n_users)),
            item_idx=item_idx[order],
            n_items=n_items,
            rating=None if rating is None else rating[order],
            timestamp=None if timestamp is None else timestamp[order],
        )

    @property
    def n_users(self) -> int:
        return len(self.user_offsets) - 1

    @property
    def n_events(self) -> int:
        return len(self.item_idx)

    @cached_property
    def lengths(self) -> IntArray:
        """(U,) number of events of each user."""
        return np.diff(self.user_offsets)

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of all columns; equal for equal events only."""
        digest = hashlib.sha256(str(self.n_items).encode())
        for name in ("user_offsets", "item_idx", "rating", "timestamp"):
            values = getattr(self, name)
            digest.update(name.encode())
            if values is not None:
                digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    @property
    def user_idx(self) -> IntArray:
        """(E,) user of every event."""
        return row_of_each(self.user_offsets)

    def history(self, user: int) -> IntArray:
        """Item indices of one user, oldest first: a view."""
        return self.item_idx[self.user_offsets[user] : self.user_offsets[user + 1]]

    def item_counts(self) -> IntArray:
        """(n_items,) number of events of each item."""
        return np.bincount(self.item_idx, minlength=self.n_items)

    def first(self, kept: IntArray) -> Interactions:
        """Only the first ``kept[u]`` events of every user."""
        return self.between(np.zeros(self.n_users, dtype=np.int64), kept)

    def latest(self, cap: int) -> Interactions:
        """Only the latest ``cap`` events of every user."""
        return self.between(np.maximum(self.lengths - cap, 0), self.lengths)

    def between(self, start: IntArray, stop: IntArray) -> Interactions:
        """Events ``start[u] … stop[u]-1`` of every user, counted from the user's first."""
        start = np.maximum(start, 0)
        lengths = np.maximum(np.minimum(stop, self.lengths) - start, 0)
        at = ragged_positions(self.user_offsets[:-1] + start, lengths)
        return Interactions(
            user_offsets=offsets_from_lengths(lengths),
            item_idx=self.item_idx[at],
            n_items=self.n_items,
            rating=None if self.rating is None else self.rating[at],
            timestamp=None if self.timestamp is None else self.timestamp[at],
        )

    def resized(self, n_users: int, n_items: int) -> Interactions:
        """The same events among more users, who have none, and more items.

        Raises:
            ValueError: fewer users or items than there are.
        """
        if n_users < self.n_users or n_items < self.n_items:
            raise ValueError(f"{self.n_users} users and {self.n_items} items do not fit in {n_users} and {n_items}")
        offsets = np.pad(self.user_offsets, (0, n_users - self.n_users), mode="edge")
        return Interactions(offsets, self.item_idx, n_items, self.rating, self.timestamp)

    def to_csr(self, values: npt.NDArray[Any] | None = None) -> csr_matrix:
        """Users by items. ``values`` (E,) default to one; repeated events of a pair are summed."""
        from scipy.sparse import csr_matrix

        data = np.ones(self.n_events, dtype=np.float32) if values is None else values
        # A copy, because summing duplicates sorts the matrix's arrays in place.
        matrix = csr_matrix((data, self.item_idx, self.user_offsets), shape=(self.n_users, self.n_items), copy=True)
        matrix.sum_duplicates()
        return matrix

    def queries(self, users: IntArray | None = None, stops: IntArray | None = None) -> QueryBatch:
        """One query per user with the user's history; by default all users and whole histories, without a copy.

        Args:
            users: (B,) users, repeats allowed.
            stops: (B,) history length of each query; by default the whole history.

        ``as_of`` is the time of the last event in the history.

        Raises:
            ValueError: a stop outside 0 … the number of events of its user.
        """
        if users is None and stops is None:
            at: Any = slice(None)
            offsets = self.user_offsets
            users = np.arange(self.n_users, dtype=np.int64)
        else:
            users = np.arange(self.n_users, dtype=np.int64) if users is None else users
            lengths = self.lengths[users] if stops is None else self._checked_stops(users, stops)
            offsets = offsets_from_lengths(lengths)
            at = ragged_positions(self.user_offsets[users], lengths)
        time = None if self.timestamp is None else self.timestamp[at]
        as_of = np.full(len(users), UNKNOWN_TIME, dtype=np.int64)
        if time is not None:
            has_events = np.diff(offsets) > 0
            as_of[has_events] = time[offsets[1:][has_events] - 1]
        return QueryBatch(
            history_offsets=offsets,
            history_idx=self.item_idx[at],
            user_idx=users,
            as_of=as_of,
            history_rating=None if self.rating is None else self.rating[at],
            history_time=time,
        )

    def padded_prefixes(self, users: IntArray, stops: IntArray, length: int) -> PaddedHistory:
        """The latest ``length`` events before the ``stops``-th of each user, as for a training batch.

        Raises:
            ValueError: a stop outside 0 … the number of events of its user.
        """
        starts = self.user_offsets[users]
        stops = starts + self._checked_stops(users, stops)
        return gather_latest(starts, stops, length, self.item_idx, self.rating, self.timestamp)

    def _checked_stops(self, users: IntArray, stops: IntArray) -> IntArray:
        """``stops``, checked to stay within the events of their users."""
        if np.any(stops < 0) or np.any(stops > self.lengths[users]):
            raise ValueError("stops must lie between 0 and the number of events of their user")
        return stops

    def save(self, folder: Path) -> None:
        """Write two uncompressed Arrow files into ``folder`` that ``load`` can map into memory."""
        import pyarrow as pa
        from pyarrow import feather

        events = {"item_idx": self.item_idx, "rating": self.rating, "timestamp": self.timestamp}
        table = pa.table({name: pa.array(values) for name, values in events.items() if values is not None})
        table = table.replace_schema_metadata({"n_items": str(self.n_items)})
        # One record batch, so that every column is one contiguous buffer of the mapped file.
        chunk = max(self.n_events, 1)
        feather.write_feather(table, str(folder / "events.arrow"), compression="uncompressed", chunksize=chunk)
        offsets = pa.table({"user_offsets": pa.array(self.user_offsets)})
        feather.write_feather(
            offsets, str(folder / "offsets.arrow"), compression="uncompressed", chunksize=len(self.user_offsets)
        )

    @classmethod
    def load(cls, folder: Path, users: tuple[int, int] | None = None) -> Interactions:
        """Memory-map what ``save`` wrote.

        Args:
            folder: of the two files.
            users: only the users from the first number on up to, without, the second; they are counted from 0 then.
        """
        import pyarrow as pa
        from pyarrow import feather

        try:
            table = feather.read_table(str(folder / "events.arrow"), memory_map=True)
            offsets = feather.read_table(str(folder / "offsets.arrow"), memory_map=True)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"cannot read interactions in {folder}: {error}") from error

        user_offsets, rows = _mapped(offsets, "user_offsets"), slice(None)
        if users is not None:
            user_offsets = user_offsets[users[0] : users[1] + 1]
            rows = slice(int(user_offsets[0]), int(user_offsets[-1]))
            user_offsets = user_offsets - user_offsets[0]
        return cls(
            user_offsets=user_offsets,
            item_idx=_mapped(table, "item_idx")[rows],
            n_items=int(table.schema.metadata[b"n_items"]),
            rating=_mapped(table, "rating")[rows] if "rating" in table.column_names else None,
            timestamp=_mapped(table, "timestamp")[rows] if "timestamp" in table.column_names else None,
        )


def _mapped(table: Any, name: str) -> npt.NDArray[Any]:
    """A column without nulls as a view of the mapped file; ``to_numpy`` of Arrow would import pandas."""
    column = table[name]
    kind = column.type.to_pandas_dtype()
    if len(column) == 0:
        return np.empty(0, dtype=kind)
    values: npt.NDArray[Any] = np.frombuffer(column.chunk(0).buffers()[1], dtype=kind, count=len(column))
    return values
