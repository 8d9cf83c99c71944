"""Properties of recommendation lists beside accuracy: coverage, popularity, novelty, diversity, calibration.

Per-query functions take (B, K) item indices, -1 = empty, and return one value per query, NaN for a list that is
empty or too short. Average them with ``mean_of_answered``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from evaluation.metrics import item_rows
from reccore import Candidates, DataError, QueryBatch
from reccore.arrays import FloatArray, IntArray, row_of_each, unit_rows

_FLOATS_PER_CHUNK = 1 << 23


def mean_of_answered(values: npt.NDArray[np.floating]) -> float:
    """Mean over the queries that have a value; NaN where none has."""
    answered = values[~np.isnan(values)]
    return float(answered.mean(dtype=np.float64)) if len(answered) else float("nan")


def catalogue_coverage(candidates: Candidates | IntArray, n_items: int, k: int) -> float:
    """Share of the catalogue that occurs in at least one list's first ``k`` ranks."""
    shown = item_rows(candidates)[:, :k]
    seen = np.zeros(n_items, dtype=bool)
    seen[shown[shown >= 0]] = True
    return float(seen.mean()) if n_items else 0.0


def mean_popularity(candidates: Candidates | IntArray, item_counts: IntArray, k: int) -> FloatArray:
    """(B,) mean number of fit-split events of the first ``k`` items; a high value means popularity bias.

    Args:
        candidates: (B, K).
        item_counts: (N,) events of each item in the fit split.
        k: list length.
    """
    return _mean_over_list(item_rows(candidates)[:, :k], item_counts.astype(np.float64))


def self_information(candidates: Candidates | IntArray, item_counts: IntArray, k: int) -> FloatArray:
    """(B,) mean of −log2 p(item) over the first ``k`` items, in bits; a high value means novel items.

    p is the item's share of the fit split's events, with one event added to every item so that the value of an
    unseen item is finite.
    """
    share = (item_counts + 1.0) / (item_counts.sum() + len(item_counts))
    return _mean_over_list(item_rows(candidates)[:, :k], -np.log2(share))


def intra_list_diversity(candidates: Candidates | IntArray, vectors: FloatArray, k: int) -> FloatArray:
    """(B,) mean over all pairs among the first ``k`` items of 1 − cosine of their vectors.

    With unit vectors Σ_{i≠j} cos = ‖Σ v‖² − n, so a list costs O(K·D) instead of O(K²·D). Items with a zero
    vector (a film without genres) are left out; a list with fewer than two other items is NaN.

    Args:
        candidates: (B, K).
        vectors: (N, D), of any length: genre multi-hot or embeddings.
        k: list length.
    """
    item_idx = item_rows(candidates)[:, :k]
    unit = np.zeros((len(vectors) + 1, vectors.shape[1]))  # the last row stands for "no item" (-1)
    unit[:-1] = unit_rows(vectors.astype(np.float64))
    usable = np.any(unit, axis=1)
    diversity = np.full(len(item_idx), np.nan, dtype=np.float32)
    step = max(1, _FLOATS_PER_CHUNK // max(1, item_idx.shape[1] * unit.shape[1]))
    for start in range(0, len(item_idx), step):
        rows = item_idx[start : start + step]
        n = usable[rows].sum(axis=1)
        squared = np.square(unit[rows].sum(axis=1)).sum(axis=1)  # (b,): ‖Σ v‖²
        pairs = n * (n - 1)
        enough = pairs > 0
        similarity = (squared[enough] - n[enough]) / pairs[enough]
        diversity[start : start + step][enough] = 1.0 - similarity
    return diversity


def calibration_error(
    candidates: Candidates | IntArray, queries: QueryBatch, genres: FloatArray, k: int, *, smoothing: float = 0.01
) -> FloatArray:
    """(B,) KL(p ‖ q̃) in nats between the genres of the history and of the list (Steck, RecSys 2018).

    Each item spreads weight one over its genres; p and q are the means over the history and over the first ``k``
    items. q̃ = (1 − smoothing)·q + smoothing·p keeps the divergence finite. The value is 0 if the list has the
    genre distribution of the history, and NaN if the history or the list has no item with genres.

    Args:
        candidates: (B, K).
        queries: B histories; unknown items are ignored.
        genres: (N, G) multi-hot.
        k: list length.
        smoothing: in (0, 1).
    """
    if not 0.0 < smoothing < 1.0:
        raise DataError(f"smoothing must be between 0 and 1, got {smoothing}")
    n_genres = genres.sum(axis=1, keepdims=True, dtype=np.float64)
    weights = np.divide(genres, n_genres, out=np.zeros(genres.shape), where=n_genres > 0)
    known = queries.known_items_only(len(genres))
    shown = item_rows(candidates)[:, :k]
    row, column = np.nonzero(shown >= 0)
    p = _genre_distribution(row_of_each(known.history_offsets), known.history_idx, weights, len(queries))
    q = _genre_distribution(row, shown[row, column], weights, len(queries))
    mixed = (1.0 - smoothing) * q + smoothing * p
    ratio = np.divide(p, mixed, out=np.ones_like(p), where=p > 0)
    error = (p * np.log(ratio)).sum(axis=1)
    return np.where((p.sum(axis=1) > 0) & (q.sum(axis=1) > 0), error, np.nan).astype(np.float32)


def _genre_distribution(
    row: IntArray, item: IntArray, weights: npt.NDArray[np.float64], n_rows: int
) -> npt.NDArray[np.float64]:
    """(B, G) distribution of genres over the items of each row; zeros for a row without genres."""
    mass = np.stack([np.bincount(row, weights=column[item], minlength=n_rows) for column in weights.T], axis=1)
    total = mass.sum(axis=1, keepdims=True)
    shares: npt.NDArray[np.float64] = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
    return shares


def _mean_over_list(item_idx: IntArray, values: npt.NDArray[np.float64]) -> FloatArray:
    """(B,) mean of an item value over the real items of each row."""
    real = item_idx >= 0
    counts = real.sum(axis=1)
    total = np.where(real, values[np.where(real, item_idx, 0)], 0.0).sum(axis=1)
    mean: npt.NDArray[np.float64] = np.divide(total, counts, out=np.full(len(item_idx), np.nan), where=counts > 0)
    return mean.astype(np.float32)
