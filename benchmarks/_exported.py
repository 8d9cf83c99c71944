"""Events of a split as other libraries take them, which may run in environments without this project."""

from __future__ import annotations

import numpy as np

from dataprep.splits import Split
from reccore.arrays import IntArray, row_of_each


def events_by_part(split: Split) -> dict[str, IntArray]:
    """Every event as ``user``, ``item`` and ``part``: 0 fit, 1 validation, 2 test; oldest first in each user."""
    events = split.interactions
    user = row_of_each(events.user_offsets)
    place = np.arange(events.n_events) - events.user_offsets[user]
    part = (place >= split.fit_stop[user]).astype(np.int64) + (place >= split.valid_stop[user])
    return {"user": user, "item": np.asarray(events.item_idx), "part": part}
