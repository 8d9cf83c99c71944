"""Search for the weights of a merge: coordinate search on factors, on a measure of the merged lists.

A direct search without derivatives, since the measure is piecewise constant: Hooke and Jeeves, "Direct search solution
of numerical and statistical problems", J. ACM 8(2), 1961, without their pattern moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from evaluation.metrics import per_query_metrics
from recall.merge import MergeConfig, RRFConfig, ScoresConfig, merge
from reccore import Candidates, Holdout

Values: TypeAlias = npt.NDArray[np.float64]

# A weight or the shape is multiplied and divided by each factor until no move is accepted.
FACTORS = (4.0, 2.0, 1.4)
STANDARD_ERRORS = 1.0
"""A move must raise the mean over users by as many standard errors of its change; less is mostly chance."""
MAX_ROUNDS = 10
SHAPES = {"rrf": 60.0, "scores": 0.5}
"""Method → value of its second option before the search: ``k0`` or ``margin``."""


@dataclass(frozen=True)
class MergeWeights:
    """A point of the search.

    Attributes:
        kind: method, ``rrf`` or ``scores``.
        weights: channel → weight, at least one of them above 0.
        shape: ``k0`` of rrf or ``margin`` of scores, above 0.
    """

    kind: str
    weights: Mapping[str, float]
    shape: float

    @classmethod
    def equal(cls, kind: str, names: Sequence[str], fill: str | None) -> MergeWeights:
        """The weights by default: 1, the fill channel 0."""
        return cls(kind, {name: float(name != fill) for name in names}, SHAPES[kind])

    def config(self) -> MergeConfig:
        """Options of the merge, the greatest weight 1, with three significant digits."""
        greatest = max(self.weights.values())
        weights = {name: _rounded(weight / greatest) for name, weight in self.weights.items()}
        if self.kind == "rrf":
            return RRFConfig(weights=weights, k0=_rounded(self.shape))
        return ScoresConfig(weights=weights, margin=_rounded(self.shape))

    def neighbours(self, name: str | None, factor: float) -> Iterator[MergeWeights]:
        """Points that differ in one weight, or in the shape for None.

        A weight is also set to 0; a weight of 0 is set to the greatest weight ÷ ``factor``.
        """
        if name is None:
            yield from (replace(self, shape=self.shape * change) for change in (factor, 1 / factor))
            return
        weight = self.weights[name]
        others = (weight * factor, weight / factor, 0.0) if weight > 0 else (max(self.weights.values()) / factor,)
        for other in others:
            weights = {**self.weights, name: other}
            if any(weights.values()):
                yield replace(self, weights=weights)


class MergeObjective:
    """Every user's value of the merged lists: the mean of metrics, each as a share of its mean with equal weights.

    Args:
        offers: channel → (B, K_c) candidates.
        holdout: the B queries and their targets.
        metrics: names such as ``ndcg@10``.
        ks: the list lengths of the metrics.
        fill: channel that fills short rows, or None.
        start: equal weights.
    """

    def __init__(
        self,
        offers: Mapping[str, Candidates],
        holdout: Holdout,
        metrics: Sequence[str],
        ks: Sequence[int],
        fill: str | None,
        start: MergeWeights,
    ) -> None:
        self.offers, self.holdout, self.metrics, self.ks, self.fill = offers, holdout, metrics, ks, fill
        self._known: dict[str, Values] = {}
        base = self._metrics(start.config()).mean(axis=1, keepdims=True)
        self._base = np.where(base > 0, base, 1.0)  # a metric that is 0 for all users counts as it is

    @property
    def merges(self) -> int:
        """Number of different options that were measured."""
        return len(self._known)

    def __call__(self, point: MergeWeights) -> Values:
        """(B,) values at a point; their mean is 1.05 where the metrics are on average 5% above equal weights."""
        config = point.config()
        key = config.model_dump_json()
        if key not in self._known:
            self._known[key] = (self._metrics(config) / self._base).mean(axis=0)
        return self._known[key]

    def _metrics(self, config: MergeConfig) -> Values:
        """(M, B) metrics of every user."""
        values = per_query_metrics(merge(config, self.offers, max(self.ks), fill=self.fill), self.holdout, self.ks)
        return np.stack([values[metric] for metric in self.metrics]).astype(np.float64)


def search(start: MergeWeights, objective: Callable[[MergeWeights], Values]) -> MergeWeights:
    """The best point of a coordinate search from ``start``; the same arguments give the same point.

    Each round goes through the coordinates, and moves to the best neighbour of the current point where its gain is
    clear (``is_clear``). After a round without a move the factor shrinks.
    """
    best = start
    for factor in FACTORS:
        for _ in range(MAX_ROUNDS):
            before = best
            for name in (*start.weights, None):
                points = list(best.neighbours(name, factor))
                if points:
                    other = max(points, key=lambda point: objective(point).mean())
                    best = other if is_clear(objective(other) - objective(best)) else best
            if best is before:
                break
    return best


def is_clear(change: Values) -> bool:
    """Whether the mean of users' changes (B,) is above 0 by ``STANDARD_ERRORS`` standard errors."""
    mean = change.mean()
    return bool(mean > 0 and mean >= STANDARD_ERRORS * change.std() / np.sqrt(len(change)))


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
