"""The mapping between raw ids, used at the edges, and dense indices, used inside."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from reccore.arrays import IntArray


@dataclass(frozen=True, eq=False)
class IdMap:
    """A bijection between raw integer ids and ``0 … N-1``; the dense index is the rank of the raw id.

    Attributes:
        ids: (N,) int64, strictly increasing raw ids.
    """

    ids: IntArray

    def __post_init__(self) -> None:
        if self.ids.dtype != np.int64 or self.ids.ndim != 1:
            raise ValueError(f"ids must be a one-dimensional int64 array, got {self.ids.dtype} {self.ids.shape}")
        if np.any(self.ids[1:] <= self.ids[:-1]):
            raise ValueError("ids must be strictly increasing")

    @classmethod
    def of(cls, *raw: npt.NDArray[Any]) -> IdMap:
        """The map of all ids in the given arrays."""
        parts = [np.unique(np.asarray(ids, dtype=np.int64)) for ids in raw]
        return cls(np.unique(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    def encode(self, raw: npt.ArrayLike) -> IntArray:
        """Dense indices of raw ids, of the same shape; -1 for ids the map does not hold."""
        wanted = np.asarray(raw, dtype=np.int64)
        if len(self.ids) == 0:
            return np.full(wanted.shape, -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return np.where(self.ids[at] == wanted, at, -1)

    def decode(self, idx: npt.ArrayLike) -> IntArray:
        """Raw ids of dense indices, of the same shape.

        Raises:
            IndexError: an index outside ``0 … N-1``, -1 included.
        """
        wanted = np.asarray(idx, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self.ids)):
            raise IndexError(f"index outside 0…{len(self.ids) - 1}")
        return self.ids[wanted]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Users and items of a set of artefacts; stored with each of them."""

    users: IdMap
    items: IdMap

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest; equal for vocabularies with the same ids only."""
        digest = hashlib.sha256()
        for id_map in (self.users, self.items):
            digest.update(len(id_map).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(id_map.ids).tobytes())
        return digest.hexdigest()

    def __str__(self) -> str:
        return f"{self.fingerprint[:12]} ({len(self.users):,} users, {len(self.items):,} items)"
