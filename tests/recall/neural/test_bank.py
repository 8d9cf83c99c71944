"""A bank of earlier targets, on the four films whose loss is worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from recall.neural.bank import BankConfig, ItemBank
from recall.neural.temperature import LearnedTemperature
from tests.recall.neural.four_films import (
    E0,
    E2,
    E12,
    E16,
    FIRST,
    ITEMS,
    QUERIES,
    SECOND,
    SHARE,
    Fixed,
    inputs_of,
    loss_by_hand,
    objective_of,
    step,
)


@pytest.mark.parametrize("implementation", ["plain", "fused"])
def test_the_bank_by_hand(implementation: str) -> None:
    goal = objective_of(negatives__bank__size=2, loss__implementation=implementation)
    # Only Q takes part, so log Q* = log Q. First batch: films 0 and 1.
    assert step(goal, [0, 1], [0, 3]) == pytest.approx(loss_by_hand([[E2 / 0.4, 5], [E2 / 0.2, 2.5]]), rel=1e-4)
    # Second: films 2 and 3, and films 0 and 1 from the bank.
    rows = [[5 * E12, 5 * E16, E2 / 0.4, 5], [5 * E12, 5 * E16, 2.5, E2 / 0.2]]
    assert step(goal, [2, 3], [1, 2]) == pytest.approx(loss_by_hand(rows), rel=1e-4)
    # Third: film 0 twice, and films 2 and 3 from the bank; the other film 0 is an accidental hit.
    rows = [[E2 / 0.4, 5 * E12, 5 * E16], [2.5, 5 * E16, 5 * E12]]
    assert step(goal, [0, 0], [0, 4]) == pytest.approx(loss_by_hand(rows), rel=1e-4)
    # Fourth: film 0 and 2, the bank holding film 0 twice: hits for the first example, two rows for the second.
    rows = [[E2 / 0.4, 5 * E12], [5 * E16, 2.5, 2.5, 2.5]]
    assert step(goal, [0, 2], [0, 1]) == pytest.approx(loss_by_hand(rows), rel=1e-4)


def test_a_bank_counts_as_so_many_more_draws_of_the_batch() -> None:
    goal = objective_of(negatives__bank__size=3, negatives__uniform=2)
    drawn = torch.randint(4, (2,), generator=torch.Generator().manual_seed(7)).tolist()

    def weights(n_bank: int, films: list[int]) -> list[list[float]]:
        q = [((2 + n_bank) * share + 2 / 4) / (2 + n_bank + 2) for share in SHARE]
        return [[row[film] / q[film] for film in films] for row in (FIRST, SECOND)]

    def by_hand(targets: list[int], bank: list[int]) -> float:
        films = targets + drawn + bank
        rows = []
        for i, row in enumerate(weights(len(bank), films)):
            rest = [w for j, w in enumerate(row) if films[j] != targets[i]]
            rows.append([row[i], *rest])
        return loss_by_hand(rows)

    assert step(goal, [0, 1], [0, 3], seed=7) == pytest.approx(by_hand([0, 1], []), rel=1e-4)
    assert step(goal, [2, 3], [1, 2], seed=7) == pytest.approx(by_hand([2, 3], [0, 1]), rel=1e-4)
    assert step(goal, [1, 0], [3, 4], seed=7) == pytest.approx(by_hand([1, 0], [1, 2, 3]), rel=1e-4)


def test_the_bank_is_first_in_first_out() -> None:
    bank = ItemBank(BankConfig(size=3), 1)
    assert [len(part) for part in bank.rows()] == [0, 0]
    expected: list[int] = []
    for batch in ([4, 5], [6], [7, 8], [1, 2, 3, 9], [5, 5, 5], [6]):
        bank.push(torch.tensor(batch)[:, None] / 10, torch.tensor(batch))
        expected = (expected + batch)[-3:]
        vectors, items = bank.rows()
        assert sorted(items.tolist()) == sorted(expected)
        torch.testing.assert_close(vectors[:, 0], items / 10)


def test_the_bank_opens_after_its_warmup_and_is_full_by_then() -> None:
    goal = objective_of(negatives__bank__size=4, negatives__bank__warmup_steps=2)
    plain = objective_of()
    for number in range(4):
        same = step(goal, [0, 1], [0, 3]) == step(plain, [0, 1], [0, 3])
        assert same == (number < 2)
        assert goal.bank is not None
        assert int(goal.bank.n_pushed) == 2 * number + 2


def test_vectors_of_the_bank_are_constants_as_they_were() -> None:
    goal = objective_of(negatives__bank__size=2, negatives__logq__kind="none")
    step(goal, [0, 1], [0, 3])
    network = goal.network
    with torch.no_grad():
        network.items[0] = torch.tensor([0.0, -1.0])  # a step of the optimiser
    loss = goal(inputs_of([], []), torch.tensor([2, 3]), np.array([1, 2]), torch.Generator())
    assert float(loss.detach()) == pytest.approx(loss_by_hand([[E12, E16, E2, E0], [E12, E16, E0, E2]]), rel=1e-5)
    loss.backward()
    assert not network.items.grad[:2].any()
    assert network.items.grad[2:].all()
    # The first query is pulled by every vector of its softmax, those of the bank too.
    chances = torch.tensor([E12, E16, E2, E0]) / (E12 + E16 + E2 + E0)
    pull = chances @ ITEMS[[2, 3, 0, 1]] - ITEMS[2]
    torch.testing.assert_close(network.queries.grad[0], 2 * pull / 2)
    # A film is pushed by the queries of its batch alone, so it is pulled by a softmax over that batch.
    theirs = torch.softmax(torch.tensor([[1.2, 1.6], [1.6, 1.2]]), dim=1) - torch.eye(2)
    torch.testing.assert_close(network.items.grad[2:], 2 * theirs.T @ QUERIES / 2)


def test_with_a_bank_the_temperature_learns_from_the_whole_softmax_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the two softmaxes the one over the batch is there for the films alone."""
    goal = objective_of(negatives__bank__size=2, negatives__logq__kind="none")
    step(goal, [0, 1], [0, 3])
    temperature = LearnedTemperature(0.5, (0.1, 1.0))
    monkeypatch.setattr(Fixed, "temperature", temperature)
    goal(inputs_of([], []), torch.tensor([2, 3]), np.array([1, 2]), torch.Generator()).backward()
    found, temperature.position.grad = temperature.position.grad, None
    scores = torch.tensor([[0.6, 0.8, 1.0, 0.0], [0.8, 0.6, 0.0, 1.0]])  # films 2, 3, and 0, 1 from the bank
    F.cross_entropy(scores / temperature(), torch.tensor([0, 1])).backward()
    torch.testing.assert_close(found, temperature.position.grad)
