"""Features of what recall says about a candidate: (B, K), NaN where a channel says nothing or the slot is padding.

All are free of scale and computed row by row (ranks, scores standardised within the row), because the recall models at
serving differ a little from those whose candidates the ranker was trained on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, feature
from reccore import Candidates, RankingSamples
from reccore.arrays import BoolArray, FloatArray

MERGED_LOG_RANK = "recall.merged.log_rank"
SCORE_PREFIX, RANK_PREFIX, MATCH_PREFIX = "recall_score.", "recall_rank.", "match."


def channels_of(samples: RankingSamples, _: FeatureTables) -> tuple[str, ...]:
    """Recall channels that left a score or a rank, in order of first appearance."""
    names = [
        column.removeprefix(prefix)
        for column in samples.candidates.features
        for prefix in (SCORE_PREFIX, RANK_PREFIX)
        if column.startswith(prefix)
    ]
    return tuple(dict.fromkeys(names))


def matches_of(samples: RankingSamples, _: FeatureTables) -> tuple[str, ...]:
    """Channels that scored every candidate, offered or not, in order of first appearance."""
    return tuple(c.removeprefix(MATCH_PREFIX) for c in samples.candidates.features if c.startswith(MATCH_PREFIX))


@feature(MERGED_LOG_RANK, side="pair", kind="number", default=True)
def merged_log_rank(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """−log of the place in the merged list."""
    mask = batch.candidates.mask
    place = np.broadcast_to(-np.log(np.arange(1, batch.candidates.k + 1, dtype=np.float32)), mask.shape)
    return np.where(mask, place, np.float32(np.nan))


@feature("recall.merged.score", side="pair", kind="number", default=True)
def merged_score(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Score of the merge."""
    score = batch.candidates.score
    return standardised(score, batch.candidates.mask & np.isfinite(score))


@feature("recall.{channel}.missing", side="pair", kind="number", members=channels_of, default=True)
def missing(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """1 where the channel did not offer the candidate, 0 where it did."""
    candidates, (_, ranked), (_, scored) = batch.candidates, _rank(batch, fitted), _score(batch.candidates, fitted)
    return np.where(candidates.mask, ~(ranked | scored), np.nan).astype(np.float32)


@feature("recall.{channel}.log_rank", side="pair", kind="number", members=channels_of, default=True)
def log_rank(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """−log of the channel's rank."""
    rank, ranked = _rank(batch, fitted)
    return np.where(ranked, -np.log(rank), np.nan).astype(np.float32)


@feature("recall.{channel}.reciprocal_rank", side="pair", kind="number", members=channels_of, default=True)
def reciprocal_rank(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """1 / the channel's rank."""
    rank, ranked = _rank(batch, fitted)
    return np.where(ranked, 1.0 / rank, np.nan).astype(np.float32)


@feature("recall.{channel}.score", side="pair", kind="number", members=channels_of, default=True)
def channel_score(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """The channel's score of the candidates it offered."""
    return standardised(*_score(batch.candidates, fitted))


@feature("recall.{channel}.match", side="pair", kind="number", members=matches_of, default=True)
def match(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """The channel's score of every candidate, offered or not."""
    return standardised(*_column(batch.candidates, MATCH_PREFIX + fitted.member))


def _column(candidates: Candidates, name: str) -> tuple[FloatArray, BoolArray]:
    """(B, K) values and where they are known; nowhere if the candidates do not have the column."""
    values = candidates.features.get(name)
    if values is None:
        values = np.full(candidates.mask.shape, np.nan, dtype=np.float32)
    return values, candidates.mask & np.isfinite(values)


def _score(candidates: Candidates, fitted: Fitted) -> tuple[FloatArray, BoolArray]:
    return _column(candidates, SCORE_PREFIX + fitted.member)


def _rank(batch: FeatureBatch, fitted: Fitted) -> tuple[FloatArray, BoolArray]:
    """(B, K) ranks from 1 (1 where unknown), and where the channel ranked the candidate."""
    rank, known = _column(batch.candidates, RANK_PREFIX + fitted.member)
    known &= rank >= 1
    return np.where(known, rank, 1.0), known


def standardised(values: npt.NDArray[np.float32], valid: BoolArray) -> FloatArray:
    """Zero mean and unit deviation within each row's valid slots; NaN elsewhere, 0 where a row is constant."""
    counts = np.maximum(valid.sum(axis=1, keepdims=True), 1)
    clean = np.where(valid, values, 0.0).astype(np.float64)
    centred = np.where(valid, clean - clean.sum(axis=1, keepdims=True) / counts, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=1, keepdims=True) / counts)
    scaled = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 1e-12)
    return np.where(valid, scaled, np.nan).astype(np.float32)
