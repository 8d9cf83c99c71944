"""Compiled loops of ``recall.topk``: scan a row, keep what reaches a threshold, pack, partition.

``part`` and ``n_parts`` choose the rows of one thread. ``offsets`` and ``exclude`` are ``Exclusions``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from reccore.compilation import announce_compilation

# Items compared before those kept are packed: fits the first-level cache.
STEP = 1024
# Items compared by vector instructions before one of them is looked at: most groups hold none that is kept.
GROUP = 64
# Fewer scores are not worth sampling; of more, about SAMPLE are read.
SAMPLED_FROM, SAMPLE = 1024, 512
LOWEST = np.float32(np.finfo(np.float32).min)
NONE = np.iinfo(np.int64).min  # sorts below every key

announce_compilation()


@njit(nogil=True, cache=True)
def key_of(bits: Any, item: Any) -> Any:
    """A score, given as the bits of its float32, and an item as one integer: greater = better, then lower item."""
    if bits == -(2**31):
        bits = 0  # −0.0
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # signed order equals float order
    return (ordered << 32) | (0xFFFFFFFF - item)


@njit(nogil=True, cache=True)
def item_of(key: Any) -> Any:
    """The item packed into a key."""
    return 0xFFFFFFFF - (key & 0xFFFFFFFF)


@njit(nogil=True, cache=True)
def keep_greatest(keys: np.ndarray, n: int, k: int) -> None:
    """Reorder distinct ``keys[:n]`` so that the ``k`` greatest come first, the least of them at ``k - 1``."""
    low, high = 0, n - 1
    while low < high:
        a, b, c = keys[low], keys[(low + high) // 2], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while keys[i] > pivot:
                i += 1
            while keys[j] < pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            return


@njit(nogil=True, cache=True)
def estimate(scores: np.ndarray, wanted: int, sample: np.ndarray) -> Any:
    """A score that probably at least ``wanted`` of the row reach, and not many more; ``LOWEST`` if none is sought."""
    stride = len(scores) // SAMPLE
    expected = wanted / max(stride, 1)
    rank = int(expected + 3 * np.sqrt(expected)) + 2  # three standard deviations
    n = len(scores) // max(stride, 1)
    if len(scores) < SAMPLED_FROM or 2 * rank > n:
        return LOWEST
    bits = scores.view(np.int32)
    for at in range(n):
        sample[at] = key_of(np.int64(bits[at * stride]), at)
    keep_greatest(sample, n, rank)
    return max(score_of(sample[rank - 1]), LOWEST)


@njit(nogil=True, cache=True)
def score_of(key: Any) -> Any:
    """The score packed into a key."""
    ordered = np.int32(key >> 32)
    one = np.empty(1, dtype=np.int32)
    one[0] = ordered ^ ((ordered >> 31) & np.int32(0x7FFFFFFF))
    return one.view(np.float32)[0]


@njit(nogil=True, cache=True)
def scan(
    scores: np.ndarray,
    items: np.ndarray,
    first: int,
    k: int,
    least: Any,
    excluded: np.ndarray,
    position: np.ndarray,
    keys: np.ndarray,
    n: int,
) -> int:
    """Add a row's scores of at least ``least`` to ``keys[:n]``, keep the ``k`` greatest, return their number.

    Score j is that of ``items[j]``, or of item ``first + j`` where ``items`` is empty.
    """
    bits = scores.view(np.int32)
    least = np.float32(least)  # a comparison in float64 would take twice the time
    for start in range(0, len(scores), STEP):
        step = scores[start : start + STEP]
        bad = 0
        for j in range(len(step)):
            bad += not (step[j] < np.inf)
        if bad > 0:
            raise ValueError("scores must be finite or −inf")
        reached = 0
        for group in range(0, len(step), GROUP):
            end = min(group + GROUP, len(step))
            enough = 0
            for j in range(group, end):
                enough += step[j] >= least
            if enough == 0:
                continue
            for j in range(group, end):
                position[reached] = start + j  # without a branch: the next one overwrites it unless the score is enough
                reached += step[j] >= least
        for at in range(reached):
            j = position[at]
            item = first + j if len(items) == 0 else np.int64(items[j])
            if not excluded[item]:
                keys[n] = key_of(np.int64(bits[j]), item)
                n += 1
        if n > len(keys) - STEP:
            keep_greatest(keys, n, k)
            n = k
            least = max(least, np.float32(score_of(keys[k - 1])))
    if n > k:
        keep_greatest(keys, n, k)
        n = k
    return n


@njit(nogil=True, cache=True)
def scratch(k: int) -> Any:
    """What ``select`` works in: positions, a sample, keys."""
    position = np.empty(STEP, dtype=np.int64)
    sample = np.empty(2 * SAMPLE, dtype=np.int64)
    return position, sample, np.empty(4 * k + 2 * STEP, dtype=np.int64)


@njit(nogil=True, cache=True)
def select(
    scores: np.ndarray,
    items: np.ndarray,
    k: int,
    n_excluded: int,
    floor: Any,
    excluded: np.ndarray,
    position: np.ndarray,
    sample: np.ndarray,
    keys: np.ndarray,
) -> int:
    """Write the keys of a row's best ``k`` items with a score of at least ``floor``, in any order; return their number.

    Score j is that of ``items[j]``, a distinct item.
    """
    least = max(np.float32(estimate(scores, k + n_excluded, sample)), floor)
    n = scan(scores, items, 0, k, least, excluded, position, keys, 0)
    if n < k and least > floor:  # the estimate was too high
        n = scan(scores, items, 0, k, floor, excluded, position, keys, 0)
    return n


@njit(nogil=True, cache=True)
def push_dense(
    scores: np.ndarray,
    first: int,
    n_items: int,
    offsets: np.ndarray,
    exclude: np.ndarray,
    best: np.ndarray,
    counts: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    """Merge the scores (B, n) of items from ``first`` on into the keys ``best`` (B, k), ``counts`` (B,) are filled."""
    n_rows, k = best.shape
    excluded = np.zeros(n_items, dtype=np.bool_)
    nothing = np.empty(0, dtype=np.int32)
    position, sample, keys = scratch(k)
    for row in range(part * n_rows // n_parts, (part + 1) * n_rows // n_parts):
        mark(excluded, exclude[offsets[row] : offsets[row + 1]], True)
        before = counts[row]
        keys[:before] = best[row, :before]
        if before == k:
            least = score_of(keys[:k].min())
        else:
            least = estimate(scores[row], k + offsets[row + 1] - offsets[row], sample)
        n = scan(scores[row], nothing, first, k, least, excluded, position, keys, before)
        if n < k and least > LOWEST:  # the estimate was too high
            keys[:before] = best[row, :before]
            n = scan(scores[row], nothing, first, k, LOWEST, excluded, position, keys, before)
        best[row, :n] = keys[:n]
        best[row, n:] = NONE
        counts[row] = n
        mark(excluded, exclude[offsets[row] : offsets[row + 1]], False)


@njit(nogil=True, cache=True)
def select_sparse(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    n_items: int,
    offsets: np.ndarray,
    exclude: np.ndarray,
    best: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    """Fill the keys ``best`` (B, k) from CSR rows; entries of 0 are no scores."""
    n_rows, k = best.shape
    excluded = np.zeros(n_items, dtype=np.bool_)
    position, sample, keys = scratch(k)
    for row in range(part * n_rows // n_parts, (part + 1) * n_rows // n_parts):
        mark(excluded, exclude[offsets[row] : offsets[row + 1]], True)
        scores, items = data[indptr[row] : indptr[row + 1]], indices[indptr[row] : indptr[row + 1]]
        for j in range(len(scores)):
            if scores[j] == 0.0:
                excluded[items[j]] = True
        n_excluded = offsets[row + 1] - offsets[row]
        n = select(scores, items, k, n_excluded, LOWEST, excluded, position, sample, keys)
        best[row, :n] = keys[:n]
        best[row, n:] = NONE
        for j in range(len(scores)):
            excluded[items[j]] = False
        mark(excluded, exclude[offsets[row] : offsets[row + 1]], False)


@njit(nogil=True, cache=True)
def mark(excluded: np.ndarray, items: np.ndarray, value: bool) -> None:
    for item in items:
        if 0 <= item < len(excluded):
            excluded[item] = value


@njit(nogil=True, cache=True)
def pack(item_idx: np.ndarray, score: np.ndarray, keys: np.ndarray, part: int, n_parts: int) -> None:
    bits = score.view(np.int32)
    for row in range(part * len(keys) // n_parts, (part + 1) * len(keys) // n_parts):
        for j in range(keys.shape[1]):
            keys[row, j] = NONE
            if item_idx[row, j] >= 0 and score[row, j] != -np.inf:
                if not (score[row, j] < np.inf):
                    raise ValueError("scores must be finite or −inf")
                keys[row, j] = key_of(np.int64(bits[row, j]), item_idx[row, j])


@njit(nogil=True, cache=True)
def decode(keys: np.ndarray, item_idx: np.ndarray, score: np.ndarray) -> None:
    """Items and scores of ascending keys, the greatest first."""
    bits = score.view(np.int32)
    for row in range(len(keys)):
        for j in range(item_idx.shape[1]):
            key = keys[row, keys.shape[1] - 1 - j]
            if key == NONE:
                item_idx[row, j] = -1
                score[row, j] = -np.inf
            else:
                item_idx[row, j] = item_of(key)
                ordered = np.int32(key >> 32)
                bits[row, j] = ordered ^ ((ordered >> 31) & np.int32(0x7FFFFFFF))


@njit(nogil=True, cache=True)
def walk(
    order: np.ndarray,
    weight: np.ndarray,
    offsets: np.ndarray,
    exclude: np.ndarray,
    item_idx: np.ndarray,
    score: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    n_rows, k = score.shape
    excluded = np.zeros(len(order), dtype=np.bool_)
    for row in range(part * n_rows // n_parts, (part + 1) * n_rows // n_parts):
        mark(excluded, exclude[offsets[row] : offsets[row + 1]], True)
        n = 0
        for item in order:
            if n == k:
                break
            if not excluded[item]:
                item_idx[row, n] = item
                score[row, n] = weight[item]
                n += 1
        mark(excluded, exclude[offsets[row] : offsets[row + 1]], False)
