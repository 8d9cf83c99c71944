"""The corrected sampled softmax against sums written out by hand, finite differences and the full softmax."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from recall.two_tower.loss import (
    LearnedTemperature,
    MinedShare,
    corrected_logq_softmax,
    inclusion_log_q,
    mixed_log_q,
)
from torch import Tensor
from torch.nn import functional as F

from training.kernels.masking import PositiveItems, negative_mask
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


def test_mined_draws_are_one_more_part_of_the_mixture_by_hand() -> None:
    share, mined = torch.tensor([0.5, 0.3, 0.2, 0.0]), MinedShare(10, torch.tensor([0.0, 0.1, 0.1, 0.8]))
    # (6 · .5 + 4/4 + 10 · 0) / 20 = .20 and so on
    torch.testing.assert_close(mixed_log_q(share, 6, 4, mined=mined), torch.log(torch.tensor([0.2, 0.19, 0.16, 0.45])))
    # 1 − .5⁶ · .75⁴ · 1, 1 − .7⁶ · .75⁴ · .9¹⁰, 1 − .8⁶ · .75⁴ · .9¹⁰, 1 − .75⁴ · .2¹⁰
    found = inclusion_log_q(share, 6, 4, mined=mined).exp()
    expected = torch.tensor([0.995056, 0.987021, 0.971079, 0.99999997])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


# Hidden items ---------------------------------------------------------------------------------------------


def own(*rows: list[int]) -> PositiveItems:
    """The items of each example, one slice after the other."""
    stop = torch.tensor([len(row) for row in rows]).cumsum(0)
    start = stop - torch.tensor([len(row) for row in rows])
    return PositiveItems(torch.tensor([item for row in rows for item in row], dtype=torch.long), start, stop)


@pytest.mark.parametrize("mask", [True, False])
def test_positives_are_no_negatives_by_hand(mask: bool) -> None:
    # The first example hides film 5, the second film 7, which is in two rows; nobody sampled film 9.
    found = sampled_softmax(
        QUERIES, ITEMS, ITEM_IDX, temperature=TAU, log_q=LOG_Q, mask_accidental_hits=mask, positives=own([5], [9, 7])
    )
    (w, v), repeat = WEIGHTS, 0.0 if mask else WEIGHTS[0][3]
    expected = -math.log(w[0] / (w[0] + w[1] + repeat)) - math.log(v[1] / (v[1] + v[2]))
    assert float(found) == pytest.approx(expected / 2, rel=1e-5)


def test_positives_never_hide_the_target() -> None:
    def loss(positives: PositiveItems | None, mask: bool) -> float:
        options = {"temperature": TAU, "log_q": None, "mask_accidental_hits": mask}
        return float(sampled_softmax(QUERIES, ITEMS, ITEM_IDX, positives=positives, **options))

    assert loss(own([7], [3]), mask=False) == loss(None, mask=True)  # a target seen before hides its repeats alone
    assert loss(own([], []), mask=True) == loss(None, mask=True)
    assert loss(own([], []), mask=False) == loss(None, mask=False)
    assert loss(own([5, 5], []), mask=True) == loss(own([5], []), mask=True) < loss(None, mask=True)


def test_hidden_columns_by_search() -> None:
    """Overlapping slices of one array, as examples of one user have, against a comparison of all with all."""
    generator = torch.Generator().manual_seed(0)
    item_idx = torch.randint(12, (30,), generator=generator)
    items = torch.randint(20, (40,), generator=generator)
    target = torch.randint(30, (9,), generator=generator)
    start = torch.randint(20, (9,), generator=generator)
    stop = start + torch.randint(20, (9,), generator=generator)
    for accidental in (True, False):
        hidden = negative_mask(
            item_idx, target, accidental_hits=accidental, positives=PositiveItems(items, start, stop)
        )
        assert hidden is not None
        for first, last in ((0, 9), (0, 4), (4, 9), (8, 9), (5, 5)):
            expected = set()
            for row in range(first, last):
                hides = set(items[start[row] : stop[row]].tolist())
                if accidental:
                    hides.add(int(item_idx[target[row]]))
                columns = [j for j in range(30) if int(item_idx[j]) in hides and j != target[row]]
                expected |= {30 * (row - first) + j for j in columns}
            assert set(hidden.of_rows(first, last).tolist()) == expected
    assert negative_mask(item_idx, target, accidental_hits=False) is None


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
    hidden = sampled_softmax(QUERIES[:1], ITEMS, ITEM_IDX, temperature=TAU, log_q=LOG_Q, hardest=1, positives=own([5]))
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


def test_inclusion_log_q_by_hand() -> None:
    found = inclusion_log_q(torch.tensor([0.5, 0.3, 0.2, 0.0]), 6, 4).exp()
    # 1 − .5⁶ · .75⁴ and so on, where the expected counts are 4, 2.8, 2.2 and 1
    torch.testing.assert_close(found, torch.tensor([0.995056, 0.962775, 0.917056, 0.683594]), rtol=0, atol=1e-6)


def test_inclusion_log_q_at_its_ends() -> None:
    share = torch.tensor([1.0, 0.25, 0.0])
    torch.testing.assert_close(inclusion_log_q(share, 1, 0), torch.tensor([0.0, math.log(0.25), 0.0]))
    assert inclusion_log_q(torch.tensor([0.0]), 3, 2).tolist() == [0.0]  # the only film there is
    some = inclusion_log_q(share[1:2], 5, 7, n_items=3)
    torch.testing.assert_close(some, inclusion_log_q(share, 5, 7)[1:2])
    rare = inclusion_log_q(torch.tensor([1e-9]), 5, 0)
    assert float(rare) == pytest.approx(math.log(5e-9), rel=1e-5)  # no loss of digits


def test_inclusion_is_how_often_a_batch_holds_a_film() -> None:
    generator = torch.Generator().manual_seed(0)
    share = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    held = torch.zeros(5)
    for _ in range(4000):
        drawn = torch.multinomial(share, 4, replacement=True, generator=generator)
        held[torch.cat([drawn, torch.randint(5, (3,), generator=generator)]).unique()] += 1
    torch.testing.assert_close(held / 4000, inclusion_log_q(share, 4, 3).exp(), rtol=0, atol=0.03)


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


# The positive left uncorrected -----------------------------------------------------------------------------


def corrected_2025(weight: Tensor | None = None, log_q: Tensor = LOG_Q) -> float:
    return float(corrected_logq_softmax(QUERIES, ITEMS, ITEM_IDX, temperature=TAU, log_q=log_q, weight=weight))


def test_the_2025_correction_by_hand() -> None:
    # First: Q′ = .1/.6 and .2/.6 in rows 1 and 2; S = 6 · 1 + 3 · e^1.6 = 20.8591; P̂ = e²/(e² + S/2) = .41468.
    # Second: Q′ = .4/.9, .2/.9, .4/.9 in rows 0, 2, 3; S = .9 · 50.7054 = 45.6349; P̂ = e^1.6/(e^1.6 + S/3) = .24563.
    losses = 0.58532 * (math.log(20.8591) - 2), 0.75437 * (math.log(45.6349) - 1.6)
    assert corrected_2025() == pytest.approx(sum(losses) / 2, abs=2e-5)
    assert corrected_2025(torch.tensor([3.0, 1.0])) == pytest.approx((3 * losses[0] + losses[1]) / 4, abs=2e-5)
    assert abs(corrected_2025() - loss_of(LOG_Q)) > 0.1


def test_the_proposal_leaves_the_positive_out() -> None:
    """Counts 4, 1, 2, 3 of four films, one row each: Q′(d) = c_d / (10 − c_p)."""
    counts = torch.tensor([4.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    scores = torch.tensor([[1.0, 0.2, 0.5, -0.3]], dtype=torch.float64)
    found = corrected_logq_softmax(
        torch.ones(1, 1, dtype=torch.float64), scores.T, torch.arange(4), temperature=1.0, log_q=torch.log(counts / 10)
    )
    total = sum(math.exp(s) / (c / 6) for s, c in ((0.2, 1), (0.5, 2), (-0.3, 3)))
    chance = math.e / (math.e + total / 3)
    assert float(found) == pytest.approx((1 - chance) * (math.log(total) - 1.0), rel=1e-9)


def test_its_gradient_is_that_of_the_softmax_with_the_rest_estimated() -> None:
    generator = torch.Generator().manual_seed(3)
    u, v = (torch.randn(n, 5, dtype=torch.float64, generator=generator, requires_grad=True) for n in (4, 9))
    item_idx = torch.tensor([2, 4, 2, 7, 2, 1, 0, 4, 3])
    log_q = torch.log(torch.rand(8, dtype=torch.float64, generator=generator) / 2)[item_idx]
    found = torch.autograd.grad(corrected_logq_softmax(u, v, item_idx, temperature=0.7, log_q=log_q), (u, v))
    total = torch.zeros((), dtype=torch.float64)
    for i in range(4):
        rest = [j for j in range(9) if item_idx[j] != item_idx[i]]
        positive = torch.exp(u[i] @ v[i] / 0.7)
        draws = torch.stack([torch.exp(u[i] @ v[j] / 0.7) * (1 - log_q[i].exp()) / log_q[j].exp() for j in rest])
        total = total - torch.log(positive / (positive + draws.mean())) / 4
    for one, other in zip(found, torch.autograd.grad(total, (u, v)), strict=True):
        torch.testing.assert_close(one, other)


def test_an_example_without_negatives_counts_nothing() -> None:
    u = QUERIES.clone().requires_grad_()
    loss = corrected_logq_softmax(u[:1], ITEMS[[0, 3]], torch.tensor([7, 7]), temperature=TAU, log_q=LOG_Q[[0, 3]])
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not u.grad.any()
    certain = corrected_logq_softmax(QUERIES[:1], ITEMS[:1], torch.tensor([7]), temperature=TAU, log_q=torch.zeros(1))
    assert float(certain) == 0.0


# Learned temperature --------------------------------------------------------------------------------------


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


# In expectation -------------------------------------------------------------------------------------------


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


def mean_sampled_gradient(
    world: dict[str, Tensor], uniform: int, loss: Callable[..., Tensor], pool: Tensor | None = None
) -> Tensor:
    """Mean over 400 batches of 64 examples, ``uniform`` uniform negatives and 64 of the ``pool``."""
    generator = torch.Generator().manual_seed(2)
    items = world["items"].clone().requires_grad_()
    total = torch.zeros(())
    for _ in range(400):
        drawn = torch.multinomial(world["joint"].flatten(), 64, replacement=True, generator=generator)
        sampled = torch.cat([drawn // 12, torch.randint(40, (uniform,), generator=generator)])
        if pool is not None:
            sampled = torch.cat([sampled, torch.multinomial(pool, 64, replacement=True, generator=generator)])
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


def test_the_other_corrections_come_nearer_still(world: dict[str, Tensor]) -> None:
    """With mixed negatives; in-batch ones alone leave tail films undrawn, which no correction mends."""
    log_q = mixed_log_q(world["share"], 64, 64)
    inclusion = inclusion_log_q(world["share"], 64, 64)

    def corrected(u: Tensor, v: Tensor, sampled: Tensor) -> Tensor:
        return sampled_softmax(u, v, sampled, temperature=0.2, log_q=log_q[sampled])

    def positive_uncorrected(u: Tensor, v: Tensor, sampled: Tensor) -> Tensor:
        return corrected_logq_softmax(u, v, sampled, temperature=0.2, log_q=log_q[sampled])

    def without_repeats(u: Tensor, v: Tensor, sampled: Tensor, correction: Tensor = inclusion) -> Tensor:
        distinct, row = torch.unique(sampled, return_inverse=True)
        first = torch.stack([(sampled == item).nonzero()[0, 0] for item in distinct])
        return sampled_softmax(u, v[first], distinct, temperature=0.2, log_q=correction[distinct], target=row[: len(u)])

    def by_expected_counts(u: Tensor, v: Tensor, sampled: Tensor) -> Tensor:
        return without_repeats(u, v, sampled, log_q)

    exact = full_gradient(world)
    error = {
        loss.__name__: float((mean_sampled_gradient(world, 64, loss) - exact).norm() / exact.norm())
        for loss in (corrected, positive_uncorrected, without_repeats, by_expected_counts)
    }
    assert error["positive_uncorrected"] < error["corrected"]
    assert error["without_repeats"] < 0.5 * error["by_expected_counts"]


def test_mined_negatives_corrected_as_part_of_the_mixture_shift_nothing(world: dict[str, Tensor]) -> None:
    """A pool of what the first queries find nearest, as the index would give: known chances, so no shift."""
    nearest = (world["queries"][:6] @ world["items"].T).topk(10, dim=1).indices
    pool = torch.bincount(nearest.flatten(), minlength=40).float()
    pool /= pool.sum()
    right = mixed_log_q(world["share"], 64, 64, mined=MinedShare(64, pool))
    without = mixed_log_q(world["share"], 64, 64)
    distinct_right = inclusion_log_q(world["share"], 64, 64, mined=MinedShare(64, pool))

    def mined(u: Tensor, v: Tensor, sampled: Tensor) -> Tensor:
        return sampled_softmax(u, v, sampled, temperature=0.2, log_q=right[sampled])

    def without_repeats(u: Tensor, v: Tensor, sampled: Tensor) -> Tensor:
        distinct, row = torch.unique(sampled, return_inverse=True)
        first = torch.stack([(sampled == item).nonzero()[0, 0] for item in distinct])
        log_q = distinct_right[distinct]
        return sampled_softmax(u, v[first], distinct, temperature=0.2, log_q=log_q, target=row[: len(u)])

    def as_if_not_mined(u: Tensor, v: Tensor, sampled: Tensor) -> Tensor:
        return sampled_softmax(u, v, sampled, temperature=0.2, log_q=without[sampled])

    def uncorrected(u: Tensor, v: Tensor, sampled: Tensor) -> Tensor:
        return sampled_softmax(u, v, sampled, temperature=0.2, log_q=None)

    exact = full_gradient(world)
    error = {
        loss.__name__: float((mean_sampled_gradient(world, 64, loss, pool) - exact).norm() / exact.norm())
        for loss in (mined, without_repeats, as_if_not_mined, uncorrected)
    }
    assert max(error["mined"], error["without_repeats"]) < 0.12
    assert min(error["as_if_not_mined"], error["uncorrected"]) > 2 * max(error["mined"], error["without_repeats"])


def test_a_bank_counted_as_more_draws_does_not_shift_the_gradient_of_the_queries(world: dict[str, Tensor]) -> None:
    """The targets of earlier batches, their vectors constant: the gradient of queries has all, that of items not."""
    generator = torch.Generator().manual_seed(5)

    def mean_gradient(n_bank: int, corrected_as: int) -> Tensor:
        queries = world["queries"].clone().requires_grad_()
        log_q = mixed_log_q(world["share"], 64 + corrected_as, 64)
        bank, total = torch.zeros(0, dtype=torch.long), torch.zeros(())
        for number in range(400):
            drawn = torch.multinomial(world["joint"].flatten(), 64, replacement=True, generator=generator)
            columns = torch.cat([drawn // 12, torch.randint(40, (64,), generator=generator), bank])
            u, v = queries[drawn % 12], world["items"][columns]
            if number >= 4:
                total = total + sampled_softmax(u, v, columns, temperature=0.2, log_q=log_q[columns]) / 396
            bank = torch.cat([bank, drawn // 12])[-n_bank:] if n_bank else bank
        total.backward()
        return queries.grad

    queries = world["queries"].clone().requires_grad_()
    log_softmax = torch.log_softmax(queries @ world["items"].T / 0.2, dim=1)
    (-(world["joint"].T * log_softmax).sum()).backward()
    error = {
        name: float((mean_gradient(*sizes) - queries.grad).norm() / queries.grad.norm())
        for name, sizes in {"counted": (256, 256), "not counted": (256, 0)}.items()
    }
    assert error["counted"] < 0.1
    assert error["not counted"] > 1.7 * error["counted"]
