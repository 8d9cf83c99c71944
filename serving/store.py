"""The store of live events: what users did since the model was built."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from reccore import RawId
from serving.errors import StoreError


class LiveEvent(msgspec.Struct, frozen=True):
    """One event of one user.

    Attributes:
        event_id: that cannot be guessed.
        movie_id: raw id.
        rating: None of a film that was only watched.
        time: Unix seconds.
    """

    event_id: str
    movie_id: RawId
    rating: float | None
    time: int


@dataclass(frozen=True)
class Stored:
    """An event that is stored.

    Attributes:
        event: as it was stored first.
        applied: False if its idempotency key was known before.
        undone: True if it was taken back since; the key does not bring it back.
    """

    event: LiveEvent
    applied: bool
    undone: bool = False


class EventStore(Protocol):
    """Keeps events by user. All methods are safe for several threads and processes, and raise ``StoreError``."""

    name: str

    def append(self, user: RawId, event: LiveEvent, key: str | None) -> Stored:
        """Store an event; when this returns, it survives the end of the process.

        Args:
            user: raw id.
            event: with a new ``event_id``.
            key: of the client; the event of an earlier call of the same user with this key is returned instead.
        """
        ...

    def undo(self, event_id: str) -> bool:
        """Take an event back; False if there never was one of this id. Repeating it changes nothing."""
        ...

    def events(self, user: RawId) -> Sequence[LiveEvent]:
        """Events of a user without those taken back, in the order of their arrival."""
        ...

    def ping(self) -> None:
        """Return if the store can be used."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...


class GuardedStore:
    """A store that is left alone for a while after it failed, so that no request waits for a store that is down.

    Args:
        store: to call.
        pause: seconds.
    """

    def __init__(self, store: EventStore, pause: float) -> None:
        self._store, self._pause, self._closed_until = store, pause, 0.0
        self.name = store.name

    def append(self, user: RawId, event: LiveEvent, key: str | None) -> Stored:
        self._check()
        try:
            return self._store.append(user, event, key)
        except StoreError:
            self._note()
            raise

    def undo(self, event_id: str) -> bool:
        self._check()
        try:
            return self._store.undo(event_id)
        except StoreError:
            self._note()
            raise

    def events(self, user: RawId) -> Sequence[LiveEvent]:
        self._check()
        try:
            return self._store.events(user)
        except StoreError:
            self._note()
            raise

    def ping(self) -> None:
        self._store.ping()
        self._closed_until = 0.0

    def close(self) -> None:
        self._store.close()

    def _check(self) -> None:
        if time.monotonic() < self._closed_until:
            raise StoreError(f"the {self.name} store failed a moment ago and is not called again yet")

    def _note(self) -> None:
        self._closed_until = time.monotonic() + self._pause


def user_key(user: RawId) -> str:
    """The text that a user is stored under: the number 12 and the text "12" are the same id."""
    return str(user)
