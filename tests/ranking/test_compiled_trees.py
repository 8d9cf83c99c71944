"""Compiled trees against LightGBM's own predictions, bit for bit."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest

from ranking.compiled_trees import MOST_LEAVES, CompiledTrees
from ranking.lambdamart import LambdaMART
from reccore import RunOptions
from tests.ranking.samples import board_setting

PLAIN: dict[str, Any] = {
    "verbosity": -1,
    "num_threads": 1,
    "min_data_in_leaf": 2,
    "cat_smooth": 1.0,
    "min_data_per_group": 1,
}


def rows(seed: int, n: int, missing: float = 0.2) -> np.ndarray:
    """Three numbers, of which the second has no missing values and the third few distinct ones, and two codes."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(n, 5)).astype(np.float32)
    found[:, 2] = rng.integers(-2, 3, size=n)
    found[:, 3] = rng.integers(0, 70, size=n)  # more than one word of 32 codes
    found[:, 4] = rng.integers(0, 3, size=n)
    for column in (0, 2):
        found[rng.random(n) < missing, column] = np.nan
    return found


def grown(num_leaves: int, trees: int, **changes: Any) -> lightgbm.Booster:
    values = rows(0, 2000)
    target = np.nan_to_num(values[:, 0], nan=2.0) * (values[:, 3] % 3) + values[:, 1] ** 2 - values[:, 2] * values[:, 4]
    data = lightgbm.Dataset(values, np.nan_to_num(target, nan=-1.0), categorical_feature=[3, 4], params=PLAIN)
    return lightgbm.train({**PLAIN, "num_leaves": num_leaves, **changes}, data, num_boost_round=trees)


@pytest.mark.parametrize(("num_leaves", "trees"), [(2, 1), (7, 60), (31, 20), (MOST_LEAVES, 5)])
def test_equals_lightgbm(num_leaves: int, trees: int) -> None:
    booster = grown(num_leaves, trees)
    model = booster.model_to_string()
    assert CompiledTrees.fits(model)
    new = rows(1, 700)
    new[:6, 1] = np.nan  # a column without missing values in training
    new[6:12, 3] = [np.nan, -1, -0.5, 69, 70, 1e6]  # and codes that it never had
    for column in range(5):
        new[20 + column] = np.nan
        new[30 + column, :3] = [np.inf, -np.inf, 0]
    thresholds = [float(line.split()[0]) for line in model.split("threshold=")[1:] if line[0] not in "\n "]
    new[40 : 40 + len(thresholds[:20]), :3] = np.array(thresholds[:20], dtype=np.float32)[:, None]  # on the edge
    np.testing.assert_array_equal(CompiledTrees(model, 5)(new), booster.predict(new))


def test_where_missing_values_go() -> None:
    """Of the same column the training decides, node by node, whether a missing value goes left or right."""
    model = grown(7, 60).model_to_string()
    kinds = {int(kind) for line in model.split("decision_type=")[1:] for kind in line.split("\n")[0].split()}
    assert kinds >= {1, 2, 8, 10}  # categories; without missing values; missing to the right and to the left


def test_trees_without_a_split_and_no_rows() -> None:
    booster = grown(7, 3, min_data_in_leaf=5000)
    assert booster.num_trees() >= 1
    compiled = CompiledTrees(booster.model_to_string(), 5)
    np.testing.assert_array_equal(compiled(rows(1, 9)), booster.predict(rows(1, 9)))
    assert compiled(rows(1, 0)).shape == (0,)


def test_larger_trees_are_left_to_lightgbm() -> None:
    assert not CompiledTrees.fits(grown(MOST_LEAVES + 1, 2).model_to_string())


def test_lambdamart_scores_by_the_compiled_trees_where_they_fit() -> None:
    setting = board_setting()

    def fitted(num_leaves: int) -> Any:
        options = RunOptions(seed=0, device="cpu", progress=False, threads=1)
        config = {"trees": 6, "num_leaves": num_leaves, "min_data_in_leaf": 1, "l2": 0.0, "row_share": 1.0}
        return LambdaMART(config).fit(setting.samples, options=options, **setting.tables())  # type: ignore[arg-type]

    small, large = fitted(7), fitted(MOST_LEAVES + 20)
    assert (small._compiled is None, large._compiled is None) == (False, True)
    for ranker in (small, large):
        found = ranker.score(setting.valid.queries, setting.valid.candidates)
        ranker._compiled = None  # LightGBM predicts
        np.testing.assert_array_equal(found, ranker.score(setting.valid.queries, setting.valid.candidates))
