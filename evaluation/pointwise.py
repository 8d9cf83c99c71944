"""Metrics of scored and labelled rows: how well scores order them, and how well probabilities match the labels.

A row is one candidate of one query; labels are 1 (positive) or 0 (negative). Notation: ``s`` are scores, ``p``
probabilities, ``y`` labels of N rows, of which P are positive and M negative.

============ ==========================================================================================================
AUC          share of the P·M pairs of a positive and a negative whose positive has the greater score; a tie is half.
GAUC         mean over queries of the AUC among the query's own rows. Only queries with both a positive and a negative
             have one. Plain: every such query counts the same. Weighted: by its number of rows (its impressions), as in
             Zhou et al., Deep Interest Network, KDD 2018, equation (6).
Logloss      −mean of y·log p + (1 − y)·log(1 − p), in nats; p is kept within [1e-7, 1 − 1e-7].
ECE          expected calibration error: Σ_b n_b/N · |mean p − mean y| over bins b of equal mass, which are cut at the
             quantiles of p; rows of equal p share a bin, so there may be fewer bins than asked for.
============ ==========================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.significance import DEFAULT_RESAMPLES, LEVEL, Interval, percentile_interval, resample_weights
from reccore import DataError
from reccore.arrays import IntArray

Floats = npt.NDArray[np.floating[Any]]
Values = npt.NDArray[np.float64]

SMALLEST = 1e-7
CALIBRATION_BINS = 15


def auc(scores: Floats, labels: Floats) -> float:
    """AUC of N rows; NaN where one of the two classes has no row. O(N log N)."""
    positive = labels == 1.0
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    ranks = _mean_ranks(scores)  # ties share the mean of their ranks
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def _mean_ranks(scores: Floats, **options: Any) -> Values:
    """Ranks from 1, where ties share the mean of theirs."""
    # Imported here, since scipy.stats takes half a second to import, and a trained model needs none of it.
    from scipy.stats import rankdata

    ranks: Values = rankdata(scores, **options)
    return ranks


def auc_per_query(scores: Floats, labels: Floats) -> Values:
    """(B,) AUC within each query; NaN for a query without a positive or without a negative.

    Args:
        scores: (B, K), higher is better.
        labels: (B, K), 1 = positive, 0 = negative, NaN = no label or no item, which takes no part.
    """
    labelled = ~np.isnan(labels)
    ranks = _mean_ranks(np.where(labelled, scores, np.nan), axis=1, nan_policy="omit")
    positive = labels == 1.0
    n_positive, n_negative = positive.sum(axis=1), (labels == 0.0).sum(axis=1)
    pairs = n_positive * n_negative
    wins = np.where(positive, ranks, 0.0).sum(axis=1) - n_positive * (n_positive + 1) / 2
    return np.where(pairs > 0, wins / np.maximum(pairs, 1), np.nan)


def gauc(scores: Floats, labels: Floats, *, weighted: bool = False) -> float:
    """GAUC of (B, K) scores and labels, plain or weighted by impressions; NaN where no query has an AUC."""
    values = auc_per_query(scores, labels)
    defined = ~np.isnan(values)
    if not defined.any():
        return float("nan")
    weights = (~np.isnan(labels)).sum(axis=1) if weighted else np.ones(len(values))
    return float(np.average(values[defined], weights=weights[defined]))


def log_losses(probabilities: Floats, labels: Floats) -> Values:
    """Logloss of every row, in nats."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST, 1.0 - SMALLEST)
    return -np.where(labels == 1.0, np.log(p), np.log1p(-p))


