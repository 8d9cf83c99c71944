"""Array types and the CSR arithmetic shared by everything that holds ragged rows."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float32]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Real = TypeVar("Real", bound="np.floating[Any]")


def offsets_from_lengths(lengths: npt.NDArray[Any]) -> IntArray:
    """Row lengths (B,) to CSR offsets (B+1,)."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def sorted_distinct(values: npt.NDArray[np.integer[Any]]) -> IntArray:
    """The different values of (n,) whole numbers, ascending.

    ``np.unique`` of NumPy 2.4 puts them through a hash table, which takes 70 times as long as this sort of two million
    pairs of a user and an item.
    """
    found = np.sort(values)
    first = np.ones(len(found), dtype=bool)
    np.not_equal(found[1:], found[:-1], out=first[1:])
    distinct: IntArray = found[first]
    return distinct


def are_among(values: IntArray, distinct: IntArray) -> BoolArray:
    """(n,) whether each value is one of ``distinct`` (m,), ascending.

    ``np.isin`` puts both through the hash table of ``np.unique`` unless they lie close together, see
    ``sorted_distinct``.
    """
    if len(distinct) == 0:
        return np.zeros(len(values), dtype=np.bool_)
    at = np.minimum(np.searchsorted(distinct, values), len(distinct) - 1)
    found: BoolArray = distinct[at] == values
    return found


def ragged_positions(starts: IntArray, lengths: IntArray) -> IntArray:
    """Positions ``starts[i], …, starts[i] + lengths[i] - 1`` of every row, concatenated.

    Returns an array of ``lengths.sum()`` positions; linear in it, without a Python loop.
    """
    offsets = offsets_from_lengths(lengths)
    return np.arange(offsets[-1], dtype=np.int64) + np.repeat(starts - offsets[:-1], lengths)


def row_of_each(offsets: IntArray) -> IntArray:
    """Row number of every element of a CSR array: (B+1,) offsets to (L,) rows."""
    return np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))


def rows_where(mask: BoolArray) -> IntArray | slice:
    """The rows where a mask is True; as a slice, which copies nothing, where they lie together."""
    rows = np.flatnonzero(mask)
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def unit_rows(vectors: npt.NDArray[Real], *, shortest: float = 0.0) -> npt.NDArray[Real]:
    """(N, D) rows scaled to length 1, of the type given; zero rows stay zero.

    Args:
        vectors: (N, D).
        shortest: rows shorter than this are divided by it instead, so that what rounding left of a row is not scaled up
            to length 1.
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: npt.NDArray[Real] = np.zeros_like(vectors)
    np.divide(vectors, np.maximum(length, shortest), out=unit, where=length > 0)
    return unit


def check_offsets(name: str, offsets: npt.NDArray[Any], n_elements: int) -> None:
    """Raise ``ValueError`` unless ``offsets`` is a valid CSR offset array over ``n_elements``."""
    if offsets.ndim != 1 or len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != n_elements:
        raise ValueError(f"{name} must start at 0 and end at {n_elements}, got {offsets[:1]}…{offsets[-1:]}")
    if (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"{name} must not decrease")
