"""Items that a recommender must not offer, per query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reccore.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    check_offsets,
    offsets_from_lengths,
    ragged_positions,
    row_of_each,
)
from reccore.queries import QueryBatch

LARGEST_TABLE = 1 << 22
"""Cells of a table of all items of all rows: 4 MB."""


@dataclass(frozen=True, eq=False)
class Exclusions:
    """CSR rows of excluded item indices.

    Attributes:
        offsets: (B+1,) int64.
        item_idx: (L,) int64; entries outside the catalogue (-1 included) exclude nothing.
    """

    offsets: IntArray
    item_idx: IntArray

    def __post_init__(self) -> None:
        check_offsets("offsets", self.offsets, len(self.item_idx))

    @classmethod
    def of_history(cls, queries: QueryBatch) -> Exclusions:
        """The whole history of every query."""
        return cls(queries.history_offsets, queries.history_idx)

    @classmethod
    def nothing(cls, n_queries: int) -> Exclusions:
        return cls(np.zeros(n_queries + 1, dtype=np.int64), np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        return np.diff(self.offsets)

    def rows(self, start: int, stop: int) -> Exclusions:
        """Rows ``start … stop-1``, sharing memory."""
        if start == 0 and stop == len(self):
            return self
        low, high = self.offsets[start], self.offsets[stop]
        return Exclusions(self.offsets[start : stop + 1] - low, self.item_idx[low:high])

    def select(self, rows: IntArray) -> Exclusions:
        """The given rows in the given order."""
        lengths = self.lengths[rows]
        return Exclusions(
            offsets_from_lengths(lengths), self.item_idx[ragged_positions(self.offsets[:-1][rows], lengths)]
        )

    def mask_scores(self, scores: FloatArray) -> None:
        """Set excluded entries of dense scores (B, N) to −inf, in place."""
        rows = row_of_each(self.offsets)
        known = (self.item_idx >= 0) & (self.item_idx < scores.shape[1])
        scores[rows[known], self.item_idx[known]] = -np.inf

    def contains(self, item_idx: IntArray) -> BoolArray:
        """Which of the given items (B, K) are excluded for their row; False on padding (-1).

        For a few rows a table of all items is marked, in time linear in the exclusions, which may be nearly the whole
        catalogue; for many, the exclusions are sorted.
        """
        span = int(item_idx.max(initial=-1)) + 1  # one more than the greatest item
        known = (self.item_idx >= 0) & (self.item_idx < span)
        if not known.any():
            return np.zeros(item_idx.shape, dtype=bool)
        excluded = row_of_each(self.offsets)[known] * span + self.item_idx[known]
        wanted = np.arange(len(self), dtype=np.int64)[:, None] * span + item_idx
        if len(self) * span <= LARGEST_TABLE:
            marked = np.zeros(len(self) * span, dtype=bool)
            marked[excluded] = True
            in_table: BoolArray = marked[wanted] & (item_idx >= 0)
            return in_table
        excluded = np.sort(excluded)
        at = np.minimum(np.searchsorted(excluded, wanted), len(excluded) - 1)
        found: BoolArray = (excluded[at] == wanted) & (item_idx >= 0)
        return found
