"""What a batch is compared with, on four films whose loss is worked out by hand, and the state between batches."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from recall.two_tower.bank import ItemBank
from recall.two_tower.loss import LearnedTemperature
from recall.two_tower.mining import MinedPool, mine
from recall.two_tower.objective import Objective
from recall.two_tower.own_items import of_whole_users, read_by_queries
from recall.two_tower.rewards import rating_rewards
from recall.two_tower.towers import UserInputs
from recall.two_tower.transformer import SequenceInputs
from torch import Tensor, nn
from torch.nn import functional as F

from recall.two_tower import TwoTowerConfig, objective
from reccore import DataError, Exclusions, Interactions, QueryBatch
from reccore.arrays import IntArray
from training.kernels.masking import PositiveItems

CPU = torch.device("cpu")
# Cosines with the first query are 1, 0, .6, .8, with the second 0, 1, .8, .6; at τ = .5 twice that.
ITEMS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]])
QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
E0, E12, E16, E2 = 1.0, math.exp(1.2), math.exp(1.6), math.exp(2.0)  # 1, 3.32012, 4.95303, 7.38906
FIRST, SECOND = [E2, E0, E12, E16], [E0, E2, E16, E12]
# Film 0 was watched twice among five events, the others once.
FIT = Interactions(
    user_offsets=np.array([0, 3, 5]),
    item_idx=np.array([0, 2, 3, 1, 0]),
    n_items=4,
    rating=np.array([4.0, 1.0, 2.0, 3.0, 4.0], dtype=np.float32),
)
SHARE = [0.4, 0.2, 0.2, 0.2]


class Fixed(nn.Module):
    """Two towers that have nothing to learn but the vectors."""

    n_items = 4
    frequency = None
    temperature = None

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Parameter(ITEMS.clone())
        self.queries = nn.Parameter(QUERIES.clone())

    def forward(self, inputs: UserInputs, item_idx: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.queries[: len(inputs.user)], self.items[item_idx]


def inputs_of(*histories: list[int]) -> UserInputs:
    n, length = len(histories), max(max(map(len, histories)), 1)
    padded = torch.tensor([history + [-1] * (length - len(history)) for history in histories])
    nothing = torch.zeros(n, 0, dtype=torch.long)
    return UserInputs(padded, torch.tensor([len(h) for h in histories]), torch.arange(n), nothing, nothing)


def objective_of(retrieve: Any = None, **config: Any) -> Objective:
    options = {"temperature": 0.5, "uniform_negatives": 0, "embedding_size": 2, **config}
    return Objective(Fixed(), FIT, 2.0, TwoTowerConfig(**options), CPU, retrieve=retrieve)


def step(goal: Objective, targets: list[int], events: list[int], seed: int = 0) -> float:
    found = goal(
        inputs_of(*[[]] * len(targets)),
        torch.tensor(targets),
        np.array(events),
        torch.Generator().manual_seed(seed),
    )
    return float(found.detach())


def loss_by_hand(rows: list[list[float]], reward: tuple[float, ...] = (1.0, 1.0)) -> float:
    """Each row: the target's weight e^s/q first, then those of the rest of its softmax."""
    losses = [-math.log(row[0] / sum(row)) for row in rows]
    return sum(w * loss for w, loss in zip(reward, losses, strict=True)) / sum(reward)


# The catalogue ---------------------------------------------------------------------------------------------

CATALOGUE: dict[str, Any] = {"negatives": "catalogue", "logq": "none"}


@pytest.mark.parametrize("softmax", ["plain", "fused"])
def test_the_catalogue_by_hand(softmax: str) -> None:
    # 7.38906 / (7.38906 + 1 + 3.32012 + 4.95303) = .44346 for both examples: −ln = .81315
    found = step(objective_of(**CATALOGUE, softmax=softmax), [0, 1], [0, 3])
    assert found == pytest.approx(loss_by_hand([[E2, E0, E12, E16]] * 2), rel=1e-4)
    assert found == pytest.approx(0.8131, abs=2e-4)


