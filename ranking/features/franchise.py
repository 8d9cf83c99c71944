"""Films of the candidate's franchise in the history, by titles: Rocky, Rocky II and Rocky III are one."""

from __future__ import annotations

import numpy as np
from numba import njit

from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, Values, feature
from reccore import RankingSamples
from reccore.arrays import FloatArray
from reccore.franchise import franchise_codes


def franchises(_: RankingSamples, tables: FeatureTables, __: str) -> dict[str, Values]:
    """``codes_of_titles``, which depend on no event."""
    return codes_of_titles(tables)


def codes_of_titles(tables: FeatureTables) -> dict[str, Values]:
    """(N,) franchise of each film, from 1; 0 for a film whose key no other film has."""
    assert tables.items.title is not None
    return {"franchise": franchise_codes(tables.items.title)}


@feature(
    "cross.franchise_seen",
    side="pair",
    kind="number",
    requires=("items.title",),
    fit=franchises,
    grow=lambda _, tables: codes_of_titles(tables),
    default=True,
)
def franchise_seen(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """log(1 + films of the history that belong to the candidate's franchise); 0 for a film without one."""
    queries, item_idx = batch.queries, batch.candidates.item_idx
    seen: FloatArray = np.empty(item_idx.shape, dtype=np.float32)
    _count(queries.history_offsets, queries.history_idx, fitted.state["franchise"], item_idx, seen)
    return np.log1p(seen, out=seen)


@njit(nogil=True, cache=True)
def _count(
    offsets: np.ndarray, history: np.ndarray, franchise: np.ndarray, item_idx: np.ndarray, seen: np.ndarray
) -> None:
    """Fill ``seen`` (B, K) with the events of each history in the franchise of each candidate; NaN on padding."""
    # Franchises of the row's events, and how many of them. ``place`` is not filled, as a franchise has a place only if
    # it stands there: there are more films than a request has candidates and events.
    place = np.empty(len(franchise) + 1, dtype=np.int32)  # there are fewer franchises than films
    longest = 0
    for row in range(len(seen)):
        longest = max(longest, offsets[row + 1] - offsets[row])
    codes, counts = np.empty(longest, dtype=np.int64), np.empty(longest, dtype=np.int64)
    for row in range(len(seen)):
        n = 0
        for item in history[offsets[row] : offsets[row + 1]]:
            code = franchise[item]
            if code > 0:
                there = place[code]
                if 0 <= there < n and codes[there] == code:
                    counts[there] += 1
                else:
                    place[code], codes[n], counts[n] = n, code, 1
                    n += 1
        for j in range(seen.shape[1]):
            seen[row, j] = np.nan if item_idx[row, j] < 0 else 0.0
            if n > 0 and item_idx[row, j] >= 0:
                code = franchise[item_idx[row, j]]
                there = place[code]
                if 0 <= there < n and codes[there] == code:
                    seen[row, j] = counts[there]
