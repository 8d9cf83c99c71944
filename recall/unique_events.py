"""Histories in which a user has each item once."""

from __future__ import annotations

import numpy as np
from numba import njit

from reccore.arrays import BoolArray, IntArray


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
