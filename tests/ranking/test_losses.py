"""Losses against hand-computed values."""

from __future__ import annotations

import math

import pytest
import torch

from ranking.losses import LOSSES, LossName, listwise_softmax, pairwise_bpr, pointwise_bce

NAN = float("nan")
ONE = torch.ones(1)


def test_softmax_of_one_positive() -> None:
    # e^0 / (e^0 + e^log2 + e^log5) = 1/8; the masked candidate does not count.
    logits = torch.tensor([[0.0, math.log(2), math.log(5), 50.0]])
    labels = torch.tensor([[1.0, 0.0, 0.0, NAN]])
    assert listwise_softmax(logits, labels, ONE).item() == pytest.approx(math.log(8), rel=1e-6)


def test_softmax_averages_over_positives_and_weights_queries() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0], [9.0, 1.0]])
    labels = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])  # the last query has no positive
    first, second = (math.log(4) + math.log(4 / 3)) / 2, math.log(2)
    loss = listwise_softmax(logits, labels, torch.tensor([3.0, 1.0, 5.0]))
    assert loss.item() == pytest.approx((3 * first + second) / 4, rel=1e-6)


def test_bce_averages_within_a_query_first() -> None:
    logits = torch.tensor([[0.0, math.log(3), 7.0], [math.log(3), 0.0, 0.0]])
    labels = torch.tensor([[1.0, 0.0, NAN], [1.0, NAN, NAN]])
    first, second = (math.log(2) + math.log(4)) / 2, math.log(4 / 3)
    assert pointwise_bce(logits, labels, torch.ones(2)).item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_bpr_averages_over_pairs_then_over_queries() -> None:
    # −log σ(s⁺ − s⁻) = log(1 + e^(s⁻ − s⁺)). Query 1: positive at 0, negatives at log 2 and log 5; the last is masked.
    logits = torch.tensor([[0.0, math.log(2), math.log(5), 50.0], [0.0, math.log(3), 0.0, 1.0], [1.0] * 4])
    labels = torch.tensor([[1.0, 0.0, 0.0, NAN], [1.0, 1.0, 0.0, NAN], [1.0, 1.0, NAN, NAN]])  # 2, 2 and 0 pairs
    first, second = (math.log(3) + math.log(6)) / 2, (math.log(2) + math.log(4 / 3)) / 2
    loss = pairwise_bpr(logits, labels, torch.tensor([3.0, 1.0, 5.0]))
    assert loss.item() == pytest.approx((3 * first + second) / 4, rel=1e-6)


def test_gains_multiply_the_terms_of_positives_alone() -> None:
    logits = torch.tensor([[0.0, math.log(2), math.log(5)]])
    labels = torch.tensor([[1.0, 0.0, 0.0]])
    gain = torch.tensor([[3.0, 100.0, NAN]])
    assert listwise_softmax(logits, labels, ONE, gain).item() == pytest.approx(3 * math.log(8), rel=1e-6)
    bce = (3 * math.log(2) + math.log(3) + math.log(6)) / 3
    assert pointwise_bce(logits, labels, ONE, gain).item() == pytest.approx(bce, rel=1e-6)
    assert pairwise_bpr(logits, labels, ONE, gain).item() == pytest.approx(3 * (math.log(3) + math.log(6)) / 2)


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_in_float64_equal_differences(name: LossName) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[1, 0, 0, 1, NAN, 0], [0, 1, NAN, NAN, 0, 0], [0] * 6, [NAN] * 6], dtype=torch.float64)
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    gain = torch.rand(4, 6, generator=generator, dtype=torch.float64) + 0.5
    assert torch.autograd.gradcheck(lambda values: LOSSES[name].compute(values, labels, weight, gain), (logits,))


@pytest.mark.parametrize("loss", [listwise_softmax, pointwise_bce, pairwise_bpr])
def test_unlabelled_candidates_get_no_gradient(loss: object) -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]], requires_grad=True)
    labels = torch.tensor([[1.0, NAN, 0.0], [NAN, NAN, NAN]])
    loss(logits, labels, torch.ones(2)).backward()  # type: ignore[operator]
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad == 0).tolist() == [[False, True, False], [True, True, True]]
