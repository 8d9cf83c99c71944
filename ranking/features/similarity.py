"""Likeness of the candidate to the latest events, as the cosine of their genres: (B, K).

NaN for an empty history, for a candidate without genres, and on padding. An event without genres is like nothing.
None is in the default set: on the held-out users of MovieLens-100K's label window they are no gain there.
"""

from __future__ import annotations

import numpy as np

from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, feature
from ranking.features.history import (
    LATEST,
    candidate_genre_number,
    candidate_genres,
    genre_number_rows,
    genre_rows,
    latest_events,
)
from reccore import RankingSamples
from reccore.arrays import FloatArray

WINDOWS = (1, 3, 5, LATEST)
HALF_LIFE = 5.0
"""In events: an event counts half as much as one that is five events later."""
DECAYED, RATED = len(WINDOWS), len(WINDOWS) + 1
"""Columns of ``pooled_cosines`` after those of the windows."""


def _event_weights() -> FloatArray:
    """(21, 20, 5) weights of the latest events, the last one first, in a history of 0 to 20 of them.

    Columns: the mean over each window, and the decayed sum. NaN for an empty history.
    """
    n, ago = np.arange(LATEST + 1)[:, None], np.arange(LATEST)
    means = [(ago < np.minimum(n, window)) / np.maximum(np.minimum(n, window), 1) for window in WINDOWS]
    weights = np.stack([*means, (ago < n) * 0.5 ** (ago / HALF_LIFE)], axis=2).astype(np.float32)
    weights[0] = np.nan
    return weights


EVENT_WEIGHTS = _event_weights()


def event_directions(batch: FeatureBatch) -> FloatArray:
    """(B, 20, G) genres of the latest events, each of length 1, or 0 without genres; the last event first."""
    items, tables = batch.once(latest_events).item_idx, batch.tables
    number = np.nan_to_num(tables.once(genre_number_rows)[items], nan=1.0)
    directions: FloatArray = (tables.once(genre_rows)[items] / np.sqrt(number)[:, :, None]).astype(np.float32)
    return directions


def pooled_cosines(batch: FeatureBatch) -> FloatArray:
    """(B, K, 6) cosines pooled over events: means over the windows, the decayed sum, the rating-weighted mean.

    All are linear in the events, so events are pooled before they meet the candidates.
    """
    latest = batch.once(latest_events)
    n_rated = latest.rated.sum(axis=1, keepdims=True)
    rated = np.where(n_rated > 0, latest.deviation / np.maximum(n_rated, 1), np.float32(np.nan)).astype(np.float32)
    weights = np.concatenate([EVENT_WEIGHTS[np.minimum(batch.queries.lengths, LATEST)], rated[:, :, None]], axis=2)
    pools = np.matmul(batch.once(event_directions).transpose(0, 2, 1), weights)  # (B, G, 6)
    cosines: FloatArray = np.matmul(batch.once(candidate_genres), pools)
    cosines /= np.sqrt(batch.once(candidate_genre_number))[:, :, None]
    return cosines


def greatest_cosines(batch: FeatureBatch) -> dict[int, FloatArray]:
    """Window → (B, K) greatest cosine to one of its events."""
    cosine = np.matmul(batch.once(event_directions), batch.once(candidate_genres).transpose(0, 2, 1))  # (B, 20, K)
    scale = np.sqrt(batch.once(candidate_genre_number))
    scale[batch.queries.lengths == 0] = np.nan
    found, start = {}, 0
    greatest = np.zeros_like(scale)  # a cosine of genres is not negative
    for window in WINDOWS[1:]:
        greatest = np.maximum(greatest, cosine[:, start:window].max(axis=1))
        found[window], start = greatest / scale, window
    return found


def windows(_: RankingSamples, __: FeatureTables) -> list[str]:
    """How many of the latest events are read."""
    return [str(window) for window in WINDOWS]


def windows_of_several(_: RankingSamples, __: FeatureTables) -> list[str]:
    """The same without the last event alone, where mean and maximum are one."""
    return [str(window) for window in WINDOWS[1:]]


@feature(
    "cross.genre_cosine_mean.{window}",
    side="pair",
    kind="number",
    requires=("items.genre_names",),
    members=windows,
)
def genre_cosine_mean(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """Mean cosine to the latest 1, 3, 5 or 20 events."""
    return batch.once(pooled_cosines)[:, :, WINDOWS.index(int(fitted.member))]


@feature(
    "cross.genre_cosine_max.{window}",
    side="pair",
    kind="number",
    requires=("items.genre_names",),
    members=windows_of_several,
)
def genre_cosine_max(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """Greatest cosine to one of the latest 3, 5 or 20 events."""
    return batch.once(greatest_cosines)[int(fitted.member)]


@feature("cross.genre_cosine_decayed", side="pair", kind="number", requires=("items.genre_names",))
def genre_cosine_decayed(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Sum of the cosines to the latest 20 events, of which later ones count more; half-life 5 events."""
    return batch.once(pooled_cosines)[:, :, DECAYED]


@feature(
    "cross.genre_cosine_rated",
    side="pair",
    kind="number",
    requires=("items.genre_names", "queries.history_rating"),
)
def genre_cosine_rated(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Mean over the rated ones of the latest 20 events of cosine times rating less the user's mean rating."""
    return batch.once(pooled_cosines)[:, :, RATED]
