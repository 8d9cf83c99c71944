"""Orders of the candidates of recall, each measured within them: a ranker's, the merge's and every channel's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import perf_counter

import numpy as np

from evaluation.within_candidates import WithinCandidates, measure_within
from pipeline.stages import RECALL_RANK
from ranking.base import BaseRanker
from ranking.calibration import sigmoid
from reccore import ConfigError, RankingSamples
from reccore.arrays import FloatArray

NOT_OFFERED = -1e9
"""Score of a candidate that a channel did not offer: below all that it did, and tied with the others."""


def common_task(rankers: Iterable[BaseRanker]) -> str:
    """The task that all rankers learn first, whose labels they are measured by.

    Raises:
        ConfigError: rankers of different tasks.
    """
    tasks = list(dict.fromkeys(ranker.tasks[0] for ranker in rankers))
    if len(tasks) > 1:
        raise ConfigError(f"rankers of different tasks ({', '.join(tasks)}) have no labels in common; name them apart")
    return tasks[0]


def timed_scores(ranker: BaseRanker, samples: RankingSamples) -> tuple[FloatArray, float]:
    """(B, K) scores, and the seconds that they took."""
    started = perf_counter()
    scores = ranker.score(samples.queries, samples.candidates)
    return scores, perf_counter() - started


def measure_ranker(
    name: str,
    ranker: BaseRanker,
    samples: RankingSamples,
    scores: FloatArray,
    seconds: float,
    *,
    ks: Sequence[int],
    seed: int,
) -> WithinCandidates:
    """Figures of a ranker's own scores, with its probabilities and its speed.

    Args:
        name: of the ranker.
        ranker: which has scored the samples.
        samples: with the labels of its first task.
        scores, seconds: see ``timed_scores``.
        ks, seed: see ``measure_within``.

    Raises:
        DataError: see ``measure_within``.
    """
    return measure_within(
        name,
        scores,
        samples.labels_of(ranker.tasks[0]),
        samples.candidates.item_idx,
        samples.queries.user_idx,
        probabilities=ranker.calibrated(scores) if ranker.is_calibrated else None,
        raw_probabilities=sigmoid(scores).astype(np.float32),
        ks=ks,
        seed=seed,
        examples_per_second=float(samples.candidates.counts.sum()) / max(seconds, 1e-9),
    )


def measure_order(
    name: str, scores: FloatArray, samples: RankingSamples, task: str, *, ks: Sequence[int], seed: int
) -> WithinCandidates:
    """Figures of an order that has no probabilities and costs nothing.

    Args:
        name: of the order.
        scores: (B, K).
        samples: what they are scores of.
        task: whose labels count.
        ks, seed: see ``measure_within``.

    Raises:
        DataError: see ``measure_within``.
    """
    item_idx, user_idx = samples.candidates.item_idx, samples.queries.user_idx
    return measure_within(name, scores, samples.labels_of(task), item_idx, user_idx, ks=ks, seed=seed)


def channel_orders(samples: RankingSamples, channels: Sequence[str]) -> dict[str, FloatArray]:
    """Channel → (B, K) minus its rank of each candidate."""
    features = samples.candidates.features
    ranks = {name: features[RECALL_RANK + name] for name in channels if RECALL_RANK + name in features}
    return {name: np.where(np.isnan(rank), np.float32(NOT_OFFERED), -rank) for name, rank in ranks.items()}
