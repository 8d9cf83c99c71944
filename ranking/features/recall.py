"""Features of what recall says about a candidate: (B, K), NaN where a channel says nothing or the slot is padding.

All are free of scale and computed row by row (ranks, scores standardised within the row), because the recall models at
serving differ a little from those whose candidates the ranker was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, feature
from ranking.features.kernels import centred_and_standard, log_places, log_shares
from reccore import RankingSamples
from reccore.arrays import FloatArray

MERGED_LOG_RANK = "recall.merged.log_rank"
LEAST_SHARE = 1e-3
SCORE_PREFIX, RANK_PREFIX, MATCH_PREFIX = "recall_score.", "recall_rank.", "match."
SCORE, RANK, MATCH = (prefix + "{channel}" for prefix in (SCORE_PREFIX, RANK_PREFIX, MATCH_PREFIX))


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
    place = -np.log(np.arange(1, batch.candidates.k + 1, dtype=np.float32))
    return np.where(batch.candidates.mask, place, np.float32(np.nan))


@feature("recall.merged.score", side="pair", kind="number", default=True)
def merged_score(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Score of the merge."""
    score: FloatArray = centred_and_standard(batch.candidates.score[None], batch.candidates.mask)[1][0]
    return score


@feature(
    "recall.{channel}.missing",
    side="pair",
    kind="number",
    members=channels_of,
    candidate_columns=(RANK, SCORE),
    default=True,
)
def missing(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """1 where the channel did not offer the candidate, 0 where it did."""
    return _column(batch, absences, fitted.member, nowhere_offered)


@feature(
    "recall.{channel}.log_rank",
    side="pair",
    kind="number",
    members=channels_of,
    candidate_columns=(RANK,),
    default=True,
)
def log_rank(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """−log of the channel's rank."""
    return _column(batch, log_ranks, fitted.member)


@feature(
    "recall.{channel}.reciprocal_rank",
    side="pair",
    kind="number",
    members=channels_of,
    candidate_columns=(RANK,),
    default=True,
)
def reciprocal_rank(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """1 / the channel's rank."""
    return _column(batch, reciprocal_ranks, fitted.member)


@feature(
    "recall.{channel}.score", side="pair", kind="number", members=channels_of, candidate_columns=(SCORE,), default=True
)
def channel_score(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """The channel's score of the candidates it offered."""
    return _column(batch, standard_scores, SCORE_PREFIX + fitted.member)


@feature(
    "recall.{channel}.match", side="pair", kind="number", members=matches_of, candidate_columns=(MATCH,), default=True
)
def match(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """The channel's score of every candidate, offered or not.

    ``latest<n>``: by the latest n events alone; ``mean<n>``, ``max<n>``: cosines of item vectors with those events.
    """
    return _column(batch, standard_scores, MATCH_PREFIX + fitted.member)


@feature(
    "recall.{channel}.centred", side="pair", kind="number", members=matches_of, candidate_columns=(MATCH,), default=True
)
def centred(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """The channel's score minus its mean over the candidates, in the channel's own unit.

    Unlike the standardised match it keeps how sharply a channel tells the candidates of a query apart.
    """
    return _column(batch, centred_scores, MATCH_PREFIX + fitted.member)


@feature(
    "recall.{channel}.log_share", side="pair", kind="number", members=sums_of, candidate_columns=(MATCH,), default=True
)
def log_share(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """log of the candidate's share of the channel's scores of all candidates, as if it were a probability.

    Only of channels whose scores are never negative.
    """
    found = batch.once(scores)
    row = found.place.get(MATCH_PREFIX + fitted.member)
    if row is None:
        return batch.once(nowhere)
    return log_shares(found.values[row], batch.candidates.mask, LEAST_SHARE)


@feature("recall.{channel}.match_log_rank", side="pair", kind="number", members=matches_of, candidate_columns=(MATCH,))
def match_log_rank(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """−log of the candidate's place, from 1, among all candidates in the order of the channel's scores.

    Equal scores share the best place, so that candidates of which the channel knows nothing are alike.
    """
    found = batch.once(scores)
    row = found.place.get(MATCH_PREFIX + fitted.member)
    if row is None:
        return batch.once(nowhere)
    return log_places(found.values[row], batch.candidates.mask)


@dataclass(frozen=True, eq=False)
class Columns:
    """Features of the candidates side by side.

    Attributes:
        place: name of a feature → its row of ``values``.
        values: (C, B, K) float32.
    """

    place: Mapping[str, int]
    values: FloatArray

    @classmethod
    def of(cls, batch: FeatureBatch, *prefixes: str) -> Columns:
        """The features whose names start with one of the prefixes."""
        features = batch.candidates.features
        names = [name for name in features if name.startswith(prefixes)]
        values = np.empty((len(names), *batch.candidates.mask.shape), dtype=np.float32)
        for row, name in enumerate(names):
            values[row] = features[name]
        return cls({name: row for row, name in enumerate(names)}, values)

    def with_values(self, values: FloatArray) -> Columns:
        """Other values of the same features."""
        return Columns(self.place, values)


def scores(batch: FeatureBatch) -> Columns:
    """Scores and matches of all channels as they are."""
    return Columns.of(batch, SCORE_PREFIX, MATCH_PREFIX)


def centred_and_standard_scores(batch: FeatureBatch) -> tuple[FloatArray, FloatArray]:
    """(C, B, K) scores and matches minus their mean over the row, and in units of their deviation; NaN = none."""
    return centred_and_standard(batch.once(scores).values, batch.candidates.mask)


def centred_scores(batch: FeatureBatch) -> Columns:
    """Scores and matches minus their mean over the row; NaN = none."""
    return batch.once(scores).with_values(batch.once(centred_and_standard_scores)[0])


def standard_scores(batch: FeatureBatch) -> Columns:
    """The same in units of their deviation over the row."""
    return batch.once(scores).with_values(batch.once(centred_and_standard_scores)[1])


def ranks(batch: FeatureBatch) -> Columns:
    """Channels' ranks from 1; NaN where the channel did not rank the candidate. The names are those of the channels."""
    found = Columns.of(batch, RANK_PREFIX)
    values = np.where(batch.candidates.mask & (found.values >= 1), found.values, np.float32(np.nan))
    return Columns({name.removeprefix(RANK_PREFIX): row for name, row in found.place.items()}, values)


def log_ranks(batch: FeatureBatch) -> Columns:
    """−log of the ranks."""
    found = batch.once(ranks)
    return found.with_values(-np.log(found.values))


def reciprocal_ranks(batch: FeatureBatch) -> Columns:
    """1 / rank."""
    found = batch.once(ranks)
    return found.with_values(np.float32(1.0) / found.values)


def absences(batch: FeatureBatch) -> Columns:
    """1 where a channel neither ranked nor scored the candidate, 0 where it did, NaN on padding."""
    of_rank, of_score = batch.once(ranks), batch.once(scores)
    channels = dict.fromkeys([
        *of_rank.place,
        *(name.removeprefix(SCORE_PREFIX) for name in of_score.place if name.startswith(SCORE_PREFIX)),
    ])  # fmt: skip
    ranked, scored = np.isfinite(of_rank.values), np.isfinite(of_score.values)
    offered = np.zeros((len(channels), *batch.candidates.mask.shape), dtype=bool)
    for row, channel in enumerate(channels):
        if channel in of_rank.place:
            offered[row] |= ranked[of_rank.place[channel]]
        if SCORE_PREFIX + channel in of_score.place:
            offered[row] |= scored[of_score.place[SCORE_PREFIX + channel]]
    values = np.where(batch.candidates.mask, ~offered, np.float32(np.nan)).astype(np.float32, copy=False)
    return Columns({channel: row for row, channel in enumerate(channels)}, values)


def nowhere(batch: FeatureBatch) -> FloatArray:
    """(B, K) of NaN, for a channel that says nothing."""
    return np.full(batch.candidates.mask.shape, np.nan, dtype=np.float32)


def nowhere_offered(batch: FeatureBatch) -> FloatArray:
    """(B, K) of 1, NaN on padding, for a channel that is not there."""
    return np.where(batch.candidates.mask, np.float32(1), np.float32(np.nan))


def _column(
    batch: FeatureBatch,
    columns: Callable[[FeatureBatch], Columns],
    name: str,
    otherwise: Callable[[FeatureBatch], FloatArray] = nowhere,
) -> FloatArray:
    """One of the columns that are computed together; ``otherwise`` for a channel that has none."""
    found = batch.once(columns)
    row = found.place.get(name)
    return batch.once(otherwise) if row is None else found.values[row]
