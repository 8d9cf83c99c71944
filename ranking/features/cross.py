"""Features of query and candidate together: (B, K), NaN where the value is missing or the slot is padding."""

from __future__ import annotations

import numpy as np

from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, feature, shares
from ranking.features.history import candidate_genres, genre_counts, genre_rows
from ranking.features.item import year_or_nan
from reccore.arrays import FloatArray, IntArray

RECENT_EVENTS = 5
SECONDS_PER_YEAR = 31_556_952


def recent_items(batch: FeatureBatch) -> IntArray:
    """(B, 5) the latest events; -1 = none, which looks up the extra last row of the tables below."""
    return batch.queries.padded(RECENT_EVENTS).item_idx


def year_rows(tables: FeatureTables) -> FloatArray:
    """(N+1,) years; the last is NaN."""
    return np.append(year_or_nan(tables), np.nan).astype(np.float32)


def log_count_rows(tables: FeatureTables) -> FloatArray:
    """(N+1,) log(1 + events); the last is NaN."""
    return np.append(np.log1p(np.asarray(tables.items.statistics["count"], dtype=np.float32)), np.float32(np.nan))


def genre_matches(batch: FeatureBatch) -> FloatArray:
    """(B, K, 2) share of the candidate's genres in the whole history, and in its latest events."""
    recent = batch.tables.once(genre_rows)[batch.once(recent_items)].sum(axis=1)  # (B, G)
    both = np.stack([shares(batch.once(genre_counts)), shares(recent)], axis=2)  # (B, G, 2)
    return np.where(batch.candidates.mask[:, :, None], batch.once(candidate_genres) @ both, np.float32(np.nan))


@feature("cross.genre_match", side="pair", kind="number", requires=("items.genre_names",), default=True)
def genre_match(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Share of the history's genre labels that are the candidate's."""
    return batch.once(genre_matches)[:, :, 0]


@feature("cross.genre_match_recent", side="pair", kind="number", requires=("items.genre_names",), default=True)
def genre_match_recent(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """The same for the latest events."""
    return batch.once(genre_matches)[:, :, 1]


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


def _mean(values: FloatArray) -> FloatArray:
    """Mean of each row over what is not NaN; NaN for a row without anything."""
    present = ~np.isnan(values)
    counts = present.sum(axis=1)
    total = np.where(present, values, 0.0).sum(axis=1)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan).astype(np.float32)
