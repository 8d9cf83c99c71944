"""Features of query and candidate together: (B, K), NaN where the value is missing or the slot is padding."""

from __future__ import annotations

import numpy as np

from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, feature, shares
from ranking.features.history import genre_counts, genre_rows, sums_over_genres
from ranking.features.item import year_or_nan
from reccore.arrays import FloatArray, IntArray
from reccore.queries import LatestEvents

RECENT_EVENTS = 5
SECONDS_PER_YEAR = 31_556_952


def recent_items(batch: FeatureBatch) -> IntArray:
    """(B, 5) the latest events; -1 = none, which looks up the extra last row of the tables below."""
    queries = batch.queries
    return LatestEvents.of(queries.history_offsets[:-1], queries.history_offsets[1:], RECENT_EVENTS).take(
        queries.history_idx, -1
    )


def year_rows(tables: FeatureTables) -> FloatArray:
    """(N+1,) years; the last is NaN."""
    return np.append(year_or_nan(tables), np.nan).astype(np.float32)


def log_count_rows(tables: FeatureTables) -> FloatArray:
    """(N+1,) log(1 + events); the last is NaN."""
    return np.append(np.log1p(np.asarray(tables.items.statistics["count"], dtype=np.float32)), np.float32(np.nan))


@feature("cross.genre_match", side="pair", kind="number", requires=("items.genre_names",), default=True)
def genre_match(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Share of the history's genre labels that are the candidate's."""
    return _shares_of_genres(batch, batch.once(genre_counts))


@feature("cross.genre_match_recent", side="pair", kind="number", requires=("items.genre_names",), default=True)
def genre_match_recent(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """The same for the latest events."""
    return _shares_of_genres(batch, batch.tables.once(genre_rows)[batch.once(recent_items)].sum(axis=1))


@feature("cross.year_gap_recent", side="pair", kind="number", requires=("items.year",), default=True)
def year_gap_recent(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Years between the candidate and the mean of the latest events."""
    year = batch.tables.once(year_rows)
    gap: FloatArray = np.abs(year[batch.candidates.item_idx] - _mean(year[batch.once(recent_items)])[:, None])
    return gap


@feature("cross.age_at_query", side="pair", kind="number", requires=("items.year",), default=True)
def age_at_query(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Years from the candidate's release to the query."""
    as_of = batch.queries.as_of
    asked = np.where(as_of >= 0, 1970.0 + as_of / SECONDS_PER_YEAR, np.nan)
    return (asked[:, None] - batch.tables.once(year_rows)[batch.candidates.item_idx]).astype(np.float32)


@feature("cross.popularity_gap_recent", side="pair", kind="number", requires=("items.statistics.count",), default=True)
def popularity_gap_recent(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """log(1 + events) of the candidate minus the mean of the latest events."""
    log_count = batch.tables.once(log_count_rows)
    return log_count[batch.candidates.item_idx] - _mean(log_count[batch.once(recent_items)])[:, None]


def _shares_of_genres(batch: FeatureBatch, counts: FloatArray) -> FloatArray:
    """(B, K) share of the candidate's genres among the counts (B, G)."""
    return np.where(batch.candidates.mask, sums_over_genres(batch, shares(counts)), np.float32(np.nan))


def _mean(values: FloatArray) -> FloatArray:
    """Mean of each row over what is not NaN; NaN for a row without anything."""
    present = ~np.isnan(values)
    counts = present.sum(axis=1)
    total = np.where(present, values, 0.0).sum(axis=1)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan).astype(np.float32)
