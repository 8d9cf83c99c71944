"""Which negatives are drawn and with what probability: the correction against many real draws, and what is hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recall.neural.losses.base import BatchShape, Columns, Scores
from recall.neural.losses.softmax import SoftmaxConfig
from recall.neural.negatives import DistinctNegativesConfig, SampledNegatives, SampledNegativesConfig
from recall.neural.popular import PopularConfig, PopularDraws
from reccore import Interactions
from tests.recall.neural.four_films import CPU, E0, E2, E12, E16, loss_by_hand, objective_of, step

# Six films with 1, 2, 4, 8, 16 and 0 events.
COUNTS = np.array([1, 2, 4, 8, 16, 0])
EVENTS = Interactions(np.array([0, 31]), np.repeat(np.arange(6), COUNTS), n_items=6)
SHARE = torch.from_numpy(COUNTS / 31)
POOL = torch.tensor([0, 3, 0, 0, 0, 1])
N_BATCHES = 4000


def sampler(*, keeps_repeats: bool = False, **config: Any) -> SampledNegatives:
    kind = config.pop("kind", "sampled")
    options = {"sampled": SampledNegativesConfig, "distinct": DistinctNegativesConfig}[kind].parse(config)
    negatives = SampledNegatives(options, EVENTS, 3.0, CPU, frequency=None, keeps_repeats=keeps_repeats)
    if negatives.pool is not None:
        negatives.pool.fill(POOL)
    return negatives


def drawn(negatives: SampledNegatives, *, distinct: bool) -> Tensor:
    """(6,) mean number of negatives that each film is in a batch of three random targets; at most 1 if distinct."""
    draws = torch.Generator().manual_seed(0)
    total = torch.zeros(6, dtype=torch.float64)
    for _ in range(N_BATCHES):
        targets = torch.multinomial(SHARE, 3, replacement=True, generator=draws)
        sample = negatives.sample(targets, draws)
        once = torch.ones_like(sample.item_idx)
        repeats = once if sample.repeats is None else sample.repeats
        total.index_add_(0, sample.item_idx, (repeats.clamp(max=1) if distinct else repeats).double())
    return total / N_BATCHES


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0, 2.0])
def test_popular_films_are_drawn_by_a_power_of_their_events(power: float) -> None:
    popular = PopularDraws(PopularConfig(per_batch=200_000, power=power), EVENTS, CPU)
    found = torch.bincount(popular.draw(torch.Generator().manual_seed(1)), minlength=6) / 200_000
    weight = np.array([1, 2**power, 4**power, 8**power, 16**power, 0.0**power])
    torch.testing.assert_close(found.numpy(), (weight / weight.sum()).astype(np.float32), rtol=0, atol=0.004)
    np.testing.assert_allclose(popular.proposal(torch.arange(6)).probability, weight / weight.sum(), rtol=1e-6)


@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("keeps_repeats", [True, False])
@pytest.mark.parametrize(
    "beside",
    [{}, {"popular": {"per_batch": 4}}, {"popular": {"per_batch": 2, "power": 2.0}, "mined": {"per_batch": 3}}],
)
def test_log_q_is_how_often_a_film_is_drawn(in_batch: bool, keeps_repeats: bool, beside: dict[str, Any]) -> None:
    negatives = sampler(uniform=2, in_batch=in_batch, keeps_repeats=keeps_repeats, **beside)
    found = drawn(negatives, distinct=False)
    n_draws = 2 + 3 * in_batch + sum(part["per_batch"] for part in beside.values())
    assert float(found.sum()) == pytest.approx(n_draws)
    log_q = negatives.log_q(torch.arange(6), 0)
    assert log_q is not None
    torch.testing.assert_close(found / n_draws, log_q.exp().double(), rtol=0.1, atol=0.004)


@pytest.mark.parametrize("in_batch", [True, False])
@pytest.mark.parametrize("beside", [{}, {"popular": {"per_batch": 4}, "mined": {"per_batch": 3}}])
def test_log_q_of_distinct_films_is_how_often_a_batch_holds_one(in_batch: bool, beside: dict[str, Any]) -> None:
    negatives = sampler(kind="distinct", uniform=2, in_batch=in_batch, **beside)
    log_q = negatives.log_q(torch.arange(6), 0)
    assert log_q is not None
    torch.testing.assert_close(drawn(negatives, distinct=True), log_q.exp().double(), rtol=0.1, atol=0.02)


@pytest.mark.parametrize(("kind", "keeps_repeats"), [("sampled", True), ("sampled", False), ("distinct", False)])
def test_without_in_batch_negatives_the_targets_of_others_count_nothing(kind: str, keeps_repeats: bool) -> None:
    negatives = sampler(kind=kind, uniform=4, in_batch=False, keeps_repeats=keeps_repeats, logq={"kind": "none"})
    draws = torch.Generator().manual_seed(3)
    targets = torch.tensor([4, 4, 0])
    uniform = torch.randint(6, (4,), generator=torch.Generator().manual_seed(3)).tolist()
    sample = negatives.sample(targets, draws)
    columns = Columns(sample.item_idx, torch.ones(len(sample.item_idx), 1), sample.target, sample.repeats)
    for masks in (True, False):
        scores = Scores.of(torch.ones(3, 1), columns, None, temperature=1.0, mask_accidental_hits=masks, positives=None)
        for row, target in enumerate(targets.tolist()):
            counted: dict[int, float] = {}
            for item, count in zip(sample.item_idx.tolist(), scores.count[row].tolist(), strict=True):
                counted[item] = counted.get(item, 0.0) + count
            own = masks or not keeps_repeats  # a shared column is the target's own
            expected = [film for film in uniform if film != target or not own]
            expected = expected if kind == "sampled" else sorted(set(expected))
            assert {item: n for item, n in counted.items() if n} == {f: expected.count(f) for f in set(expected)}


def test_only_the_drawn_films_by_hand() -> None:
    """Targets 0 and 1, two uniform draws; the other example's target is no negative unless it is drawn."""
    weights = [[E2, E0, E12, E16], [E0, E2, E16, E12]]
    for seed in range(8):
        uniform = torch.randint(4, (2,), generator=torch.Generator().manual_seed(seed)).tolist()
        goal = objective_of(negatives__in_batch=False, negatives__uniform=2, negatives__logq__kind="none")
        rows = [
            [weights[target][target], *(weights[target][film] for film in uniform if film != target)]
            for target in (0, 1)
        ]
        assert step(goal, [0, 1], [0, 3], seed=seed) == pytest.approx(loss_by_hand(rows), rel=1e-5)


