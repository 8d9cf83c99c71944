"""The 2025 correction by hand, and the corrections against the full softmax in expectation."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recall.neural.logq import Proposal, inclusion_log_q, mixed_log_q
from recall.neural.losses.softmax import corrected_logq_softmax
from tests.training.kernels.test_sampled_softmax import ITEM_IDX, ITEMS, LOG_Q, QUERIES, TAU, loss_of
from training.kernels.sampled_softmax import sampled_softmax

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
    right = mixed_log_q(world["share"], 64, 64, further=[Proposal(64, pool)])
    without = mixed_log_q(world["share"], 64, 64)
    distinct_right = inclusion_log_q(world["share"], 64, 64, further=[Proposal(64, pool)])

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
