"""Live events in an SQLite file: the default store, for one machine and any number of processes on it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reccore import RawId
from serving.errors import StoreError
from serving.store import LiveEvent, Stored, user_key

BUSY_SECONDS = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL,
    movie NOT NULL,
    rating REAL,
    time INTEGER NOT NULL,
    key TEXT,
    undone INTEGER NOT NULL DEFAULT 0,
    UNIQUE (user, key)
);
CREATE INDEX IF NOT EXISTS events_of_user ON events (user, sequence) WHERE undone = 0;
"""
_COLUMNS = "event_id, movie, rating, time"


class SqliteStore:
    """One table of events. With a write-ahead log readers never wait, and ``synchronous=FULL`` syncs every commit.

    Every thread has a connection of its own. A writer waits up to ``BUSY_SECONDS`` for another one.

    Args:
        path: file, made with its folder if it is missing.

    Raises:
        StoreError: the file cannot be opened, or is none of this store.
    """

    name = "sqlite"

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        with self._failures():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection().executescript(_SCHEMA)

    def append(self, user: RawId, event: LiveEvent, key: str | None) -> Stored:
        values = (event.event_id, user_key(user), event.movie_id, event.rating, event.time, key)
        insert = "INSERT INTO events (event_id, user, movie, rating, time, key) VALUES (?, ?, ?, ?, ?, ?)"
        with self._failures(), self._transaction() as connection:
            applied = connection.execute(f"{insert} ON CONFLICT (user, key) DO NOTHING", values).rowcount == 1
            if applied:
                return Stored(event, applied)
            *known, undone = connection.execute(
                f"SELECT {_COLUMNS}, undone FROM events WHERE user = ? AND key = ?", (user_key(user), key)
            ).fetchone()
            return Stored(LiveEvent(*known), applied, bool(undone))

    def undo(self, event_id: str) -> bool:
        with self._failures(), self._transaction() as connection:
            return connection.execute("UPDATE events SET undone = 1 WHERE event_id = ?", (event_id,)).rowcount == 1

    def events(self, user: RawId) -> list[LiveEvent]:
        query = f"SELECT {_COLUMNS} FROM events WHERE user = ? AND undone = 0 ORDER BY sequence"
        with self._failures():
            return [LiveEvent(*row) for row in self._connection().execute(query, (user_key(user),))]

    def ping(self) -> None:
        with self._failures():
            self._connection().execute("SELECT 1 FROM events LIMIT 1").fetchone()

    def close(self) -> None:
        with self._lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()
        self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        """The connection of this thread."""
        known: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if known is not None:
            return known
        # isolation_level=None: transactions begin where the code says so.
        made = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("PRAGMA synchronous=FULL")
        with self._lock:
            self._opened.append(made)
        self._local.connection = made
        return made

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that takes the write lock at once, so that no two writers read the same state."""
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Errors of SQLite and of the file system as ``StoreError``."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the store of live events at {self._path} failed: {error}") from error
