"""Categorical features with several values per item, such as tags, cast and keywords."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reccore.arrays import FloatArray, IntArray, check_offsets, row_of_each

_PARTS = ("names", "offsets", "idx")


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of N items, in CSR.

    Attributes:
        names: names of the L labels.
        offsets: (N+1,) int64 into ``idx``.
        idx: int64 in 0…L-1; the most important label of an item comes first.
    """

    names: tuple[str, ...]
    offsets: IntArray
    idx: IntArray

    def __len__(self) -> int:
        """L."""
        return len(self.names)

    def check(self, what: str, n_items: int) -> None:
        """Raise a ``ValueError`` that names ``what`` unless these are labels of ``n_items`` items."""
        check_offsets(f"{what}_offsets", self.offsets, len(self.idx))
        if len(self.offsets) != n_items + 1:
            raise ValueError(f"{what}_offsets must have {n_items + 1} entries, got {len(self.offsets)}")
        if len(self.idx) and (self.idx.min() < 0 or self.idx.max() >= len(self)):
            raise ValueError(f"{what}_idx must lie in 0…{len(self) - 1}")

    def of(self, item: int) -> list[str]:
        """Names of the labels of one item."""
        return [self.names[label] for label in self.idx[self.offsets[item] : self.offsets[item + 1]]]

    def matrix(self) -> FloatArray:
        """(N, L) float32 multi-hot; takes 4·N·L bytes."""
        matrix = np.zeros((len(self.offsets) - 1, len(self)), dtype=np.float32)
        matrix[row_of_each(self.offsets), self.idx] = 1.0
        return matrix

    def padded(self) -> IntArray:
        """(N, P) labels of each item, padded with -1; P is the length of the longest list."""
        lengths = np.diff(self.offsets)
        padded = np.full((len(lengths), lengths.max(initial=0)), -1, dtype=np.int64)
        row = row_of_each(self.offsets)
        padded[row, np.arange(len(row)) - self.offsets[row]] = self.idx
        return padded

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for a bundle."""
        return {"names": np.array(self.names, dtype=np.str_), "offsets": self.offsets, "idx": self.idx}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Labels:
        """Inverse of ``to_arrays``."""
        names, offsets, idx = (arrays[part] for part in _PARTS)
        return cls(tuple(str(name) for name in names), offsets, idx)
