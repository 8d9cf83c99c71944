"""Evaluation of one system on one holdout, and paired comparison of two systems on the same queries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluation.beyond_accuracy import (
    intra_list_diversity,
    mean_of_answered,
    mean_popularity,
    self_information,
)
from evaluation.metrics import DEFAULT_KS, check_ks, metric_name, per_query_metrics
from evaluation.significance import DEFAULT_RESAMPLES, Interval, bootstrap_means, n_users, paired_bootstrap
from reccore import Candidates, ConfigError, DataError, Holdout
from reccore.arrays import FloatArray, IntArray

ORDER_BY = "ndcg@10"
_COUNTS = ("queries", "unanswered", "targets", "unknown_targets", "tied_share")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results of one system on one holdout.

    Attributes:
        name: of the system.
        ks: list lengths, ascending.
        per_query: metric name (``ndcg@10``) → (B,) value of every query, unanswered ones included.
        metrics: metric name → mean over all queries with its interval.
        lists: properties of the lists beside accuracy: ``coverage@K``, ``popularity@K`` (mean fit-split events of the
            offered items), ``novelty@K`` (mean self-information, bits) and, with item vectors, ``diversity@K`` at the
            smallest K. Means over answered queries; NaN if no query was answered.
        queries: B.
        unanswered: number of queries with an empty row, which count as misses.
        targets: number of targets of all queries.
        unknown_targets: number of targets outside the vocabulary, which count as misses.
        tied_share: share of queries whose target was chosen by the tie rule; None if not known.
        holdout_id: digest of users and targets; ``compare`` requires equal ones.
        users: (B,) user of each query, -1 = unknown, where a user has several queries; None where each has one.
    """

    name: str
    ks: tuple[int, ...]
    per_query: Mapping[str, FloatArray]
    metrics: Mapping[str, Interval]
    lists: Mapping[str, float]
    queries: int
    unanswered: int
    targets: int
    unknown_targets: int
    tied_share: float | None
    holdout_id: str
    users: IntArray | None = None

    def mean(self, metric: str) -> float:
        """Mean of a metric, or a value of ``lists``, by name.

        Raises:
            ConfigError: it was not measured; the message lists what was.
        """
        if metric in self.metrics:
            return self.metrics[metric].mean
        if metric in self.lists:
            return self.lists[metric]
        raise ConfigError(f"{metric!r} was not measured; known: {', '.join([*self.metrics, *self.lists])}")

    def curve(self, metric: str) -> dict[int, float]:
        """K → mean of ``metric``, such as ``recall`` or ``coverage``."""
        return {k: self.mean(metric_name(metric, k)) for k in self.ks}

    def to_dict(self) -> dict[str, Any]:
        """All fields but the per-query values, as plain values, NaN included (see ``report.without_nan``)."""
        return {
            "name": self.name,
            "metrics": {name: {"mean": i.mean, "low": i.low, "high": i.high} for name, i in self.metrics.items()},
            "lists": dict(self.lists),
            **{name: getattr(self, name) for name in _COUNTS},
        }


@dataclass(frozen=True)
class Comparison:
    """Paired difference a − b of one metric over the same queries.

    Attributes:
        a, b: names of the systems.
        metric: such as ``ndcg@10``.
        difference: mean of a − b with its interval.
        base: mean of b, the divisor of ``relative``.
    """

    a: str
    b: str
    metric: str
    difference: Interval
    base: float = field(default=float("nan"))

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``no clear difference`` if the interval contains zero."""
        if not self.difference.excludes_zero:
            return "no clear difference"
        return "better" if self.difference.mean > 0 else "worse"

    @property
    def relative(self) -> float:
        """Difference as a share of b's mean; NaN if that is zero."""
        return self.difference.mean / self.base if self.base else float("nan")

    def __str__(self) -> str:
        d = self.difference
        interval = f"{d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"
        return f"{self.a} − {self.b}, {self.metric}: {interval} ({self.verdict})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        d = self.difference
        return {
            "a": self.a,
            "b": self.b,
            "metric": self.metric,
            "difference": {"mean": d.mean, "low": d.low, "high": d.high},
            "relative": self.relative,
            "verdict": self.verdict,
        }


def evaluate_candidates(
    name: str,
    candidates: Candidates,
    holdout: Holdout,
    *,
    item_counts: IntArray,
    item_vectors: FloatArray | None = None,
    ks: Sequence[int] = DEFAULT_KS,
    seed: int = 0,
    n_resamples: int = DEFAULT_RESAMPLES,
) -> Evaluation:
    """Measure ranked candidates against a holdout.

    Args:
        name: of the system.
        candidates: (B, K); retrieve at least ``max(ks)``, since missing ranks count as misses.
        holdout: the B queries and their targets.
        item_counts: (N,) events of each item **in the fit split**; N is the size of the catalogue.
        item_vectors: (N, D) for intra-list diversity, such as ``ItemTable.genre_matrix()``.
        ks: list lengths.
        seed: of the bootstrap; use the same one for systems that are compared.
        n_resamples: number of bootstrap samples.

    Raises:
        DataError: as ``per_query_metrics``; or a candidate is outside the catalogue.
    """
    running = RunningEvaluation(name, item_counts=item_counts, item_vectors=item_vectors, ks=ks)
    running.add(candidates, holdout)
    return running.result(holdout, seed=seed, n_resamples=n_resamples)


