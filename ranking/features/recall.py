"""Features of what recall says about a candidate: (B, K), NaN where a channel says nothing or the slot is padding.

All are free of scale and computed row by row (ranks, scores standardised within the row), because the recall models at
serving differ a little from those whose candidates the ranker was trained on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, feature
from reccore import RankingSamples
from reccore.arrays import BoolArray, FloatArray

MERGED_LOG_RANK = "recall.merged.log_rank"
LEAST_SHARE = 1e-3
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


def sums_of(samples: RankingSamples, tables: FeatureTables) -> tuple[str, ...]:
    """Those whose scores are sums of counts: never negative in the training samples."""
    features = samples.candidates.features
    return tuple(name for name in matches_of(samples, tables) if not np.any(features[MATCH_PREFIX + name] < 0))


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
    offered = batch.once(offers).get(fitted.member)
    absent = np.ones(batch.candidates.mask.shape, dtype=bool) if offered is None else ~offered
    return np.where(batch.candidates.mask, absent, np.nan).astype(np.float32)


@feature("recall.{channel}.log_rank", side="pair", kind="number", members=channels_of, default=True)
def log_rank(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """−log of the channel's rank."""
    return -np.log(_rank(batch, fitted))


@feature("recall.{channel}.reciprocal_rank", side="pair", kind="number", members=channels_of, default=True)
def reciprocal_rank(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """1 / the channel's rank."""
    return np.float32(1.0) / _rank(batch, fitted)


@feature("recall.{channel}.score", side="pair", kind="number", members=channels_of, default=True)
def channel_score(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """The channel's score of the candidates it offered."""
    return _column(batch, standard_scores, SCORE_PREFIX + fitted.member)


@feature("recall.{channel}.match", side="pair", kind="number", members=matches_of, default=True)
def match(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """The channel's score of every candidate, offered or not.

    ``latest<n>``: by the latest n events alone; ``mean<n>``, ``max<n>``: cosines of item vectors with those events.
    """
    return _column(batch, standard_scores, MATCH_PREFIX + fitted.member)


@feature("recall.{channel}.centred", side="pair", kind="number", members=matches_of, default=True)
def centred(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """The channel's score minus its mean over the candidates, in the channel's own unit.

    Unlike the standardised match it keeps how sharply a channel tells the candidates of a query apart.
    """
    return _column(batch, centred_scores, MATCH_PREFIX + fitted.member)


@feature("recall.{channel}.log_share", side="pair", kind="number", members=sums_of, default=True)
def log_share(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """log of the candidate's share of the channel's scores of all candidates, as if it were a probability.

    Only of channels whose scores are never negative.
    """
    values = batch.candidates.features.get(MATCH_PREFIX + fitted.member)
    if values is None:
        return batch.once(nowhere)
    clean = np.where(batch.candidates.mask & np.isfinite(values), np.maximum(values, 0.0), 0.0)
    total = clean.sum(axis=1, keepdims=True)
    share = np.divide(clean, total, out=np.zeros_like(clean), where=total > 0)
    return np.where(batch.candidates.mask, np.log(share + LEAST_SHARE), np.nan).astype(np.float32)


def nowhere(batch: FeatureBatch) -> FloatArray:
    """(B, K) of NaN, for a channel that says nothing."""
    return np.full(batch.candidates.mask.shape, np.nan, dtype=np.float32)


def ranks(batch: FeatureBatch) -> dict[str, FloatArray]:
    """Channel → (B, K) ranks from 1; NaN where the channel did not rank the candidate."""
    mask = batch.candidates.mask
    return {
        name.removeprefix(RANK_PREFIX): np.where(mask & (values >= 1), values, np.float32(np.nan))
        for name, values in batch.candidates.features.items()
        if name.startswith(RANK_PREFIX)
    }


def centred_scores(batch: FeatureBatch) -> dict[str, FloatArray]:
    """Name of the column → (B, K) scores and matches of all channels minus their mean over the row; NaN = none."""
    columns = {
        name: values
        for name, values in batch.candidates.features.items()
        if name.startswith((SCORE_PREFIX, MATCH_PREFIX))
    }
    if not columns:
        return {}
    values = np.stack(list(columns.values()))  # (C, B, K)
    return dict(zip(columns, centre(values, batch.candidates.mask & np.isfinite(values)), strict=True))


def standard_scores(batch: FeatureBatch) -> dict[str, FloatArray]:
    """The same columns in units of their deviation over the row."""
    found = batch.once(centred_scores)
    return dict(zip(found, scaled(np.stack(list(found.values()))), strict=True)) if found else {}


def offers(batch: FeatureBatch) -> dict[str, BoolArray]:
    """Channel → (B, K), True where the channel ranked or scored the candidate."""
    found = {channel: np.isfinite(rank) for channel, rank in batch.once(ranks).items()}
    for name, values in batch.candidates.features.items():
        if name.startswith(SCORE_PREFIX):
            channel = name.removeprefix(SCORE_PREFIX)
            found[channel] = found.get(channel, False) | np.isfinite(values)
    return found


def _rank(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    return _column(batch, ranks, fitted.member)


def _column(batch: FeatureBatch, columns: Callable[[FeatureBatch], dict[str, FloatArray]], name: str) -> FloatArray:
    """One of the columns that are computed together; NaN everywhere for a channel that has none."""
    return batch.once(columns).get(name, batch.once(nowhere))


def standardised(values: npt.NDArray[np.float32], valid: BoolArray) -> FloatArray:
    """Zero mean and unit deviation over the valid slots of the last axis; NaN elsewhere, 0 where a row is constant."""
    return scaled(centre(values, valid))


def centre(values: npt.NDArray[np.float32], valid: BoolArray) -> FloatArray:
    """Values minus their mean over the valid slots of the last axis; NaN elsewhere."""
    counts = np.maximum(valid.sum(axis=-1, keepdims=True), 1)
    clean = np.where(valid, values, 0.0).astype(np.float64)
    return np.where(valid, clean - clean.sum(axis=-1, keepdims=True) / counts, np.nan).astype(np.float32)


def scaled(centred: FloatArray) -> FloatArray:
    """Centred values in units of their deviation over the last axis; NaN stays, 0 where a row is constant."""
    squares = np.where(np.isnan(centred), 0.0, centred.astype(np.float64) ** 2)
    counts = np.maximum((~np.isnan(centred)).sum(axis=-1, keepdims=True), 1)
    deviation = np.sqrt(squares.sum(axis=-1, keepdims=True) / counts)
    return np.where(deviation > 1e-12, centred / np.maximum(deviation, 1e-12), centred * 0.0).astype(np.float32)
