"""Transitions from the last event to the candidate, counted in the histories of the training users: (B, K).

Not in the default set: the channel ``markov`` counts in all histories, and ``recall.markov.latest1.match`` is its score
of the same transition.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numba import njit

from ranking.features.affinity import unlabelled_histories
from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, Values, feature
from reccore import RankingSamples
from reccore.arrays import FloatArray

STEPS = (1, 3, 10)
FOLLOWERS = 200
"""The most frequent followers of each item that are kept; of equal ones those of lower index."""


def steps(_: RankingSamples, __: FeatureTables) -> list[str]:
    """Greatest distance of a transition, in events."""
    return [str(n) for n in STEPS]


def followers(samples: RankingSamples, tables: FeatureTables, n_steps: str) -> dict[str, Values]:
    """How often each item follows each other one within so many events of one history, without the labels.

    CSR: ``offsets`` (N+1,), ``item_idx`` ascending in each row, ``count``. Takes one addition for each event and step.
    """
    n_items = tables.items.n_items
    queries = unlabelled_histories(samples, n_items)
    events = np.asarray(queries.history_idx, dtype=np.int64)
    by_item = np.argsort(events, kind="stable")
    starts = np.searchsorted(events[by_item], np.arange(n_items + 1))
    ends = np.repeat(queries.history_offsets[1:], queries.lengths)
    most = int(np.minimum(np.diff(starts) * int(n_steps), min(FOLLOWERS, n_items)).sum())
    item_idx, count = np.empty(most, dtype=np.int32), np.empty(most, dtype=np.int32)
    offsets = np.zeros(n_items + 1, dtype=np.int64)
    _count(events, by_item, starts, ends, int(n_steps), FOLLOWERS, offsets, item_idx, count)
    return {"offsets": offsets, "item_idx": item_idx[: offsets[-1]], "count": count[: offsets[-1]]}


def without_followers(state: Mapping[str, Values], tables: FeatureTables) -> dict[str, Values]:
    """The state with empty rows for items that came later."""
    offsets = state["offsets"]
    return {"offsets": np.pad(offsets, (0, tables.items.n_items + 1 - len(offsets)), mode="edge")}


@feature("cross.transitions.{steps}", side="pair", kind="number", members=steps, fit=followers, grow=without_followers)
def transitions(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """log(1 + times that the candidate came within 1, 3 or 10 events after the last event); NaN without a history."""
    queries, item_idx, state = batch.queries, batch.candidates.item_idx, fitted.state
    last = np.append(queries.history_idx, -1)[queries.latest_positions(1)[:, 0]]
    found: FloatArray = np.empty(item_idx.shape, dtype=np.float32)
    _look_up(state["offsets"], state["item_idx"], state["count"], last, item_idx, found)
    return np.log1p(found, out=found)


@njit(nogil=True, cache=True)
def _count(
    events: np.ndarray,
    by_item: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    n_steps: int,
    n_kept: int,
    offsets: np.ndarray,
    item_idx: np.ndarray,
    count: np.ndarray,
) -> None:
    """Fill the CSR of ``followers`` from events (L,), their order by item, and where each one's history ends (L,)."""
    n_items, n = len(offsets) - 1, 0
    times, touched = np.zeros(n_items, dtype=np.int32), np.empty(n_items, dtype=np.int64)
    for item in range(n_items):
        n_touched = 0
        for here in by_item[starts[item] : starts[item + 1]]:
            for there in range(here + 1, min(here + n_steps + 1, ends[here])):
                other = events[there]
                if other != item:
                    if times[other] == 0:
                        touched[n_touched] = other
                        n_touched += 1
                    times[other] += 1
        others = np.sort(touched[:n_touched])
        least, ties = 0, 0  # followers with this count or less are left out, but for so many of the former
        if n_touched > n_kept:
            least = np.sort(times[others])[n_touched - n_kept]
            ties = n_kept - np.sum(times[others] > least)
        for other in others:
            kept = times[other] > least
            if times[other] == least and ties > 0:
                kept, ties = True, ties - 1
            if kept:
                item_idx[n], count[n] = other, times[other]
                n += 1
            times[other] = 0
        offsets[item + 1] = n


@njit(nogil=True, cache=True)
def _look_up(
    offsets: np.ndarray,
    followers: np.ndarray,
    count: np.ndarray,
    last: np.ndarray,
    item_idx: np.ndarray,
    found: np.ndarray,
) -> None:
    """Fill ``found`` (B, K) with the counts after the last items (B,); NaN for -1 in either."""
    for row in range(len(found)):
        if last[row] < 0:
            found[row] = np.nan
            continue
        start, stop = offsets[last[row]], offsets[last[row] + 1]
        for j in range(found.shape[1]):
            item = item_idx[row, j]
            at = start + np.searchsorted(followers[start:stop], item)
            if item < 0:
                found[row, j] = np.nan
            else:
                found[row, j] = count[at] if at < stop and followers[at] == item else 0
