"""How much each training event counts."""

from __future__ import annotations

import numpy as np

from reccore import DataError, Interactions
from reccore.arrays import FloatArray


def rating_rewards(interactions: Interactions) -> FloatArray:
    """(E,) rating / highest rating, 1 where an event has none: a film liked half as much counts half as much.

    Raises:
        DataError: the events have no ratings, or one that is not above 0.
    """
    rating = interactions.rating
    if rating is None or np.isnan(rating).all():
        raise DataError("reward = rating needs events with ratings, and these have none; use reward = none")
    lowest = np.nanmin(rating)
    if lowest <= 0:
        raise DataError(f"reward = rating needs ratings above 0, and the lowest is {lowest:g}; use reward = none")
    rewards: FloatArray = np.nan_to_num(rating / np.nanmax(rating), nan=1.0).astype(np.float32)
    return rewards
