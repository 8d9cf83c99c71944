"""The compiled loop of merging: one pass over the slots of a row, one sort, one pass that writes the features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from training.kernels.parallel import parallel_for

# Below this number of rows, threads take longer to start than the rows take to merge.
ROWS_WORTH_THREADS = 16
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / φ: Fibonacci hashing, Knuth, TAOCP 3, section 6.4


def merge_rows(item_idx: np.ndarray, *arguments: Any) -> None:
    """Merge rows into arrays of padding, on PyTorch's threads; the arguments are those of ``_merge_part``."""
    kernel: Callable[..., None] = _merge_part
    if len(item_idx) < ROWS_WORTH_THREADS:
        kernel(item_idx, *arguments, 0, 1)
    else:
        parallel_for(kernel, item_idx, *arguments)


@njit(nogil=True, cache=True)
def _merge_part(
    item_idx: np.ndarray,
    score: np.ndarray,
    points: np.ndarray,
    first_slot: np.ndarray,
    fill_channel: int,
    takes_best: bool,
    merged_idx: np.ndarray,
    merged_score: np.ndarray,
    found_score: np.ndarray,
    found_rank: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    """Merge one thread's run of rows.

    Args:
        item_idx: (B, S) int64 items of all channels side by side, below 2³², -1 = empty.
        score: (B, S) float32 the channels' scores.
        points: (1 or B, S) float64 points of each slot.
        first_slot: (C+1,) int64 first slot of each channel, then S.
        fill_channel: number of the channel that fills short rows, -1 = none.
        takes_best: an item gets the most points of one channel, not the sum over the channels in their order.
        merged_idx: (B, k) int64, holds -1.
        merged_score: (B, k) float32, holds −inf.
        found_score, found_rank: (C, B, k) float32, hold NaN.
        part, n_parts: which of the runs.
    """
    n_rows, n_slots = item_idx.shape
    k = merged_idx.shape[1]
    n_bits = 1
    while (1 << n_bits) < 2 * n_slots:
        n_bits += 1
    table = np.empty(1 << n_bits, dtype=np.int32)  # entry of the item at each place of the hash table, -1 = free
    entry = np.empty(n_slots, dtype=np.int32)  # of each slot, -1 for an empty slot
    item = np.empty(n_slots, dtype=np.int64)  # of each entry
    total = np.empty(n_slots, dtype=np.float64)  # points of each entry
    rank_in_fill = np.empty(n_slots, dtype=np.int64)  # of each entry, 0 = the fill channel does not offer it
    place = np.empty(n_slots, dtype=np.int64)  # of each entry in the result, k = none
    for row in range(part * n_rows // n_parts, (part + 1) * n_rows // n_parts):
        own = points[min(row, len(points) - 1)]
        n_entries = _collect(item_idx[row], own, takes_best, n_bits, table, entry, item, total)
        rank_in_fill[:n_entries] = 0
        if fill_channel >= 0:
            for slot in range(first_slot[fill_channel + 1] - 1, first_slot[fill_channel] - 1, -1):
                if entry[slot] >= 0:
                    rank_in_fill[entry[slot]] = slot - first_slot[fill_channel] + 1
        order = _best_first(n_entries, item, total, rank_in_fill)
        n_placed = min(len(order), k)
        place[:n_entries] = k
        lowest, n_merged = np.float32(1.0), 1  # of a row without a merged item
        for at in range(n_placed):
            which = table[_find(np.int64(order[at] & 0xFFFFFFFF), n_bits, table, item)]
            place[which] = at
            merged_idx[row, at] = item[which]
            if total[which] > 0.0:
                lowest, n_merged = np.float32(total[which]), at + 1
                merged_score[row, at] = lowest
            else:
                merged_score[row, at] = lowest * np.float64(n_merged) / (at + 1)
        for channel in range(len(first_slot) - 1):
            for slot in range(first_slot[channel], first_slot[channel + 1]):
                if entry[slot] >= 0 and place[entry[slot]] < k:
                    found_score[channel, row, place[entry[slot]]] = score[row, slot]
                    found_rank[channel, row, place[entry[slot]]] = slot - first_slot[channel] + 1


@njit(nogil=True, cache=True)
def _collect(
    items: np.ndarray,
    points: np.ndarray,
    takes_best: bool,
    n_bits: int,
    table: np.ndarray,
    entry: np.ndarray,
    item: np.ndarray,
    total: np.ndarray,
) -> int:
    """Number of distinct items of a row; writes the entry of each slot, and each entry's item and points."""
    table[:] = -1
    n_entries = 0
    for slot in range(len(items)):
        entry[slot] = -1
        if items[slot] < 0:
            continue
        at = _find(items[slot], n_bits, table, item)
        which = table[at]
        if which < 0:
            which = n_entries
            n_entries += 1
            table[at], item[which], total[which] = which, items[slot], points[slot]
        elif takes_best:
            total[which] = max(total[which], points[slot])
        else:
            total[which] += points[slot]
        entry[slot] = which
    return n_entries


@njit(nogil=True, cache=True)
def _find(wanted: np.int64, n_bits: int, table: np.ndarray, item: np.ndarray) -> np.int64:
    """Place of an item in the hash table, or the free place where it belongs; linear probing."""
    at = np.int64((np.uint64(wanted) * GOLDEN) >> np.uint64(64 - n_bits))
    while table[at] >= 0 and item[table[at]] != wanted:
        at = (at + 1) & (len(table) - 1)
    return at


@njit(nogil=True, cache=True)
def _best_first(n_entries: int, item: np.ndarray, total: np.ndarray, rank_in_fill: np.ndarray) -> np.ndarray:
    """Sorted keys of the entries that may be placed; the lower 32 bits of a key are the item.

    The upper bits order by float32 points, descending, and after all entries with points by the rank in the fill
    channel. The bits of a positive float32, read as an integer, are in the order of the floats.
    """
    points = total[:n_entries].astype(np.float32)
    bits = points.view(np.int32)
    keys = np.empty(n_entries, dtype=np.int64)
    n_keys = 0
    for at in range(n_entries):
        if total[at] > 0.0:
            keys[n_keys] = (-np.int64(bits[at]) << 32) | item[at]
            n_keys += 1
        elif rank_in_fill[at] > 0:
            keys[n_keys] = (rank_in_fill[at] << 32) | item[at]
            n_keys += 1
    return np.sort(keys[:n_keys])
