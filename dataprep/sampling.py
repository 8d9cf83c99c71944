"""A smaller piece of a prepared data set, for a notebook or a first try."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dataprep.prepare import Prepared
from dataprep.splits import Split
from reccore import ConfigError


def sample_users(prepared: Prepared, max_events: int, *, seed: int = 0) -> Prepared:
    """Random users with all their events, as many users as fit into ``max_events``; the cuts stay as they are.

    The vocabulary and the tables stay whole, so users left out are merely users without events. Data that
    is small enough comes back as it is. At least one user with events is kept.

    Raises:
        ConfigError: ``max_events`` below 1.
    """
    if max_events < 1:
        raise ConfigError(f"max_events must be at least 1, got {max_events}")
    split = prepared.split
    events = split.interactions
    if events.n_events <= max_events:
        return prepared
    order = np.random.default_rng(seed).permutation(np.flatnonzero(events.lengths > 0))
    kept = order[: max(int((np.cumsum(events.lengths[order]) <= max_events).sum()), 1)]
    chosen = np.zeros(events.n_users, dtype=bool)
    chosen[kept] = True
    part = Split(
        events.first(np.where(chosen, events.lengths, 0)),
        np.where(chosen, split.fit_stop, 0),
        np.where(chosen, split.valid_stop, 0),
        split.protocol,
    )
    return replace(prepared, split=part)