def test_the_catalogue_is_what_the_sampled_softmax_estimates() -> None:
    """With every event in one batch and nothing hidden, the corrected sum is that over the catalogue."""
    network = Fixed()
    network.queries = nn.Parameter(F.normalize(torch.randn(5, 2, generator=torch.Generator().manual_seed(1)), dim=1))
    targets, events = torch.from_numpy(FIT.item_idx), np.arange(5)
    draws, losses = torch.Generator(), []
    for config in (CATALOGUE, {"mask_accidental_hits": False}):
        options = TwoTowerConfig(temperature=0.5, uniform_negatives=0, embedding_size=2, **config)
        goal = Objective(network, FIT, 5.0, options, CPU)
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


@pytest.mark.parametrize("softmax", ["plain", "fused"])
def test_rewards_by_hand(softmax: str) -> None:
    # Events 2 and 3: films 3 and 1, ratings 2 and 3 of at most 4.
    found = step(objective_of(logq="none", reward="rating", softmax=softmax), [3, 1], [2, 3])
    assert found == pytest.approx(loss_by_hand([[E16, E0], [E2, E12]], reward=(2.0, 3.0)), rel=1e-4)
    assert found != pytest.approx(loss_by_hand([[E16, E0], [E2, E12]]), rel=1e-3)


def test_rewards_of_the_2025_correction_by_hand() -> None:
    found = step(objective_of(corrected_logq=True, reward="rating"), [3, 1], [2, 3])
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


# Own items -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("softmax", ["plain", "fused"])
def test_own_items_by_hand(softmax: str) -> None:
    # Event 2: user 0 watched film 3 after 0 and 2. Event 3: user 1 watched film 1, and film 0 later.
    def loss(mask_own: str) -> float:
        goal = objective_of(**CATALOGUE, mask_own=mask_own, softmax=softmax)
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
    own = of_whole_users(FIT, np.array([1, 4, 0, 2]), CPU)
    assert as_lists(own) == [[0, 2, 3], [1, 0], [0, 2, 3], [0, 2, 3]]
    assert len(own.item_idx) == 5


def test_what_the_queries_of_windows_read() -> None:
    # Two windows of up to three events; queries at positions 0, 2 and 3 of the first, 0 and 1 of the second.
    inputs = SequenceInputs(
        history=torch.tensor([[5, 6, 7], [8, -1, -1]]),
        continued=torch.zeros(2, dtype=torch.long),
        facts=torch.zeros(2, 0, dtype=torch.long),
        ratings=None,
        gaps=None,
        asked=torch.tensor([0, 2, 3, 4, 5]),
    )
    assert as_lists(read_by_queries(inputs)) == [[], [5, 6], [5, 6, 7], [], [8]]
    assert as_lists(read_by_queries(inputs_of([3, 1], [], [2]))) == [[3, 1], [], [2]]


# The bank --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("softmax", ["plain", "fused"])
def test_the_bank_by_hand(softmax: str) -> None:
    goal = objective_of(bank_size=2, softmax=softmax)
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
    goal = objective_of(bank_size=3, uniform_negatives=2)
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
    bank = ItemBank(3, 1)
    assert [len(part) for part in bank.rows()] == [0, 0]
    expected: list[int] = []
    for batch in ([4, 5], [6], [7, 8], [1, 2, 3, 9], [5, 5, 5], [6]):
        bank.push(torch.tensor(batch)[:, None] / 10, torch.tensor(batch))
        expected = (expected + batch)[-3:]
        vectors, items = bank.rows()
        assert sorted(items.tolist()) == sorted(expected)
        torch.testing.assert_close(vectors[:, 0], items / 10)


