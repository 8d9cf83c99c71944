"""The search for merge weights: points by hand, known optima, and planted channels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from experiments.merge_search import MergeObjective, MergeWeights, is_clear, search
from recall.merge import RRFConfig, ScoresConfig
from reccore import Candidates, Holdout, QueryBatch

START = MergeWeights("rrf", {"a": 1.0, "b": 1.0, "popularity": 0.0}, 60.0)


def test_equal_weights_are_the_defaults_of_the_merge() -> None:
    assert MergeWeights.equal("rrf", ("a", "b", "popularity"), "popularity") == START
    assert MergeWeights.equal("scores", ("a",), None).config() == ScoresConfig(weights={"a": 1.0})
    assert START.config() == RRFConfig(weights={"a": 1.0, "b": 1.0, "popularity": 0.0})


def test_options_are_scaled_and_rounded() -> None:
    point = MergeWeights("rrf", {"a": 3.0, "b": 1.0}, 12.345)
    assert point.config() == RRFConfig(weights={"a": 1.0, "b": 0.333}, k0=12.3)


def test_neighbours_by_hand() -> None:
    point = MergeWeights("rrf", {"a": 2.0, "b": 0.0}, 8.0)
    assert [p.weights for p in point.neighbours("a", 4.0)] == [{"a": 8.0, "b": 0.0}, {"a": 0.5, "b": 0.0}]
    assert [p.weights for p in point.neighbours("b", 4.0)] == [{"a": 2.0, "b": 0.5}]
    assert [p.shape for p in point.neighbours(None, 4.0)] == [32.0, 2.0]
    both = MergeWeights("rrf", {"a": 2.0, "b": 1.0}, 8.0)
    assert [p.weights["a"] for p in both.neighbours("a", 2.0)] == [4.0, 1.0, 0.0]


@pytest.mark.parametrize("optimum", [{"a": 1.0, "b": 0.2, "k0": 20.0}, {"a": 0.1, "b": 1.0, "k0": 300.0}])
def test_finds_the_optimum_of_a_smooth_function(optimum: Mapping[str, float]) -> None:
    def objective(point: MergeWeights) -> np.ndarray:
        config = point.config()
        found = {**config.weights, "k0": config.k0}
        lost = sum(np.log((found[name] + 1e-9) / value) ** 2 for name, value in optimum.items())
        return np.full(4, -lost - found["popularity"])

    best = search(START, objective).config()
    for name, value in optimum.items():
        assert {**best.weights, "k0": best.k0}[name] == pytest.approx(value, rel=0.2)
    assert best.weights["popularity"] == 0.0
    assert search(START, objective).config() == best


def test_a_gain_of_less_than_a_standard_error_is_not_clear() -> None:
    change = np.array([1.0, -1.0, 1.0, -1.0])  # deviation 1, standard error of the mean 1/2
    assert not is_clear(change)
    assert not is_clear(change + 0.49)
    assert is_clear(change + 0.51)
    assert is_clear(np.full(4, 1e-6))
    assert not is_clear(np.zeros(4))


def test_a_useless_channel_loses_its_weight() -> None:
    n = 20
    items = np.tile(np.arange(10), (n, 1))
    score = np.tile(-np.arange(10, dtype=np.float32), (n, 1))
    offers = {"good": Candidates(items, score), "bad": Candidates(items + 10, score)}
    holdout = Holdout.single(QueryBatch.from_histories([[]] * n), np.arange(n, dtype=np.int64) % 10)
    start = MergeWeights.equal("rrf", tuple(offers), None)
    objective = MergeObjective(offers, holdout, ("mrr@20",), (20,), None, start)
    assert objective(start).mean() == pytest.approx(1.0)
    best = search(start, objective)
    assert best.config().weights["good"] == 1.0
    ranks = np.arange(1, 11)  # ranks 1, 3, 5, … become 1, 2, 3, …
    assert objective(best).mean() == pytest.approx((1 / ranks).mean() / (1 / (2 * ranks - 1)).mean(), rel=1e-4)


def test_a_metric_that_is_zero_counts_as_it_is() -> None:
    offers = {"a": Candidates(np.array([[1, 2]]), np.array([[2.0, 1.0]], dtype=np.float32))}
    offers["b"] = Candidates(np.array([[3, 4]]), np.array([[2.0, 1.0]], dtype=np.float32))
    holdout = Holdout.single(QueryBatch.from_histories([[]]), np.array([3]))
    start = MergeWeights("rrf", {"a": 1.0, "b": 1.0}, 60.0)
    objective = MergeObjective(offers, holdout, ("hit_rate@1",), (1,), None, start)
    assert objective(start).tolist() == [0.0]
    assert objective(MergeWeights("rrf", {"a": 0.5, "b": 1.0}, 60.0)).tolist() == [1.0]
