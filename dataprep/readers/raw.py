"""Tables as read: good rows with their line numbers, and what was turned away."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from dataprep.readers.blocks import lines_at
from dataprep.readers.columns import RejectedRows
from reccore.arrays import IntArray


@dataclass
class RawTable:
    """Rows of one file that passed, and those that did not.

    Attributes:
        path: the file.
        table: n good rows, typed.
        lines: (n,) int64 line number of each, from 1.
        rejects: the rows turned away so far.
    """

    path: Path
    table: pa.Table
    lines: IntArray
    rejects: RejectedRows = field(default_factory=RejectedRows)

    @property
    def n_seen(self) -> int:
        """Rows read, good and bad; blank lines do not count."""
        return len(self.lines) + len(self.rejects)

    def content(self, lines: IntArray) -> list[str]:
        """The text of the given lines (n,), increasing; reads the file again."""
        return lines_at(self.path, lines)

    def reject(self, bad: np.ndarray, reason: str) -> RawTable:
        """Move the rows under the mask ``bad`` (n,) to the rejects."""
        if not bad.any():
            return self
        self.rejects.add(self.lines[bad], reason)
        return replace(self, table=self.table.filter(pa.array(~bad)), lines=self.lines[~bad])


@dataclass(frozen=True)
class RawData:
    """A data set as read: ratings as they lie in the file, the other tables in their final columns.

    Attributes:
        layout: name of the layout.
        tie_order: what orders events of equal time, ``file`` or ``hash``.
        ratings: userId, movieId and, where the data has them, rating, timestamp, position.
        movies, users, links, tags: by the schemas of ``dataprep.schema``; None where the data has none.
        unique_pairs: a repeated (user, movie) is an error.
    """

    layout: str
    tie_order: str
    ratings: RawTable
    movies: RawTable | None = None
    users: RawTable | None = None
    links: RawTable | None = None
    tags: RawTable | None = None
    unique_pairs: bool = True
