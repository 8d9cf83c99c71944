"""Films of the candidate's franchise in the history, by titles: Rocky, Rocky II and Rocky III are one."""

from __future__ import annotations

import numpy as np

from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, Values, feature
from ranking.features.history import event_rows
from reccore import RankingSamples
from reccore.arrays import FloatArray
from reccore.franchise import franchise_codes


def franchises(_: RankingSamples, tables: FeatureTables, __: str) -> dict[str, Values]:
    """(N,) franchise of each film, from 1; 0 for a film whose key no other film has."""
    assert tables.items.title is not None
    return {"franchise": franchise_codes(tables.items.title)}


@feature("cross.franchise_seen", side="pair", kind="number", requires=("items.title",), fit=franchises, default=True)
def franchise_seen(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """log(1 + films of the history that belong to the candidate's franchise); 0 for a film without one."""
    franchise, n = fitted.state["franchise"], len(batch.queries)
    size = int(franchise.max(initial=0)) + 1
    keys = batch.once(event_rows) * size + franchise[batch.queries.history_idx]
    counts = np.bincount(keys, minlength=n * size).reshape(n, size)
    counts[:, 0] = 0
    seen = counts[np.arange(n)[:, None], franchise[batch.candidates.item_idx]].astype(np.float32)
    return np.where(batch.candidates.mask, np.log1p(seen), np.float32(np.nan))
