"""The validation queries that choose epochs and settings, and the figures that a training prints."""

from __future__ import annotations

import numpy as np

from dataprep.prepare import Prepared
from evaluation.metrics import per_query_metrics
from reccore import Candidates, Holdout, RunOptions
from reccore.arrays import IntArray

VALIDATION_KS = (10, 100)
VALIDATION_QUERIES = 5_000
"""Enough to choose an epoch or a setting; evaluation uses all users."""


def validation_sample(prepared: Prepared, options: RunOptions, *, query_time: bool = False) -> Holdout:
    """Validation queries: all of them, or ``VALIDATION_QUERIES`` drawn at random.

    Raises:
        DataError: ``query_time`` with data that has no times.
    """

    def draw(n: int) -> IntArray:
        if n <= VALIDATION_QUERIES:
            return np.arange(n)
        return np.sort(options.generator("validation_queries").choice(n, VALIDATION_QUERIES, replace=False))

    return prepared.split.valid(query_time=query_time, draw=draw)


def summary(candidates: Candidates, holdout: Holdout) -> dict[str, float]:
    """Means of HitRate and NDCG at the validation lengths."""
    values = per_query_metrics(candidates, holdout, VALIDATION_KS)
    wanted = [f"{metric}@{k}" for metric in ("hit_rate", "ndcg") for k in VALIDATION_KS]
    return {metric: round(float(np.mean(values[metric])), 5) for metric in wanted}
