"""Histories of users as they are now: those that the model was built with, and the live events after them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np

from pipeline.history import FrozenHistoryStore, encode_ids
from reccore import QueryBatch, RawId, Vocabulary
from reccore.arrays import IntArray
from reccore.queries import UNKNOWN_TIME, joined_queries
from serving.errors import StoreError, UnknownUserError
from serving.store import EventStore, LiveEvent


@dataclass
class Reading:
    """Whether the store failed while histories were read."""

    failed: bool = False


_reading: ContextVar[Reading | None] = ContextVar("reading", default=None)


@contextmanager
def tolerant_reading() -> Iterator[Reading]:
    """A block in which a failing store sets ``failed``, and known users have the history of the model."""
    reading = Reading()
    token = _reading.set(reading)
    try:
        yield reading
    finally:
        _reading.reset(token)


@dataclass(frozen=True)
class UserHistory:
    """The history of one user.

    Attributes:
        query: a batch of one.
        event_ids: (n,) of the live events, None of the others; in the order of the query.
    """

    query: QueryBatch
    event_ids: tuple[str | None, ...]


class LiveHistories:
    """A ``HistoryStore`` of frozen histories and live events.

    An event for a film takes the place of every earlier one of it, also of one in the frozen history; when it is taken
    back, the earlier one is there again. Events stand in the order of their times. Users unknown to the model have the
    history that their events make.

    Args:
        frozen: histories of the model.
        store: of live events.
    """

    def __init__(self, frozen: FrozenHistoryStore, store: EventStore) -> None:
        self.frozen, self.store = frozen, store

    @property
    def vocabulary(self) -> Vocabulary:
        return self.frozen.vocabulary

    def history(self, users: Sequence[RawId]) -> QueryBatch:
        """One query per user, see ``pipeline.history.HistoryStore``.

        Raises:
            UnknownUserError: a user who is unknown to the model and has no live events.
            DataError: text where ids of users are whole numbers.
            StoreError: the store failed, outside ``tolerant_reading`` or for a user whom the model does not know.
        """
        queries = [self.of(user).query for user in users]
        return queries[0] if len(queries) == 1 else joined_queries(queries)

    def of(self, user: RawId) -> UserHistory:
        """The history of one user; errors are those of ``history``."""
        idx = encode_ids("user", [user], self.vocabulary.users)
        events = self._events(user, is_known=bool(idx[0] >= 0))
        if idx[0] < 0 and not events:
            raise UnknownUserError(f"user {user} is not known here and has no events; give a history instead")
        stored = self.frozen.interactions.queries(idx) if idx[0] >= 0 else self._nothing()
        if not events:
            return UserHistory(stored, (None,) * len(stored.history_idx))
        return self._joined_with(stored, events)

    def _events(self, user: RawId, *, is_known: bool) -> Sequence[LiveEvent]:
        reading = _reading.get()
        try:
            return self.store.events(user)
        except StoreError:
            if reading is None or not is_known:
                raise
            reading.failed = True
            return ()

    def _nothing(self) -> QueryBatch:
        """A query of an unknown user without events, with the columns that the frozen histories have."""
        events, none = self.frozen.interactions, np.full(1, -1, dtype=np.int64)
        return QueryBatch(
            history_offsets=np.zeros(2, dtype=np.int64),
            history_idx=np.empty(0, dtype=np.int64),
            user_idx=none,
            as_of=np.full(1, UNKNOWN_TIME, dtype=np.int64),
            history_rating=None if events.rating is None else np.empty(0, dtype=np.float32),
            history_time=None if events.timestamp is None else np.empty(0, dtype=np.int64),
        )

    def _joined_with(self, stored: QueryBatch, events: Sequence[LiveEvent]) -> UserHistory:
        """The stored query with live events in it, at their times if the data have times, else after it."""
        last_of_film = {event.movie_id: event for event in events}  # of several, the one that arrived last
        live = list(last_of_film.values())
        idx = self.vocabulary.items.encode(np.array([event.movie_id for event in live], dtype=object))
        live, idx = [event for event, item in zip(live, idx, strict=True) if item >= 0], idx[idx >= 0]
        kept = np.flatnonzero(~np.isin(stored.history_idx, idx))
        item_idx = np.concatenate([stored.history_idx[kept], idx])
        order = np.arange(len(item_idx))
        rating, time, as_of = stored.history_rating, stored.history_time, stored.as_of
        if time is not None:
            time = np.concatenate([time[kept], np.array([event.time for event in live], dtype=np.int64)])
            order = np.argsort(time, kind="stable")
            time = time[order]
            as_of = time[-1:] if len(time) else as_of
        if rating is not None:
            given = [np.nan if event.rating is None else event.rating for event in live]
            rating = np.concatenate([rating[kept], np.array(given, dtype=np.float32)])[order]
        ids: list[str | None] = [*([None] * len(kept)), *(event.event_id for event in live)]
        query = QueryBatch(_offsets(len(item_idx)), item_idx[order], stored.user_idx, as_of, rating, time)
        return UserHistory(query, tuple(ids[at] for at in order.tolist()))


def _offsets(n: int) -> IntArray:
    return np.array([0, n], dtype=np.int64)
