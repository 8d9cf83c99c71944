"""A hydrator of sums of cosines between item vectors, in which some events count more than others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numba import njit

from pipeline.match import MATCH_PREFIX, unit_vectors
from pipeline.stages import Hydrator, Request
from ranking.features.kernels import rating_deviations
from recall.topk import read_only, run_rows
from reccore import Candidates, QueryBatch
from reccore.arrays import FloatArray

ClosenessSum: TypeAlias = Literal["decayed", "rated"]
HALF_LIFE = 5.0
"""In events: an event counts half as much as one that is five events later."""


class WeightedClosenessHydrator(Hydrator):
    """Adds sums over the latest n events of a candidate's cosines with their item vectors, for each n.

    ``match.<channel>.decayed<n>``: Σ cosine · 2^(−events since / 5); 0 without events. ``match.<channel>.rated<n>``:
    mean over the rated ones of cosine · (rating − the history's mean rating); NaN where none is rated. Events are
    summed before they meet the candidates: a feature takes B · K · D multiplications whatever n is.

    Args:
        name: of the channel whose item vectors are compared.
        vectors: (N, D) item vectors; a zero vector is close to nothing.
        latest: numbers n of latest events.
        sums: ``decayed``, ``rated`` or both.
    """

    def __init__(self, name: str, vectors: FloatArray, latest: Sequence[int], sums: Sequence[ClosenessSum]) -> None:
        self.name = f"{name}.closeness_sums"
        self.prefix = f"{MATCH_PREFIX}{name}."
        self.latest, self.sums = tuple(latest), tuple(sums)
        self.unit = unit_vectors(vectors)

    def features(self, request: Request, candidates: Candidates) -> Mapping[str, FloatArray]:
        known = request.queries.known_items_only(len(self.unit))
        weights = event_weights(known, self.latest, self.sums)
        found: FloatArray = np.empty((len(candidates), weights.shape[1], candidates.k), dtype=np.float32)
        history = read_only(known.history_offsets), read_only(known.history_idx)
        run_rows(_sums, read_only(self.unit), *history, weights, read_only(candidates.item_idx), found)
        names = [f"{self.prefix}{kind}{n}" for kind in self.sums for n in self.latest]
        return {name: found[:, number] for number, name in enumerate(names)}


def event_weights(queries: QueryBatch, latest: Sequence[int], sums: Sequence[ClosenessSum]) -> FloatArray:
    """(B, len(sums) · len(latest), greatest n) weights of the latest events, the last one first.

    NaN for a query without a rated event among the latest n, in the weights by ratings.
    """
    ago = np.arange(max(latest))
    at = queries.latest_positions(len(ago))  # (B, n)
    within = ago < np.array(latest)[:, None]  # (W, n)
    weights = {"decayed": np.where((at >= 0)[:, None] & within, 0.5 ** (ago / HALF_LIFE), 0.0)}
    if "rated" in sums:
        deviation = np.append(_deviations(queries), np.float32(np.nan))[at]  # (B, n)
        rated = ~np.isnan(deviation)[:, None] & within  # (B, W, n)
        n_rated = rated.sum(axis=2, keepdims=True)
        mean = np.where(rated, deviation[:, None], 0.0) / np.maximum(n_rated, 1)
        weights["rated"] = np.where(n_rated > 0, mean, np.nan)
    return np.concatenate([weights[kind] for kind in sums], axis=1).astype(np.float32)


def _deviations(queries: QueryBatch) -> FloatArray:
    """(L,) each rating less the mean of its history's ratings; NaN where there is none."""
    n, rating = len(queries.history_idx), queries.history_rating
    deviation = np.full(n, np.nan, dtype=np.float32)
    if rating is not None:
        counts, means = np.empty(len(queries)), np.empty(len(queries))
        rating_deviations(queries.history_offsets, np.asarray(rating, dtype=np.float32), counts, means, deviation)
        deviation[np.isnan(rating)] = np.nan
    return deviation


@njit(nogil=True, cache=True)
def _sums(
    unit: np.ndarray,
    offsets: np.ndarray,
    history: np.ndarray,
    weights: np.ndarray,
    item_idx: np.ndarray,
    found: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    """Fill ``found`` (B, S, K) with each candidate's product with the S weighted sums of event vectors."""
    n_sums, size = found.shape[1], unit.shape[1]
    for row in range(part * len(found) // n_parts, (part + 1) * len(found) // n_parts):
        end = offsets[row + 1]
        sums = np.zeros((n_sums, size), dtype=np.float32)
        for number in range(n_sums):
            for ago in range(min(weights.shape[2], end - offsets[row])):
                sums[number] += weights[row, number, ago] * unit[history[end - 1 - ago]]
            if np.isnan(weights[row, number, 0]):
                sums[number] = np.nan
        for j in range(found.shape[2]):
            for number in range(n_sums):
                total = np.float32(np.nan)
                if item_idx[row, j] >= 0:
                    total = np.float32(0.0)
                    for d in range(size):
                        total += sums[number, d] * unit[item_idx[row, j], d]
                found[row, number, j] = total