class RunningEvaluation:
    """The evaluation of a system whose candidates come in parts, so that they need not be in memory together.

    Args:
        name, item_counts, item_vectors, ks: see ``evaluate_candidates``.
    """

    def __init__(
        self,
        name: str,
        *,
        item_counts: IntArray,
        item_vectors: FloatArray | None = None,
        ks: Sequence[int] = DEFAULT_KS,
    ) -> None:
        self.name, self.ks = name, check_ks(ks)
        self._counts, self._vectors = item_counts, item_vectors
        self._parts: list[Mapping[str, FloatArray]] = []
        self._lists: list[Mapping[str, FloatArray]] = []
        self._shown = np.zeros((len(self.ks), len(item_counts)), dtype=bool)
        self._unanswered = 0

    def add(self, candidates: Candidates, holdout: Holdout) -> None:
        """Measure the candidates of the next queries.

        Raises:
            DataError: see ``evaluate_candidates``.
        """
        _check_catalogue(candidates, self._counts, self._vectors)
        self._parts.append(per_query_metrics(candidates, holdout, self.ks))
        lists = {}
        for k, shown in zip(self.ks, self._shown, strict=True):
            items = candidates.item_idx[:, :k]
            shown[items[items >= 0]] = True
            lists[metric_name("popularity", k)] = mean_popularity(candidates, self._counts, k)
            lists[metric_name("novelty", k)] = self_information(candidates, self._counts, k)
        if self._vectors is not None:
            lists[metric_name("diversity", self.ks[0])] = intra_list_diversity(candidates, self._vectors, self.ks[0])
        self._lists.append(lists)
        self._unanswered += int((candidates.counts == 0).sum())

    def result(self, holdout: Holdout, *, seed: int = 0, n_resamples: int = DEFAULT_RESAMPLES) -> Evaluation:
        """The evaluation of all parts, which are the queries of ``holdout`` in order.

        Raises:
            DataError: the parts have another number of queries.
        """
        per_query = _joined(self._parts)
        measured = len(next(iter(per_query.values()), ()))
        if measured != len(holdout):
            raise DataError(f"{self.name}: candidates of {measured:,} queries for a holdout of {len(holdout):,}")
        of_lists = {name: mean_of_answered(values) for name, values in _joined(self._lists).items()}
        lists = {}
        for k, shown in zip(self.ks, self._shown, strict=True):
            lists[metric_name("coverage", k)] = float(shown.mean()) if shown.size else 0.0
            lists |= {metric_name(one, k): of_lists.pop(metric_name(one, k)) for one in ("popularity", "novelty")}
        users = _shared_users(holdout)
        return Evaluation(
            name=self.name,
            ks=self.ks,
            per_query=per_query,
            metrics=bootstrap_means(per_query, users=users, seed=seed, n_resamples=n_resamples),
            lists=lists | of_lists,
            queries=len(holdout),
            unanswered=self._unanswered,
            targets=len(holdout.target_idx),
            unknown_targets=int((holdout.target_idx < 0).sum()),
            tied_share=None if holdout.tied is None else float(holdout.tied.mean()),
            holdout_id=holdout_digest(holdout),
            users=users,
        )


def _joined(parts: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    """The values of all parts, one after another."""
    names = parts[0] if parts else {}
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def compare(
    a: Evaluation, b: Evaluation, metric: str = ORDER_BY, *, seed: int = 0, n_resamples: int = DEFAULT_RESAMPLES
) -> Comparison:
    """Difference a − b of a metric, by paired bootstrap over the users of their common holdout.

    Raises:
        DataError: the two were measured on different users or targets.
        ConfigError: the metric was not measured for both.
    """
    if a.holdout_id != b.holdout_id:
        raise DataError(
            f"{a.name} and {b.name} were measured on different users or targets; evaluate both on the same holdout"
        )
    for side in (a, b):
        if metric not in side.per_query:
            raise ConfigError(f"{metric!r} was not measured for {side.name}; known: {', '.join(side.per_query)}")
    pair = a.per_query[metric], b.per_query[metric]
    difference = paired_bootstrap(*pair, users=a.users, seed=seed, n_resamples=n_resamples)
    return Comparison(a.name, b.name, metric, difference, base=b.mean(metric))


def leaderboard(evaluations: Iterable[Evaluation], by: str = ORDER_BY) -> list[Evaluation]:
    """Evaluations by the mean of ``by``, best first; equal means by name."""
    return sorted(evaluations, key=lambda evaluation: (-evaluation.mean(by), evaluation.name))


def holdout_digest(holdout: Holdout) -> str:
    """Short digest of the users and targets of a holdout, in order."""
    digest = hashlib.sha256()
    if _shared_users(holdout) is not None:
        digest.update(b"intervals over users")  # so that stored intervals over queries are measured again
    for values in (holdout.queries.user_idx, holdout.target_offsets, holdout.target_idx):
        digest.update(len(values).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]


def _shared_users(holdout: Holdout) -> IntArray | None:
    """``Evaluation.users`` of a holdout."""
    users = holdout.queries.user_idx
    return users if n_users(users) < len(users) else None


def _check_catalogue(candidates: Candidates, item_counts: IntArray, item_vectors: FloatArray | None) -> None:
    highest = int(candidates.item_idx.max(initial=-1))
    if highest >= len(item_counts):
        raise DataError(f"candidate index {highest} is outside the catalogue of {len(item_counts)} items")
    if item_vectors is not None and len(item_vectors) != len(item_counts):
        raise DataError(f"{len(item_vectors)} item vectors for a catalogue of {len(item_counts)} items")
