"""The leak alarm: a ranker that knows its labels is stopped before it is saved.

Where the channels that offered the training candidates have seen the label events, or a feature has, a candidate's
score gives its label away. The ranker then separates the candidates of the label window almost perfectly, on held-out
users too, and learns little else; in use, where no score knows the answer, it orders worse than recall did. Neither
figure shows that alone: a good ranker has a high AUC, and an honest one can lose to recall on validation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from loguru import logger

from evaluation.metrics import per_query_metrics
from evaluation.pointwise import gauc
from evaluation.significance import Interval, paired_bootstrap
from ranking.base import BaseRanker
from reccore import Candidates, DataError, Holdout, RankingSamples

ALARM_GAP = 0.05
"""A fall of the within-query AUC from held-out users of the label window to validation that is no chance."""
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
        change: NDCG@10 of all validation queries, ranked − merged, paired over users.
    """

    window: float
    use: float
    window_merged: float
    use_merged: float
    change: Interval

    @property
    def falls(self) -> bool:
        """Whether AUC falls by more than ``ALARM_GAP`` from the window to use."""
        return self.window - self.use > ALARM_GAP

    @property
    def leaks(self) -> bool:
        """Whether AUC falls, and NDCG falls below recall's as well."""
        return self.falls and self.change.high < 0.0

    def __str__(self) -> str:
        return (
            f"within-query AUC of the ranker {self.window:.3f} on held-out users of the label window, {self.use:.3f} "
            f"on validation (merged order {self.window_merged:.3f} and {self.use_merged:.3f}); NDCG@10 of validation, "
            f"ranked − merged: {self.change.mean:+.4f} [{self.change.low:+.4f}, {self.change.high:+.4f}]"
        )


def check_for_leak(
    ranker: BaseRanker, stopping: RankingSamples, valid: RankingSamples, holdout: Holdout, *, seed: int = 0
) -> LeakFigures | None:
    """Stop if the ranker is far better where its labels came from than where it is used, and worse than recall there.

    Args:
        ranker: fitted.
        stopping: samples of the label window of users that the ranker was not trained on.
        valid: samples of the validation split, from the channels in use.
        holdout: the queries and targets of ``valid``; targets that recall missed count as misses.
        seed: of the bootstrap.

    Returns:
        The figures; None where a part has no query with a positive and a negative.

    Raises:
        LeakError: both hold.
    """
    task = ranker.tasks[0]
    ranked = {name: ranker.score(part.queries, part.candidates) for name, part in _parts(stopping, valid)}
    found = {
        name: (_gauc(ranked[name], part, task), _gauc(_place(part.candidates), part, task))
        for name, part in _parts(stopping, valid)
    }
    if any(np.isnan(value) for pair in found.values() for value in pair):
        return None
    after, before = (
        per_query_metrics(candidates, holdout, (10,))[METRIC]
        for candidates in (valid.candidates.reordered(ranked["use"]), valid.candidates)
    )
    figures = LeakFigures(
        window=found["window"][0],
        use=found["use"][0],
        window_merged=found["window"][1],
        use_merged=found["use"][1],
        change=paired_bootstrap(after, before, seed=seed),
    )
    logger.log("WARNING" if figures.falls else "INFO", "leak alarm: {}", figures)
    if figures.leaks:
        raise LeakError(
            f"{ranker.name} seems to know its labels: {figures}. Scores or features of the training candidates were "
            "computed from the label events, which use never sees. Fit the channels of the training candidates without "
            "the label window (pipeline.samples.refit), and take item statistics and features from the events before "
            "it. The ranker was not saved"
        )
    return figures


def _parts(window: RankingSamples, use: RankingSamples) -> tuple[tuple[str, RankingSamples], ...]:
    return ("window", window), ("use", use)


def _place(candidates: Candidates) -> np.ndarray:
    """(B, K) minus the place in the list."""
    return np.broadcast_to(-np.arange(candidates.k, dtype=np.float32), candidates.item_idx.shape)


def _gauc(scores: np.ndarray, samples: RankingSamples, task: str) -> float:
    return gauc(scores, np.where(samples.candidates.mask, samples.labels[task], np.nan))
