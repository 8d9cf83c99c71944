"""PLE against its formula in NumPy, level by level and expert by expert."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ranking.ple import PLE, PLEConfig
from tests.ranking.networks import PLACES, Reference, outcome, reference
from tests.ranking.samples import board_setting
from tests.ranking.test_deepfm import to_double
from tests.ranking.test_mmoe import softmax, tower

WIDTH = 4


def mixture(gate: np.ndarray, given: np.ndarray, experts: list[np.ndarray]) -> np.ndarray:
    return np.asarray(softmax(gate @ given) @ np.array(experts))


def experts_of(weight: np.ndarray, bias: np.ndarray, given: np.ndarray) -> list[np.ndarray]:
    """Outputs of the experts that one matrix holds."""
    hidden = np.maximum(weight @ given + bias, 0.0)
    return list(hidden.reshape(-1, WIDTH))


def levels(found: Reference, x: np.ndarray, own: int, shared: int, n_levels: int) -> list[np.ndarray]:
    """What the two tasks get in the end; the shared experts stand last."""
    weights = found.weights
    every = experts_of(weights["experts.weight"], weights["experts.bias"], x)
    sizes = [own + shared, own + shared] + ([2 * own + shared] if n_levels > 1 else [])
    gates = np.split(weights["gates.weight"], np.cumsum(sizes)[:-1])
    inputs = [x, x, x]
    for level in range(n_levels):
        one, two, common = every[:own], every[own : 2 * own], every[2 * own :]
        seen = [one + common, two + common, one + two + common]
        inputs = [mixture(g, at, e) for g, at, e in zip(gates, inputs, seen, strict=False)]  # the last level has two
        if level + 1 == n_levels:
            return inputs
        name = f"levels.{level}"
        every = []
        for part in range(3):
            linear = (weights[f"{name}.experts.{part}.weight"], weights[f"{name}.experts.{part}.bias"])
            every += experts_of(*linear, inputs[part])
        gates = [weights[f"{name}.gates.{n}.weight"] for n in range(2 if level + 2 == n_levels else 3)]
    raise AssertionError


@pytest.mark.parametrize(("n_levels", "own", "shared"), [(1, 1, 2), (2, 2, 1), (3, 1, 1)])
def test_network_equals_the_formula(n_levels: int, own: int, shared: int) -> None:
    config = PLEConfig(
        embedding_size=3, hidden=(WIDTH, 3), dropout=0.0, levels=n_levels, task_experts=own, shared_experts=shared
    )
    found = reference(PLE, config)
    with torch.no_grad():
        logits = found.network.task_logits(to_double(found.inputs)).numpy()
    for b, k in PLACES:
        for task, given in enumerate(levels(found, found.joined(b, k), own, shared, n_levels)):
            assert logits[b, k, task] == pytest.approx(found.linear(b, k) + tower(found, task, given), rel=1e-9)


@pytest.mark.parametrize("change", [{"levels": 1}, {"task_experts": 2}, {"shared_experts": 1}, {"hidden": [6, 4]}])
def test_its_options_change_the_outcome(change: dict[str, Any]) -> None:
    setting = board_setting()
    small = {"hidden": [8, 4], "embedding_size": 4}
    assert not np.allclose(outcome(PLE, setting, **small), outcome(PLE, setting, **{**small, **change}), atol=1e-4)
