"""What a batch is compared with, on four films whose loss is worked out by hand, and the state between batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall.neural.encoders.windows import WindowInputs
from recall.neural.losses import softmax
from recall.neural.objective import Objective, UserPositives, closest_interest
from recall.neural.rewards import rating_rewards
from reccore import DataError, Interactions
from tests.recall.neural.four_films import (
    CPU,
    E0,
    E2,
    E12,
    E16,
    FIT,
    QUERIES,
    Answers,
    Fixed,
    config_of,
    inputs_of,
    loss_by_hand,
    objective_of,
    step,
)
from training.kernels.masking import PositiveItems

# The catalogue ---------------------------------------------------------------------------------------------

CATALOGUE: dict[str, Any] = {"negatives__kind": "catalogue"}


@pytest.mark.parametrize("implementation", ["plain", "fused"])
def test_the_catalogue_by_hand(implementation: str) -> None:
    # 7.38906 / (7.38906 + 1 + 3.32012 + 4.95303) = .44346 for both examples: −ln = .81315
    found = step(objective_of(**CATALOGUE, loss__implementation=implementation), [0, 1], [0, 3])
    assert found == pytest.approx(loss_by_hand([[E2, E0, E12, E16]] * 2), rel=1e-4)
    assert found == pytest.approx(0.8131, abs=2e-4)


def test_the_catalogue_is_what_the_sampled_softmax_estimates() -> None:
    """With every event in one batch and nothing hidden, the corrected sum is that over the catalogue."""
    network = Fixed()
    network.queries = nn.Parameter(F.normalize(torch.randn(5, 2, generator=torch.Generator().manual_seed(1)), dim=1))
    targets, events = torch.from_numpy(FIT.item_idx), np.arange(5)
    draws, losses = torch.Generator(), []
    for config in (CATALOGUE, {"loss__mask_accidental_hits": False}):
        goal = Objective(network, FIT, 5.0, config_of(**config), CPU)
        losses.append(float(goal(inputs_of(*[[]] * 5), targets, events, draws).detach()))
    # Each of a film's n rows weighs e^s / (n/5), so that they sum up to 5 e^s and all rows to five times the
    # catalogue; above the line stands one row alone, 1/q times e^s: the loss is the full one + ln(5 q).
    constant = (2 * math.log(5 * 0.4) + 3 * math.log(5 * 0.2)) / 5
    assert losses[1] == pytest.approx(losses[0] + constant, rel=1e-5)


def test_the_catalogue_draws_nothing() -> None:
    goal = objective_of(**CATALOGUE)
    draws = torch.Generator().manual_seed(0)
    before = draws.get_state()
    goal(inputs_of([], []), torch.tensor([0, 1]), np.array([0, 3]), draws)
    assert torch.equal(draws.get_state(), before)


# Rewards ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["plain", "fused"])
def test_rewards_by_hand(implementation: str) -> None:
    # Events 2 and 3: films 3 and 1, ratings 2 and 3 of at most 4.
    found = step(
        objective_of(negatives__logq__kind="none", reward="rating", loss__implementation=implementation), [3, 1], [2, 3]
    )
    assert found == pytest.approx(loss_by_hand([[E16, E0], [E2, E12]], reward=(2.0, 3.0)), rel=1e-4)
    assert found != pytest.approx(loss_by_hand([[E16, E0], [E2, E12]]), rel=1e-3)


def test_rewards_of_the_2025_correction_by_hand() -> None:
    found = step(objective_of(loss__kind="corrected_softmax", reward="rating"), [3, 1], [2, 3])
    losses = []
    for positive, negative, q in ((1.6, 0.0, 0.2), (2.0, 1.2, 0.2)):  # one negative each, Q′ = .2 / .8
        doubt = 1 - math.exp(positive) / (math.exp(positive) + math.exp(negative) * (1 - q) / q)
        losses.append(doubt * (negative - math.log(q / (1 - q)) - positive))
    assert found == pytest.approx((2 * losses[0] + 3 * losses[1]) / 5, rel=1e-4)


def test_ratings_as_rewards() -> None:
    assert rating_rewards(FIT).tolist() == [1.0, 0.25, 0.5, 0.75, 1.0]
    some = Interactions(np.array([0, 2]), np.array([0, 1]), 2, rating=np.array([2.5, np.nan], dtype=np.float32))
    assert rating_rewards(some).tolist() == [1.0, 1.0]
    for rating, why in ((None, "have none"), ([np.nan, np.nan], "have none"), ([0.0, 3.0], "lowest is 0")):
        values = None if rating is None else np.array(rating, dtype=np.float32)
        with pytest.raises(DataError, match=why):
            rating_rewards(Interactions(np.array([0, 2]), np.array([0, 1]), 2, rating=values))


# Positives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["plain", "fused"])
def test_positives_by_hand(implementation: str) -> None:
    # Event 2: user 0 watched film 3 after 0 and 2. Event 3: user 1 watched film 1, and film 0 later.
    def loss(mask_positives: str) -> float:
        goal = objective_of(**CATALOGUE, loss__mask_positives=mask_positives, loss__implementation=implementation)
        inputs = inputs_of([0, 2], [])
        return float(goal(inputs, torch.tensor([3, 1]), np.array([2, 3]), torch.Generator()).detach())

    assert loss("none") == pytest.approx(loss_by_hand([[E16, E2, E0, E12], [E2, E0, E16, E12]]), rel=1e-4)
    assert loss("history") == pytest.approx(loss_by_hand([[E16, E0], [E2, E0, E16, E12]]), rel=1e-4)
    assert loss("all") == pytest.approx(loss_by_hand([[E16, E0], [E2, E16, E12]]), rel=1e-4)
    # 4.95303 / 5.95303 and 7.38906 / 15.66221: (.18391 + .75125) / 2
    assert loss("all") == pytest.approx((0.18391 + 0.75125) / 2, abs=2e-4)


def as_lists(own: PositiveItems) -> list[list[int]]:
    return [own.item_idx[a:b].tolist() for a, b in zip(own.start.tolist(), own.stop.tolist(), strict=True)]


def test_whole_users_are_gathered_once() -> None:
    own = UserPositives(FIT, CPU)(np.array([1, 4, 0, 2]))
    assert as_lists(own) == [[0, 2, 3], [1, 0], [0, 2, 3], [0, 2, 3]]
    assert len(own.item_idx) == 5  # the events themselves


def test_what_the_queries_of_windows_read() -> None:
    # Two windows of up to three events; queries at positions 0, 2 and 3 of the first, 0 and 1 of the second.
    inputs = WindowInputs(
        history=torch.tensor([[5, 6, 7], [8, -1, -1]]),
        continued=torch.zeros(2, dtype=torch.long),
        user=torch.zeros(2, dtype=torch.long),
        facts=torch.zeros(2, 0, dtype=torch.long),
        ratings=torch.zeros(2, 3, dtype=torch.long),
        gaps=torch.zeros(2, 3, dtype=torch.long),
        query_positions=torch.tensor([0, 2, 3, 4, 5]),
    )
    assert as_lists(inputs.positives()) == [[], [5, 6], [5, 6, 7], [], [8]]
    assert as_lists(inputs_of([3, 1], [], [2]).positives()) == [[3, 1], [], [2]]


# State and choices -----------------------------------------------------------------------------------------


def test_the_state_between_batches_can_be_stored() -> None:
    config: dict[str, Any] = {
        "negatives__bank__size": 3,
        "negatives__mined__per_batch": 2,
        "negatives__mined__every": 3,
        "negatives__bank__warmup_steps": 1,
    }
    one, answers = objective_of(Answers(), **config), Answers()
    for _ in range(2):
        step(one, [0, 1], [0, 3])
    other = objective_of(answers, **config)
    state = {name: value.clone() for name, value in one.state_dict().items()}
    assert set(state) == {
        *("bank.vectors", "bank.item_idx", "bank.n_pushed", "bank.n_steps"),
        *("pool.counts", "pool.n_steps"),
    }
    other.load_state_dict(state)
    assert [step(other, [2, 3], [1, 2]), step(other, [0, 3], [0, 2])] == [
        step(one, [2, 3], [1, 2]),
        step(one, [0, 3], [0, 2]),
    ]
    assert len(answers.asked) == 1  # not at once, but when it was due
    assert objective_of().state_dict() == {}


@pytest.mark.parametrize(
    ("config", "n_columns"),
    [
        ({}, 2),
        ({"negatives__uniform": 1}, 3),
        ({"negatives__uniform": 1, "negatives__bank__size": 2}, 5),
        ({"negatives__mined__per_batch": 2}, 4),
        (CATALOGUE, 4),
    ],
)
@pytest.mark.parametrize("implementation", ["auto", "fused", "plain"])
def test_auto_fuses_large_batches(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], n_columns: int, implementation: str
) -> None:
    calls: list[int] = []

    def counted(queries: Tensor, *rest: Any, **more: Any) -> Tensor:
        calls.append(len(queries))
        return softmax.sampled_softmax(queries, *rest, **more)

    monkeypatch.setattr(softmax, "fused_sampled_softmax", counted)
    for limit in (2 * n_columns - 1, 2 * n_columns):  # two examples
        monkeypatch.setattr(softmax, "FUSED_ABOVE", limit)
        calls.clear()
        step(objective_of(Answers(), **config, loss__implementation=implementation), [0, 1], [0, 3])
        assert bool(calls) == (implementation == "fused" or (implementation == "auto" and limit < 2 * n_columns))


# Several vectors per query ---------------------------------------------------------------------------------


def test_the_closest_interest_by_hand() -> None:
    interests = torch.tensor([[[1.0, 0.0], [0.6, 0.8]], [[0.0, 1.0], [0.8, 0.6]]], requires_grad=True)
    targets = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    found = closest_interest(interests, targets)  # inner products 0 and .8, 0 and .8
    assert found.tolist() == interests[:, 1].tolist()
    found.sum().backward()
    assert interests.grad is not None
    assert interests.grad.tolist() == [[[0.0, 0.0], [1.0, 1.0]]] * 2
    assert closest_interest(interests, targets.flip(0)).tolist() == interests[:, 0].tolist()


@pytest.mark.parametrize("bank", [{}, {"negatives__bank__size": 2}])
def test_a_query_is_scored_by_the_interest_closest_to_its_target(bank: dict[str, Any]) -> None:
    """Each query has its own vector and one that is further from its target, in either place."""
    goal, single = objective_of(**bank), objective_of(**bank)
    further = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    both = torch.stack([torch.stack([QUERIES[0], further[0]]), torch.stack([further[1], QUERIES[1]])])
    goal.network.queries = nn.Parameter(both)
    for targets, events in (([0, 1], [0, 3]), ([0, 1], [0, 3])):
        assert step(goal, targets, events) == pytest.approx(step(single, targets, events), rel=1e-6)
    loss = goal(inputs_of([], []), torch.tensor([0, 1]), np.array([0, 3]), torch.Generator())
    loss.backward()
    gradient = goal.network.queries.grad
    assert not gradient[0, 1].any()
    assert not gradient[1, 0].any()
    assert gradient[0, 0].any()
    assert gradient[1, 1].any()
