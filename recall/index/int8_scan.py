"""The best items of one query by a scan of small codes, with bounds that leave none of the true best out.

A float32 scan of a large catalogue is limited by memory: N·D·4 bytes for N·D multiplications. Here vectors are rotated
to their principal axes, so that the first ``PREFIX`` entries hold most of each. A first pass reads codes of these
alone, 16 bytes an item, and drops what cannot reach the best k with whatever follows; codes of all entries, a byte
each, are read for the few items that are left. Each code has a bound of what it can be wrong by, so that an item whose
greatest possible score is below the k-th greatest of the least possible scores is not among the best k. What is left is
scored exactly by the caller.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from recall.topk_kernels import STEP, keep_greatest, key_of, mark, score_of
from reccore.arrays import FloatArray, IntArray

PREFIX = 16
LARGEST_PREFIX_CODE = 45
"""Of items and of queries: sums of ``PREFIX`` products fit into 16 bits."""
LARGEST_CODE = 127
ALIGNMENT = 16
"""Entries of a code are padded with zeros to a multiple of this, so that the inner loop has no remainder."""
ITEMS_PER_BLOCK = 8192
SAMPLE = 2048
"""About so many scores by prefixes are read to find where the best begin."""
SURPLUS = 3
"""As many times k items with the greatest scores by prefixes are scored by all entries: the k-th of them is a bound."""
ROUNDING = 2.0**-20
"""Of the product of both lengths: above the rounding of the rotation, of the scan and of the exact float32 scores."""
SMALLEST = np.float32(1e-35)
"""Added to each bound: above the rounding of numbers so small that float32 loses digits."""
ROOM = 8
"""Most items left, as a multiple of k: more of them and a float32 scan is as fast."""
NO_ROOM = -1


class Codes(NamedTuple):
    """Rotated vectors of items by falling length, in steps of ``STEP``.

    With s the scale and c the code of the prefix v₁ of a vector (v₁, v₂), and t·p ≈ q₁ those of a query (q₁, q₂), the
    product differs from s·t·(c·p) by at most |q₁|·|v₁ − s·c| + |q₂|·|v₂| + |v|·|q₁ − t·p|, by Cauchy and Schwarz. With
    those of all entries, by at most |q|·|v − s·c| + |q − t·p|·(|v| + |v − s·c|), of which ``bound`` is the most for a
    query of length 1.

    Attributes:
        prefix: (S, PREFIX, STEP) int8, entries of a step's items side by side.
        prefix_scale, near, far: (S, STEP) float32: s, |v₁ − s·c| and |v₂|.
        codes: (N, W) int8 of all entries.
        scale_bound: (N, 2) float32.
        item: (N,) int64, the item at each place.
        longest: (S,) float32, the greatest length in each step.
    """

    prefix: npt.NDArray[np.int8]
    prefix_scale: FloatArray
    near: FloatArray
    far: FloatArray
    codes: npt.NDArray[np.int8]
    scale_bound: FloatArray
    item: IntArray
    longest: FloatArray


class Query(NamedTuple):
    """A rotated query, with the names of ``Codes``.

    Attributes:
        prefix: (PREFIX,) int16 codes p.
        prefix_unit, near, far, error: t, |q₁|, |q₂| and |q₁ − t·p|.
        codes: (W,) int16 codes of all entries.
        unit, length: their t, and |q|.
    """

    prefix: npt.NDArray[np.int16]
    prefix_unit: np.float32
    near: np.float32
    far: np.float32
    error: np.float32
    codes: npt.NDArray[np.int16]
    unit: np.float32
    length: np.float32


class Int8Scan:
    """Codes of item vectors (N, D), about N · (D + 50) bytes."""

    def __init__(self, vectors: FloatArray) -> None:
        n_items, self._dimension = vectors.shape
        width = -(-max(self._dimension, PREFIX) // ALIGNMENT) * ALIGNMENT
        self._largest_query = min(32767, (2**31 - 1) // (LARGEST_CODE * width))  # sums of 32 bits do not overflow
        self._axes = _principal_axes(vectors, width)
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
        order: IntArray = np.argsort(-lengths, kind="stable")
        n_steps = -(-n_items // STEP)
        scale, near, far = np.zeros((3, n_steps, STEP), dtype=np.float32)
        self._codes = Codes(
            prefix=np.zeros((n_steps, PREFIX, STEP), dtype=np.int8),
            prefix_scale=scale,
            near=near,
            far=far,
            codes=np.zeros((n_items, width), dtype=np.int8),
            scale_bound=np.zeros((n_items, 2), dtype=np.float32),
            item=order,
            longest=_above(lengths[order[::STEP]]),
        )
        for start in range(0, n_items, ITEMS_PER_BLOCK):
            rotated = vectors[order[start : start + ITEMS_PER_BLOCK]].astype(np.float64) @ self._axes
            self._write(start, rotated)

    def _write(self, start: int, rotated: npt.NDArray[np.float64]) -> None:
        """Code the rotated vectors from place ``start`` on, the first of a step."""
        stored, rows = self._codes, slice(start, start + len(rotated))
        scale, codes, error = _coded(rotated, LARGEST_CODE)
        length = np.linalg.norm(rotated, axis=1)
        of_query = 0.5 * np.sqrt(self._dimension) / self._largest_query  # at most |q − t·p| / |q|
        stored.codes[rows], stored.scale_bound[rows, 0] = codes, scale
        stored.scale_bound[rows, 1] = _above(error + of_query * (length + error) + ROUNDING * length)
        scale, codes, error = _coded(rotated[:, :PREFIX], LARGEST_PREFIX_CODE)
        for first in range(0, len(rotated), STEP):
            step, of_step = (start + first) // STEP, slice(first, first + STEP)
            size = len(codes[of_step])
            stored.prefix[step, :, :size], stored.prefix_scale[step, :size] = codes[of_step].T, scale[of_step]
            stored.near[step, :size] = _above(error[of_step])
            stored.far[step, :size] = _above(np.linalg.norm(rotated[of_step, PREFIX:], axis=1))

    @property
    def n_bytes(self) -> int:
        """Memory of the codes."""
        return sum(int(part.nbytes) for part in self._codes)

    def survivors(self, query: FloatArray, k: int, exclude: IntArray) -> IntArray | None:
        """Items among which are the best ``k`` by exact scores, with all that tie with the last of them.

        Args:
            query: (D,) float32.
            k: at least 1.
            exclude: items never to offer.

        Returns:
            (n,) distinct items in ascending order, none of them excluded; fewer than ``k`` if there are no more. None:
            more than ``ROOM`` · k cannot be told apart by their codes.
        """
        items = np.empty(ROOM * k + 2 * STEP, dtype=np.int64)
        n = _scan(self._codes, _coded_query(query, self._axes, self._largest_query), k, exclude, items)
        return None if n == NO_ROOM else np.sort(items[:n])


def _principal_axes(vectors: FloatArray, width: int) -> npt.NDArray[np.float64]:
    """(D, width) orthonormal axes, those along which the vectors are longest first, then zeros."""
    moments = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), ITEMS_PER_BLOCK):
        block = vectors[start : start + ITEMS_PER_BLOCK].astype(np.float64)
        moments += block.T @ block
    axes = np.zeros((len(moments), width))
    axes[:, : len(moments)] = np.linalg.eigh(moments)[1][:, ::-1]
    return axes


def _coded(
    rows: npt.NDArray[np.float64], largest: int
) -> tuple[FloatArray, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scale (n,) of each row, its entries in that unit as whole numbers up to ``largest``, and what they are off by."""
    scale: FloatArray = (np.abs(rows).max(axis=1) / largest).astype(np.float32)
    wide = scale.astype(np.float64)[:, None]
    codes = np.clip(np.rint(rows / np.where(wide > 0, wide, 1.0)), -largest, largest)
    return scale, codes, np.linalg.norm(rows - codes * wide, axis=1)


