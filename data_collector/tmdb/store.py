"""Write results from many threads to the disk, in groups; each thread waits until its result is on the disk."""

from __future__ import annotations

import contextlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_collector.tmdb.journal import Journal, MovieRecord, PosterRecord
from data_collector.tmdb.shards import ShardWriter
from reccore.errors import DataError


@dataclass
class _Result:
    """A row for the journal, the record of its document, and a future that ends when both are written."""

    row: MovieRecord | PosterRecord
    record: bytes | None = None
    written: Future[None] = field(default_factory=Future)


class Store:
    """Shards and journal of one folder, written by one thread.

    A kill loses only the requests in flight, up to the commit to the journal. One write to the disk serves all threads
    that wait at that moment (group commit).
    """

    def __init__(self, folder: Path) -> None:
        """Open an existing folder, and repair it after a killed crawl.

        Raises:
            DataError: a disk error, or the journal cannot be used.
        """
        self.folder = folder
        self.journal = Journal(folder)
        try:
            self._shards = ShardWriter(folder, self.journal)
        except OSError as error:
            self.journal.close()
            raise write_error(folder, error) from error
        self._waiting: deque[_Result] = deque()
        self._broken: Exception | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tmdb-store")

    def keep(self, row: MovieRecord | PosterRecord, record: bytes | None = None) -> None:
        """Write a result, and return when it is on the disk.

        Args:
            row: row for the journal; with ``record`` its ``place`` is set.
            record: encoded document for a shard, if there is one.

        Raises:
            DataError: a disk error; nothing is stored.
            RuntimeError: the store is closed.
        """
        result = _Result(row, record)
        self._waiting.append(result)
        self._executor.submit(self._flush)
        result.written.result()

    def close(self) -> None:
        """Write what waits, and close the files."""
        self._executor.shutdown()
        self._shards.close()
        self.journal.close()

    def _flush(self) -> None:
        """Write everything that waits, at once; a later call may find nothing left."""
        results = [self._waiting.popleft() for _ in range(len(self._waiting))]  # no other thread removes results
        if not results:
            return
        try:
            if self._broken is not None:
                raise self._broken
            self._write(results)
        except Exception as error:  # raised again in the threads that wait
            for result in results:
                result.written.set_exception(error)
        else:
            for result in results:
                result.written.set_result(None)

    def _write(self, results: list[_Result]) -> None:
        try:
            movies, posters = [], []
            for result in results:
                if isinstance(result.row, PosterRecord):
                    posters.append(result.row)
                elif result.record is None:
                    movies.append(result.row)
                else:
                    movies.append(replace(result.row, place=self._shards.append(result.record)))
            self._shards.sync()
            self.journal.commit(movies=movies, posters=posters, lengths=self._shards.take_lengths())
        except (OSError, DataError) as error:
            broken = self._broken = write_error(self.folder, error)
            # If the rollback fails too, the store accepts no more records, because their offsets would not match the
            # journal. The next start cuts off the bytes after the last valid record.
            with contextlib.suppress(OSError, DataError):
                self._shards.roll_back(self.journal)
                self._broken = None
            raise broken from error


def write_error(folder: Path, error: Exception) -> DataError:
    """The error to raise for a failed write; a ``DataError`` is returned unchanged."""
    if isinstance(error, DataError):
        return error
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return DataError(f"cannot write {folder}: {reason}; make room and run the same command again to go on")
