"""The time of a query as an input: how long after the latest event of its history, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reccore import DataError, Interactions, QueryBatch
from reccore.arrays import IntArray

GAP_CODES = 34
"""0 = no earlier event, 1 = the same second, then powers of two of seconds."""
PERIODS = 32
"""Periods with equally many fit events each."""
LATEST = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class QueryTime:
    """Codes of a query's time.

    Times after the fit split count as its end: a query long after training gets the last period that was learnt, and
    at most the longest gap.

    Attributes:
        boundaries: (PERIODS - 1,) int64 Unix seconds, quantiles of the times of the fit events.
        longest_gap: seconds, the longest between two successive fit events of a user.
    """

    boundaries: IntArray
    longest_gap: int

    sizes = (GAP_CODES, PERIODS)

    @classmethod
    def of(cls, events: Interactions) -> QueryTime:
        """Fit to the events of the fit split.

        Raises:
            DataError: they have no times.
        """
        if events.timestamp is None:
            raise DataError("query_time needs timestamps, and this data set has none")
        quantiles = np.quantile(events.timestamp, np.linspace(0, 1, PERIODS + 1)[1:-1])
        gaps = np.diff(events.timestamp)[np.diff(events.user_idx) == 0]
        return cls(quantiles.astype(np.int64), int(gaps.max(initial=0)))

    def codes(self, as_of: IntArray, latest: IntArray) -> IntArray:
        """(B, 2) codes of gap and period.

        Args:
            as_of: (B,) Unix seconds of the queries; negative = unknown, the same as after all events.
            latest: (B,) time of the latest event of each history; negative = there is none, or no time is known.
        """
        gap = np.clip(as_of - latest, 0, self.longest_gap)
        bits = np.frexp(gap.astype(np.float64))[1]  # 0 for 0, 1 for 1, 2 for 2 … 3, 3 for 4 … 7
        gap_code = np.where((latest < 0) | (as_of < 0), 0, np.minimum(bits + 1, GAP_CODES - 1))
        period = np.searchsorted(self.boundaries, np.where(as_of < 0, LATEST, as_of), side="right")
        return np.stack([gap_code, period], axis=1)

    def of_queries(self, queries: QueryBatch) -> IntArray:
        """(B, 2) codes of queries."""
        latest = np.full(len(queries), -1, dtype=np.int64)
        if queries.history_time is not None:
            some = queries.lengths > 0
            latest[some] = queries.history_time[queries.history_offsets[1:][some] - 1]
        return self.codes(queries.as_of, latest)

    def of_events(self, interactions: Interactions, events: IntArray, first: np.ndarray) -> IntArray:
        """(B, 2) codes of queries at the times of the given events; ``first`` (B,) marks first events of users."""
        times = interactions.timestamp
        if times is None:
            raise DataError("query_time needs timestamps, and these events have none")
        return self.codes(times[events], np.where(first, -1, times[events - 1]))

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"query_periods": self.boundaries, "longest_gap": np.array(self.longest_gap)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> QueryTime | None:
        """Inverse of ``to_arrays``; None where it is not among the arrays."""
        if "query_periods" not in arrays:
            return None
        return cls(arrays["query_periods"], int(arrays["longest_gap"]))
