"""Description of source files: kinds of columns, text dialects and rejected rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import pyarrow as pa

from dataprep.ids import TEXT_IDS
from reccore.arrays import IntArray


class Kind(Enum):
    """Kind of values in a column, which decides how they are validated."""

    ID = "id"  # whole number from 0
    FLOAT_ID = "float id"  # the same, also written 12.0, as pandas does beside missing values
    TEXT_ID = "text id"  # text that is not empty
    OPTIONAL_INT = "optional whole number"  # whole number from 0, or empty
    LOOSE_INT = "optional loose whole number"  # the same, also written 1995.0, as pandas does beside missing values
    RATING = "rating"  # finite number on the file's scale
    TIME = "time"  # whole seconds from 0
    FLOAT_TIME = "float time"  # seconds from 0, also written 8.8e8 or 881250949.0; floored
    ORDER = "order"  # any finite number
    TEXT = "text"
    OWN = "own"  # in Parquet, of any type; not validated row by row
    SKIP = "skip"


ARROW_TYPE = {
    Kind.ID: pa.int64(),
    Kind.FLOAT_ID: pa.float64(),
    Kind.TEXT_ID: TEXT_IDS,
    Kind.OPTIONAL_INT: pa.int64(),
    Kind.LOOSE_INT: pa.float64(),
    Kind.RATING: pa.float32(),
    Kind.TIME: pa.int64(),
    Kind.FLOAT_TIME: pa.float64(),
    Kind.ORDER: pa.float64(),
    Kind.TEXT: pa.string(),
}
MISSING_TEXT = ("", "na", "n/a", "nan", "null")
"""Values of text, in any case, that stand for a missing one."""
WHOLE_NUMBERS = (Kind.ID, Kind.OPTIONAL_INT, Kind.TIME)
OPTIONAL = (Kind.OPTIONAL_INT, Kind.LOOSE_INT)
NUMBERS = (Kind.RATING, Kind.FLOAT_ID, Kind.LOOSE_INT, Kind.FLOAT_TIME, Kind.ORDER)


class Scale(Enum):
    """Valid ratings of a file."""

    WHOLE_STARS = "1 to 5 in whole stars"
    HALF_STARS = "0.5 to 5 in half stars"
    ANY = "any finite number"


@dataclass(frozen=True)
class ColumnSpec:
    """Name, in the processed tables, and kind of one column of a file."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Dialect:
    """Text format of a file.

    Attributes:
        separator: between fields, one or more characters.
        quoted: whether fields may be in double quotes, with "" for a quote inside.
        skip: number of header lines.
        latin1: whether the bytes are Latin-1; otherwise UTF-8.
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
    """Line numbers (from 1) of the rejected rows and the reasons, in the order of the checks."""

    lines: list[IntArray] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, lines: IntArray, reason: str) -> None:
        """Reject the lines (n,) for one reason."""
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
        """Rejected lines (n,), ascending, and the reason of each."""
        if not self.lines:
            return np.empty(0, dtype=np.int64), []
        lines = np.concatenate(self.lines)
        reasons = np.repeat(np.arange(len(self.reasons)), [len(part) for part in self.lines])
        order = np.argsort(lines, kind="stable")
        return lines[order], [self.reasons[r] for r in reasons[order].tolist()]
