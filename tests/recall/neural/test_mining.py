"""Negatives mined from the index, on the four films whose loss is worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recall.neural.mining import MinedPool, MiningConfig, mine
from reccore import Exclusions, QueryBatch
from reccore.arrays import IntArray
from tests.recall.neural.four_films import E0, E2, E12, E16, FIT, Answers, loss_by_hand, objective_of, step


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
    pool = MinedPool(4, MiningConfig(per_batch=4000))
    draws = torch.Generator().manual_seed(0)
    assert pool.draw(draws).tolist() == []
    assert pool.proposal(torch.arange(4)) is None
    pool.fill(torch.tensor([0, 3, 0, 7]))
    drawn = torch.bincount(pool.draw(draws), minlength=4)
    assert drawn[[0, 2]].tolist() == [0, 0]
    assert int(drawn[1]) == pytest.approx(1200, abs=100)
    share = pool.proposal(torch.tensor([3, 1, 0]))
    assert share is not None
    assert (share.n, share.probability.tolist()) == (4000, pytest.approx([0.7, 0.3, 0.0]))


@pytest.mark.parametrize("kind", ["sampled", "distinct"])
def test_mined_negatives_by_hand(kind: str) -> None:
    """Everybody's best film is 1, which therefore is what is drawn, three times."""

    def always_film_1(queries: QueryBatch, depth: int, exclude: Exclusions) -> IntArray:
        return np.ones((len(queries), 1), dtype=np.int64)

    goal = objective_of(always_film_1, negatives__mined__per_batch=3, negatives__kind=kind)
    found = step(goal, [0, 2], [0, 1])
    if kind == "distinct":  # films 0, 1, 2 once each, by the chance to be in the batch: 1 − .6², 1, 1 − .8²
        first, second = [E2 / 0.64, E0 / 1.0, E12 / 0.36], [E16 / 0.36, E0 / 0.64, E2 / 1.0]
    else:  # (2 · .4) / 5, (2 · .2 + 3) / 5, (2 · .2) / 5
        first, second = [E2 / 0.16, *[E0 / 0.68] * 3, E12 / 0.08], [E16 / 0.08, E0 / 0.16, *[E2 / 0.68] * 3]
    assert found == pytest.approx(loss_by_hand([first, second]), rel=1e-5)
    uncorrected = step(
        objective_of(always_film_1, negatives__mined__per_batch=3, negatives__logq__kind="none"), [0, 2], [0, 1]
    )
    assert uncorrected == pytest.approx(loss_by_hand([[E2, E0, E0, E0, E12], [E16, E0, E2, E2, E2]]), rel=1e-5)


def test_mining_again_when_due_and_training_goes_on() -> None:
    answers = Answers()
    goal = objective_of(
        lambda *asked: (goal.network.eval(), answers(*asked))[1],
        negatives__mined__per_batch=2,
        negatives__mined__every=3,
    )
    goal.network.train()
    for number in range(7):
        step(goal, [0, 1], [0, 3])
        assert len(answers.asked) == number // 3 + 1
        assert goal.network.training
    with pytest.raises(ValueError, match="mined negatives need a way"):
        objective_of(negatives__mined__per_batch=2)
