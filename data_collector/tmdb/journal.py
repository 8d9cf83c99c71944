"""The journal of a crawl: what was asked of TMDb, what came of it, and where its bytes lie.

A SQLite file beside the shards. Bytes of a shard count only once the journal says so, and it says so in one
transaction with what they are. So a killed crawl leaves no half record behind: only bytes that nobody vouches for.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from reccore.errors import DataError, NotReadyError

FILE = "journal.sqlite"
FORMAT_VERSION = 1
COMMAND = "PYTHONPATH=. python scripts/data_collector/run_batch_crawl.py"

Status: TypeAlias = Literal["done", "absent", "failed"]

_SCHEMA = """
CREATE TABLE movies (
    tmdb_id  INTEGER NOT NULL,
    language TEXT NOT NULL,
    status   TEXT NOT NULL CHECK (status IN ('done', 'absent', 'failed')),
    attempts INTEGER NOT NULL,  -- requests made for it, over all runs
    checked  REAL NOT NULL,     -- Unix seconds of the last answer, "it still holds" included
    fetched  REAL,              -- Unix seconds at which the document came
    shard    INTEGER,           -- where the document lies; NULL without one
    offset   INTEGER,
    length   INTEGER,
    etag     TEXT,
    poster   TEXT,              -- the document's poster_path
    error    TEXT,              -- why it failed
    PRIMARY KEY (tmdb_id, language),
    CHECK ((shard IS NULL) = (offset IS NULL) AND (shard IS NULL) = (length IS NULL))
) WITHOUT ROWID;
CREATE TABLE shards (shard INTEGER PRIMARY KEY, length INTEGER NOT NULL);
CREATE TABLE unlinked (movie_id INTEGER PRIMARY KEY);
CREATE TABLE posters (
    path     TEXT NOT NULL,
    size     TEXT NOT NULL,
    status   TEXT NOT NULL CHECK (status IN ('done', 'absent', 'failed')),
    attempts INTEGER NOT NULL,
    checked  REAL NOT NULL,
    error    TEXT,
    PRIMARY KEY (path, size)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Place:
    """Where a record lies: bytes ``offset`` to ``offset + length`` of a shard."""

    shard: int
    offset: int
    length: int


@dataclass(frozen=True)
class Movie:
    """What is known of one movie in one language.

    Attributes:
        tmdb_id: TMDb's id.
        language: as asked for, such as ``en-US``.
        status: ``done``; ``absent`` where TMDb has no such movie; ``failed`` where no attempt brought a document.
        attempts: requests made for it, over all runs.
        checked: Unix seconds of the last answer.
        fetched: Unix seconds at which the document came; None without one.
        place: where the document lies. A movie that failed to be refreshed keeps its old one.
        etag: what the server called this version of the document.
        poster: path of the poster's image at TMDb.
        error: why it failed.
    """

    tmdb_id: int
    language: str
    status: Status
    attempts: int
    checked: float
    fetched: float | None = None
    place: Place | None = None
    etag: str | None = None
    poster: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Poster:
    """What came of asking for one image in one size; fields as of ``Movie``."""

    path: str
    size: str
    status: Status
    attempts: int
    checked: float
    error: str | None = None


def now() -> float:
    """The time as the journal has it: Unix seconds, to the millisecond."""
    return round(time.time(), 3)


class Journal:
    """The journal of one folder, open for writing. One thread at a time may use it."""

    def __init__(self, folder: Path) -> None:
        """Open the journal, or make it.

        Raises:
            DataError: it is damaged, of another version, missing beside shards, or the disk refused.
        """
        self.path = folder / FILE
        if not self.path.exists() and any(shard.stat().st_size for shard in folder.glob("movies-*.jsonl.gz")):
            raise DataError(
                f"{folder} holds shards but no {FILE}, which says what is in them; put it back, or move the shards away"
            )
        with _readable_errors(self.path):
            self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
            # Readers see the last commit while the crawl writes the next one. NORMAL: after a power cut the last
            # commits may be missing, never half there; what they named is then fetched again.
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            if not _version(self._connection):
                self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={FORMAT_VERSION}; COMMIT;")
            _check_version(self._connection, self.path)

    def close(self) -> None:
        self._connection.close()

    def commit(
        self, *, movies: Iterable[Movie] = (), posters: Iterable[Poster] = (), lengths: Mapping[int, int] | None = None
    ) -> None:
        """Write down results, and how much of each shard counts now, all or nothing.

        Raises:
            DataError: the disk refused; nothing of it is written.
        """
        with self._transaction() as run:
            run.executemany(
                "INSERT OR REPLACE INTO movies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_movie_row, movies)
            )
            run.executemany(
                "INSERT OR REPLACE INTO posters VALUES (?, ?, ?, ?, ?, ?)",
                ((p.path, p.size, p.status, p.attempts, p.checked, p.error) for p in posters),
            )
            run.executemany("INSERT OR REPLACE INTO shards VALUES (?, ?)", (lengths or {}).items())

    def set_unlinked(self, movie_ids: Iterable[int]) -> None:
        """Write down which movies of the data set have no tmdbId, in place of what was written before."""
        with self._transaction() as run:
            run.execute("DELETE FROM unlinked")
            run.executemany("INSERT INTO unlinked VALUES (?)", ((movie,) for movie in movie_ids))

    def unlinked(self) -> list[int]:
        """The movieIds without a tmdbId."""
        with _readable_errors(self.path):
            return [movie for (movie,) in self._connection.execute("SELECT movie_id FROM unlinked ORDER BY movie_id")]

    def movies(self, language: str) -> dict[int, Movie]:
        """All that is known of movies in a language. A movie that TMDb lacks is absent in every language."""
        with _readable_errors(self.path):
            rows = self._connection.execute(
                "SELECT * FROM movies WHERE language = ? OR status = 'absent' ORDER BY language = ?",
                (language, language),
            )
            return {row[0]: _movie(row) for row in rows}

    def posters(self, size: str) -> dict[str, Poster]:
        """All that is known of posters in a size, by path."""
        with _readable_errors(self.path):
            return {
                row[0]: Poster(*row)
                for row in self._connection.execute("SELECT * FROM posters WHERE size = ?", (size,))
            }

    def lengths(self) -> dict[int, int]:
        """How many bytes of each shard count."""
        with _readable_errors(self.path):
            return dict(self._connection.execute("SELECT shard, length FROM shards"))

    def shorten(self, shard: int, size: int) -> tuple[int, int]:
        """Drop the documents of a shard that has only ``size`` bytes left, as far as they are lost.

        Returns:
            How many bytes of it count now, and how many documents were dropped, which will be fetched again.
        """
        with self._transaction() as run:
            lost = run.execute("DELETE FROM movies WHERE shard = ? AND offset + length > ?", (shard, size)).rowcount
            kept = run.execute("SELECT max(offset + length) FROM movies WHERE shard = ?", (shard,)).fetchone()[0] or 0
            run.execute("UPDATE shards SET length = ? WHERE shard = ?", (kept, shard))
        return kept, lost

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _readable_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


@dataclass(frozen=True)
class Vouched:
    """A document that the journal vouches for."""

    tmdb_id: int
    language: str
    fetched: float
    place: Place


def vouched_documents(folder: Path) -> list[Vouched]:
    """The documents of a crawl, by shard and offset, as of the last commit. A crawl may be going on.

    Raises:
        NotReadyError: there was no crawl.
        DataError: the journal is damaged or of another version.
    """
    path = folder / FILE
    if not path.exists():
        raise NotReadyError(f"documents of TMDb not found in {folder}; run first: {COMMAND}")
    with _readable_errors(path), closing(_open_to_read(path)) as connection:
        _check_version(connection, path)
        rows = connection.execute(
            "SELECT tmdb_id, language, fetched, shard, offset, length FROM movies WHERE shard IS NOT NULL "
            "ORDER BY shard, offset"
        )
        return [Vouched(movie, language, fetched, Place(*place)) for movie, language, fetched, *place in rows]


def _open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing, on a read-only disk too."""
    uri = path.resolve().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=30)
    try:
        _version(connection)
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(f"{FILE}-wal").exists():
            raise
        # Nobody is writing, and SQLite may not make the file by which it would notice a writer.
        return sqlite3.connect(f"{uri}?immutable=1", uri=True)
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    if (found := _version(connection)) != FORMAT_VERSION:
        raise DataError(
            f"{path} has format {found}, this program knows {FORMAT_VERSION}; move its folder away and crawl anew"
        )


def _movie_row(movie: Movie) -> tuple[object, ...]:
    place = (None, None, None) if movie.place is None else (movie.place.shard, movie.place.offset, movie.place.length)
    known = (movie.tmdb_id, movie.language, movie.status, movie.attempts, movie.checked, movie.fetched)
    return (*known, *place, movie.etag, movie.poster, movie.error)


def _movie(row: tuple[Any, ...]) -> Movie:
    tmdb_id, language, status, attempts, checked, fetched, shard, offset, length, etag, poster, error = row
    place = None if shard is None else Place(shard, offset, length)
    return Movie(tmdb_id, language, status, attempts, checked, fetched, place, etag, poster, error)


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:  # the disk is full or read-only, somebody else holds the file
        raise DataError(
            f"cannot use {path}: {error}; see that its disk has room and run the same command again"
        ) from error
    except sqlite3.DatabaseError as error:
        raise DataError(f"{path} is damaged ({error}); move its folder away and crawl anew") from error
