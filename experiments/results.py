"""Results of runs, and of a row over all its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from evaluation.evaluate import Comparison, Evaluation
from evaluation.significance import Interval, bootstrap_mean, paired_bootstrap
from experiments.runs import Row, Run
from reccore.arrays import IntArray


@dataclass(frozen=True, eq=False)
class RunResult:
    """Result of a run.

    Attributes:
        run: row and seed.
        evaluation: on the chosen split.
        facts: ``seconds``, ``device``, ``threads`` and ``git_commit`` of the training, and what else was measured.
    """

    run: Run
    evaluation: Evaluation
    facts: Mapping[str, Any]


R = TypeVar("R", bound=RunResult)


@dataclass(frozen=True, eq=False)
class RowResult(Generic[R]):
    """A row over all its seeds.

    Attributes:
        row: model and options.
        runs: one per seed, all on the same users.
    """

    row: Row
    runs: Sequence[R]

    def per_query(self, metric: str) -> npt.NDArray[np.float64]:
        """(B,) each query's mean over the seeds."""
        values = [run.evaluation.per_query[metric] for run in self.runs]
        mean: npt.NDArray[np.float64] = np.mean(values, axis=0, dtype=np.float64)
        return mean

    def per_seed(self, metric: str) -> npt.NDArray[np.float64]:
        """(S,) mean over queries, or a figure of the lists as a whole, for each seed."""
        return np.array([run.evaluation.mean(metric) for run in self.runs])

    def mean(self, metric: str) -> float:
        """Mean over the seeds."""
        return float(self.per_seed(metric).mean())

    def spread(self, metric: str) -> float | None:
        """Standard deviation over the seeds; None for one seed."""
        return float(self.per_seed(metric).std(ddof=1)) if len(self.runs) > 1 else None

    def fact(self, name: str) -> float:
        """A number among the facts of the runs, mean over the seeds."""
        return float(np.mean([run.facts[name] for run in self.runs]))

    def cell(self, metric: str, seed: int) -> str:
        """Mean with its interval over users, and the standard deviation over the seeds; ``seed`` of the bootstrap."""
        spread = self.spread(metric)
        return str(self.interval(metric, seed)) + ("" if spread is None else f" ± {spread:.4f}")

    def interval(self, metric: str, seed: int) -> Interval:
        """Over users, of each query's mean over the seeds; ``seed`` of the bootstrap."""
        return bootstrap_mean(self.per_query(metric), users=self._users, seed=seed)

    def minus(self, other: RowResult[R], metric: str, seed: int) -> Comparison:
        """This row − another, paired over users; ``seed`` of the bootstrap."""
        pair = self.per_query(metric), other.per_query(metric)
        difference = paired_bootstrap(*pair, users=self._users, seed=seed)
        return Comparison(self.row.name, other.row.name, metric, difference, base=other.mean(metric))

    @property
    def _users(self) -> IntArray | None:
        return self.runs[0].evaluation.users

    @property
    def minutes(self) -> float:
        """Minutes of one training, mean over the seeds."""
        return self.fact("seconds") / 60
