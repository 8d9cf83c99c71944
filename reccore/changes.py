"""Which users' events differ between two states of the same data."""

from __future__ import annotations

import numpy as np

from reccore.arrays import BoolArray, IntArray, ragged_positions, row_of_each
from reccore.interactions import Interactions


def equal_events(before: Interactions, after: Interactions) -> IntArray:
    """(U,) how many first events of a user are the same items, ratings and times in both states; O(events) time.

    Raises:
        ValueError: the two have different users.
    """
    if before.n_users != after.n_users:
        raise ValueError(f"{before.n_users} users before and {after.n_users} after")
    common = np.minimum(before.lengths, after.lengths)
    old, new = (ragged_positions(each.user_offsets[:-1], common) for each in (before, after))
    different = np.zeros(len(old), dtype=np.bool_)
    for name in ("item_idx", "rating", "timestamp"):
        was, now = getattr(before, name), getattr(after, name)
        if was is not None and now is not None:
            different |= was[old] != now[new]
    at = np.flatnonzero(different)
    starts = np.concatenate([[0], np.cumsum(common)])
    users, first = np.unique(row_of_each(starts)[at], return_index=True)
    common[users] = at[first] - starts[users]
    return common


def changed_users(before: Interactions, after: Interactions) -> BoolArray:
    """(U,) whether a user's events are not the same in both states.

    Raises:
        ValueError: see ``equal_events``.
    """
    equal = equal_events(before, after)
    changed: BoolArray = (equal != before.lengths) | (equal != after.lengths)
    return changed
