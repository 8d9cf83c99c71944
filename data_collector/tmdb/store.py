"""Results to disk from many threads: what waits is written together, and nobody goes on before it is there."""

from __future__ import annotations

import contextlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_collector.tmdb.journal import Journal, Movie, Poster
from data_collector.tmdb.shards import ShardWriter
from reccore.errors import DataError


@dataclass
class _Result:
    """A row for the journal, the record of its document, and who waits for them."""

    row: Movie | Poster
    record: bytes | None = None
    written: Future[None] = field(default_factory=Future)


class Store:
    """Shards and journal of one folder, behind a thread of their own.

    A kill therefore costs the requests in flight and no more: an answer counts as in flight until it is in the
    journal. One write to the disk serves all threads that wait at that moment.
    """

    def __init__(self, folder: Path) -> None:
        """Open the folder, which exists, and put right what a killed crawl left.

        Raises:
            DataError: the disk refused, or the journal cannot be used.
        """
        self.folder = folder
        self.journal = Journal(folder)
        try:
            self._shards = ShardWriter(folder, self.journal)
        except OSError as error:
            self.journal.close()
            raise refused(folder, error) from error
        self._waiting: deque[_Result] = deque()
        self._broken: Exception | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tmdb-store")

    def keep(self, row: Movie | Poster, record: bytes | None = None) -> None:
        """Write a result, and return once it is on the disk; a movie's place is where ``record`` goes, if there is one.

        Raises:
            DataError: the disk refused; nothing of it is kept.
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
        """Write everything that waits, in one go; a later call then finds nothing."""
        results = []
        with contextlib.suppress(IndexError):
            while True:
                results.append(self._waiting.popleft())
        if results:
            self._settle(results)

    def _settle(self, results: list[_Result]) -> None:
        """Write, and tell those who wait."""
        try:
            if self._broken is not None:
                raise self._broken
            self._write(results)
        except Exception as error:
            for result in results:
                result.written.set_exception(error)
        else:
            for result in results:
                result.written.set_result(None)

    def _write(self, results: list[_Result]) -> None:
        try:
            movies, posters = [], []
            for result in results:
                if isinstance(result.row, Poster):
                    posters.append(result.row)
                elif result.record is None:
                    movies.append(result.row)
                else:
                    movies.append(replace(result.row, place=self._shards.append(result.record)))
            self._shards.sync()
            self.journal.commit(movies=movies, posters=posters, lengths=self._shards.take_lengths())
        except (OSError, DataError) as error:
            broken = self._broken = refused(self.folder, error)
            # Where even that fails no record is taken any more, lest it lie elsewhere than the journal says. What is
            # behind the last good one the next start cuts off.
            with contextlib.suppress(OSError, DataError):
                self._shards.roll_back(self.journal)
                self._broken = None
            raise broken from error


def refused(folder: Path, error: Exception) -> DataError:
    """What to tell of a disk that did not take something; what tells it already stays as it is."""
    if isinstance(error, DataError):
        return error
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return DataError(f"cannot write {folder}: {reason}; make room and run the same command again to go on")
