"""Every loss of scores: by hand on two negatives, its gradient by finite differences, and its masks by a loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from recall.neural.losses.base import BatchShape, Columns, Loss, LossOptions
from recall.neural.losses.bce import BCEConfig
from recall.neural.losses.bpr import BPRConfig
from recall.neural.losses.ccl import CCLConfig
from recall.neural.losses.ranking_max import BPRMaxConfig, TOP1MaxConfig
from recall.neural.losses.softmax import SoftmaxConfig
from training.kernels.masking import PositiveItems

SHAPE = BatchShape(n_items=11, n_logits=1.0, in_batch=False)
SAMPLE = torch.float64


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def nls(x: float) -> float:
    """−log σ(x)."""
    return -math.log(sigmoid(x))


# One example: its positive scores 1.0, its negatives 0.5 and −0.2.
P, A, B = 1.0, 0.5, -0.2
WA, WB = math.exp(A) / (math.exp(A) + math.exp(B)), math.exp(B) / (math.exp(A) + math.exp(B))
BY_HAND: list[tuple[LossOptions, float]] = [
    (BCEConfig(negatives=1), nls(P) + (nls(-A) + nls(-B)) / 2),
    (BCEConfig(negatives=10), nls(P) + 5 * (nls(-A) + nls(-B))),
    # α = 4/10: β = .4 · (.75 · (1 − 2.5) + 2.5) = .55
    (BCEConfig(negatives=4, calibration=0.75), 0.55 * nls(P) + 2 * (nls(-A) + nls(-B))),
    (BCEConfig(negatives=4, calibration=1.0), 0.4 * nls(P) + 2 * (nls(-A) + nls(-B))),
    (BCEConfig(negatives=400, calibration=1.0), nls(P) + 200 * (nls(-A) + nls(-B))),
    (BPRConfig(), (nls(P - A) + nls(P - B)) / 2),
    (
        BPRMaxConfig(score_reg=0.0),
        -math.log(WA * sigmoid(P - A) + WB * sigmoid(P - B)),
    ),
    (
        BPRMaxConfig(score_reg=0.3),
        -math.log(WA * sigmoid(P - A) + WB * sigmoid(P - B)) + 0.3 * (WA * A**2 + WB * B**2),
    ),
    (
        TOP1MaxConfig(),
        WA * (sigmoid(A - P) + sigmoid(A**2)) + WB * (sigmoid(B - P) + sigmoid(B**2)),
    ),
    (CCLConfig(margin=0.1, negative_weight=3.0), 1 - P + 3 * (A - 0.1) / 2),
    (CCLConfig(margin=-0.5, negative_weight=3.0), 1 - P + 3 * (A + 0.5 + B + 0.5) / 2),
    (SoftmaxConfig(), -math.log(math.exp(P) / (math.exp(P) + math.exp(A) + math.exp(B)))),
    (SoftmaxConfig(hardest=1), -math.log(math.exp(P) / (math.exp(P) + math.exp(A)))),
]
LOSSES = [options for options, _ in BY_HAND]
ids = [f"{options.kind}-{number}" for number, options in enumerate(LOSSES)]  # type: ignore[attr-defined]


def value(
    loss: Loss,
    scores: list[list[float]],
    item_idx: list[int],
    target: list[int],
    *,
    repeats: list[int] | None = None,
    log_q: list[float] | None = None,
    weight: list[float] | None = None,
    positives: PositiveItems | None = None,
    temperature: float = 1.0,
) -> float:
    """The loss of given scores: queries are unit vectors, so that column j's vector holds its scores."""
    columns = Columns(
        torch.tensor(item_idx),
        torch.tensor(scores, dtype=SAMPLE).T.contiguous(),
        torch.tensor(target),
        None if repeats is None else torch.tensor(repeats),
    )
    return float(
        loss(
            torch.eye(len(scores), dtype=SAMPLE),
            columns,
            None if log_q is None else torch.tensor(log_q, dtype=SAMPLE),
            temperature=temperature,
            weight=None if weight is None else torch.tensor(weight, dtype=SAMPLE),
            positives=positives,
        )
    )


