"""Hydrators that show the ranker what every channel makes of every candidate.

A channel's own list covers only the items that it offered. A ranker compares all candidates of a query, so it needs the
score of every channel for each of them, and how each relates to the latest events alone: what came next after the last
film says more about the next one than the sum over a long history does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.stages import Hydrator, Request
from recall.base import BaseRecall
from reccore import Candidates, QueryBatch
from reccore.arrays import FloatArray

MATCH_PREFIX = "match."
FLOATS_PER_CHUNK = 1 << 23


class MatchHydrator(Hydrator):
    """Adds ``match.<channel>``: the channel's own score of every candidate, whether or not it offered the item.

    The feature is 0 where the channel has no score, which is the inner product with a zero vector.
    """

    def __init__(self, name: str, channel: BaseRecall) -> None:
        self.name, self.channel = name, channel

    @property
    def component(self) -> object:
        return self.channel

    def features(self, request: Request, candidates: Candidates) -> Mapping[str, FloatArray]:
        prepared = request.prepared(self.name, self.channel)
        score = self.channel.score(request.queries, candidates, prepared=prepared)
        return {MATCH_PREFIX + self.name: _known(score, candidates)}


class LatestHydrator(Hydrator):
    """Adds ``match.<channel>.latest<n>``: the channel's score of every candidate by the latest n events alone.

    Args:
        name: of the channel.
        channel: a fitted channel.
        latest: numbers n of latest events.
    """

    def __init__(self, name: str, channel: BaseRecall, latest: Sequence[int]) -> None:
        self.name, self.channel, self.latest = f"{name}.latest", channel, tuple(latest)

    @property
    def component(self) -> object:
        return self.channel

    def features(self, request: Request, candidates: Candidates) -> Mapping[str, FloatArray]:
        scores = _known(self.channel.score_latest(request.queries, candidates, self.latest), candidates)
        return {f"{MATCH_PREFIX}{self.name}{n}": score for n, score in zip(self.latest, scores, strict=True)}


def _known(score: FloatArray, candidates: Candidates) -> FloatArray:
    """(…, B, K) 0 in place of no score, NaN on padding."""
    score[np.isnan(score)] = 0.0
    score[..., ~candidates.mask] = np.nan
    return score


class ClosenessHydrator(Hydrator):
    """Adds the mean and the greatest cosine of a candidate's item vector with those of the latest n events.

    ``match.<channel>.mean<n>`` and ``match.<channel>.max<n>`` for each n; 0 without events. Takes B · K · D · max(n)
    multiplications.

    Args:
        name: of the channel whose item vectors are compared.
        vectors: (N, D) item vectors; a zero vector is close to nothing.
        latest: numbers n of latest events.
    """

    def __init__(self, name: str, vectors: FloatArray, latest: Sequence[int]) -> None:
        self.name = f"{name}.closeness"
        self.prefix = f"{MATCH_PREFIX}{name}."
        self.latest = tuple(latest)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        self.unit = np.ascontiguousarray(np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0))

    def features(self, request: Request, candidates: Candidates) -> Mapping[str, FloatArray]:
        names = [f"{self.prefix}{kind}{n}" for n in self.latest for kind in ("mean", "max")]
        values = np.full((len(names), *candidates.item_idx.shape), np.nan, dtype=np.float32)
        step = max(1, FLOATS_PER_CHUNK // max(candidates.k * self.unit.shape[1], 1))
        for start in range(0, len(candidates), step):
            rows = slice(start, start + step)
            values[:, rows] = self._of_chunk(request.queries.select(rows), candidates.item_idx[rows])
        return dict(zip(names, np.where(candidates.mask, values, np.float32(np.nan)), strict=True))

    def _of_chunk(self, queries: QueryBatch, item_idx: np.ndarray) -> FloatArray:
        """(2·len(latest), B, K): mean and greatest cosine for each n."""
        known = queries.known_items_only(len(self.unit))
        events = known.padded(max(self.latest))
        ago = events.lengths[:, None] - 1 - np.arange(events.item_idx.shape[1])  # (B, T), 0 = the latest event
        history = np.where(events.mask[:, :, None], self.unit[events.item_idx], np.float32(0))  # (B, T, D)
        cosine = self.unit[item_idx] @ history.transpose(0, 2, 1)  # (B, K, T)
        result = np.zeros((2 * len(self.latest), *item_idx.shape), dtype=np.float32)
        for place, n in enumerate(self.latest):
            within = ((ago >= 0) & (ago < n))[:, None]  # (B, 1, T)
            count = np.maximum(within.sum(axis=2), 1)  # (B, 1)
            result[2 * place] = np.where(within, cosine, 0.0).sum(axis=2) / count
            greatest = np.where(within, cosine, -np.inf).max(axis=2, initial=-np.inf)
            result[2 * place + 1] = np.where(np.isneginf(greatest), 0.0, greatest)
        return result
