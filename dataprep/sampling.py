"""A random sample of the users of a prepared data set, for a notebook or a first trial."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dataprep.prepare import Prepared
from reccore import ConfigError


def sample_users(prepared: Prepared, max_events: int, *, seed: int = 0) -> Prepared:
    """Keep random users with all their events, up to ``max_events`` in total but at least one user.

    Vocabulary, tables and cuts do not change; a user who is left out has no events. Data with at most ``max_events``
    events is returned unchanged.

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
    part = replace(
        split,
        interactions=events.first(np.where(chosen, events.lengths, 0)),
        fit_stop=np.where(chosen, split.fit_stop, 0),
        valid_stop=np.where(chosen, split.valid_stop, 0),
    )
    return replace(prepared, split=part)
