"""The journal of a crawl: the result for each movie and poster, and where its document is stored.

The journal is a SQLite file beside the shards. Bytes of a shard are valid only if the journal records them, and one
transaction records both the bytes and their document. A killed crawl leaves at most unrecorded bytes at the end of a
shard, never a partial record.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

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
    attempts INTEGER NOT NULL,  -- requests, over all runs
    checked  REAL NOT NULL,     -- Unix seconds of the last answer, "not modified" included
    fetched  REAL,              -- Unix seconds at which the document was fetched
    shard    INTEGER,           -- location of the document; NULL without one
    offset   INTEGER,
    length   INTEGER,
    etag     TEXT,
    poster   TEXT,              -- poster_path of the document
    error    TEXT,              -- reason of the failure
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


class ByteRange(NamedTuple):
    """Location of a record: bytes ``offset`` to ``offset + length`` of a shard."""

    shard: int
    offset: int
    length: int


@dataclass(frozen=True)
class MovieRecord:
    """State of one movie in one language.

    Attributes:
        tmdb_id: TMDb's id.
        language: requested language, such as ``en-US``.
        status: ``done``; ``absent`` if the movie does not exist at TMDb; ``failed`` if all attempts failed.
        attempts: number of requests, over all runs.
        checked: Unix seconds of the last answer.
        fetched: Unix seconds at which the document was fetched; None without one.
        place: location of the document. A movie keeps its old document if a refresh fails.
        etag: the server's ETag of the document.
        poster: path of the poster at TMDb.
        error: reason of the failure.
    """

    tmdb_id: int
    language: str
    status: Status
    attempts: int
    checked: float
    fetched: float | None = None
    place: ByteRange | None = None
    etag: str | None = None
    poster: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class PosterRecord:
    """State of one image in one size; fields as in ``MovieRecord``."""

    path: str
    size: str
    status: Status
    attempts: int
    checked: float
    error: str | None = None


def now() -> float:
    """The current time in Unix seconds, rounded to milliseconds as in the journal."""
    return round(time.time(), 3)


class Journal:
    """The journal of one folder, open for writing. Only one thread at a time may use it."""

    def __init__(self, folder: Path) -> None:
        """Open the journal, or create it.

        Raises:
            DataError: the journal is damaged, has another version, or is missing beside shards; or a disk error.
        """
        self.path = folder / FILE
        if not self.path.exists() and any(shard.stat().st_size for shard in folder.glob("movies-*.jsonl.gz")):
            raise DataError(
                f"{folder} contains shards but no {FILE}, which lists their contents; put it back, or move them away"
            )
        with _journal_errors(self.path):
            self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
            # WAL: readers see the last commit while the crawl writes the next one. NORMAL: after a power cut the last
            # commits may be missing, but never partly; their documents are fetched again.
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            if not _version(self._connection):
                self._connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={FORMAT_VERSION}; COMMIT;")
            _check_version(self._connection, self.path)

    def close(self) -> None:
        self._connection.close()

    def commit(
        self,
        *,
        movies: Iterable[MovieRecord] = (),
        posters: Iterable[PosterRecord] = (),
        lengths: Mapping[int, int] | None = None,
    ) -> None:
        """Write results and the valid lengths of shards in one transaction.

        Raises:
            DataError: a disk error; nothing is written.
        """
        with self._transaction() as run:
            run.executemany(
                "INSERT OR REPLACE INTO movies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_movie_values, movies)
            )
            run.executemany("INSERT OR REPLACE INTO posters VALUES (?, ?, ?, ?, ?, ?)", map(astuple, posters))
            run.executemany("INSERT OR REPLACE INTO shards VALUES (?, ?)", (lengths or {}).items())

    def set_unlinked(self, movie_ids: Iterable[int]) -> None:
        """Replace the list of movies without a tmdbId."""
        with self._transaction() as run:
            run.execute("DELETE FROM unlinked")
            run.executemany("INSERT INTO unlinked VALUES (?)", ((movie,) for movie in movie_ids))

    def unlinked(self) -> list[int]:
        """The movieIds without a tmdbId."""
        with _journal_errors(self.path):
            return [movie for (movie,) in self._connection.execute("SELECT movie_id FROM unlinked ORDER BY movie_id")]

    def movies(self, language: str) -> dict[int, MovieRecord]:
        """Records of movies in a language, by tmdbId. A movie that is absent in one language is absent in all."""
        with _journal_errors(self.path):
            rows = self._connection.execute(
                "SELECT * FROM movies WHERE language = ? OR status = 'absent' ORDER BY language = ?",
                (language, language),
            )
            return {row[0]: _movie_record(row) for row in rows}

    def posters(self, size: str) -> dict[str, PosterRecord]:
        """Records of posters in a size, by path."""
        with _journal_errors(self.path):
            return {
                row[0]: PosterRecord(*row)
                for row in self._connection.execute("SELECT * FROM posters WHERE size = ?", (size,))
            }

    def lengths(self) -> dict[int, int]:
        """Valid bytes of each shard."""
        with _journal_errors(self.path):
            return dict(self._connection.execute("SELECT shard, length FROM shards"))

    def shorten(self, shard: int, size: int) -> tuple[int, int]:
        """Delete the records of documents lost from a shard that has only ``size`` bytes left.

        Returns:
            Valid bytes of the shard, and the number of deleted records; their documents will be fetched again.
        """
        with self._transaction() as run:
            lost = run.execute("DELETE FROM movies WHERE shard = ? AND offset + length > ?", (shard, size)).rowcount
            kept = run.execute("SELECT max(offset + length) FROM movies WHERE shard = ?", (shard,)).fetchone()[0] or 0
            run.execute("UPDATE shards SET length = ? WHERE shard = ?", (kept, shard))
        return kept, lost

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _journal_errors(self.path), self._connection:  # commits, or rolls back after an error
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection


def committed_documents(folder: Path) -> list[tuple[ByteRange, int, str, float]]:
    """Documents of the last commit, by shard and offset: place, tmdbId, language, Unix seconds of the fetch.

    A crawl may be running.

    Raises:
        NotReadyError: there is no journal.
        DataError: the journal is damaged or has another version.
    """
    path = folder / FILE
    if not path.exists():
        raise NotReadyError(f"documents of TMDb not found in {folder}; run first: {COMMAND}")
    with _journal_errors(path), closing(_connect_read_only(path)) as connection:
        _check_version(connection, path)
        rows = connection.execute(
            "SELECT shard, offset, length, tmdb_id, language, fetched FROM movies WHERE shard IS NOT NULL "
            "ORDER BY shard, offset"
        )
        return [(ByteRange(*row[:3]), *row[3:]) for row in rows]


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a read-only connection, also on a read-only disk."""
    uri = path.resolve().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=30)
    try:
        _version(connection)
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(f"{FILE}-wal").exists():
            raise
        # No process is writing, and SQLite cannot create its shared-memory file on a read-only disk.
        return sqlite3.connect(f"{uri}?immutable=1", uri=True)
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    if (found := _version(connection)) != FORMAT_VERSION:
        raise DataError(
            f"{path} has format {found}, this program reads {FORMAT_VERSION}; move its folder away and crawl again"
        )


def _movie_values(movie: MovieRecord) -> tuple[object, ...]:
    values = astuple(movie)
    return (*values[:6], *(movie.place or (None, None, None)), *values[7:])


def _movie_record(row: tuple[Any, ...]) -> MovieRecord:
    place = None if row[6] is None else ByteRange(*row[6:9])
    values = (*row[:6], place, *row[9:])
    return MovieRecord(*values)


@contextmanager
def _journal_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:  # the disk is full or read-only, or another process holds the file
        raise DataError(
            f"cannot use {path}: {error}; check that its disk has room and run the same command again"
        ) from error
    except sqlite3.DatabaseError as error:
        raise DataError(f"{path} is damaged ({error}); move its folder away and crawl again") from error
