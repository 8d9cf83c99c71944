"""Measures an index against exact search, and tunes it to a recall with the least effort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
from loguru import logger

from recall.index.approximate import ApproximateIndex
from recall.index.base import BaseIndex
from reccore import Candidates, ConfigError, Exclusions
from reccore.arrays import FloatArray

# Queries per call, the same for every index that is timed.
BATCH_SIZE = 256
TURNS = 3  # measurements of each speed
# One-sided 95% bound: the mean less this number of standard errors.
Z = 1.645
# Tuning gives up after this number of doublings without a higher recall.
PATIENCE = 3


class RecallTooLow(ConfigError):
    """An index does not reach the required recall with any effort."""


@dataclass(frozen=True, eq=False)
class QuerySample:
    """Queries with their true answers.

    Attributes:
        queries: (B, D) float32.
        exclude: excluded items of each query.
        truth: (B, k) answers of the exact index.
    """

    queries: FloatArray
    exclude: Exclusions
    truth: Candidates

    @classmethod
    def of(cls, exact: BaseIndex, queries: FloatArray, k: int, exclude: Exclusions | None = None) -> QuerySample:
        """Compute the true answers with the exact index."""
        exclude = Exclusions.nothing(len(queries)) if exclude is None else exclude
        return cls(queries, exclude, search_in_batches(exact, queries, k, exclude))

    @property
    def k(self) -> int:
        return self.truth.k

    def recall(self, index: BaseIndex) -> FloatArray:
        """(B,) recall@k of the index; see ``recall_per_query``."""
        return recall_per_query(search_in_batches(index, self.queries, self.k, self.exclude), self.truth)


@dataclass(frozen=True)
class IndexMeasurement:
    """Recall, speed and size of an index.

    Attributes:
        kind: registered name.
        options: the tuned configuration.
        build_seconds: time of building, without tuning.
        recall: mean recall@k over the sample.
        recall_at_least: lower one-sided 95% bound of the recall.
        queries_per_second: in batches of ``BATCH_SIZE``.
        exact_queries_per_second: of the flat index, measured in alternation with this one.
        n_bytes: memory in bytes.
    """

    kind: str
    options: Mapping[str, Any]
    build_seconds: float
    recall: float
    recall_at_least: float
    queries_per_second: float
    exact_queries_per_second: float
    n_bytes: int

    @classmethod
    def of(
        cls, index: BaseIndex, build_seconds: float, sample: QuerySample, rate: float, exact_rate: float | None = None
    ) -> IndexMeasurement:
        """Measure the recall and add the given speeds (``exact_rate`` None: the same as ``rate``)."""
        recall = sample.recall(index)
        return cls(
            kind=index.name,
            options=index.config.model_dump(mode="json", exclude={"kind"}),
            build_seconds=round(build_seconds, 2),
            recall=round(float(recall.mean()), 5),
            recall_at_least=round(lower_bound(recall), 5),
            queries_per_second=round(rate, 1),
            exact_queries_per_second=round(rate if exact_rate is None else exact_rate, 1),
            n_bytes=index.n_bytes,
        )

    @property
    def speedup(self) -> float:
        """Queries per second as a multiple of the exact index's."""
        return self.queries_per_second / self.exact_queries_per_second

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "speedup": round(self.speedup, 2)}


def recall_per_query(found: Candidates, truth: Candidates) -> FloatArray:
    """(B,) share of the true list that was found, 1 where the true list is empty.

    Items are counted by score, which all indexes compute alike: an item tied with the last true one counts as found.
    """
    n_true = truth.counts
    last = np.take_along_axis(truth.score, np.maximum(n_true - 1, 0)[:, None], axis=1)
    hits = np.minimum((found.mask & (found.score >= last)).sum(axis=1), n_true)
    share: FloatArray = np.where(n_true == 0, 1.0, hits / np.maximum(n_true, 1))
    return share


def lower_bound(recall: FloatArray) -> float:
    """Lower one-sided 95% bound of the mean."""
    return float(recall.mean() - Z * recall.std() / np.sqrt(len(recall)))


def tune(index: BaseIndex, sample: QuerySample, min_recall: float) -> None:
    """Set the search options to the least effort whose recall is at least ``min_recall`` with 95% confidence.

    The effort is doubled until the lower bound of the recall reaches the target, then found by bisection. If the
    index has ``alternatives``, the fastest combination is taken. An exact index stays unchanged.

    Raises:
        RecallTooLow: no effort suffices; the message gives the highest recall.
    """
    if not isinstance(index, ApproximateIndex):
        return
    best: tuple[float, dict[str, int]] | None = None
    reached = 0.0
    for others in index.alternatives:
        index.set_options(list_length=sample.k, **others)
        effort, recall = _least_effort(index, sample, min_recall)
        reached = max(reached, recall)
        if effort is None:
            continue
        rate = interleaved_qps([index], sample, turns=1)[0]
        if best is None or rate > best[0]:
            best = rate, {**others, index.parameter: effort}
    if best is None:
        raise RecallTooLow(
            f"the {index.name} index finds at most {reached:.4f} of the exact top {sample.k} (95% bound), less than "
            f"the {min_recall} asked for; lower --min_recall, or take --index auto or flat"
        )
    index.set_options(**best[1])
    logger.info("{} reaches recall {} with {}", index.name, min_recall, best[1])


def _least_effort(index: ApproximateIndex, sample: QuerySample, min_recall: float) -> tuple[int | None, float]:
    """The least sufficient effort, which the index keeps, or None; and the highest lower bound of the recall."""

    def bound(effort: int) -> float:
        index.set_options(**{index.parameter: effort})
        return lower_bound(sample.recall(index))

    low, high, best, without_gain = 0, index.least_effort, 0.0, 0
    while (now := bound(high)) < min_recall:
        without_gain = 0 if now > best else without_gain + 1
        best = max(best, now)
        if high >= index.most_effort or without_gain >= PATIENCE:
            return None, best
        low, high = high, min(2 * high, index.most_effort)
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        low, high = (low, middle) if bound(middle) >= min_recall else (middle, high)
    index.set_options(**{index.parameter: high})
    return high, now


def search_in_batches(index: BaseIndex, queries: FloatArray, k: int, exclude: Exclusions) -> Candidates:
    """Search ``BATCH_SIZE`` queries at a time."""
    found = []
    for start in range(0, len(queries), BATCH_SIZE):
        stop = min(start + BATCH_SIZE, len(queries))
        found.append(index.search(queries[start:stop], k, exclude.rows(start, stop)))
    return Candidates(np.concatenate([f.item_idx for f in found]), np.concatenate([f.score for f in found]))


def interleaved_qps(indexes: Sequence[BaseIndex], sample: QuerySample, turns: int = TURNS) -> list[float]:
    """Median queries per second of each index; the indexes alternate, so that load on the machine affects all alike."""
    first = min(BATCH_SIZE, len(sample.queries))
    seconds: list[list[float]] = [[] for _ in indexes]
    for index in indexes:
        index.search(sample.queries[:first], sample.k, sample.exclude.rows(0, first))
    for _ in range(turns):
        for index, taken in zip(indexes, seconds, strict=True):
            started = perf_counter()
            search_in_batches(index, sample.queries, sample.k, sample.exclude)
            taken.append(perf_counter() - started)
    return [len(sample.queries) / float(np.median(taken)) for taken in seconds]
