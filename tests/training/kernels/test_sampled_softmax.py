"""The corrected sampled softmax against sums written out by hand and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training.kernels.masking import PositiveItems
from training.kernels.sampled_softmax import sampled_softmax

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


# Positives -----------------------------------------------------------------------------------------------


def slices(*rows: list[int]) -> PositiveItems:
    """The items of each example, one slice after the other."""
    stop = torch.tensor([len(row) for row in rows]).cumsum(0)
    start = stop - torch.tensor([len(row) for row in rows])
    return PositiveItems(torch.tensor([item for row in rows for item in row], dtype=torch.long), start, stop)


@pytest.mark.parametrize("mask", [True, False])
def test_positives_are_no_negatives_by_hand(mask: bool) -> None:
    # The first example hides film 5, the second film 7, which is in two rows; nobody sampled film 9.
    found = sampled_softmax(
        QUERIES, ITEMS, ITEM_IDX, temperature=TAU, log_q=LOG_Q, mask_accidental_hits=mask, positives=slices([5], [9, 7])
    )
    (w, v), repeat = WEIGHTS, 0.0 if mask else WEIGHTS[0][3]
    expected = -math.log(w[0] / (w[0] + w[1] + repeat)) - math.log(v[1] / (v[1] + v[2]))
    assert float(found) == pytest.approx(expected / 2, rel=1e-5)


def test_positives_never_hide_the_target() -> None:
    def loss(positives: PositiveItems | None, mask: bool) -> float:
        options = {"temperature": TAU, "log_q": None, "mask_accidental_hits": mask}
        return float(sampled_softmax(QUERIES, ITEMS, ITEM_IDX, positives=positives, **options))

    assert loss(slices([7], [3]), mask=False) == loss(None, mask=True)  # a target seen before hides its repeats alone
    assert loss(slices([], []), mask=True) == loss(None, mask=True)
    assert loss(slices([], []), mask=False) == loss(None, mask=False)
    assert loss(slices([5, 5], []), mask=True) == loss(slices([5], []), mask=True) < loss(None, mask=True)


# The hardest negatives -------------------------------------------------------------------------------------


def test_the_hardest_negatives_by_hand() -> None:
    # Corrected, the first example's row 2 (24.77) beats row 1 (10) and row 3 is its own target again; uncorrected,
    # row 2 (4.95) does. The second's row 2 (34.10) beats rows 0 and 3 (8.30); uncorrected, row 2 (6.82) does.
    for log_q, (w, v) in ((LOG_Q, WEIGHTS), (None, PLAIN)):
        found = sampled_softmax(QUERIES, ITEMS, ITEM_IDX, temperature=TAU, log_q=log_q, hardest=1)
        expected = -math.log(w[0] / (w[0] + w[2])) - math.log(v[1] / (v[1] + v[2]))
        assert float(found) == pytest.approx(expected / 2, rel=1e-5)
    # 18.4726 / (18.4726 + 24.7652): .85038; 49.5303 / (49.5303 + 34.1048): .52391
    corrected = sampled_softmax(QUERIES, ITEMS, ITEM_IDX, temperature=TAU, log_q=LOG_Q, hardest=1)
    assert float(corrected) == pytest.approx((0.85038 + 0.52391) / 2, abs=2e-5)


def test_the_hardest_negatives_are_those_after_the_correction_and_the_hiding() -> None:
    rare = torch.log(torch.tensor([0.4, 1e-3, 0.2, 0.4]))  # s/τ of row 1 is the least, its weight the greatest
    found = sampled_softmax(QUERIES[:1], ITEMS, ITEM_IDX, temperature=TAU, log_q=rare, hardest=1)
    assert float(found) == pytest.approx(-math.log(WEIGHTS[0][0] / (WEIGHTS[0][0] + 1000)), rel=1e-5)
    hidden = sampled_softmax(
        QUERIES[:1], ITEMS, ITEM_IDX, temperature=TAU, log_q=LOG_Q, hardest=1, positives=slices([5])
    )
    assert float(hidden) == pytest.approx(-math.log(WEIGHTS[0][0] / (WEIGHTS[0][0] + WEIGHTS[0][1])), rel=1e-5)


@pytest.mark.parametrize("n", [3, 4, 100])
def test_as_many_hardest_as_there_are_is_the_plain_loss(n: int) -> None:
    found = sampled_softmax(QUERIES, ITEMS, ITEM_IDX, temperature=TAU, log_q=LOG_Q, hardest=n)
    assert float(found) == loss_of(LOG_Q)
    alone = sampled_softmax(QUERIES[:1], ITEMS[:1], ITEM_IDX[:1], temperature=TAU, log_q=None, hardest=n)
    assert float(alone) == 0.0


def test_the_gradient_reaches_the_hardest_alone() -> None:
    u = QUERIES.double().requires_grad_()
    v = ITEMS.double().requires_grad_()
    sampled_softmax(u[:1], v, ITEM_IDX, temperature=TAU, log_q=None, hardest=1).backward()
    chance = math.e**1.6 / (math.e**1.6 + math.e**2)
    expected = torch.tensor([[-2 * chance, 0], [0, 0], [2 * chance, 0], [0, 0]], dtype=torch.float64)
    torch.testing.assert_close(v.grad, expected)

    def loss(u: Tensor, v: Tensor) -> Tensor:
        return sampled_softmax(u, v, ITEM_IDX, temperature=TAU, log_q=LOG_Q.double(), hardest=1)

    assert torch.autograd.gradcheck(loss, (u, v), eps=1e-6, atol=1e-8)


# Batches without repeats ----------------------------------------------------------------------------------


def test_loss_without_repeats_by_hand() -> None:
    # Films 3, 5 and 7 once each; the targets are in rows 2 and 0.
    chance = [0.3, 0.6, 0.9]
    log_q = torch.log(torch.tensor(chance))
    items, item_idx, target = ITEMS[[1, 2, 0]], torch.tensor([3, 5, 7]), torch.tensor([2, 0])
    found = sampled_softmax(QUERIES, items, item_idx, temperature=TAU, log_q=log_q, target=target)
    first = [1 / 0.3, math.e**1.6 / 0.6, math.e**2 / 0.9]
    second = [math.e**1.6 / 0.3, math.e**1.92 / 0.6, math.e**1.2 / 0.9]
    expected = (-math.log(first[2] / sum(first)) - math.log(second[0] / sum(second))) / 2
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert abs(loss_of(LOG_Q) - expected) > 0.05
    single = sampled_softmax(QUERIES, items[:1], item_idx[:1], temperature=TAU, log_q=None, target=torch.tensor([0, 0]))
    assert float(single) == 0.0  # fewer rows than examples
