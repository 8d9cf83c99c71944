"""Hydrators that show the ranker what every channel makes of every candidate.

A channel's own list covers only the items that it offered. A ranker compares all candidates of a query, so it needs the
score of every channel for each of them, and how each relates to the latest events alone: what came next after the last
film says more about the next one than the sum over a long history does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numba import njit

from pipeline.stages import Hydrator, Request
from recall.base import BaseRecall
from recall.topk import read_only, run_rows
from reccore import Candidates
from reccore.arrays import FloatArray, unit_rows

MATCH_PREFIX = "match."
OF_ONE = 1e-6
"""Vectors whose lengths differ from 1 by less are taken as they are."""


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


def unit_vectors(vectors: FloatArray) -> FloatArray:
    """(N, D) vectors of length 1, and zero vectors as they are; no copy where all have it already."""
    norms = np.linalg.norm(vectors, axis=1)
    if np.abs(norms - 1).max(initial=0.0) > OF_ONE:  # a copy would be another 4·N·D bytes to read per request
        vectors = unit_rows(vectors)
    return np.ascontiguousarray(vectors)


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
        self.unit = unit_vectors(vectors)

    def features(self, request: Request, candidates: Candidates) -> Mapping[str, FloatArray]:
        lengths = sorted(set(self.latest))
        known = request.queries.known_items_only(len(self.unit))
        found: FloatArray = np.empty((len(candidates), 2 * len(lengths), candidates.k), dtype=np.float32)
        history = read_only(known.history_offsets), read_only(known.history_idx)
        run_rows(_closeness, read_only(self.unit), *history, np.array(lengths), read_only(candidates.item_idx), found)
        return {
            f"{self.prefix}{kind}{n}": found[:, 2 * lengths.index(n) + which]
            for n in self.latest
            for which, kind in enumerate(("mean", "max"))
        }


# Sums of a vector's entries may be taken in any order.
@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _closeness(
    unit: np.ndarray,
    offsets: np.ndarray,
    history: np.ndarray,
    lengths: np.ndarray,
    item_idx: np.ndarray,
    found: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    """Fill ``found`` (B, 2·W, K) with mean and maximum by the latest events, for ascending numbers of them (W,)."""
    for row in range(part * len(found) // n_parts, (part + 1) * len(found) // n_parts):
        end = offsets[row + 1]
        first = max(offsets[row], end - lengths[-1])
        events = np.empty((end - first, unit.shape[1]), dtype=np.float32)  # the latest first
        for ago in range(end - first):
            events[ago] = unit[history[end - 1 - ago]]
        for j in range(found.shape[2]):
            if item_idx[row, j] < 0:
                found[row, :, j] = np.nan
                continue
            vector = unit[item_idx[row, j]]
            ago, total, greatest = 0, np.float32(0.0), np.float32(0.0)
            for window in range(len(lengths)):
                while ago < min(lengths[window], end - first):
                    cosine = np.float32(0.0)
                    for d in range(len(vector)):
                        cosine += vector[d] * events[ago, d]
                    total += cosine
                    greatest = cosine if ago == 0 else max(greatest, cosine)
                    ago += 1
                found[row, 2 * window, j] = total / max(ago, 1)
                found[row, 2 * window + 1, j] = greatest
