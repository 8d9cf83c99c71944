"""The leak alarm: a ranker that knows its labels is stopped before it is saved.

Where the channels that offered the training candidates have seen the label events, or a feature has, a candidate's
score gives its label away. The ranker then separates the candidates of the label window almost perfectly, on held-out
users too, and learns little else; in use, where no score knows the answer, it orders worse than recall did. Neither
figure shows that alone: a good ranker has a high AUC, and an honest one can lose to recall on validation. So the alarm
compares the AUC of held-out users with that of validation, and the ranked order with the merged one.

On MovieLens-100K (DeepFM, 5 epochs, 1,500 training queries) the within-query AUC is 0.790 and 0.788; with channels that
were fitted on the label window as well, 0.874 and 0.784.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from loguru import logger

from evaluation.metrics import per_query_metrics
from evaluation.pointwise import auc_per_query, ratio_resamples, totals_by_group
from evaluation.significance import Interval, groups_of, paired_bootstrap, percentile_interval
from ranking.base import BaseRanker
from reccore import DataError, Holdout, RankingSamples
from reccore.arrays import FloatArray

ALARM_GAP = 0.05
"""A fall of the within-query AUC from held-out users of the label window to validation that honest runs do not have."""
ENOUGH_USERS = 100
"""Of fewer held-out users a bootstrap interval says too little to stop a training by AUC alone."""
METRIC = "ndcg@10"


class LeakError(DataError):
    """The ranker has learnt from scores or features that know its labels."""


@dataclass(frozen=True)
class LeakFigures:
    """What the alarm compares.

    Attributes:
        window: GAUC (``evaluation.pointwise``) of the ranker on the label window of users it was not trained on.
        use: the same on validation, whose candidates come from the channels in use.
        window_merged, use_merged: GAUC of the merged order.
        fall: ``window`` − ``use``, with its bootstrap interval over users.
        users: held-out users of the label window.
        change: NDCG@10 of all validation queries, ranked − merged, paired over users.
    """

    window: float
    use: float
    window_merged: float
    use_merged: float
    fall: Interval
    users: int
    change: Interval

    @property
    def leaks(self) -> bool:
        """Whether AUC falls by more than ``ALARM_GAP``: certainly, or while NDCG falls below recall's.

        A ranker that is clearly better than recall in use has learnt more than its labels: events that drift in time
        make AUC fall too, the merged order's as well.
        """
        certain = self.fall.low > ALARM_GAP and self.users >= ENOUGH_USERS and self.change.low <= 0.0
        return certain or (self.fall.mean > ALARM_GAP and self.change.high < 0.0)

    def __str__(self) -> str:
        return (
            f"within-query AUC of the ranker {self.window:.3f} on held-out users of the label window, {self.use:.3f} "
            f"on validation, a fall of {self.fall.mean:.3f} [{self.fall.low:.3f}, {self.fall.high:.3f}] (merged order "
            f"{self.window_merged:.3f} and {self.use_merged:.3f}); NDCG@10 of validation, ranked − merged: "
            f"{self.change.mean:+.4f} [{self.change.low:+.4f}, {self.change.high:+.4f}]"
        )


def check_for_leak(
    ranker: BaseRanker,
    stopping: RankingSamples,
    valid: RankingSamples,
    valid_scores: FloatArray,
    holdout: Holdout,
    *,
    seed: int = 0,
) -> LeakFigures | None:
    """Stop if the ranker is far better where its labels came from than where it is used.

    Args:
        ranker: fitted.
        stopping: samples of the label window of users that the ranker was not trained on.
        valid: samples of the validation split, from the channels in use.
        valid_scores: (B, K) the ranker's scores of its candidates.
        holdout: the queries and targets of ``valid``; targets that recall missed count as misses.
        seed: of the bootstrap.

    Returns:
        The figures; None where a part has no query with a positive and a negative.

    Raises:
        LeakError: see ``LeakFigures.leaks``.
    """
    task = ranker.tasks[0]
    window = _within_queries(ranker.score(stopping.queries, stopping.candidates), stopping, task)
    use = _within_queries(valid_scores, valid, task)
    merged = [_within_queries(part.candidates.place_scores, part, task) for part in (stopping, valid)]
    if np.isnan(window).all() or np.isnan(use).all():
        return None
    after, before = (
        per_query_metrics(candidates, holdout, (10,))[METRIC]
        for candidates in (valid.candidates.reordered(valid_scores), valid.candidates)
    )
    resampled = [
        _resampled(values, part, seed + i) for i, (values, part) in enumerate(((window, stopping), (use, valid)))
    ]
    figures = LeakFigures(
        window=float(np.nanmean(window)),
        use=float(np.nanmean(use)),
        window_merged=float(np.nanmean(merged[0])),
        use_merged=float(np.nanmean(merged[1])),
        fall=percentile_interval(float(np.nanmean(window) - np.nanmean(use)), resampled[0] - resampled[1]),
        users=len(np.unique(stopping.queries.user_idx)),
        change=paired_bootstrap(after, before, users=holdout.queries.user_idx, seed=seed),
    )
    logger.info("leak alarm: {}", figures)
    if figures.leaks:
        raise LeakError(
            f"{ranker.name} seems to know its labels: {figures}. Scores or features of the training candidates were "
            "computed from the label events, which use never sees. Fit the channels of the training candidates without "
            "the label window (pipeline.window_refits.refit), and take item statistics and features from the events "
            "before it. The ranker was not saved"
        )
    return figures


def _within_queries(scores: np.ndarray, samples: RankingSamples, task: str) -> np.ndarray:
    """(B,) AUC within each query; NaN where it has none."""
    return auc_per_query(scores, samples.labels_of(task))


def _resampled(values: np.ndarray, samples: RankingSamples, seed: int) -> np.ndarray:
    """(R,) mean of each bootstrap resample of users, over the queries that have a value."""
    defined = ~np.isnan(values)
    group = groups_of(samples.queries.user_idx[defined])
    n_groups = int(group.max()) + 1
    totals, counts = (totals_by_group(part, group, n_groups) for part in (values[defined], np.ones(defined.sum())))
    return ratio_resamples(totals, counts, seed=seed)