def test_the_2025_correction_of_the_drawn_films_by_hand() -> None:
    """With Q = 1/4 for every film, and the draws of a seed that holds two films other than the targets."""
    seed = next(
        seed
        for seed in range(99)
        if {*torch.randint(4, (2,), generator=torch.Generator().manual_seed(seed)).tolist()} == {2, 3}
    )
    goal = objective_of(loss__kind="corrected_softmax", negatives__in_batch=False, negatives__uniform=2)
    total = 3 * (E12 + E16)  # Q′ = 1/3
    doubt = 1 - E2 / (E2 + total / 2)
    expected = doubt * (np.log(total) - 2.0)
    assert step(goal, [0, 1], [0, 3], seed=seed) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("beside", [{"negatives__popular__per_batch": 50}, {"negatives__uniform": 50}])
def test_the_users_own_items_are_hidden_however_they_were_drawn(beside: dict[str, Any]) -> None:
    """User 0 watched films 0, 2 and 3, so film 1 alone is a negative of that user's examples."""
    config = {"negatives__in_batch": False, "negatives__logq__kind": "none", "loss__mask_positives": "all", **beside}
    goal = objective_of(negatives__kind="distinct", **config)
    assert step(goal, [0], [0]) == pytest.approx(loss_by_hand([[E2, E0]], reward=(1.0,)), rel=1e-5)


def test_batches_without_in_batch_negatives_are_never_fused() -> None:
    huge = BatchShape(n_items=10, n_logits=1e12, in_batch=False)
    assert type(SoftmaxConfig().create(huge)).__name__ == "DrawnSoftmaxLoss"
