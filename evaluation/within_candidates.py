"""Figures of one order of given candidates: how well it separates and ranks the positives among them.

All figures are within what recall offers: a positive that recall missed is no row, and a query without a positive among
its candidates has no place in GAUC, NDCG and MRR.

=========== ==========================================================================================================
AUC, GAUC   ``evaluation.pointwise``, over all labelled candidates, and within each query.
NDCG@K      as in ``evaluation.metrics``, over the labelled candidates; the ideal list holds the positives among them.
MRR         1 ÷ rank of the first positive among the labelled candidates.
Logloss, ECE ``evaluation.pointwise``, of probabilities, where the order has some.
=========== ==========================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.metrics import metric_name, ndcg_of_scores
from evaluation.pointwise import (
    Reliability,
    auc_interval,
    auc_per_query,
    log_losses,
    ratio_interval,
    totals_by_group,
)
from evaluation.significance import Interval, bootstrap_means, groups_of, sums_by_user
from reccore import DataError
from reccore.arrays import FloatArray, IntArray

Values = npt.NDArray[np.float64]

WEIGHTED = "gauc_by_impressions"


@dataclass(frozen=True, eq=False)
class WithinCandidates:
    """Figures of one order.

    Attributes:
        name: of the system.
        metrics: name → mean with its bootstrap interval over users.
        per_query: ``gauc``, ``ndcg@K`` and ``mrr`` of each query with a positive and a negative, for pairing.
        user_idx: user of each of these queries, -1 = unknown.
        reliability: of the calibrated probabilities, and of the sigmoid of the raw scores; None without probabilities.
        raw_reliability: see ``reliability``.
        rows, queries: labelled candidates, and queries with a positive and a negative among theirs.
        examples_per_second: candidates scored in a second; None for an order that costs nothing.
    """

    name: str
    metrics: Mapping[str, Interval]
    per_query: Mapping[str, Values]
    user_idx: IntArray
    rows: int
    queries: int
    reliability: Reliability | None = None
    raw_reliability: Reliability | None = None
    examples_per_second: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        curves = {"calibrated": self.reliability, "raw": self.raw_reliability}
        return {
            "name": self.name,
            "metrics": {name: {"mean": i.mean, "low": i.low, "high": i.high} for name, i in self.metrics.items()},
            "rows": self.rows,
            "queries": self.queries,
            "ece": {name: curve.error for name, curve in curves.items() if curve is not None},
            "reliability": {name: curve.to_dict() for name, curve in curves.items() if curve is not None},
            "examples_per_second": self.examples_per_second,
        }


def measure_within(
    name: str,
    scores: FloatArray,
    labels: FloatArray,
    item_idx: IntArray,
    user_idx: IntArray,
    *,
    probabilities: FloatArray | None = None,
    raw_probabilities: FloatArray | None = None,
    ks: Sequence[int] = (10,),
    seed: int = 0,
    examples_per_second: float | None = None,
) -> WithinCandidates:
    """Measure one order of B queries with K candidates each.

    Args:
        name: of the system.
        scores: (B, K), higher is better; equal scores are ordered by ``item_idx`` for NDCG and MRR.
        labels: (B, K), 1, 0, or NaN for padding and candidates without a label, which take no part.
        item_idx: (B, K).
        user_idx: (B,) users, drawn as a whole by the bootstrap; queries of unknown users (-1) are drawn one by one.
        probabilities, raw_probabilities: (B, K) calibrated, and not calibrated.
        ks: list lengths.
        seed: of the bootstrap.
        examples_per_second: to carry along.

    Raises:
        DataError: no query has both a positive and a negative.
    """
    within = auc_per_query(scores, labels)
    usable = np.flatnonzero(~np.isnan(within))
    if len(usable) == 0:
        raise DataError("no query has both a positive and a negative among its candidates; there is nothing to rank")
    shown = np.where(np.isnan(labels), -np.inf, scores)[usable]
    at = (labels[usable], item_idx[usable])
    per_query = {"gauc": within[usable], **{metric_name("ndcg", k): ndcg_of_scores(shown, *at, k) for k in ks}}
    per_query["mrr"] = first_ranks(shown, *at)
    labelled = ~np.isnan(labels)
    group = np.repeat(groups_of(user_idx), labelled.sum(axis=1))
    metrics = {"auc": auc_interval(scores[labelled], labels[labelled], group, seed=seed)}
    users = user_idx[usable]
    metrics |= bootstrap_means(per_query, users=users, seed=seed)
    impressions = labelled.sum(axis=1)[usable].astype(np.float64)
    shares = (sums_by_user(values, users) for values in (within[usable] * impressions, impressions))
    metrics[WEIGHTED] = ratio_interval(*shares, seed=seed)
    curves: list[Reliability | None] = [None, None]
    if probabilities is not None:
        losses, n_groups = log_losses(probabilities[labelled], labels[labelled]), int(group.max()) + 1
        totals, counts = (totals_by_group(values, group, n_groups) for values in (losses, np.ones(len(losses))))
        metrics["logloss"] = ratio_interval(totals, counts, seed=seed)
    for i, given in enumerate((probabilities, raw_probabilities)):
        curves[i] = None if given is None else Reliability.of(given[labelled], labels[labelled])
    return WithinCandidates(
        name, metrics, per_query, users, int(labelled.sum()), len(usable), curves[0], curves[1], examples_per_second
    )


def first_ranks(scores: FloatArray, labels: FloatArray, item_idx: IntArray) -> Values:
    """(B,) 1 ÷ rank of the first positive; every query has one. Ties are broken by ``item_idx``."""
    order = np.lexsort((item_idx, -scores), axis=1)
    positive = np.take_along_axis(labels == 1.0, order, axis=1)
    ranks: Values = 1.0 / (positive.argmax(axis=1) + 1.0)
    return ranks
