"""What relates a candidate to its query: cross features and what recall said about it.

Every function returns name → (B, K) float32 with NaN where the value is missing or the slot is padding.
Recall features are free of scale and row by row (ranks, scores standardised within the row), because the
recall models at serving differ a little from those whose candidates the ranker was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dataprep.features import QueryFeatures
from ranking.schema import Field
from reccore import Candidates, ItemTable, QueryBatch
from reccore.arrays import BoolArray, FloatArray
from reccore.tables import UNKNOWN_YEAR

MERGED_LOG_RANK = "recall.merged.log_rank"
RECENT_EVENTS = 5
SCORE_PREFIX, RANK_PREFIX, MATCH_PREFIX = "recall_score.", "recall_rank.", "match."
SECONDS_PER_YEAR = 31_556_952


def channels_of(candidates: Candidates) -> tuple[str, ...]:
    """Recall channels that left a score or a rank, in order of first appearance."""
    names = [
        feature.removeprefix(prefix)
        for feature in candidates.features
        for prefix in (SCORE_PREFIX, RANK_PREFIX)
        if feature.startswith(prefix)
    ]
    return tuple(dict.fromkeys(names))


def matches_of(candidates: Candidates) -> tuple[str, ...]:
    """Channels that scored every candidate, their own offers or not, in order of first appearance."""
    return tuple(f.removeprefix(MATCH_PREFIX) for f in candidates.features if f.startswith(MATCH_PREFIX))


def pair_fields(items: ItemTable, channels: Sequence[str], matches: Sequence[str]) -> list[Field]:
    """Fields of the pair side that these tables and channels allow."""
    cross = []
    if items.n_genres:
        cross += ["cross.genre_match", "cross.genre_match_recent"]
    if items.year is not None:
        cross += ["cross.year_gap_recent", "cross.age_at_query"]
    if "count" in items.statistics:
        cross += ["cross.popularity_gap_recent"]
    recall = [MERGED_LOG_RANK, "recall.merged.score"]
    for channel in channels:
        recall += [f"recall.{channel}.{what}" for what in ("missing", "log_rank", "reciprocal_rank", "score")]
    recall += [f"recall.{channel}.match" for channel in matches]
    return [Field(name, "pair", "number", "cross") for name in cross] + [
        Field(name, "pair", "number", "recall") for name in recall
    ]


class ItemFacts:
    """Columns of an item table in the form that cross features take; one extra row for unknown items (-1)."""

    def __init__(self, items: ItemTable) -> None:
        nothing = np.full(1, np.nan, dtype=np.float32)
        self.genres = np.concatenate([items.genre_matrix(), np.zeros((1, items.n_genres), dtype=np.float32)])
        self.year: FloatArray | None = None
        if items.year is not None:
            year = np.where(items.year == UNKNOWN_YEAR, np.nan, items.year).astype(np.float32)
            self.year = np.concatenate([year, nothing])
        self.log_count: FloatArray | None = None
        if "count" in items.statistics:
            log_count = np.log1p(np.asarray(items.statistics["count"], dtype=np.float32))
            self.log_count = np.concatenate([log_count, nothing])


def cross_features(
    facts: ItemFacts, queries: QueryBatch, known: QueryFeatures, candidates: Candidates
) -> dict[str, FloatArray]:
    """Match of genres with the whole and the latest history, age of the film, distance to what was seen last."""
    at = candidates.item_idx  # -1 takes the last row, which knows nothing
    recent = queries.padded(RECENT_EVENTS).item_idx  # (B, 5)
    features: dict[str, FloatArray] = {}
    if facts.genres.shape[1]:
        recent_counts = facts.genres[recent].sum(axis=1)  # (B, G)
        recent_share = recent_counts / np.maximum(recent_counts.sum(axis=1, keepdims=True), 1.0)
        shares = np.stack([known.genre_share, recent_share], axis=2)  # (B, G, 2)
        match = np.where(candidates.mask[:, :, None], facts.genres[at] @ shares, np.nan)  # (B, K, 2)
        features["cross.genre_match"] = match[:, :, 0].astype(np.float32)
        features["cross.genre_match_recent"] = match[:, :, 1].astype(np.float32)
    if facts.year is not None:
        as_of = np.where(queries.as_of >= 0, 1970.0 + queries.as_of / SECONDS_PER_YEAR, np.nan)
        year = facts.year[at]
        features["cross.year_gap_recent"] = np.abs(year - _mean(facts.year[recent])[:, None])
        features["cross.age_at_query"] = (as_of[:, None] - year).astype(np.float32)
    if facts.log_count is not None:
        gap = facts.log_count[at] - _mean(facts.log_count[recent])[:, None]
        features["cross.popularity_gap_recent"] = gap
    return features


def recall_features(
    candidates: Candidates, channels: Sequence[str], matches: Sequence[str] = ()
) -> dict[str, FloatArray]:
    """Rank and score after the merge and in every channel; a channel without a word is missing everywhere.

    ``matches`` names the channels whose score of every candidate (``match.<channel>``) is wanted too.
    """
    mask = candidates.mask
    place = np.broadcast_to(-np.log(np.arange(1, candidates.k + 1, dtype=np.float32)), mask.shape)
    features = {
        MERGED_LOG_RANK: np.where(mask, place, np.float32(np.nan)),
        "recall.merged.score": standardised(candidates.score, mask & np.isfinite(candidates.score)),
    }
    absent = np.full(mask.shape, np.nan, dtype=np.float32)
    for channel in channels:
        score = candidates.features.get(SCORE_PREFIX + channel, absent)
        rank = candidates.features.get(RANK_PREFIX + channel, absent)
        ranked = mask & np.isfinite(rank) & (rank >= 1)
        scored = mask & np.isfinite(score)
        whole = np.where(ranked, rank, 1.0)
        features[f"recall.{channel}.missing"] = np.where(mask, ~(ranked | scored), np.nan).astype(np.float32)
        features[f"recall.{channel}.log_rank"] = np.where(ranked, -np.log(whole), np.nan).astype(np.float32)
        features[f"recall.{channel}.reciprocal_rank"] = np.where(ranked, 1.0 / whole, np.nan).astype(np.float32)
        features[f"recall.{channel}.score"] = standardised(score, scored)
    for channel in matches:
        score = candidates.features.get(MATCH_PREFIX + channel, absent)
        features[f"recall.{channel}.match"] = standardised(score, mask & np.isfinite(score))
    return features


def standardised(values: npt.NDArray[np.float32], valid: BoolArray) -> FloatArray:
    """Zero mean and unit deviation within each row's valid slots; NaN elsewhere, 0 where a row is constant."""
    counts = np.maximum(valid.sum(axis=1, keepdims=True), 1)
    clean = np.where(valid, values, 0.0).astype(np.float64)
    centred = np.where(valid, clean - clean.sum(axis=1, keepdims=True) / counts, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=1, keepdims=True) / counts)
    scaled = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 1e-12)
    return np.where(valid, scaled, np.nan).astype(np.float32)


def _mean(values: FloatArray) -> FloatArray:
    """Mean of each row over what is not NaN; NaN for a row without anything."""
    present = ~np.isnan(values)
    counts = present.sum(axis=1)
    total = np.where(present, values, 0.0).sum(axis=1)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan).astype(np.float32)