@dataclass(frozen=True, eq=False)
class Reliability:
    """The reliability curve: what was predicted and what happened, bin by bin.

    Attributes:
        predicted: mean probability of each bin, ascending.
        observed: share of positives of each bin.
        count: rows of each bin.
    """

    predicted: Values
    observed: Values
    count: IntArray

    @classmethod
    def of(cls, probabilities: Floats, labels: Floats, bins: int = CALIBRATION_BINS) -> Reliability:
        """Bins of equal mass.

        Args:
            probabilities, labels: (N,) rows.
            bins: greatest number of bins.

        Raises:
            DataError: no row, or fewer than one bin.
        """
        if len(labels) == 0 or bins < 1:
            raise DataError(f"calibration needs rows and at least one bin, got {len(labels)} rows and {bins} bins")
        p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        edges = np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1])
        at = np.searchsorted(edges, p)
        count = np.bincount(at, minlength=bins)
        used = count > 0
        totals = [np.bincount(at, weights=values, minlength=bins)[used] / count[used] for values in (p, y)]
        return cls(totals[0], totals[1], count[used])

    @property
    def error(self) -> float:
        """ECE."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.count))

    def to_dict(self) -> dict[str, list[float]]:
        """Plain values."""
        return {name: getattr(self, name).tolist() for name in ("predicted", "observed", "count")}


def calibration_error(probabilities: Floats, labels: Floats, bins: int = CALIBRATION_BINS) -> float:
    """ECE of (N,) probabilities with bins of equal mass.

    Raises:
        DataError: no row, or fewer than one bin.
    """
    return Reliability.of(probabilities, labels, bins).error


def auc_interval(
    scores: Floats,
    labels: Floats,
    groups: IntArray,
    *,
    seed: int,
    n_resamples: int = DEFAULT_RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """AUC with its percentile bootstrap interval over groups of rows.

    Args:
        scores, labels, groups, seed, n_resamples: see ``auc_resamples``.
        level: see ``bootstrap_means``.

    Raises:
        DataError: one of the two classes has no row.
    """
    value = auc(scores, labels)
    if np.isnan(value):
        raise DataError("AUC needs a positive and a negative row")
    found = auc_resamples(scores, labels, groups, seed=seed, n_resamples=n_resamples)
    return percentile_interval(value, found[~np.isnan(found)], level)


def auc_resamples(
    scores: Floats, labels: Floats, groups: IntArray, *, seed: int, n_resamples: int = DEFAULT_RESAMPLES
) -> Values:
    """(R,) AUC of each bootstrap resample; groups of rows (users or queries) are drawn with replacement.

    NaN for a resample without a positive or without a negative. O(N) for each resample.

    Args:
        scores, labels: (N,) rows.
        groups: (N,) number 0 … G − 1 of each row's group.
        seed: of the draws; equal seeds and groups draw the same groups, so that differences are paired.
        n_resamples: R.
    """
    order = np.argsort(scores, kind="stable")
    sorted_groups, ordered = groups[order], scores[order]
    at = np.flatnonzero(labels[order] == 1.0)  # positions of the positives, which may be few
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))  # where each run of equal scores begins
    run = np.searchsorted(first, at, side="right") - 1
    start, stop = first[run], np.append(first[1:], len(ordered))[run]
    start_of_positives, stop_of_positives = np.searchsorted(at, start), np.searchsorted(at, stop)
    rows, positives = np.zeros(len(ordered) + 1), np.zeros(len(at) + 1)  # sums of weights before each position
    found = []
    for weights in resample_weights(int(groups.max()) + 1, seed=seed, n_resamples=n_resamples):
        for row in weights:
            drawn = row[sorted_groups]
            np.cumsum(drawn, out=rows[1:])
            np.cumsum(drawn[at], out=positives[1:])
            below = rows[start] - positives[start_of_positives]
            equal = rows[stop] - positives[stop_of_positives] - below
            pairs = positives[-1] * (rows[-1] - positives[-1])
            found.append(float(drawn[at] @ (below + 0.5 * equal)) / pairs if pairs > 0 else np.nan)
    return np.array(found)


def ratio_interval(
    totals: Values,
    counts: Values,
    *,
    seed: int,
    n_resamples: int = DEFAULT_RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Σ totals / Σ counts over groups with its percentile bootstrap interval: the mean of rows drawn group by group.

    Args:
        totals: (G,) sum over the rows of each group.
        counts: (G,) number, or weight, of its rows.
        seed, n_resamples, level: see ``bootstrap_means``.

    Raises:
        DataError: no row at all.
    """
    found = ratio_resamples(totals, counts, seed=seed, n_resamples=n_resamples)
    return percentile_interval(float(totals.sum() / counts.sum()), found, level)


def ratio_resamples(totals: Values, counts: Values, *, seed: int, n_resamples: int = DEFAULT_RESAMPLES) -> Values:
    """(R,) Σ totals / Σ counts of each bootstrap resample of groups; see ``ratio_interval``."""
    if counts.sum() <= 0:
        raise DataError("a mean over rows needs at least one row")
    found = [
        (weights @ totals) / np.maximum(weights @ counts, SMALLEST)
        for weights in resample_weights(len(totals), seed=seed, n_resamples=n_resamples)
    ]
    return np.concatenate(found)


def totals_by_group(values: Values, groups: IntArray, n_groups: int) -> Values:
    """(G,) sum of each group's rows."""
    return np.bincount(groups, weights=values, minlength=n_groups).astype(np.float64)
