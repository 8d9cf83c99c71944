"""The best items of one query by a scan of 8-bit codes, with bounds that leave none of the true best out.

A float32 scan of a large catalogue is limited by memory: N·D·4 bytes for N·D multiplications. Codes of a byte an entry
are a quarter of that. Each item has a bound of what its code can be wrong by, so that an item whose greatest possible
score is below the k-th greatest of the least possible scores is not among the best k. What is left is scored exactly
by the caller.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from recall.topk_kernels import SAMPLE, STEP, keep_greatest, key_of, mark, score_of
from reccore.arrays import FloatArray, IntArray

LARGEST_CODE = 127
ALIGNMENT = 16
"""Entries of a code are padded with zeros to a multiple of this, so that the inner loop has no remainder."""
ITEMS_PER_BLOCK = 8192
ROUNDING = 2.0**-20
"""Of the product of both lengths: above the rounding of the scan's float32 and of the exact float32 scores."""
SMALLEST = np.float32(1e-35)
"""Added to each bound: above the rounding of numbers so small that float32 loses digits."""
ROOM = 8
"""Most items left, as a multiple of k: more of them and a float32 scan is as fast."""
NO_ROOM, TOO_FEW = -1, -2


class Codes(NamedTuple):
    """Codes of items by falling length.

    Attributes:
        codes: (N, W) int8.
        scale: (N,) float32.
        bound: (N,) float32, what a score can be wrong by for a query of length 1.
        item: (N,) int64, the item at each place.
        longest: (S,) float32, the greatest length of each ``STEP`` items.
    """

    codes: npt.NDArray[np.int8]
    scale: FloatArray
    bound: FloatArray
    item: IntArray
    longest: FloatArray


class Query(NamedTuple):
    """A query as codes (W,) int16, their unit, and its length."""

    codes: npt.NDArray[np.int16]
    unit: np.float32
    length: np.float32


