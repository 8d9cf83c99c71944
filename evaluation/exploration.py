"""Statistics of a data set and of channels: popularity bands, genres by decade, waiting times, overlaps.

``evaluation.exploration_plots`` draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dataprep.splits import Split
from evaluation.evaluate import Evaluation
from evaluation.significance import Interval, bootstrap_mean
from reccore import Candidates, DataError, Holdout, ItemTable
from reccore.arrays import FloatArray, IntArray

BAND_ENDS = (0.01, 0.05, 0.2, 1.0)
NEVER = "never seen"


@dataclass(frozen=True, eq=False)
class Bands:
    """Items in bands of popularity, the most popular first.

    Attributes:
        names: such as ``top 1%``; the last band holds the items without events.
        of_item: (N,) int64, index of each item's band.
    """

    names: tuple[str, ...]
    of_item: IntArray

    def shares(self, item_idx: IntArray) -> dict[str, float]:
        """Share of the given items (repeats allowed) in each band; -1 counts as never seen.

        Raises:
            DataError: no items.
        """
        if len(item_idx) == 0:
            raise DataError("there are no items to sort into bands")
        band = np.where(item_idx >= 0, self.of_item[item_idx], len(self.names) - 1)
        counts = np.bincount(band, minlength=len(self.names))
        return dict(zip(self.names, (counts / len(item_idx)).tolist(), strict=True))


def popularity_bands(counts: IntArray, ends: Sequence[float] = BAND_ENDS) -> Bands:
    """Bands of the items with events by popularity rank: top 1%, 1% to 5%, 5% to 20%, the rest; ties by index.

    Args:
        counts: (N,) events of each item in the fit split.
        ends: end of each band as a share of the items with events, ascending to 1.
    """
    n_seen = int((counts > 0).sum())
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    stops = np.ceil(np.asarray(ends) * n_seen)
    of_item = np.where(counts > 0, np.searchsorted(stops, rank, side="right"), len(ends))
    starts = (0.0, *ends[:-1])
    names = [f"top {b:.0%}" if a == 0 else f"{a:.0%} to {b:.0%}" for a, b in zip(starts, ends, strict=True)]
    return Bands((*names, NEVER), of_item.astype(np.int64))


def share_carried(counts: IntArray, share: float = 0.5) -> int:
    """Smallest number of items that together have ``share`` of all events."""
    running = np.cumsum(np.sort(counts)[::-1])
    return int(np.searchsorted(running, share * running[-1])) + 1 if len(running) and running[-1] else 0


def genres_by_decade(items: ItemTable, *, at_least: int = 10) -> tuple[FloatArray, list[str], list[str]] | None:
    """Share of each decade's films that have a genre; a film may have several genres.

    Args:
        items: N items.
        at_least: decades with fewer films of known year and genre are left out.

    Returns:
        (G, decades) shares; genre names, the most frequent first; decade labels such as ``1990s (1,033)``. None if
        the data has no genres or no years, or if no decade has enough films.
    """
    if items.n_genres == 0 or items.year is None:
        return None
    genres = items.genre_matrix()
    usable = (items.year > 0) & (genres.sum(axis=1) > 0)
    decade, row = np.unique(items.year[usable] // 10 * 10, return_inverse=True)
    films = np.bincount(row, minlength=len(decade))
    kept = np.flatnonzero(films >= at_least)
    if len(kept) == 0:
        return None
    counts = np.zeros((len(decade), items.n_genres))
    np.add.at(counts, row, genres[usable])
    order = np.argsort(-genres[usable].sum(axis=0), kind="stable")
    shares = (counts[kept] / films[kept, None]).T[order]
    columns = [f"{decade[i]}s\n({films[i]:,})" for i in kept.tolist()]
    return shares.astype(np.float32), [items.genre_names[g] for g in order.tolist()], columns


def rarest_genre(items: ItemTable) -> IntArray:
    """(N,) the rarest genre of each item, -1 without genres; Horror describes a film better than Drama does."""
    if items.n_genres == 0:
        return np.full(items.n_items, -1, dtype=np.int64)
    genres = items.genre_matrix()
    frequency = np.where(genres > 0, genres.sum(axis=0), np.inf)
    rarest: IntArray = np.where(genres.any(axis=1), frequency.argmin(axis=1), -1).astype(np.int64)
    return rarest


def waiting_times(split: Split) -> IntArray | None:
    """Seconds from the last event of each non-empty test history to the target; None without timestamps."""
    if split.interactions.timestamp is None:
        return None
    before, target = split.test().queries, split.test(query_time=True).queries
    waited: IntArray = (target.as_of - before.as_of)[before.lengths > 0]
    return waited


def active_days(split: Split) -> FloatArray | None:
    """Days from the first to the last event of each user with events; None without timestamps."""
    events = split.interactions
    if events.timestamp is None:
        return None
    some = events.lengths > 0
    first, last = events.user_offsets[:-1][some], events.user_offsets[1:][some] - 1
    days: FloatArray = ((events.timestamp[last] - events.timestamp[first]) / 86_400.0).astype(np.float32)
    return days


def metric_by_band(
    evaluation: Evaluation, holdout: Holdout, bands: Bands, metric: str, *, seed: int = 0, at_least: int = 10
) -> dict[str, Interval]:
    """Mean of a metric by the popularity band of each query's first target.

    Bands with fewer than ``at_least`` queries are left out, since their intervals would be too wide.
    """
    target = holdout.target_idx[holdout.target_offsets[:-1]]
    band = np.where(target >= 0, bands.of_item[target], len(bands.names) - 1)
    found = {}
    for i, name in enumerate(bands.names):
        values = evaluation.per_query[metric][band == i]
        if len(values) >= at_least:
            users = holdout.queries.user_idx[band == i]
            found[f"{name}\n({len(values):,})"] = bootstrap_mean(values, users=users, seed=seed)
    return found


def overlaps(offers: Mapping[str, Candidates], k: int) -> FloatArray:
    """(C, C) mean share of the row channel's first ``k`` items that the column channel also offers.

    Queries that the row channel did not answer are left out; a channel without any answer gets NaN.
    """
    heads = [offer.head(k) for offer in offers.values()]
    result = np.full((len(heads), len(heads)), np.nan, dtype=np.float32)
    for a, mine in enumerate(heads):
        answered = mine.counts > 0
        for b, other in enumerate(heads):
            if answered.any():
                shared = _shared(mine.item_idx[answered], other.item_idx[answered])
                result[a, b] = (shared / mine.counts[answered]).mean()
    return result


def _shared(mine: IntArray, other: IntArray) -> IntArray:
    """(B,) number of items that each row of ``mine`` shares with the same row of ``other``."""
    span = int(max(mine.max(initial=0), other.max(initial=0))) + 1
    base = span * np.arange(len(mine))[:, None]
    inside = np.isin(mine + base, (other + base)[other >= 0]) & (mine >= 0)
    counts: IntArray = inside.sum(axis=1)
    return counts
