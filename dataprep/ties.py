"""How many events of one user have equal times, so that only the file's order says which came first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from loguru import logger

from reccore.arrays import IntArray

WARNING_SHARE = 0.2
"""Warn if more than this share of the events have the same user and time as another event."""


@dataclass(frozen=True)
class Ties:
    """Ties of some events.

    Attributes:
        events: their number.
        tied: those with the user and the time of another event.
        by_item: whether the items ascend within every tie.
    """

    events: int = 0
    tied: int = 0
    by_item: bool = True

    @classmethod
    def of(cls, user: IntArray, times: list[IntArray], item: IntArray) -> Self:
        """Ties of events (n,) in their order: equal user and equal values in all of ``times``."""
        pairs = user[1:] == user[:-1]  # (n-1,) neighbours in a tie
        for time in times:
            pairs &= time[1:] == time[:-1]
        tied = np.append(pairs, False) | np.append(False, pairs) if len(user) else pairs
        return cls(len(user), int(tied.sum()), bool((item[1:] > item[:-1])[pairs].all()))

    def __add__(self, other: Ties) -> Ties:
        return Ties(self.events + other.events, self.tied + other.tied, self.by_item and other.by_item)

    def warn(self, path: Path) -> None:
        """Warn if many events are tied.

        If ties are sorted by movieId, that is a leak: the last event of a tie is then the one with the highest movieId.
        """
        share = self.tied / max(self.events, 1)
        if share > WARNING_SHARE:
            logger.warning(
                "{}: {:.0%} of the events have the same user and time as another event, and the file's order decides "
                "which came first{}; add a column position with the true order, or shuffle the rows",
                path.name,
                share,
                ". The file is sorted by movieId, which leaks which film is a user's last" if self.by_item else "",
            )
