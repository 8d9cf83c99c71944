"""Measuring an index against the exact answer, and finding the least search that is good enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from loguru import logger
from threadpoolctl import threadpool_limits

from recall.index.approximate import ApproximateIndex
from recall.index.base import BaseIndex
from recall.index.exact import faiss
from reccore import Candidates, ConfigError, Exclusions
from reccore.arrays import FloatArray

# Queries of one call, the same for every index that is timed.
BATCH_SIZE = 256
TURNS = 3
# One-sided 95%: the recall over the sample less so many standard errors must reach the target.
Z = 1.645
# Doubling the search so often without gaining is the end of it.
PATIENCE = 3


class RecallTooLow(ConfigError):
    """An index does not reach the recall asked for, however much it searches."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Queries with their true answers.

    Attributes:
        queries: (B, D) float32.
        exclude: what each must not be offered.
        truth: (B, k) the exact index's answer.
    """

    queries: FloatArray
    exclude: Exclusions
    truth: Candidates

    @classmethod
    def of(cls, exact: BaseIndex, queries: FloatArray, k: int, exclude: Exclusions | None = None) -> Sample:
        """Ask the exact index."""
        exclude = Exclusions.nothing(len(queries)) if exclude is None else exclude
        return cls(queries, exclude, search_in_batches(exact, queries, k, exclude))

    @property
    def k(self) -> int:
        return self.truth.k

    def recall(self, index: BaseIndex) -> FloatArray:
        """(B,) share of the true list that the index finds; an item tied with the last of it is as good."""
        return recall_per_query(search_in_batches(index, self.queries, self.k, self.exclude), self.truth)


@dataclass(frozen=True)
class Measured:
    """What is known of an index after measuring it.

    Attributes:
        kind: registered name.
        options: its configuration, tuned.
        build_seconds: without the tuning.
        recall: mean recall@k over the sample.
        recall_at_least: its one-sided 95% bound.
        queries_per_second: in batches of ``BATCH_SIZE``.
        exact_queries_per_second: of the flat index, in turns with this one.
        n_bytes: memory.
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
        cls, index: BaseIndex, build_seconds: float, sample: Sample, rate: float, exact_rate: float | None = None
    ) -> Measured:
        """Measure the recall; rates are given (``exact_rate`` by default the same)."""
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
    """(B,) share of the truth that was found, 1 where there is nothing to find.

    Counted by score: scores of an item agree between indexes, and any of several tied items may come last.
    """
    n_true = truth.counts
    last = np.take_along_axis(truth.score, np.maximum(n_true - 1, 0)[:, None], axis=1)
    hits = np.minimum((found.mask & (found.score >= last)).sum(axis=1), n_true)
    share: FloatArray = np.where(n_true == 0, 1.0, hits / np.maximum(n_true, 1))
    return share


def lower_bound(recall: FloatArray) -> float:
    """One-sided 95% bound of the mean."""
    return float(recall.mean() - Z * recall.std() / np.sqrt(len(recall)))


def tune(index: BaseIndex, sample: Sample, min_recall: float) -> None:
    """Set the index's search options to the least search whose recall is surely ``min_recall``.

    The option that buys recall with time is doubled until the bound is reached, then halved in between. Where
    other options are to be tried too, the fastest combination is taken. An exact index is left as it is.

    Raises:
        RecallTooLow: no value is enough; names the recall reached.
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
        rate = in_turns([index], sample, turns=1)[0]
        if best is None or rate > best[0]:
            best = rate, {**others, index.parameter: effort}
    if best is None:
        raise RecallTooLow(
            f"the {index.name} index finds {reached:.4f} of the exact top {sample.k} at most (95% bound), less than "
            f"the {min_recall} asked for; lower --min_recall, or take --index auto or flat"
        )
    index.set_options(**best[1])
    logger.info("{} reaches recall {} with {}", index.name, min_recall, best[1])


def _least_effort(index: ApproximateIndex, sample: Sample, min_recall: float) -> tuple[int | None, float]:
    """The least value that is enough, or None, and the best bound met; the index is left with that value."""

    def bound(effort: int) -> float:
        index.set_options(**{index.parameter: effort})
        return lower_bound(sample.recall(index))

    low, high, best, idle = 0, 1, 0.0, 0
    while (now := bound(high)) < min_recall:
        idle = 0 if now > best else idle + 1
        best = max(best, now)
        if high >= index.most_effort or idle >= PATIENCE:
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


def in_turns(indexes: Sequence[BaseIndex], sample: Sample, turns: int = TURNS) -> list[float]:
    """Queries per second of each index: the medians of several turns, so that all meet the same machine."""
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


@contextmanager
def search_threads(threads: int | None = None) -> Iterator[int]:
    """FAISS, NumPy and torch with the same number of threads, by default torch's; yields it.

    Several libraries bring a pool of their own, and a ratio of two speeds means little where one has more threads.
    """
    threads = torch.get_num_threads() if threads is None else threads
    before, torch_before = faiss.omp_get_max_threads(), torch.get_num_threads()
    with threadpool_limits(threads):
        faiss.omp_set_num_threads(threads)
        torch.set_num_threads(threads)
        try:
            yield threads
        finally:
            faiss.omp_set_num_threads(before)
            torch.set_num_threads(torch_before)
