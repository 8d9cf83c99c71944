"""Which held-out items each channel finds, which it alone finds, and which any two of them both find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reccore import Candidates, DataError, Holdout
from reccore.arrays import BoolArray, IntArray, row_of_each

CELLS_PER_CHUNK = 1 << 23


@dataclass(frozen=True, eq=False)
class HitOverlap:
    """Counts of held-out targets found among the first ``k`` items of C channels.

    Attributes:
        names: the channels.
        k: length of the lists.
        targets: number of targets, those outside the vocabulary included.
        common: (C, C) targets that both channels find; the diagonal holds what each channel finds.
        unique: (C,) targets that no other channel finds.
        found_by_any: targets that at least one channel finds.
    """

    names: tuple[str, ...]
    k: int
    targets: int
    common: IntArray
    unique: IntArray
    found_by_any: int

    @property
    def found(self) -> IntArray:
        """(C,) targets that each channel finds."""
        return self.common.diagonal()

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """(C, C) share of the row's finds that the column finds too; NaN where the row finds none."""
        with np.errstate(invalid="ignore"):
            return self.common / self.found[:, None]

    @property
    def unique_shares(self) -> npt.NDArray[np.float64]:
        """(C,) share of a channel's finds that no other channel finds; NaN where it finds none."""
        with np.errstate(invalid="ignore"):
            return self.unique / self.found

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "k": self.k,
            "targets": self.targets,
            "found_by_any": self.found_by_any,
            "found": dict(zip(self.names, self.found.tolist(), strict=True)),
            "unique": dict(zip(self.names, self.unique.tolist(), strict=True)),
            "common": {
                name: dict(zip(self.names, row, strict=True))
                for name, row in zip(self.names, self.common.tolist(), strict=True)
            },
        }


def hit_overlap(offers: Mapping[str, Candidates], holdout: Holdout, k: int) -> HitOverlap:
    """Compare what channels find among their first ``k`` items; O(C · L · k) time for L targets.

    Args:
        offers: channel → (B, ≥ k) candidates; the missing ranks of shorter ones are misses.
        holdout: the B queries and their targets.
        k: length of the lists.

    Raises:
        DataError: no channel, or candidates for another number of queries.
    """
    return overlap_of({name: found_targets(offer, holdout, k) for name, offer in offers.items()}, k)


def overlap_of(found: Mapping[str, BoolArray], k: int) -> HitOverlap:
    """The comparison of what channels find among their first ``k`` items: channel → (L,) which targets.

    Raises:
        DataError: no channel.
    """
    if not found:
        raise DataError("an overlap needs at least one channel")
    table = np.stack(list(found.values())).astype(np.int64)
    times = table.sum(axis=0)
    return HitOverlap(
        names=tuple(found),
        k=k,
        targets=table.shape[1],
        common=table @ table.T,
        unique=table[:, times == 1].sum(axis=1),
        found_by_any=int((times > 0).sum()),
    )


def found_targets(candidates: Candidates, holdout: Holdout, k: int) -> BoolArray:
    """(L,) whether each target is among the first ``k`` items of its query; a target of -1 never is.

    Raises:
        DataError: candidates for another number of queries.
    """
    if len(candidates) != len(holdout):
        raise DataError(f"{len(candidates)} rows of candidates for {len(holdout)} queries; one row per query is needed")
    rows, first = row_of_each(holdout.target_offsets), candidates.item_idx[:, :k]
    found = np.zeros(len(rows), dtype=bool)
    step = max(1, CELLS_PER_CHUNK // max(first.shape[1], 1))
    for start in range(0, len(rows), step):
        at = slice(start, start + step)
        target = holdout.target_idx[at, None]
        found[at] = ((first[rows[at]] == target) & (target >= 0)).any(axis=1)
    return found
