"""A temperature that is learned between bounds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recall.neural.temperature import LearnedTemperature
from tests.training.kernels.test_sampled_softmax import ITEM_IDX, ITEMS, LOG_Q, QUERIES, TAU, loss_of
from training.kernels.sampled_softmax import sampled_softmax


def test_a_learned_temperature_starts_where_told_and_keeps_its_bounds() -> None:
    temperature = LearnedTemperature(0.07, (0.01, 0.5))
    assert temperature().item() == pytest.approx(0.07)
    assert LearnedTemperature(0.1, (0.01, 1.0)).position.item() == pytest.approx(0.0, abs=1e-6)  # the geometric middle
    for position, expected in ((-80.0, 0.01), (80.0, 0.5)):
        with torch.no_grad():
            temperature.position.fill_(position)
        assert temperature().item() == pytest.approx(expected)


def test_the_temperature_learns_what_lowers_the_loss() -> None:
    temperature = LearnedTemperature(TAU, (0.05, 2.0))

    def loss() -> Tensor:
        return sampled_softmax(QUERIES, ITEMS, ITEM_IDX, temperature=temperature(), log_q=LOG_Q)

    assert loss().item() == pytest.approx(loss_of(LOG_Q), rel=1e-5)
    (slope,) = torch.autograd.grad(loss(), temperature.position)
    with torch.no_grad():
        temperature.position += 1e-2
        above = loss()
        temperature.position -= 2e-2
        below = loss()
    assert float(slope) == pytest.approx((above - below).item() / 2e-2, rel=1e-2)
