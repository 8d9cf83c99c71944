"""External merge sort of Arrow tables, for more rows than fit in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pyarrow as pa

RUN_BYTES = 32 << 20
BATCH_ROWS = 1 << 13


@dataclass(frozen=True)
class _Batch:
    """Adjacent rows of a run, with their smallest and greatest key."""

    run: int
    number: int
    least: int
    greatest: int


class SortedRuns:
    """Accepts tables of one schema in any order and returns the rows sorted by a key, a part at a time.

    Rows collect in memory up to ``RUN_BYTES`` and are then written, sorted, to a file without a name, which the system
    deletes when the process ends. Memory: one run during ``add``; one part and one batch per run during ``parts``.
    """

    def __init__(self, folder: Path, key: str, *, reduce_rows: Callable[[pa.Table], pa.Table] | None = None) -> None:
        """
        Args:
            folder: folder for the files.
            key: an int64 column.
            reduce_rows: drops unneeded rows from a table sorted by key, with rows of one key in the order of ``add``.
                The final rows must not depend on the boundaries of runs.
        """
        self._folder = folder
        self._key = key
        self._thin_out = reduce_rows or (lambda table: table)
        self._waiting: list[pa.Table] = []
        self._bytes = 0
        self._runs: list[pa.RecordBatchFileReader] = []
        self._batches: list[_Batch] = []

    def add(self, rows: pa.Table) -> None:
        """Add rows.

        Raises:
            OSError: a disk error.
        """
        self._waiting.append(rows)
        self._bytes += rows.nbytes
        if self._bytes >= RUN_BYTES:
            self._write_run()

    def parts(self, part_rows: int) -> Iterator[pa.Table]:
        """All rows by key; rows of one key keep the order of ``add`` and are in one part.

        A part has about ``part_rows`` rows, or more if one key has more. Can be called again.
        """
        self._write_run()
        starts = sorted(batch.least for batch in self._batches)
        cuts = sorted(set(starts[:: max(1, part_rows // BATCH_ROWS)]))
        for least, beyond in zip_longest(cuts, cuts[1:]):
            part = self._between(least, beyond)
            if len(part):
                yield part

    def _write_run(self) -> None:
        if not self._waiting:
            return
        rows = self._thin_out(sorted_by(pa.concat_tables(self._waiting), self._key))
        self._waiting, self._bytes = [], 0
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  open as long as this object
        with pa.ipc.new_file(file, rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_table(rows, max_chunksize=BATCH_ROWS)
        keys = rows[self._key].to_numpy()
        for number, start in enumerate(range(0, len(rows), BATCH_ROWS)):
            last = min(start + BATCH_ROWS, len(rows)) - 1
            self._batches.append(_Batch(len(self._runs), number, int(keys[start]), int(keys[last])))
        file.flush()
        self._runs.append(pa.ipc.open_file(file))

    def _between(self, least: int, beyond: int | None) -> pa.Table:
        """Rows with ``least`` ≤ key < ``beyond``."""
        found = []
        for batch in self._batches:
            if batch.greatest < least or (beyond is not None and batch.least >= beyond):
                continue
            rows = pa.Table.from_batches([self._runs[batch.run].get_batch(batch.number)])
            keys = rows[self._key].to_numpy()
            start = int(np.searchsorted(keys, least))
            stop = len(keys) if beyond is None else int(np.searchsorted(keys, beyond))
            found.append(rows.slice(start, stop - start))
        return self._thin_out(sorted_by(pa.concat_tables(found), self._key))


def sorted_by(rows: pa.Table, key: str) -> pa.Table:
    """Sort rows by an int64 column, stably, into one chunk."""
    rows = rows.combine_chunks()
    keys = rows[key].to_numpy()
    if np.all(keys[1:] >= keys[:-1]):
        return rows
    return rows.take(pa.array(np.argsort(keys, kind="stable")))
