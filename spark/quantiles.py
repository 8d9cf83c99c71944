"""Exact quantiles of a column of whole numbers, in counts of bounded size."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BINS = 1 << 14


@dataclass(frozen=True, eq=False)
class SparkTimes:
    """Times of events, for ``GlobalTime.at_times``.

    Attributes:
        frame: has the column ``timestamp``.
    """

    frame: DataFrame

    def span(self, before: int | None) -> tuple[int, int, int]:
        """Number, least and greatest of the times; of none the last two are 0."""
        n, least, greatest = (
            self._of(before).selectExpr("count(*)", "min(timestamp)", "max(timestamp)").collect()[0]  # one row
        )
        return int(n), int(least or 0), int(greatest or 0)

    def quantile(self, share: float, before: int | None) -> float:
        """``np.quantile`` of the same times, which interpolates between the two nearest ones."""
        times = self._of(before)
        n, least, greatest = self.span(before)
        at = (n - 1) * share
        low, high = (value_of_rank(times, min(rank, n - 1), least, greatest) for rank in (floor(at), floor(at) + 1))
        return float(np.quantile(np.array([low, high]), at - floor(at)))

    def _of(self, before: int | None) -> DataFrame:
        return self.frame if before is None else self.frame.where(f"timestamp < {before}")


def value_of_rank(times: DataFrame, rank: int, least: int, greatest: int) -> int:
    """The value at a place, from 0, of the sorted times; each pass narrows the range to one of ``BINS``."""
    while least < greatest:
        width = (greatest - least) // BINS + 1
        counts = (
            times.where(f"timestamp between {least} and {greatest}")
            .selectExpr(f"(timestamp - {least}) div {width} as bin")
            .groupBy("bin")
            .count()
            .orderBy("bin")
            .toArrow()  # at most BINS rows
        )
        reached = np.cumsum(counts["count"].to_numpy())
        at = int(np.searchsorted(reached, rank, side="right"))
        rank -= int(reached[at - 1]) if at else 0
        least += int(counts["bin"][at].as_py()) * width
        greatest = min(greatest, least + width - 1)
    return least
