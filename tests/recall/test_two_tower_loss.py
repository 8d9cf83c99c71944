"""The corrected sampled softmax against sums written out by hand, finite differences and the full softmax."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recall.two_tower.loss import mixed_log_q, sampled_softmax

# Two examples over four sampled films; film 7 is the first's target and is drawn once more as a negative.
QUERIES = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
ITEMS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [1.0, 0.0]])
ITEM_IDX = torch.tensor([7, 3, 5, 7])
COSINES = [[1.0, 0.0, 0.8, 1.0], [0.6, 0.8, 0.96, 0.6]]
LOG_Q = torch.log(torch.tensor([0.4, 0.1, 0.2, 0.4]))
TAU = 0.5
# Corrected logits exp(s/τ)/q, by hand: e² / .4 and so on.
WEIGHTS = [
    [math.e**2 / 0.4, 1 / 0.1, math.e**1.6 / 0.2, math.e**2 / 0.4],
    [math.e**1.2 / 0.4, math.e**1.6 / 0.1, math.e**1.92 / 0.2, math.e**1.2 / 0.4],
]
PLAIN = [[math.e**2, 1.0, math.e**1.6, math.e**2], [math.e**1.2, math.e**1.6, math.e**1.92, math.e**1.2]]


def by_hand(weights: list[list[float]], *, mask: bool, reward: tuple[float, float] = (1.0, 1.0)) -> float:
    first = sum(weights[0][:3]) if mask else sum(weights[0])
    losses = [-math.log(weights[0][0] / first), -math.log(weights[1][1] / sum(weights[1]))]
    return (reward[0] * losses[0] + reward[1] * losses[1]) / sum(reward)


def loss_of(log_q: Tensor | None, mask: bool = True, weight: Tensor | None = None) -> float:
    found = sampled_softmax(
        QUERIES, ITEMS, ITEM_IDX, temperature=TAU, log_q=log_q, mask_accidental_hits=mask, weight=weight
    )
    return float(found)


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("reward", [None, (1.0, 1.0), (3.0, 1.0), (0.0, 2.0)])
def test_loss_by_hand(corrected: bool, mask: bool, reward: tuple[float, float] | None) -> None:
    expected = by_hand(WEIGHTS if corrected else PLAIN, mask=mask, reward=reward or (1.0, 1.0))
    weight = None if reward is None else torch.tensor(reward)
    assert loss_of(LOG_Q if corrected else None, mask, weight) == pytest.approx(expected, rel=1e-5)


def test_two_values_in_full() -> None:
    # e²/.4 = 18.4726, 1/.1 = 10, e^1.6/.2 = 24.7652: −ln(18.4726 / 53.2378) = 1.05852
    # e^1.2/.4 = 8.3003 twice, e^1.6/.1 = 49.5303, e^1.92/.2 = 34.1048: −ln(49.5303 / 100.2357) = .70493
    assert loss_of(LOG_Q) == pytest.approx((1.05852 + 0.70493) / 2, abs=2e-5)


def test_the_correction_comes_after_the_temperature() -> None:
    def logits(swapped: bool) -> Tensor:
        cosines = torch.tensor(COSINES)
        values = (cosines - LOG_Q) / TAU if swapped else cosines / TAU - LOG_Q
        values[0, 3] = -torch.inf
        return values

    right, wrong = (float(F.cross_entropy(logits(swapped), torch.tensor([0, 1]))) for swapped in (False, True))
    assert abs(right - wrong) > 0.1  # the example tells the two orders apart
    assert loss_of(LOG_Q) == pytest.approx(right, rel=1e-5)


def test_a_constant_correction_changes_nothing() -> None:
    assert loss_of(LOG_Q - 3.0) == pytest.approx(loss_of(LOG_Q), rel=1e-5)


def test_only_repeats_of_the_own_target_are_accidental() -> None:
    # Films that occur twice as somebody else's negatives stay.
    repeated = torch.tensor([7, 3, 5, 5])
    options = {"temperature": TAU, "log_q": None}
    masked = sampled_softmax(QUERIES, ITEMS, repeated, mask_accidental_hits=True, **options)
    plain = sampled_softmax(QUERIES, ITEMS, repeated, mask_accidental_hits=False, **options)
    assert float(masked) == float(plain)
    # Two examples with the same target hide each other's, and keep their own.
    same = sampled_softmax(QUERIES, ITEMS[[0, 0, 1]], torch.tensor([7, 7, 3]), temperature=1.0, log_q=None)
    expected = [-math.log(math.e / (math.e + 1)), -math.log(math.e**0.6 / (math.e**0.6 + math.e**0.8))]
    assert float(same) == pytest.approx(sum(expected) / 2, rel=1e-5)


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_gradients_against_finite_differences(corrected: bool, mask: bool, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    items = torch.randn(6, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    log_q = torch.log(torch.rand(6, dtype=torch.float64, generator=generator))
    item_idx = torch.tensor([4, 2, 4, 9, 2, 1])

    def loss(u: Tensor, v: Tensor) -> Tensor:
        return sampled_softmax(
            u,
            v,
            item_idx,
            temperature=0.3,
            log_q=log_q if corrected else None,
            mask_accidental_hits=mask,
            weight=torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64) if weighted else None,
        )

    assert torch.autograd.gradcheck(loss, (queries, items), eps=1e-6, atol=1e-8)


def test_single_precision_gradients_are_those_of_double() -> None:
    def gradients(dtype: torch.dtype) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        u, v = (F.normalize(torch.randn(n, 16, generator=generator), dim=1).to(dtype) for n in (64, 128))
        u.requires_grad_()
        v.requires_grad_()
        item_idx = torch.randint(50, (128,), generator=generator)
        log_q = torch.log(torch.rand(128, generator=generator) + 1e-4).to(dtype)
        sampled_softmax(u, v, item_idx, temperature=0.05, log_q=log_q).backward()
        return [u.grad, v.grad]

    for single, double in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-6)


def test_mixed_log_q_by_hand() -> None:
    q = mixed_log_q(torch.tensor([0.5, 0.3, 0.2, 0.0]), 6, 4)
    # (6 · .5 + 4/4) / 10 and so on
    torch.testing.assert_close(q, torch.log(torch.tensor([0.40, 0.28, 0.22, 0.10])))
    assert float(q.exp().sum()) == pytest.approx(1.0)


def test_mixed_log_q_at_its_ends() -> None:
    share = torch.tensor([0.75, 0.25, 0.0])
    torch.testing.assert_close(mixed_log_q(share, 8, 0)[:2], torch.log(share[:2]))
    assert mixed_log_q(share, 8, 0)[2] == 0.0  # never drawn: no logarithm of a tiny number
    torch.testing.assert_close(mixed_log_q(share, 1, 10**9), torch.log(torch.full((3,), 1 / 3)), atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def world() -> dict[str, Tensor]:
    """40 films of long-tailed popularity, 12 kinds of queries, and who chooses what."""
    generator = torch.Generator().manual_seed(1)
    items = F.normalize(torch.randn(40, 6, generator=generator), dim=1)
    queries = F.normalize(torch.randn(12, 6, generator=generator), dim=1)
    share = 1 / torch.arange(1, 41.0) ** 1.2
    share /= share.sum()
    joint = share[:, None] * torch.softmax(torch.randn(40, 12, generator=generator), dim=1)
    return {"items": items, "queries": queries, "share": share, "joint": joint}


def full_gradient(world: dict[str, Tensor]) -> Tensor:
    items = world["items"].clone().requires_grad_()
    log_softmax = torch.log_softmax(world["queries"] @ items.T / 0.2, dim=1)
    (-(world["joint"].T * log_softmax).sum()).backward()
    return items.grad


def mean_sampled_gradient(world: dict[str, Tensor], uniform: int, loss: Callable[..., Tensor]) -> Tensor:
    """Mean over 400 batches of 64 examples and ``uniform`` uniform negatives."""
    generator = torch.Generator().manual_seed(2)
    items = world["items"].clone().requires_grad_()
    total = torch.zeros(())
    for _ in range(400):
        drawn = torch.multinomial(world["joint"].flatten(), 64, replacement=True, generator=generator)
        sampled = torch.cat([drawn // 12, torch.randint(40, (uniform,), generator=generator)])
        total = total + loss(world["queries"][drawn % 12], items[sampled], sampled) / 400
    total.backward()
    return items.grad


@pytest.mark.parametrize("uniform", [64, 0])
def test_the_corrected_gradient_is_near_that_of_the_full_softmax(world: dict[str, Tensor], uniform: int) -> None:
    log_q = mixed_log_q(world["share"], 64, uniform)

    def corrected(u: Tensor, v: Tensor, sampled: Tensor) -> Tensor:
        return sampled_softmax(u, v, sampled, temperature=0.2, log_q=log_q[sampled])

    def uncorrected(u: Tensor, v: Tensor, sampled: Tensor) -> Tensor:
        return sampled_softmax(u, v, sampled, temperature=0.2, log_q=None)

    def swapped(u: Tensor, v: Tensor, sampled: Tensor) -> Tensor:
        return sampled_softmax(u, v, sampled, temperature=0.2, log_q=log_q[sampled] / 0.2)

    exact = full_gradient(world)
    error = {
        loss.__name__: float((mean_sampled_gradient(world, uniform, loss) - exact).norm() / exact.norm())
        for loss in (corrected, uncorrected, swapped)
    }
    assert error["corrected"] < (0.12 if uniform else 0.3)
    assert min(error["uncorrected"], error["swapped"]) > 2 * error["corrected"]