class Int8Scan:
    """Codes of item vectors (N, D): D bytes and two numbers an item.

    With s the scale and c the code of an item, e = |v − s·c|, and a query q ≈ t·p in 16-bit integers p, the error of
    s·t·(c·p) is at most |q|·e + |q − t·p|·(|v| + e) by Cauchy and Schwarz. Codes stand by falling length, so that a
    scan ends where |q|·|v| is below what the best k surely reach.
    """

    def __init__(self, vectors: FloatArray) -> None:
        n_items, dimension = vectors.shape
        self._dimension = dimension
        width = -(-dimension // ALIGNMENT) * ALIGNMENT
        self._largest_query = min(32767, (2**31 - 1) // (LARGEST_CODE * width))  # sums of 32 bits do not overflow
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
        order: IntArray = np.argsort(-lengths, kind="stable")
        self._codes = Codes(
            codes=np.zeros((n_items, width), dtype=np.int8),
            scale=np.empty(n_items, dtype=np.float32),
            bound=np.empty(n_items, dtype=np.float32),
            item=order,
            longest=(lengths[order[::STEP]] * (1 + ROUNDING)).astype(np.float32),
        )
        of_query = 0.5 * np.sqrt(dimension) / self._largest_query  # at most |q − t·p| / |q|
        for start in range(0, n_items, ITEMS_PER_BLOCK):
            rows = slice(start, start + ITEMS_PER_BLOCK)
            block = vectors[order[rows]].astype(np.float64)
            scale = (np.abs(block).max(axis=1) / LARGEST_CODE).astype(np.float32)
            step = np.where(scale > 0, scale, np.float32(1)).astype(np.float64)[:, None]
            codes = np.clip(np.rint(block / step), -LARGEST_CODE, LARGEST_CODE)
            length = np.linalg.norm(block, axis=1)
            error = np.linalg.norm(block - codes * scale.astype(np.float64)[:, None], axis=1)
            self._codes.codes[rows, :dimension], self._codes.scale[rows] = codes, scale
            self._codes.bound[rows] = (error + of_query * (length + error) + ROUNDING * length) * (1 + ROUNDING)

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
        wide = query.astype(np.float64)
        unit = float(np.abs(wide).max()) / self._largest_query
        codes = np.zeros(self._codes.codes.shape[1], dtype=np.int16)
        if unit > 0:
            codes[: self._dimension] = np.rint(wide / unit)
        length = float(np.sqrt(wide @ wide)) * (1 + ROUNDING)
        items = np.empty(ROOM * k + 2 * STEP, dtype=np.int64)
        n = _scan(self._codes, Query(codes, np.float32(unit), np.float32(length)), k, exclude, items)
        return None if n == NO_ROOM else np.sort(items[:n])


@njit(nogil=True, cache=True)
def _scan(stored: Codes, query: Query, k: int, exclude: np.ndarray, items: np.ndarray) -> Any:
    """Fill ``items`` with those that may be among the best ``k``; returns their number, or ``NO_ROOM``."""
    excluded = np.zeros(len(stored.item), dtype=np.bool_)
    mark(excluded, exclude, True)
    n = _pass(stored, query, k, _estimate(stored, query, k + len(exclude)), excluded, items)
    if n == TOO_FEW:  # the estimate was too high
        n = _pass(stored, query, k, -np.inf, excluded, items)
    return n


@njit(nogil=True, cache=True)
def _pass(stored: Codes, query: Query, k: int, least: Any, excluded: np.ndarray, items: np.ndarray) -> Any:
    """As ``_scan``, of the items whose score may be at least ``least``; ``TOO_FEW`` unless ``k`` of them surely are."""
    least = np.float32(least)
    asked = least
    score, error = np.empty(STEP, dtype=np.float32), np.empty(STEP, dtype=np.float32)
    position = np.empty(STEP, dtype=np.int64)
    lower, upper = np.empty(len(items), dtype=np.float32), np.empty(len(items), dtype=np.float32)
    n = 0
    for start in range(0, len(stored.item), STEP):
        if stored.longest[start // STEP] * query.length < least:  # every item from here on is shorter
            break
        size = min(STEP, len(stored.item) - start)
        rows = slice(start, start + size)
        _score(stored.codes[rows], stored.scale[rows], stored.bound[rows], query, score, error)
        reached = 0
        for j in range(size):
            position[reached] = j  # without a branch: the next one overwrites it unless the score is enough
            reached += score[j] + error[j] >= least
        for at in range(reached):
            j = position[at]
            item = stored.item[start + j]
            if not excluded[item]:
                items[n], lower[n], upper[n] = item, score[j] - error[j], score[j] + error[j]
                n += 1
        if n > len(items) - STEP:
            n, least = _drop(k, least, items, lower, upper, n)
            if n > len(items) - STEP:
                return NO_ROOM
    n, least = _drop(k, least, items, lower, upper, n)
    if n > len(items) - STEP:
        return NO_ROOM
    if asked > -np.inf:
        sure = 0
        for at in range(n):
            sure += lower[at] >= asked
        if sure < k:
            return TOO_FEW
    return n


@njit(nogil=True, cache=True)
def _drop(k: int, least: Any, items: np.ndarray, lower: np.ndarray, upper: np.ndarray, n: int) -> Any:
    """Drop items that cannot be among the best ``k``; returns how many are left, and the score that they may reach."""
    if n >= k:
        keys, bits = np.empty(n, dtype=np.int64), lower.view(np.int32)
        for at in range(n):
            keys[at] = key_of(np.int64(bits[at]), at)
        keep_greatest(keys, n, k)
        least = max(least, np.float32(score_of(keys[k - 1])))
    kept = 0
    for at in range(n):
        if upper[at] >= least:
            items[kept], lower[kept], upper[kept] = items[at], lower[at], upper[at]
            kept += 1
    return kept, least


@njit(nogil=True, cache=True)
def _estimate(stored: Codes, query: Query, wanted: int) -> Any:
    """A score that probably at least ``wanted`` items surely reach, and not many more; −∞ if none is sought."""
    stride = max(len(stored.item) // SAMPLE, 1)
    expected = wanted / stride
    rank = int(expected + 3 * np.sqrt(expected)) + 2  # three standard deviations
    n = len(stored.item) // stride
    if 2 * rank > n:
        return np.float32(-np.inf)
    lower, error = np.empty(n, dtype=np.float32), np.empty(n, dtype=np.float32)
    some = slice(0, n * stride, stride)
    _score(stored.codes[some].copy(), stored.scale[some].copy(), stored.bound[some].copy(), query, lower, error)
    lower -= error
    keys, bits = np.empty(n, dtype=np.int64), lower.view(np.int32)
    for at in range(n):
        keys[at] = key_of(np.int64(bits[at]), at)
    keep_greatest(keys, n, rank)
    return np.float32(score_of(keys[rank - 1]))


@njit(nogil=True, cache=True)
def _score(
    codes: np.ndarray, scale: np.ndarray, bound: np.ndarray, query: Query, score: np.ndarray, error: np.ndarray
) -> None:
    """Fill the scores by the codes (n, W), and what they can be wrong by."""
    n = len(codes)
    totals = np.empty(n, dtype=np.int32)
    _add_up(codes, query.codes, totals)
    for row in range(n):
        score[row] = np.float32(totals[row]) * (scale[row] * query.unit)
        error[row] = bound[row] * query.length + SMALLEST


@njit(nogil=True, cache=True)
def _add_up(codes: np.ndarray, query: np.ndarray, totals: np.ndarray) -> None:
    """Products of each code with the query; nothing else is in this loop, so that it becomes vector instructions."""
    for row in range(len(codes)):
        total = np.int32(0)
        for d in range(codes.shape[1]):
            total += np.int32(codes[row, d]) * np.int32(query[d])
        totals[row] = total
