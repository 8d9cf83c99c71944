"""MMoE against its formula in NumPy, expert by expert."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ranking.mmoe import MMoE, MMoEConfig
from tests.ranking.networks import PLACES, Reference, outcome, reference
from tests.ranking.samples import board_setting
from tests.ranking.test_deepfm import to_double


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum()


def tower(found: Reference, task: int, given: np.ndarray) -> float:
    """Tower of one hidden layer."""
    hidden = np.maximum(found.layer(f"towers.towers.{task}.0", given), 0.0)
    return float(found.layer(f"towers.towers.{task}.1.out", hidden)[0])


def test_network_equals_the_formula() -> None:
    tasks = ("click", "like", "share")
    found = reference(MMoE, MMoEConfig(tasks=tasks, embedding_size=3, hidden=(4, 3), dropout=0.0, experts=2))
    with torch.no_grad():
        logits = found.network.task_logits(to_double(found.inputs)).numpy()
    assert logits.shape == (6, 4, 3)
    for b, k in PLACES:
        x = found.joined(b, k)
        experts = [
            np.maximum(weight @ x + bias, 0.0)
            for weight, bias in zip(
                np.split(found.weights["experts.weight"], 2), np.split(found.weights["experts.bias"], 2), strict=True
            )
        ]
        gates = np.split(found.weights["gates.weight"], 3)
        for task in range(3):
            g = softmax(gates[task] @ x)
            mixed = g[0] * experts[0] + g[1] * experts[1]
            expected = found.linear(b, k) + tower(found, task, mixed)
            assert logits[b, k, task] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("change", [{"experts": 2}, {"hidden": [6, 4]}, {"embedding_size": 3}, {"dropout": 0.6}])
def test_its_options_change_the_outcome(change: dict[str, Any]) -> None:
    setting = board_setting()
    small = {"hidden": [8, 4], "embedding_size": 4}
    assert not np.allclose(outcome(MMoE, setting, **small), outcome(MMoE, setting, **{**small, **change}), atol=1e-4)
