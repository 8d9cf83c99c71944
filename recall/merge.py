"""Merge the candidates of several recall channels into one list per query.

Reciprocal-rank fusion: Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and
individual rank learning methods" (SIGIR 2009); k0 = 60 is theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from reccore import Candidates, ComponentConfig, ConfigError, top_k
from reccore.arrays import FloatArray, IntArray, offsets_from_lengths
from reccore.candidates import concatenate

# Slots of all channels together that are sorted at once: about 300 MB.
SLOTS_PER_CHUNK = 4_000_000
DEFAULT_K0 = 60.0


class MergeConfig(ComponentConfig):
    """How channels are merged.

    Attributes:
        method: ``rrf`` scores an item Σ weight / (k0 + rank) over the channels that offer it. ``quota`` takes at
            most ``quota`` items of each channel, in rounds: every channel's first item, then every channel's
            second; an item of several channels takes its best rank.
        k0: rrf only; a greater value flattens the weights of the ranks.
        weights: rrf only; channel → weight, by default 1 (the fill channel: 0). A channel of weight 0 adds
            features and no items.
        quota: quota only; channel → number of items, by default unlimited (the fill channel: 0).
    """

    method: Literal["rrf", "quota"] = "rrf"
    k0: float = Field(default=DEFAULT_K0, ge=0)
    weights: dict[str, Annotated[float, Field(ge=0, le=1e6)]] = Field(default={})
    quota: dict[str, Annotated[int, Field(ge=0)]] = Field(default={})

    @model_validator(mode="after")
    def _no_idle_options(self) -> Self:
        if self.method == "quota" and (self.weights or self.k0 != DEFAULT_K0):
            raise ValueError("weights and k0 belong to method rrf and would do nothing here")
        if self.method == "rrf" and self.quota:
            raise ValueError("quota belongs to method quota and would do nothing here")
        return self


def merge(
    config: MergeConfig, by_channel: Mapping[str, Candidates], k: int, *, fill: str | None = "popularity"
) -> Candidates:
    """Merge the candidates of several channels, without duplicates, ties by ``item_idx``.

    Every item carries ``recall_score.<channel>`` and ``recall_rank.<channel>`` (from 1) of every channel,
    NaN where that channel did not offer it. Other features of the channels are not passed on.

    Args:
        config: method, weights, quotas.
        by_channel: channel → (B, K_c); empty rows for a channel that failed or has no answer.
        k: most items per row.
        fill: channel that fills short rows: its remaining items follow the merged ones in its own order. At place
            p after n merged items the score is n / p of the lowest merged score (1 / p where n = 0), so that
            filling does not stretch the scale. None: no filling, and every channel is merged.

    Returns:
        (B, min(k, ΣK_c)). O(S log S) time for S = B·ΣK_c slots, in chunks of bounded memory.

    Raises:
        ValueError: ``k`` below 1, no channel, or channels with different numbers of rows.
        ConfigError: ``fill``, a weight or a quota names a channel that is not there.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    lengths = {name: len(candidates) for name, candidates in by_channel.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"at least one channel is needed and all with the same number of rows, got {lengths}")
    for name in [*config.weights, *config.quota, *([] if fill is None else [fill])]:
        if name not in by_channel:
            raise ConfigError(f"merge: no channel {name!r} among {', '.join(by_channel)}; correct it or leave it out")
    slots = sum(candidates.k for candidates in by_channel.values())
    n_rows = next(iter(lengths.values()))
    step = max(1, SLOTS_PER_CHUNK // max(slots, 1))
    parts = []
    for start in range(0, max(n_rows, 1), step):
        chunk = {name: candidates.select(slice(start, start + step)) for name, candidates in by_channel.items()}
        parts.append(_merge_rows(config, chunk, min(k, slots), fill))
    return concatenate(parts, min(k, slots))


def _merge_rows(config: MergeConfig, by_channel: Mapping[str, Candidates], k: int, fill: str | None) -> Candidates:
    n_rows = len(next(iter(by_channel.values())))
    item = np.concatenate([candidates.item_idx for candidates in by_channel.values()], axis=1)
    points = np.concatenate([_points(config, name, c.k, name == fill) for name, c in by_channel.items()])
    rank_if_fill = np.concatenate(
        [_ranks(c.k) if name == fill else np.full(c.k, np.inf) for name, c in by_channel.items()]
    )
    valid = item >= 0
    row, column = np.nonzero(valid)
    offered = item[row, column]
    # One group per (row, item), in that order; the channels of an item are summed in a fixed order.
    span = int(offered.max(initial=0)) + 1
    group_keys, group = np.unique(row * span + offered, return_inverse=True)
    merged = np.zeros(len(group_keys), dtype=np.float64)
    if config.method == "rrf":
        np.add.at(merged, group, points[column])
    else:
        np.maximum.at(merged, group, points[column])
    filling = np.full(len(group_keys), np.inf)
    np.minimum.at(filling, group, rank_if_fill[column])
    score: FloatArray = np.where(merged > 0, merged, -filling).astype(np.float32)

    place = _places(group_keys // span, score, n_rows, k)  # (groups,) column in the result, k = none
    kept = place < k
    at = group_keys[kept] // span, place[kept]
    item_idx = np.full((n_rows, k), -1, dtype=np.int64)
    item_idx[at] = group_keys[kept] % span
    merged_score = np.full((n_rows, k), -np.inf, dtype=np.float32)
    merged_score[at] = score[kept]
    merged_score = _continue_scale(merged_score)

    slot_place = np.full(item.shape, k, dtype=np.int64)  # k: outside the result
    slot_place[row, column] = place[group]
    return Candidates(item_idx, merged_score, _features(by_channel, slot_place, k))


def _continue_scale(score: FloatArray) -> FloatArray:
    """Replace the negative scores (B, k) of filling items by ones that fall from the row's lowest merged score."""
    merged = score >= 0
    lowest = np.where(merged, score, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    lowest[np.isinf(lowest)] = 1.0  # rows without a merged item
    n_merged = np.maximum(merged.sum(axis=1, keepdims=True), 1)
    filling = np.isfinite(score) & (score < 0)
    return np.where(filling, lowest * n_merged / _ranks(score.shape[1]), score).astype(np.float32)


def _ranks(n: int) -> FloatArray:
    return np.arange(1, n + 1, dtype=np.float32)


def _points(config: MergeConfig, name: str, n: int, is_fill: bool) -> np.ndarray:
    """(n,) float64 score of each rank of a channel; an item with 0 from every channel is not merged."""
    ranks = np.arange(1, n + 1, dtype=np.float64)
    if config.method == "rrf":
        return config.weights.get(name, 0.0 if is_fill else 1.0) / (config.k0 + ranks)
    return np.where(ranks <= config.quota.get(name, 0 if is_fill else n), 1.0 / ranks, 0.0)


def _places(row: IntArray, score: FloatArray, n_rows: int, k: int) -> IntArray:
    """Place of every element within its row, best score first, ties in the given order; ``k`` = beyond the best k.

    ``row`` is sorted and the elements of a row are in the order of their items; −inf has place ``k``.
    """
    counts = np.bincount(row, minlength=n_rows)
    column = np.arange(len(row)) - offsets_from_lengths(counts)[row]
    scores = np.full((n_rows, int(counts.max(initial=0))), -np.inf, dtype=np.float32)
    scores[row, column] = score
    best = top_k(scores, k)
    places = np.full(scores.shape, k, dtype=np.int64)
    at, place = np.nonzero(best.mask)
    places[at, best.item_idx[at, place]] = place
    place_of_each: IntArray = places[row, column]
    return place_of_each


def _features(by_channel: Mapping[str, Candidates], slot_place: IntArray, k: int) -> dict[str, FloatArray]:
    """Each channel's score and rank, moved from its slots (B, ΣK_c) to the places in the result (B, k)."""
    features: dict[str, FloatArray] = {}
    start = 0
    for name, candidates in by_channel.items():
        place = slot_place[:, start : start + candidates.k]
        start += candidates.k
        row, column = np.nonzero(place < k)
        for feature, values in (("score", candidates.score[row, column]), ("rank", _ranks(candidates.k)[column])):
            moved = np.full((len(candidates), k), np.nan, dtype=np.float32)
            moved[row, place[row, column]] = values
            features[f"recall_{feature}.{name}"] = moved
    return features