def _above(values: npt.NDArray[np.float64]) -> FloatArray:
    """In float32, rounded up beyond the rounding of float64."""
    above: FloatArray = np.nextafter((values * (1 + ROUNDING)).astype(np.float32), np.float32(np.inf))
    return above


@njit(nogil=True, cache=True)
def _coded_query(vector: np.ndarray, axes: np.ndarray, largest: int) -> Query:
    rotated = np.zeros(axes.shape[1])
    for d in range(len(vector)):
        for axis in range(len(rotated)):
            rotated[axis] += np.float64(vector[d]) * axes[d, axis]
    near, far = 0.0, 0.0
    for axis in range(len(rotated)):
        if axis < PREFIX:
            near += rotated[axis] ** 2
        else:
            far += rotated[axis] ** 2
    up = np.float32(1 + ROUNDING)
    unit, codes, _ = _codes_of(rotated, largest)
    prefix_unit, prefix, error = _codes_of(rotated[:PREFIX], LARGEST_PREFIX_CODE)
    lengths = np.float32(np.sqrt(near)) * up, np.float32(np.sqrt(far)) * up, np.float32(np.sqrt(near + far)) * up
    return Query(prefix, prefix_unit, lengths[0], lengths[1], np.float32(error) * up, codes, unit, lengths[2])


