"""Tables as read: valid rows with their line numbers, and rejected rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from dataprep.readers.blocks import lines_at
from dataprep.readers.columns import RejectedRows
from reccore.arrays import IntArray
from reccore.errors import DataError


@dataclass
class RawTable:
    """Valid and rejected rows of one file.

    Attributes:
        path: the file.
        table: n valid rows, typed.
        lines: (n,) int64 line number of each valid row, from 1.
        rejects: the rows rejected so far.
    """

    path: Path
    table: pa.Table
    lines: IntArray
    rejects: RejectedRows = field(default_factory=RejectedRows)

    @property
    def n_seen(self) -> int:
        """Number of rows read, valid or rejected; blank lines do not count."""
        return len(self.lines) + len(self.rejects)

    def content(self, lines: IntArray) -> list[str]:
        """Text of the given lines (n,), ascending; reads the file again."""
        return lines_at(self.path, lines)

    def reject(self, bad: np.ndarray, reason: str) -> RawTable:
        """Reject the rows where ``bad`` (n,) is True."""
        if not bad.any():
            return self
        self.rejects.add(self.lines[bad], reason)
        return replace(self, table=self.table.filter(pa.array(~bad)), lines=self.lines[~bad])

    def check_all_valid(self, advice: str) -> None:
        """Raise ``DataError`` with the first rejected row and the advice if there is any."""
        if len(self.rejects):
            lines, reasons = self.rejects.in_order()
            raise DataError(
                f"{self.path}, row {lines[0]}: {reasons[0]}: {self.content(lines[:1])[0]!r} ({len(lines):,} invalid "
                f"rows); {advice}"
            )


@dataclass(frozen=True)
class RawData:
    """A data set as read: ratings in the order of the file, the other tables with their final columns.

    Attributes:
        layout: name of the layout.
        tie_order: order of events of equal user and time: ``file`` (row of the file) or ``hash``.
        ratings: userId, movieId and, if the data has them, rating, timestamp, position.
        movies, users, links, tags: in the schemas of ``dataprep.schema``; None if the data has none.
        unique_pairs: whether later rows of a repeated (user, movie) are rejected.
        item_features: movieId, unique, and own columns as ``dataprep.readers.own_columns`` types them; None if there
            are none.
        user_features: userId, unique, and the same of users.
    """

    layout: str
    tie_order: str
    ratings: RawTable
    movies: RawTable | None = None
    users: RawTable | None = None
    links: RawTable | None = None
    tags: RawTable | None = None
    unique_pairs: bool = True
    item_features: pa.Table | None = None
    user_features: pa.Table | None = None