def test_the_bank_opens_after_its_warmup_and_is_full_by_then() -> None:
    goal = objective_of(bank_size=4, bank_warmup_steps=2)
    plain = objective_of()
    for number in range(4):
        same = step(goal, [0, 1], [0, 3]) == step(plain, [0, 1], [0, 3])
        assert same == (number < 2)
        assert goal.bank is not None
        assert int(goal.bank.n_pushed) == 2 * number + 2


def test_vectors_of_the_bank_are_constants_as_they_were() -> None:
    goal = objective_of(bank_size=2, logq="none")
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
    goal = objective_of(bank_size=2, logq="none")
    step(goal, [0, 1], [0, 3])
    temperature = LearnedTemperature(0.5, (0.1, 1.0))
    monkeypatch.setattr(Fixed, "temperature", temperature)
    goal(inputs_of([], []), torch.tensor([2, 3]), np.array([1, 2]), torch.Generator()).backward()
    found, temperature.position.grad = temperature.position.grad, None
    scores = torch.tensor([[0.6, 0.8, 1.0, 0.0], [0.8, 0.6, 0.0, 1.0]])  # films 2, 3, and 0, 1 from the bank
    F.cross_entropy(scores / temperature(), torch.tensor([0, 1])).backward()
    torch.testing.assert_close(found, temperature.position.grad)


# Mined negatives -------------------------------------------------------------------------------------------


class Answers:
    """Retrieves the films 3, 2, 1, 0 in this order, without those excluded; remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[QueryBatch, int, Exclusions]] = []

    def __call__(self, queries: QueryBatch, depth: int, exclude: Exclusions) -> IntArray:
        self.asked.append((queries, depth, exclude))
        order = np.tile([3, 2, 1, 0], (len(queries), 1))
        kept = [
            [film for film, out in zip(row, gone, strict=True) if not out]
            for row, gone in zip(order.tolist(), exclude.contains(order), strict=True)
        ]
        return np.array([(row + [-1] * 4)[: min(depth, 4)] for row in kept])


def test_mining_asks_with_prefixes_and_leaves_out_the_whole_history() -> None:
    answers = Answers()
    counts = mine(FIT, answers, 400, 2, torch.Generator().manual_seed(0))
    queries, depth, exclude = answers.asked[0]
    assert depth == 2
    seen = {}
    for row in range(400):
        user = int(queries.user_idx[row])
        history = queries.history_idx[queries.history_offsets[row] : queries.history_offsets[row + 1]].tolist()
        whole = FIT.history(user).tolist()
        assert history == whole[: len(history)]
        assert exclude.item_idx[exclude.offsets[row] : exclude.offsets[row + 1]].tolist() == whole
        seen[user, len(history)] = seen.get((user, len(history)), 0) + 1
    assert set(seen) == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)}  # before each of the five events
    assert min(seen.values()) > 50
    # User 0 has not watched film 1, user 1 not 3 and 2.
    of_user_0 = sum(n for (user, _), n in seen.items() if user == 0)
    assert counts.tolist() == [0, of_user_0, 400 - of_user_0, 400 - of_user_0]


def test_mining_asks_when_the_target_happened() -> None:
    timed = replace(FIT, timestamp=np.array([10, 20, 30, 40, 50]))
    answers = Answers()
    mine(timed, answers, 100, 2, torch.Generator().manual_seed(0))
    queries = answers.asked[0][0]
    targets = timed.user_offsets[queries.user_idx] + queries.lengths
    np.testing.assert_array_equal(queries.as_of, timed.timestamp[targets])


def test_draws_follow_the_pool() -> None:
    pool = MinedPool(4, 4000)
    draws = torch.Generator().manual_seed(0)
    assert pool.draw(draws).tolist() == []
    assert pool.share(torch.arange(4)) is None
    pool.fill(torch.tensor([0, 3, 0, 7]))
    drawn = torch.bincount(pool.draw(draws), minlength=4)
    assert drawn[[0, 2]].tolist() == [0, 0]
    assert int(drawn[1]) == pytest.approx(1200, abs=100)
    share = pool.share(torch.tensor([3, 1, 0]))
    assert share is not None
    assert (share.n, share.probability.tolist()) == (4000, pytest.approx([0.7, 0.3, 0.0]))


@pytest.mark.parametrize("dedup", [False, True])
def test_mined_negatives_by_hand(dedup: bool) -> None:
    """Everybody's best film is 1, which therefore is what is drawn, three times."""

    def always_film_1(queries: QueryBatch, depth: int, exclude: Exclusions) -> IntArray:
        return np.ones((len(queries), 1), dtype=np.int64)

    goal = objective_of(always_film_1, mined_negatives=3, dedup=dedup)
    found = step(goal, [0, 2], [0, 1])
    if dedup:  # films 0, 1, 2 once each, by the chance to be in the batch: 1 − .6², 1, 1 − .8²
        first, second = [E2 / 0.64, E0 / 1.0, E12 / 0.36], [E16 / 0.36, E0 / 0.64, E2 / 1.0]
    else:  # (2 · .4) / 5, (2 · .2 + 3) / 5, (2 · .2) / 5
        first, second = [E2 / 0.16, *[E0 / 0.68] * 3, E12 / 0.08], [E16 / 0.08, E0 / 0.16, *[E2 / 0.68] * 3]
    assert found == pytest.approx(loss_by_hand([first, second]), rel=1e-5)
    uncorrected = step(objective_of(always_film_1, mined_negatives=3, logq="none"), [0, 2], [0, 1])
    assert uncorrected == pytest.approx(loss_by_hand([[E2, E0, E0, E0, E12], [E16, E0, E2, E2, E2]]), rel=1e-5)


