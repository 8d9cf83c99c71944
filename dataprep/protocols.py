"""Split protocols: where each user's events are cut into fit, validation and test."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dataprep.splits import Split, TargetRule
from reccore import ConfigError, DataError, Interactions
from reccore.arrays import IntArray, offsets_from_lengths


class SplitProtocol(ABC):
    """A rule that cuts each user's events into fit, validation and test."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name that ``parse_protocol`` accepts."""

    @property
    def targets(self) -> TargetRule:
        """Which held-out events are targets."""
        return TargetRule()

    @abstractmethod
    def split(self, interactions: Interactions) -> Split:
        """Cut the events.

        Raises:
            DataError: the protocol does not apply to these events.
        """


@dataclass(frozen=True)
class LeaveLastN(SplitProtocol):
    """The last ``n`` events of a user are test, the ``n`` before them validation, the rest fit.

    All events of a user with fewer than 2n + 1 events are in the fit split.
    """

    n: int = 1

    @property
    def name(self) -> str:
        return "leave_one_out" if self.n == 1 else f"leave_last_{self.n}"

    def split(self, interactions: Interactions) -> Split:
        lengths = interactions.lengths
        held = np.where(lengths >= 2 * self.n + 1, self.n, 0)
        return Split(interactions, lengths - 2 * held, lengths - held, self.name)


@dataclass(frozen=True)
class LastThree(SplitProtocol):
    """The protocol of MetaSpore's two-tower demo: the last three events of a user are test, each with its own query.

    The history of a query is the true history up to its target; a target counts only if its rating is above 2. With
    one target per query Precision@K = Recall@K / K. MetaSpore describes no validation: here it is the event before the
    last three, under the same rule. All events of a user with fewer than five are in the fit split. Without ratings
    every row counts, and reports say so.
    """

    @property
    def name(self) -> str:
        return "last_three"

    @property
    def targets(self) -> TargetRule:
        return TargetRule(one_per_query=True, rated_above=2.0)

    def split(self, interactions: Interactions) -> Split:
        lengths = interactions.lengths
        enough = lengths >= 5
        return Split(
            interactions, lengths - np.where(enough, 4, 0), lengths - np.where(enough, 3, 0), self.name, self.targets
        )


@dataclass(frozen=True)
class GlobalTime(SplitProtocol):
    """Events at or after ``cut`` are test; the latest tenth of the earlier events is validation.

    Attributes:
        cut: Unix seconds; by default the 90% quantile of the times.
    """

    cut: int | None = None

    @property
    def name(self) -> str:
        return "global_time" if self.cut is None else f"global_time:{self.cut}"

    def split(self, interactions: Interactions) -> Split:
        times = interactions.timestamp
        return self.at_times(None if times is None else _Times(times)).split(interactions)

    def at_times(self, times: Times | None) -> TimeCuts:
        """The two moments at which events of these times are cut.

        Raises:
            DataError: there are no times, or a part of the split is empty.
        """
        if times is None:
            raise DataError("protocol global_time needs timestamps, and this data set has none")
        n, least, greatest = times.span(None)
        cut = int(times.quantile(0.9, None)) if self.cut is None else self.cut
        n_before, _, _ = times.span(cut)
        if n_before == 0 or n_before == n:
            raise DataError(f"global_time cut {cut} leaves one side empty; the data spans {least} to {greatest}")
        valid_cut = int(times.quantile(0.9, cut))
        if valid_cut <= least:
            raise DataError(
                f"global_time cut {cut} leaves the fit split empty: none of the {n_before:,} earlier events is "
                f"before the validation cut {valid_cut}; choose a later cut or another protocol"
            )
        return TimeCuts(valid_cut, cut, self.name)


class Times(Protocol):
    """Times of events, wherever they are."""

    def span(self, before: int | None) -> tuple[int, int, int]:
        """Number, least and greatest of all times, or of those before a moment; of none the last two are 0."""

    def quantile(self, share: float, before: int | None) -> float:
        """``np.quantile`` of the same times."""


@dataclass(frozen=True, eq=False)
class _Times:
    """Times in an array."""

    times: IntArray

    def span(self, before: int | None) -> tuple[int, int, int]:
        times = self._of(before)
        return (len(times), int(times.min()), int(times.max())) if len(times) else (0, 0, 0)

    def quantile(self, share: float, before: int | None) -> float:
        return float(np.quantile(self._of(before), share))

    def _of(self, before: int | None) -> IntArray:
        return self.times if before is None else self.times[self.times < before]


@dataclass(frozen=True)
class TimeCuts(SplitProtocol):
    """Events before ``valid_cut`` are fit, those from ``cut`` on test; a rule for any part of the users.

    Attributes:
        valid_cut: Unix seconds.
        cut: Unix seconds.
        protocol: name of the protocol.
    """

    valid_cut: int
    cut: int
    protocol: str

    @property
    def name(self) -> str:
        return self.protocol

    def split(self, interactions: Interactions) -> Split:
        times = interactions.timestamp
        if times is None:
            raise DataError(f"protocol {self.protocol} needs timestamps, and this data set has none")
        fit_stop, valid_stop = (
            np.diff(offsets_from_lengths(times < moment)[interactions.user_offsets])
            for moment in (self.valid_cut, self.cut)
        )
        return Split(interactions, fit_stop, valid_stop, self.name)


@dataclass(frozen=True)
class NoSplit(SplitProtocol):
    """All events are fit: for production, and for evaluation on a separate held-out file."""

    @property
    def name(self) -> str:
        return "none"

    def split(self, interactions: Interactions) -> Split:
        return Split(interactions, interactions.lengths, interactions.lengths, self.name)


def parse_protocol(text: str) -> SplitProtocol:
    """The protocol of that name.

    Raises:
        ConfigError: an unknown name or a malformed number.
    """
    name, _, value = text.partition(":")
    if text == "leave_one_out":
        return LeaveLastN(1)
    if text == "last_three":
        return LastThree()
    if text == "none":
        return NoSplit()
    if text.startswith("leave_last_") and text.removeprefix("leave_last_").isdecimal():
        n = int(text.removeprefix("leave_last_"))
        if n >= 1:
            return LeaveLastN(n)
    if name == "global_time" and (text == name or value.isdecimal()):
        return GlobalTime(int(value) if value else None)
    raise ConfigError(
        f"unknown protocol {text!r}; known: leave_one_out, leave_last_<n>, global_time[:<unix seconds>], last_three, "
        "none"
    )
