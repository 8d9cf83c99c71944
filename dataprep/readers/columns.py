"""What a text file looks like (its dialect) and what its columns hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import pyarrow as pa

from reccore.arrays import IntArray


class Kind(Enum):
    """What a column holds and how it is validated."""

    ID = "id"  # whole number from 0
    OPTIONAL_INT = "optional whole number"  # whole number from 0, or nothing
    LOOSE_INT = "optional loose whole number"  # the same, perhaps written 1995.0, as pandas does beside gaps
    RATING = "rating"  # finite number on the file's scale
    TIME = "time"  # whole seconds from 0
    FLOAT_TIME = "float time"  # seconds from 0, perhaps written 8.8e8 or 881250949.0; floored
    ORDER = "order"  # any finite number
    TEXT = "text"
    SKIP = "skip"


ARROW_TYPE = {
    Kind.ID: pa.int64(),
    Kind.OPTIONAL_INT: pa.int64(),
    Kind.LOOSE_INT: pa.float64(),
    Kind.RATING: pa.float32(),
    Kind.TIME: pa.int64(),
    Kind.FLOAT_TIME: pa.float64(),
    Kind.ORDER: pa.float64(),
    Kind.TEXT: pa.string(),
}
WHOLE_NUMBERS = (Kind.ID, Kind.OPTIONAL_INT, Kind.TIME)
OPTIONAL = (Kind.OPTIONAL_INT, Kind.LOOSE_INT)
NUMBERS = (Kind.RATING, Kind.LOOSE_INT, Kind.FLOAT_TIME, Kind.ORDER)


class Scale(Enum):
    """Ratings a file may hold."""

    WHOLE_STARS = "1 to 5 in whole stars"
    HALF_STARS = "0.5 to 5 in half stars"
    ANY = "any finite number"


@dataclass(frozen=True)
class ColumnSpec:
    """One column of a file, under the name it gets in our tables."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Dialect:
    """How rows are written.

    Attributes:
        separator: between fields, of one or more characters.
        quoted: fields may stand in double quotes, with "" for a quote inside.
        skip: header lines before the first row.
        latin1: the bytes are Latin-1, else UTF-8.
    """

    separator: str
    quoted: bool = False
    skip: int = 0
    latin1: bool = False


CSV = Dialect(",", quoted=True, skip=1)
TABS = Dialect("\t")
PIPES = Dialect("|")
DOUBLE_COLONS = Dialect("::")


@dataclass
class RejectedRows:
    """Rows that were turned away: line numbers (from 1) and reasons, in the order they were found."""

    lines: list[IntArray] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, lines: IntArray, reason: str) -> None:
        """Note that all these lines were rejected for one reason."""
        if len(lines):
            self.lines.append(np.asarray(lines, dtype=np.int64))
            self.reasons.append(reason)

    def __len__(self) -> int:
        return sum(map(len, self.lines))

    def counts(self) -> dict[str, int]:
        """Reason → number of rows."""
        counts: dict[str, int] = {}
        for lines, reason in zip(self.lines, self.reasons, strict=True):
            counts[reason] = counts.get(reason, 0) + len(lines)
        return counts

    def in_order(self) -> tuple[IntArray, list[str]]:
        """Lines (n,) increasing, and the reason of each."""
        if not self.lines:
            return np.empty(0, dtype=np.int64), []
        lines = np.concatenate(self.lines)
        reasons = np.repeat(np.arange(len(self.reasons)), [len(part) for part in self.lines])
        order = np.argsort(lines, kind="stable")
        return lines[order], [self.reasons[r] for r in reasons[order].tolist()]