def test_mining_again_when_due_and_training_goes_on() -> None:
    answers = Answers()
    goal = objective_of(lambda *asked: (goal.network.eval(), answers(*asked))[1], mined_negatives=2, mined_every=3)
    goal.network.train()
    for number in range(7):
        step(goal, [0, 1], [0, 3])
        assert len(answers.asked) == number // 3 + 1
        assert goal.network.training
    with pytest.raises(ValueError, match="mined_negatives = 2 need a way"):
        objective_of(mined_negatives=2)


# State and choices -----------------------------------------------------------------------------------------


def test_the_state_between_batches_can_be_stored() -> None:
    config: dict[str, Any] = {"bank_size": 3, "mined_negatives": 2, "mined_every": 3, "bank_warmup_steps": 1}
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
        ({"uniform_negatives": 1}, 3),
        ({"uniform_negatives": 1, "bank_size": 2}, 5),
        ({"mined_negatives": 2}, 4),
        (CATALOGUE, 4),
    ],
)
@pytest.mark.parametrize("softmax", ["auto", "fused", "plain"])
def test_auto_fuses_large_batches(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], n_columns: int, softmax: str
) -> None:
    calls: list[int] = []

    def counted(queries: Tensor, *rest: Any, **more: Any) -> Tensor:
        calls.append(len(queries))
        return objective.sampled_softmax(queries, *rest, **more)

    monkeypatch.setattr(objective, "fused_sampled_softmax", counted)
    for limit in (2 * n_columns - 1, 2 * n_columns):  # two examples
        monkeypatch.setattr(objective, "FUSED_ABOVE", limit)
        calls.clear()
        step(objective_of(Answers(), **config, softmax=softmax), [0, 1], [0, 3])
        assert bool(calls) == (softmax == "fused" or (softmax == "auto" and limit < 2 * n_columns))


def test_auto_leaves_the_2025_correction_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "FUSED_ABOVE", 1)
    one, other = objective_of(corrected_logq=True), objective_of(corrected_logq=True, softmax="plain")
    assert step(one, [0, 1], [0, 3]) == step(other, [0, 1], [0, 3])
