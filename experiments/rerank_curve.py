"""Accuracy against other properties of the list, for several rerankers over their trade-off λ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.beyond_accuracy import calibration_error, catalogue_coverage, intra_list_diversity, self_information
from evaluation.metrics import per_query_metrics
from evaluation.report import markdown_table
from evaluation.significance import Interval, percentile_interval, resample_weights, sums_by_user
from reccore import Candidates, Holdout, TrainingData
from reccore.arrays import FloatArray, IntArray
from rerank.base import BaseReranker

K = 10
BEFORE = "before reranking"
NDCG, GENRES, VECTORS = f"ndcg@{K}", "genre diversity", "vector diversity"
CALIBRATION, NOVELTY, COVERAGE = "calibration error", "novelty", "coverage"
TRADE_OFFS = tuple(hundredths / 100 for hundredths in range(95, 25, -5))
GENRE_SIMILARITY = {"similarity": {"kind": "genres"}}
FAMILIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "mmr, vectors": ("mmr", {}),
    "mmr, genres": ("mmr", GENRE_SIMILARITY),
    "dpp, vectors": ("dpp", {}),
    "dpp, genres": ("dpp", GENRE_SIMILARITY),
    "calibrated": ("calibrated", {}),
}
"""Name of a curve → method and options of its reranker."""


@dataclass(frozen=True, eq=False)
class CurvePoint:
    """A reranker at one λ.

    Attributes:
        family: name of the curve.
        trade_off: λ; 1 for the order before reranking.
        values: property → mean over users with its interval; ``coverage`` is a figure of all lists together, and its
            interval is empty (low = high).
        changes: property → relative change against the order before reranking, paired over users.
    """

    family: str
    trade_off: float
    values: Mapping[str, Interval]
    changes: Mapping[str, Interval]

    @property
    def label(self) -> str:
        return self.family if self.family == BEFORE else f"{self.family}, λ = {self.trade_off:g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""

        def plain(intervals: Mapping[str, Interval]) -> dict[str, Any]:
            return {name: {"mean": i.mean, "low": i.low, "high": i.high} for name, i in intervals.items()}

        return {
            "family": self.family,
            "trade_off": self.trade_off,
            "values": plain(self.values),
            "changes": plain(self.changes),
        }


@dataclass(frozen=True, eq=False)
class CurveData:
    """What a curve is measured on.

    Attributes:
        candidates: what the reranker receives.
        holdout: the queries of ``candidates`` with their targets.
        data: the fit split.
        vectors: (N, D) by which ``vector diversity`` is measured; None = it is not.
        seed: of the bootstrap.
    """

    candidates: Candidates
    holdout: Holdout
    data: TrainingData
    vectors: FloatArray | None
    seed: int

    def figures(self, offer: Candidates) -> dict[str, FloatArray]:
        """Property → (B,) value of every list; NaN where a list has none."""
        items, counts = self.data.items, self.data.interactions.item_counts()
        figures = {NDCG: per_query_metrics(offer, self.holdout, (K,))[NDCG]}
        if items.n_genres:
            genres = items.genre_matrix()
            figures[GENRES] = intra_list_diversity(offer, genres, K)
        if self.vectors is not None:
            figures[VECTORS] = intra_list_diversity(offer, self.vectors, K)
        if items.n_genres:
            figures[CALIBRATION] = calibration_error(offer, self.holdout.queries, genres, K)
        figures[NOVELTY] = self_information(offer, counts, K)
        return figures


def measure_curves(
    given: CurveData, rerankers: Mapping[str, BaseReranker], trade_offs: Sequence[float]
) -> list[CurvePoint]:
    """The order before reranking, then every reranker at every λ from the largest to the smallest.

    Args:
        given: candidates, targets and facts.
        rerankers: name of the curve → fitted reranker with a trade-off.
        trade_offs: values of λ.
    """
    before = given.candidates.head(K)
    base = _resampled(given.figures(before), given.holdout.queries.user_idx, given.seed)
    covered = catalogue_coverage(before, given.data.items.n_items, K)
    points = [_point(BEFORE, 1.0, before, given, base, covered)]
    for family, reranker in rerankers.items():
        for trade_off in sorted(trade_offs, reverse=True):
            changed = reranker.with_trade_off(trade_off)
            offer = changed.rerank(given.holdout.queries, given.candidates, K)
            points.append(_point(family, trade_off, offer, given, base, covered))
    return points


def choose(points: Sequence[CurvePoint], min_gain: float) -> CurvePoint | None:
    """The setting that reaches ``min_gain`` more genre diversity at the least loss of NDCG; None if none reaches it.

    Of each curve the largest λ that reaches it is considered. Diversity has narrow intervals and decides within a
    curve; NDCG, whose intervals are wide, decides between the few curves alone.
    """
    first: dict[str, CurvePoint] = {}
    for point in points:
        if GENRES in point.changes and point.changes[GENRES].mean >= min_gain:
            first.setdefault(point.family, point)
    return max(first.values(), key=lambda point: point.changes[NDCG].mean, default=None)


def curve_table(points: Sequence[CurvePoint]) -> str:
    """Every point with its relative changes; the first is the order before reranking."""
    names = list(points[0].values)
    rows = [[point.label, *(_cell(point, name) for name in names)] for point in points]
    return markdown_table(["reranker", *names], rows)


def _cell(point: CurvePoint, name: str) -> str:
    value, change = point.values[name], point.changes.get(name)
    if change is None:
        return (
            f"{value.mean:.4f}" if value.low == value.high else f"{value.mean:.4f} [{value.low:.4f}, {value.high:.4f}]"
        )
    interval = "" if change.low == change.high else f" [{change.low:+.1%}, {change.high:+.1%}]"
    return f"{value.mean:.4f}, {change.mean:+.1%}{interval}"


_Resampled = Mapping[str, tuple[float, npt.NDArray[np.float64]]]


def _resampled(figures: Mapping[str, FloatArray], users: IntArray, seed: int) -> _Resampled:
    """Property → mean over the queries that have a value, and its bootstrap means; equal seeds draw equal users."""
    matrix = np.stack([column.astype(np.float64) for column in figures.values()], axis=1)
    finite = np.isfinite(matrix)
    filled, known = (sums_by_user(part, users) for part in (np.where(finite, matrix, 0.0), finite.astype(np.float64)))
    sums, counts = [], []
    for weights in resample_weights(len(filled), seed=seed):
        sums.append(weights @ filled)
        counts.append(weights @ known)
    with np.errstate(invalid="ignore"):
        means, centre = np.concatenate(sums) / np.concatenate(counts), filled.sum(axis=0) / known.sum(axis=0)
    return {name: (float(centre[i]), means[:, i]) for i, name in enumerate(figures)}


def _point(
    family: str, trade_off: float, offer: Candidates, given: CurveData, base: _Resampled, covered_before: float
) -> CurvePoint:
    found = _resampled(given.figures(offer), given.holdout.queries.user_idx, given.seed)
    covered = catalogue_coverage(offer, given.data.items.n_items, K)
    values = {name: percentile_interval(mean, means) for name, (mean, means) in found.items()}
    changes = {}
    for name, (mean, means) in found.items():
        mean_before, means_before = base[name]
        if mean_before > 0.0 and (means_before > 0.0).all() and family != BEFORE:
            changes[name] = percentile_interval(mean / mean_before - 1.0, means / means_before - 1.0)
    values[COVERAGE] = Interval(covered, covered, covered)
    if family != BEFORE and covered_before > 0.0:
        change = covered / covered_before - 1.0
        changes[COVERAGE] = Interval(change, change, change)
    return CurvePoint(family, trade_off, values, changes)
