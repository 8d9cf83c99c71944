"""Histories in which a user has each item once."""

from __future__ import annotations

import numpy as np
from numba import njit

from reccore import Interactions
from reccore.arrays import BoolArray, IntArray, offsets_from_lengths


def latest_distinct(interactions: Interactions, cap: int) -> tuple[IntArray, IntArray]:
    """Each user's latest ``cap`` events, of repeated items the latest: offsets (U+1,) and items."""
    latest = interactions.latest(cap)
    kept = latest_of_each_item(latest.user_offsets, latest.item_idx, latest.n_items)
    return offsets_from_lengths(kept)[latest.user_offsets], latest.item_idx[kept]


@njit(cache=True)
def latest_of_each_item(user_offsets: IntArray, item_idx: IntArray, n_items: int) -> BoolArray:
    """(E,) True on the latest event of every pair of user and item."""
    kept = np.zeros(len(item_idx), dtype=np.bool_)
    seen_by = np.full(n_items, -1, dtype=np.int64)
    for user in range(len(user_offsets) - 1):
        for at in range(user_offsets[user + 1] - 1, user_offsets[user] - 1, -1):
            if seen_by[item_idx[at]] != user:
                seen_by[item_idx[at]] = user
                kept[at] = True
    return kept