@njit(nogil=True, cache=True)
def _codes_of(values: np.ndarray, largest: int) -> tuple[Any, Any, Any]:
    """Unit, codes in it, and the length of what they leave."""
    greatest = 0.0
    for value in values:
        greatest = max(greatest, abs(value))
    unit = np.float32(greatest / largest)
    codes, left = np.zeros(len(values), dtype=np.int16), 0.0
    for at in range(len(values)):
        if unit > 0.0:
            codes[at] = max(min(np.rint(values[at] / np.float64(unit)), largest), -largest)
        left += (values[at] - codes[at] * np.float64(unit)) ** 2
    return unit, codes, np.sqrt(left)


@njit(nogil=True, cache=True)
def _scan(stored: Codes, query: Query, k: int, exclude: np.ndarray, items: np.ndarray) -> Any:
    """Fill ``items`` with those that may be among the best ``k``; returns their number, or ``NO_ROOM``."""
    excluded = np.zeros(len(stored.item), dtype=np.bool_)
    mark(excluded, exclude, True)
    by_prefix = _prefix_scores(stored, query)
    least = _reached_by(stored, query, k, len(exclude), excluded, by_prefix)
    lower, upper = np.empty(len(items), dtype=np.float32), np.empty(len(items), dtype=np.float32)
    place = np.empty(STEP, dtype=np.int32)
    n = 0
    for step in range(len(stored.longest)):
        if stored.longest[step] * query.length < least:  # every item from here on is shorter
            break
        reached = _reach(stored, query, step, by_prefix[step], least, place)
        score, error = _scores(stored, query, place[:reached])
        for at in range(reached):
            item = stored.item[place[at]]
            items[n], lower[n], upper[n] = item, score[at] - error[at], score[at] + error[at]
            n += upper[n] >= least and not excluded[item]  # else the next one takes its place
        if n > len(items) - STEP:
            n, least = _drop(k, least, items, lower, upper, n)
            if n > len(items) - STEP:
                return NO_ROOM
    return _drop(k, least, items, lower, upper, n)[0]


@njit(nogil=True, cache=True)
def _prefix_scores(stored: Codes, query: Query) -> np.ndarray:
    """(S, STEP) scores by the codes of the prefixes."""
    found = np.empty(stored.prefix_scale.shape, dtype=np.float32)
    total = np.empty(STEP, dtype=np.int16)
    for step in range(len(found)):
        total[:] = 0
        for d in range(PREFIX):
            codes, factor = stored.prefix[step, d], query.prefix[d]
            for j in range(STEP):
                total[j] = np.int16(total[j] + np.int16(codes[j]) * factor)
        for j in range(STEP):
            found[step, j] = np.float32(total[j]) * (stored.prefix_scale[step, j] * query.prefix_unit)
    return found


