"""The mapping between raw ids, used at the edges, and dense indices, used inside."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from reccore.arrays import IntArray, offsets_from_lengths
from reccore.errors import DataError

RawId: TypeAlias = int | str
"""An id as the data has it: a whole number, or text."""

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")


def parse_raw_id(text: str) -> RawId:
    """The id that a user has written: a whole number of 64 bits without leading zeros, otherwise the text itself."""
    if _WHOLE.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    return text


@dataclass(frozen=True, eq=False)
class IdMap:
    """A bijection between raw ids and ``0 … N-1``.

    Where all ids come at once, the dense index is the rank of the raw id; ids that come later are ``grown`` behind
    them, so that no index changes.

    Attributes:
        ids: (N,) distinct raw ids: int64, or text as an object array of ``str``.
    """

    ids: npt.NDArray[Any]

    def __post_init__(self) -> None:
        if self.ids.ndim != 1 or not (self.ids.dtype == np.int64 or self.is_text):
            raise ValueError(f"ids must be a one-dimensional int64 or str array, got {self.ids.dtype} {self.ids.shape}")
        if np.any(self._sorted[1:] == self._sorted[:-1]):
            raise ValueError("ids must be distinct")

    @cached_property
    def _order(self) -> IntArray | None:
        """(N,) dense indices by increasing raw id (text by code points); None where that is 0 … N-1."""
        return None if np.all(self.ids[1:] > self.ids[:-1]) else np.argsort(self.ids, kind="stable")

    @cached_property
    def _sorted(self) -> npt.NDArray[Any]:
        """(N,) the raw ids, increasing."""
        return self.ids if self._order is None else self.ids[self._order]

    @classmethod
    def of(cls, *raw: npt.NDArray[Any]) -> IdMap:
        """The map of all ids in the given arrays; if one of them holds text, all ids become text."""
        if any(_is_text(ids) for ids in raw):
            every = {str(value) for ids in raw for value in ids.tolist()}
            return cls(np.array(sorted(every), dtype=object))
        parts = [np.unique(np.asarray(ids, dtype=np.int64)) for ids in raw]
        return cls(np.unique(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64))

    def grown(self, *raw: npt.NDArray[Any]) -> IdMap:
        """This map, followed by the given ids that it does not hold, in increasing order; no index changes.

        Raises:
            DataError: text, where this map holds whole numbers.
        """
        wanted = IdMap.of(*raw)
        if wanted.is_text and not self.is_text and len(self):
            raise DataError(f"ids are whole numbers here, and {wanted.ids[-1]!r} is none")
        new = wanted.ids[self.encode(wanted.ids) < 0]
        if self.is_text and not wanted.is_text:
            new = np.array(sorted(str(value) for value in new.tolist()), dtype=object)
        return self if len(new) == 0 else IdMap(np.concatenate([self.ids, new]))

    def within(self, low: RawId, high: RawId) -> IntArray:
        """Dense indices of the ids from ``low`` up to but not ``high``, by increasing id."""
        bounds = np.array([low, high], dtype=self.ids.dtype)
        start, stop = np.searchsorted(self._sorted, bounds)
        return np.arange(start, stop) if self._order is None else self._order[start:stop]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_text(self) -> bool:
        """Whether the ids are text."""
        return self.ids.dtype == object

    def encode(self, raw: npt.ArrayLike) -> IntArray:
        """Dense indices of raw ids, of the same shape; -1 for ids the map does not hold.

        The text ``"12"`` and the number 12 are the same id.
        """
        given = np.asarray(raw)
        if given.size == 0 or len(self.ids) == 0:
            return np.full(given.shape, -1, dtype=np.int64)
        if self.is_text:
            wanted = np.array([str(value) for value in given.ravel().tolist()], dtype=object).reshape(given.shape)
        elif _is_text(given):
            return self._encode_text(given)
        else:
            wanted = given.astype(np.int64, copy=False)
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self.ids) - 1)
        found: IntArray = np.where(self._sorted[at] == wanted, at if self._order is None else self._order[at], -1)
        return found

    def _encode_text(self, given: npt.NDArray[Any]) -> IntArray:
        """Dense indices of whole numbers written as text; any other text is an unknown id."""
        parsed = [parse_raw_id(str(value)) for value in given.ravel().tolist()]
        known = np.full(len(parsed), -1, dtype=np.int64)
        whole = np.array([isinstance(value, int) for value in parsed])
        known[whole] = self.encode(np.array([value for value in parsed if isinstance(value, int)], dtype=np.int64))
        return known.reshape(given.shape)

    def decode(self, idx: npt.ArrayLike) -> npt.NDArray[Any]:
        """Raw ids of dense indices, of the same shape.

        Raises:
            IndexError: an index outside ``0 … N-1``, -1 included.
        """
        wanted = np.asarray(idx, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self.ids)):
            raise IndexError(f"index outside 0…{len(self.ids) - 1}")
        return np.asarray(self.ids[wanted], dtype=self.ids.dtype)

    def numbers(self, idx: IntArray) -> IntArray:
        """Numbers that stand for the ids, such as in a hash: the ids themselves; for text, the dense indices."""
        return idx if self.is_text else self.decode(idx)

    def raw_id(self, idx: int) -> RawId:
        """The raw id of one dense index.

        Raises:
            IndexError: an index outside ``0 … N-1``, -1 included.
        """
        found: RawId = self.decode(idx).item()
        return found

    def to_arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Plain arrays for a bundle; text becomes bytes and offsets, which need no pickle."""
        if not self.is_text:
            return {name: self.ids}
        encoded = [text.encode() for text in self.ids.tolist()]
        return {
            f"{name}_bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8),
            f"{name}_offsets": offsets_from_lengths(np.array([len(b) for b in encoded], dtype=np.int64)),
        }

    @classmethod
    def from_arrays(cls, name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> IdMap:
        """Inverse of ``to_arrays``."""
        if name in arrays:
            return cls(arrays[name])
        raw, at = arrays[f"{name}_bytes"].tobytes(), arrays[f"{name}_offsets"]
        return cls(np.array([raw[a:b].decode() for a, b in pairwise(at.tolist())], dtype=object))


def _is_text(ids: npt.NDArray[Any]) -> bool:
    return ids.dtype.kind in "OUST"


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
            for values in id_map.to_arrays("ids").values():
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Plain arrays for a bundle."""
        return self.users.to_arrays("users") | self.items.to_arrays("items")

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Vocabulary:
        """Inverse of ``to_arrays``."""
        return cls(IdMap.from_arrays("users", arrays), IdMap.from_arrays("items", arrays))

    def __str__(self) -> str:
        return f"{self.fingerprint[:12]} ({len(self.users):,} users, {len(self.items):,} items)"