@pytest.mark.parametrize(("options", "expected"), BY_HAND, ids=ids)
def test_by_hand(options: LossOptions, expected: float) -> None:
    assert value(options.create(SHAPE), [[P, A, B]], [3, 7, 9], [0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("options", LOSSES, ids=ids)
def test_the_temperature_divides_the_scores(options: LossOptions) -> None:
    loss = options.create(SHAPE)
    halved = value(loss, [[P / 2, A / 2, B / 2]], [3, 7, 9], [0])
    assert value(loss, [[P, A, B]], [3, 7, 9], [0], temperature=2.0) == pytest.approx(halved, rel=1e-9)


@pytest.mark.parametrize("options", [BPRConfig(), SoftmaxConfig()], ids=["bpr", "softmax"])
def test_differences_of_log_q_are_what_counts(options: LossOptions) -> None:
    loss = options.create(SHAPE)
    shifted = value(loss, [[P - 0.4, A - 0.1, B - 0.3]], [3, 7, 9], [0])
    for constant in (0.0, -5.0):
        log_q = [0.4 + constant, 0.1 + constant, 0.3 + constant]
        assert value(loss, [[P, A, B]], [3, 7, 9], [0], log_q=log_q) == pytest.approx(shifted, rel=1e-9)


def test_noise_contrastive_estimation_by_hand() -> None:
    loss = BCEConfig(negatives=4).create(SHAPE)
    q = [0.3, 0.1, 0.2]
    found = value(loss, [[P, A, B]], [3, 7, 9], [0], log_q=[math.log(share) for share in q])
    p, a, b = (score - math.log(4 * share) for score, share in zip((P, A, B), q, strict=True))
    assert found == pytest.approx(nls(p) + 2 * (nls(-a) + nls(-b)), rel=1e-9)


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_what_bce_estimates(beta: float) -> None:
    """Minimised over free scores: log p/Q − log k + log β without a correction, log p + log β with one."""
    p = torch.tensor([0.5, 0.3, 0.2], dtype=SAMPLE)
    q = torch.tensor([0.2, 0.2, 0.6], dtype=SAMPLE)
    shape = BatchShape(n_items=9, n_logits=1.0)
    options = BCEConfig(negatives=4, calibration=beta, mask_accidental_hits=False)  # α = .5, β = 1 − t/2
    for log_q, expected in ((None, torch.log(p / q / 4)), (torch.log(q), torch.log(p))):
        scores = torch.zeros(3, dtype=SAMPLE, requires_grad=True)
        optimiser = torch.optim.LBFGS([scores], lr=1.0, max_iter=200, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            # The columns in proportion to Q: 1, 1 and 3 of ten draws beside three targets that are not drawn.
            optimiser.zero_grad()  # noqa: B023
            columns = Columns(
                torch.tensor([0, 1, 2, 0, 1, 2]), scores[[0, 1, 2, 0, 1, 2], None],  # noqa: B023
                torch.tensor([0, 1, 2]), torch.tensor([0, 0, 0, 1, 1, 3]),
            )  # fmt: skip
            correction = None if log_q is None else log_q[[0, 1, 2, 0, 1, 2]]  # noqa: B023
            loss = options.create(shape)(
                torch.ones(3, 1, dtype=SAMPLE), columns, correction, temperature=1.0, weight=p, positives=None
            )
            loss.backward()
            return loss

        optimiser.step(closure)
        torch.testing.assert_close(scores.detach(), expected + math.log(1 - beta / 2), rtol=0, atol=1e-4)


# Masks, repeats, rewards ------------------------------------------------------------------------------------


def one_by_one(options: LossOptions, scores: Tensor, item_idx: list[int], target: list[int], **more: Any) -> float:
    """The weighted mean of single examples whose hidden columns are left out and whose repeats are written out."""
    repeats: list[int] = more.get("repeats") or [1] * len(item_idx)
    hidden: list[set[int]] = more["hidden"]
    weight: list[float] = more["weight"]
    total = 0.0
    for row, column in enumerate(target):
        kept = [column]
        for other, item in enumerate(item_idx):
            own = item == item_idx[column] and more["hits"]
            if other != column and not own and item not in hidden[row]:
                kept += [other] * repeats[other]
        loss = value(options.create(SHAPE), [scores[row, kept].tolist()], list(range(len(kept))), [0])
        total += weight[row] * loss
    return total / sum(weight)


@pytest.mark.parametrize("hits", [True, False])
@pytest.mark.parametrize("options", LOSSES, ids=ids)
def test_masks_repeats_and_rewards_against_a_loop(options: LossOptions, hits: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    item_idx = [4, 2, 6, 4, 8, 1, 2, 5]
    target, repeats = [0, 1, 4], [0, 2, 3, 1, 0, 1, 2, 1]
    if isinstance(options, SoftmaxConfig) and options.hardest is not None:
        repeats = [min(r, 1) for r in repeats]  # repeats of an item are one of the hardest
    scores = torch.rand(3, 8, dtype=SAMPLE, generator=generator) * 2 - 1
    hidden, weight = [{6}, set(), {1, 2, 8, -1, 50}], [1.0, 0.25, 0.5]
    flat = [item for own in hidden for item in sorted(own)]
    stop = torch.tensor([len(own) for own in hidden]).cumsum(0)
    positives = PositiveItems(torch.tensor(flat), stop - torch.tensor([len(own) for own in hidden]), stop)
    options = options.model_copy(update={"mask_accidental_hits": hits})
    found = value(
        options.create(SHAPE), scores.tolist(), item_idx, target, repeats=repeats, weight=weight, positives=positives
    )
    expected = one_by_one(options, scores, item_idx, target, repeats=repeats, weight=weight, hidden=hidden, hits=hits)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("options", LOSSES, ids=ids)
def test_an_example_without_negatives_has_a_finite_gradient(options: LossOptions) -> None:
    items = torch.tensor([[0.6, 0.8], [0.6, 0.8]], dtype=SAMPLE, requires_grad=True)
    columns = Columns(torch.tensor([3, 3]), items, torch.tensor([0]))
    query = torch.tensor([[1.0, 0.0]], dtype=SAMPLE)
    loss = options.create(SHAPE)(query, columns, None, temperature=0.5, weight=None, positives=None)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert items.grad is not None
    assert torch.isfinite(items.grad).all()
    if isinstance(options, (BPRConfig, BPRMaxConfig, TOP1MaxConfig, SoftmaxConfig)):  # they compare
        assert float(loss.detach()) == pytest.approx(0.0)


# Gradients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", LOSSES, ids=ids)
def test_gradients_by_finite_differences(options: LossOptions) -> None:
    generator = torch.Generator().manual_seed(4)
    queries = torch.randn(3, 4, dtype=SAMPLE, generator=generator, requires_grad=True)
    items = torch.randn(6, 4, dtype=SAMPLE, generator=generator, requires_grad=True)
    tau = torch.tensor(0.7, dtype=SAMPLE, requires_grad=True)
    item_idx, target = torch.tensor([0, 1, 2, 3, 1, 5]), torch.tensor([0, 1, 2])
    repeats, weight = torch.tensor([0, 1, 0, 2, 1, 3]), torch.tensor([1.0, 2.0, 0.5], dtype=SAMPLE)
    log_q = torch.rand(6, dtype=SAMPLE, generator=generator) if options.correction != "none" else None
    loss = options.create(SHAPE)

    def function(u: Tensor, v: Tensor, t: Tensor) -> Tensor:
        columns = Columns(item_idx, v, target, repeats)
        return loss(u, columns, log_q, temperature=t, weight=weight, positives=None)

    checked: Callable[..., bool] = torch.autograd.gradcheck
    assert checked(function, (queries, items, tau))


def test_the_drawn_softmax_is_that_of_the_kernel_where_targets_are_no_negatives_anyway() -> None:
    """One example has no other targets, so that both forms see the same columns."""
    generator = torch.Generator().manual_seed(5)
    scores = [(torch.rand(7, dtype=SAMPLE, generator=generator) * 2 - 1).tolist()]
    item_idx, log_q = [3, 1, 4, 1, 5, 9, 2], [-1.0, -2.0, -1.5, -2.0, -0.5, -3.0, -1.0]
    for hardest in (None, 2):
        options = SoftmaxConfig(hardest=hardest)
        drawn, kernel = (
            value(options.create(BatchShape(11, 1.0, in_batch)), scores, item_idx, [0], log_q=log_q)
            for in_batch in (False, True)
        )
        assert drawn == pytest.approx(kernel, rel=1e-9)