@njit(nogil=True, cache=True)
def _reached_by(
    stored: Codes, query: Query, k: int, n_excluded: int, excluded: np.ndarray, by_prefix: np.ndarray
) -> Any:
    """A score that at least ``k`` items surely reach, mostly near that of the k-th; −∞ where none is found."""
    scores = by_prefix.reshape(-1)[: len(stored.item)]
    stride = max(len(scores) // SAMPLE, 1)
    n, rank = len(scores) // stride, (SURPLUS * k + n_excluded) // stride + 1
    if rank >= n:
        return np.float32(-np.inf)
    keys = np.empty(n, dtype=np.int64)
    bits = scores.view(np.int32)
    for at in range(n):
        keys[at] = key_of(np.int64(bits[at * stride]), at)
    keep_greatest(keys, n, rank)
    from_score = np.float32(score_of(keys[rank - 1]))
    place = np.empty(len(scores), dtype=np.int32)
    reached = 0
    for row in range(len(scores)):
        place[reached] = row
        reached += scores[row] >= from_score
    score, error = _scores(stored, query, place[:reached])
    n = 0
    for at in range(reached):
        score[n] = score[at] - error[at]
        n += not excluded[stored.item[place[at]]]
    return _greatest(score[:n], k) if n >= k else np.float32(-np.inf)


@njit(nogil=True, cache=True)
def _greatest(scores: np.ndarray, k: int) -> Any:
    """The ``k``-th greatest of at least ``k`` scores."""
    keys, bits = np.empty(len(scores), dtype=np.int64), scores.view(np.int32)
    for at in range(len(scores)):
        keys[at] = key_of(np.int64(bits[at]), at)
    keep_greatest(keys, len(keys), k)
    return np.float32(score_of(keys[k - 1]))


@njit(nogil=True, cache=True)
def _reach(stored: Codes, query: Query, step: int, by_prefix: np.ndarray, least: Any, place: np.ndarray) -> int:
    """Write the places of a step's items that may score ``least`` by their prefixes to ``place``; their number."""
    near, far = stored.near[step], stored.far[step]
    needed = least - stored.longest[step] * (query.error + np.float32(ROUNDING) * query.length) - SMALLEST
    most = np.empty(STEP, dtype=np.float32)
    for j in range(STEP):
        most[j] = by_prefix[j] + near[j] * query.near + far[j] * query.far
    first = step * STEP
    reached = 0
    for j in range(min(STEP, len(stored.item) - first)):
        place[reached] = first + j  # without a branch: the next one overwrites it unless the score is enough
        reached += most[j] >= needed
    return reached


@njit(nogil=True, cache=True)
def _scores(stored: Codes, query: Query, place: np.ndarray) -> tuple[Any, Any]:
    """The scores of the items at some places by the codes of all entries, and what they can be wrong by."""
    totals = np.empty(len(place), dtype=np.int32)
    _add_up(stored.codes, query.codes, place, totals)
    score, error = np.empty(len(place), dtype=np.float32), np.empty(len(place), dtype=np.float32)
    for at in range(len(place)):
        scale, bound = stored.scale_bound[place[at]]
        score[at] = np.float32(totals[at]) * (scale * query.unit)
        error[at] = bound * query.length + SMALLEST
    return score, error


@njit(nogil=True, cache=True)
def _add_up(codes: np.ndarray, query: np.ndarray, place: np.ndarray, totals: np.ndarray) -> None:
    """Products of codes with the query; nothing else is in this loop, so that it becomes vector instructions."""
    for at in range(len(place)):
        row = codes[place[at]]
        total = np.int32(0)
        for d in range(len(row)):
            total += np.int32(row[d]) * np.int32(query[d])
        totals[at] = total


@njit(nogil=True, cache=True)
def _drop(k: int, least: Any, items: np.ndarray, lower: np.ndarray, upper: np.ndarray, n: int) -> Any:
    """Drop items that cannot be among the best ``k``; returns how many are left, and the score that they may reach."""
    if n >= k:
        least = max(least, _greatest(lower[:n], k))
    kept = 0
    for at in range(n):
        if upper[at] >= least:
            items[kept], lower[kept], upper[kept] = items[at], lower[at], upper[at]
            kept += 1
    return kept, least
