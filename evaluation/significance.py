"""Percentile bootstrap intervals of means over users, single and paired.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. Users are drawn with replacement, each with
all queries, since the queries of a user are alike. All metrics and systems share the same draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reccore import DataError
from reccore.arrays import IntArray

DEFAULT_RESAMPLES = 1000
LEVEL = 0.95

_CELLS_PER_CHUNK = 1 << 22


@dataclass(frozen=True)
class Interval:
    """A mean over queries with its interval over users.

    Attributes:
        mean: of the values.
        low, high: ends of the interval.
        level: nominal coverage, 0.95 by default.
    """

    mean: float
    low: float
    high: float
    level: float = LEVEL

    @property
    def excludes_zero(self) -> bool:
        """Whether zero is strictly outside the interval, so that the difference is significant."""
        return self.low > 0.0 or self.high < 0.0

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def bootstrap_means(
    values: Mapping[str, npt.NDArray[np.floating]],
    *,
    users: IntArray | None = None,
    seed: int,
    n_resamples: int = DEFAULT_RESAMPLES,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Percentile bootstrap intervals of several means over the same queries, from the same draws of users.

    O(resamples · B) draws and O(resamples · B · M) multiply-adds for M metrics over B users, in chunks of 2²² weights
    (32 MiB).

    Args:
        values: name → (B,) finite value of each query.
        users: (B,) user of each query, see ``sums_by_user``; None = every query is of a user of its own.
        seed: of the draws.
        n_resamples: number of bootstrap samples, at least 2.
        level: coverage of the interval, in (0, 1).

    Raises:
        DataError: no queries, columns of different length, a value that is not finite, or a bad option.
    """
    if n_resamples < 2 or not 0.0 < level < 1.0:
        raise DataError(
            f"a bootstrap needs at least 2 resamples and a level between 0 and 1, got {n_resamples} and {level}"
        )
    matrix = _matrix(values)
    totals, counts = sums_by_user(matrix, users), sums_by_user(np.ones((len(matrix), 1)), users)
    draws = resample_weights(len(totals), seed=seed, n_resamples=n_resamples)
    means = np.concatenate([weights @ totals / (weights @ counts) for weights in draws])  # (resamples, M)
    centre = matrix.mean(axis=0)
    return {name: percentile_interval(float(centre[i]), means[:, i], level) for i, name in enumerate(values)}


def resample_weights(
    n_users: int, *, seed: int, n_resamples: int = DEFAULT_RESAMPLES
) -> Iterator[npt.NDArray[np.float64]]:
    """Chunks (R, B) of how often each of B users is drawn in each resample, at most 2²² weights (32 MiB) at a time."""
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS_PER_CHUNK // n_users)
    for start in range(0, n_resamples, step):
        rows = min(step, n_resamples - start)
        weights = np.empty((rows, n_users))
        for row, drawn in enumerate(rng.integers(n_users, size=(rows, n_users), dtype=np.int32)):
            weights[row] = np.bincount(drawn, minlength=n_users)
        yield weights


def percentile_interval(value: float, resampled: npt.NDArray[np.float64], level: float = LEVEL) -> Interval:
    """A figure with the interval between the percentiles of its resampled values (R,)."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level)


def groups_of(user_idx: IntArray) -> IntArray:
    """(B,) number of each query's user; every query of an unknown user is a group of its own."""
    known = user_idx >= 0
    group = np.zeros(len(user_idx), dtype=np.int64)
    users, group[known] = np.unique(user_idx[known], return_inverse=True)
    group[~known] = len(users) + np.arange(int((~known).sum()))
    return group


def n_users(user_idx: IntArray) -> int:
    """Number of users of B queries; every query of an unknown user (-1) is of one more."""
    return int(groups_of(user_idx).max(initial=-1)) + 1


def sums_by_user(values: npt.NDArray[np.float64], users: IntArray | None) -> npt.NDArray[np.float64]:
    """Sums over the queries of each user.

    Args:
        values: (B, …) of each query.
        users: (B,) user of each query, -1 for an unknown one, whose queries are each of another user; None = every
            query is of a user of its own.

    Returns:
        (U, …) sums; the values themselves, in the order of the queries, where each is of a user of its own.
    """
    if users is None:
        return values
    group = groups_of(users)
    if group.max(initial=-1) + 1 == len(values):
        return values
    order = np.argsort(group, kind="stable")
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    sums: npt.NDArray[np.float64] = np.add.reduceat(values[order], first, axis=0)
    return sums


def bootstrap_mean(
    values: npt.NDArray[np.floating],
    *,
    users: IntArray | None = None,
    seed: int,
    n_resamples: int = DEFAULT_RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Percentile bootstrap interval of the mean of one metric (B,). See ``bootstrap_means``."""
    return bootstrap_means({"value": values}, users=users, seed=seed, n_resamples=n_resamples, level=level)["value"]


def paired_bootstrap(
    a: npt.NDArray[np.floating],
    b: npt.NDArray[np.floating],
    *,
    users: IntArray | None = None,
    seed: int,
    n_resamples: int = DEFAULT_RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Interval of mean(a − b) over the same queries; exactly zero for identical systems.

    Args:
        a, b: (B,) value of each query for the two systems, queries in the same order.
        users, seed, n_resamples, level: see ``bootstrap_means``.

    Raises:
        DataError: different numbers of queries, and as ``bootstrap_means``.
    """
    if a.shape != b.shape:
        raise DataError(f"a paired comparison needs the same queries for both systems, got {a.shape} and {b.shape}")
    difference = a.astype(np.float64) - b.astype(np.float64)
    return bootstrap_mean(difference, users=users, seed=seed, n_resamples=n_resamples, level=level)


def _matrix(values: Mapping[str, npt.NDArray[np.floating]]) -> npt.NDArray[np.float64]:
    """(B, M) columns of the given metrics, checked."""
    shapes = {column.shape for column in values.values()}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 1 or shape[0] == 0:
        raise DataError("an interval needs at least one query, and one value per query of every metric")
    matrix = np.stack([column.astype(np.float64) for column in values.values()], axis=1)
    for name, column in values.items():
        if not np.isfinite(column).all():
            raise DataError(f"{name} has values that are not finite; leave those queries out first")
    return matrix
