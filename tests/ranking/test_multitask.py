"""Several tasks in one ranker: balance of their losses, combination of their logits, and what each learns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ranking.balance import FixedBalanceConfig, LossBalance, UncertaintyBalanceConfig
from ranking.mmoe import MMoE, MMoEConfig
from ranking.neural import NeuralRanker
from reccore import ConfigError, RankingSamples, RunOptions
from tests.ranking.networks import outcome, reference
from tests.ranking.samples import Setting, board_setting
from tests.ranking.test_deepfm import to_double

NAN = float("nan")
SMALL: dict[str, Any] = {"hidden": [8, 4], "embedding_size": 4}
QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)


def test_fixed_balance_by_hand() -> None:
    balance = LossBalance(["click", "like"], FixedBalanceConfig(weights={"like": 0.25}))
    assert balance({0: torch.tensor(2.0), 1: torch.tensor(4.0)}).item() == 3.0
    assert balance({1: torch.tensor(4.0)}).item() == 1.0
    assert not list(balance.parameters())


def test_uncertainty_balance_by_the_papers_formula_and_at_its_optimum() -> None:
    balance = LossBalance(["click", "like"], UncertaintyBalanceConfig())
    assert balance.log_variance is not None
    sigma = [0.5, 3.0]
    with torch.no_grad():
        balance.log_variance.copy_(torch.tensor([2 * math.log(s) for s in sigma]))
    losses = {0: torch.tensor(2.0), 1: torch.tensor(4.0)}
    expected = sum(loss / s**2 + math.log(s) for loss, s in zip((2.0, 4.0), sigma, strict=True))
    assert balance(losses).item() == pytest.approx(expected, rel=1e-6)
    # d/dσ (L / σ² + log σ) = 0 at σ² = 2 L: there the gradient vanishes.
    with torch.no_grad():
        balance.log_variance.copy_(torch.tensor([math.log(4.0), math.log(8.0)]))
    balance(losses).backward()
    torch.testing.assert_close(balance.log_variance.grad, torch.zeros(2), atol=1e-6, rtol=0)
    balance.zero_grad()
    balance({0: torch.tensor(1.0)}).backward()
    assert balance.log_variance.grad is not None
    assert balance.log_variance.grad[1] == 0.0  # a task without a label in the batch is left alone


@pytest.mark.parametrize(
    ("loss", "combine", "expected"),
    [
        ("softmax", {"kind": "first"}, lambda z: z[..., 0]),
        ("softmax", {"weights": {"like": 0.5}}, lambda z: z[..., 0] + 0.5 * z[..., 1]),
        ("bce", {"weights": {"click": 2.0}}, lambda z: -np.log1p(np.exp(-z)) @ np.array([2, 1])),
        ("bpr", {}, lambda z: z.sum(axis=-1)),
    ],
)  # fmt: skip
def test_the_score_combines_the_tasks_by_the_declared_rule(loss: Any, combine: Any, expected: Any) -> None:
    config = MMoEConfig.parse({**SMALL, "loss": loss, "combine": combine, "dropout": 0.0})
    found = reference(MMoE, config)
    with torch.no_grad():
        logits = found.network.task_logits(to_double(found.inputs)).numpy()
    assert np.abs(logits[..., 0] - logits[..., 1]).max() > 0.1
    np.testing.assert_allclose(found.logits, expected(logits), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["click"]}, "tasks"),
        ({"tasks": ["click", "click"]}, "a task is named twice"),
        ({"balance": {"weights": {"buy": 1}}}, r"balance.weights: 'buy' is none of the tasks click, like"),
        ({"combine": {"weights": {"buy": 1}}}, r"combine.weights: 'buy' is none of the tasks click, like"),
        ({"combine": {"weights": {"click": 0, "like": 0}}}, "at least one task must have a weight above 0"),
        ({"balance": {"weights": {"like": 0}}}, "the score counts the task 'like' with weight 1, so its loss needs"),
        ({"balance": {"weights": {"click": 0, "like": 0}}}, "the score counts the task 'click' with weight 1"),
        (
            {"balance": {"weights": {"click": 0}}, "combine": {"weights": {"click": 0}}},
            "the first task, 'click', decides which epoch is kept, so its loss needs a weight above 0",
        ),
        ({"combine": {"kind": "sum"}}, "unknown kind 'sum'; known: 'weighted', 'first'"),
        ({"hidden": [8]}, "hidden"),
        ({"tasks": ["click", "buy"], "liked_from": 8}, "liked_from has no effect, .* its tasks: click, buy"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MMoE(options)


@pytest.mark.parametrize(
    "options",
    [
        {"balance": {"weights": {"like": 0}}, "combine": {"kind": "first"}},
        {"balance": {"weights": {"like": 0}}, "combine": {"weights": {"like": 0}}},
        {"balance": {"weights": {"like": 0.1}}, "combine": {"weights": {"like": 3}}},
        {"balance": {"kind": "uncertainty"}, "combine": {"weights": {"click": 0}}},
    ],
)
def test_a_task_outside_the_score_may_be_left_unlearned(options: dict[str, Any]) -> None:
    MMoE(options)


@pytest.fixture(scope="module")
def setting() -> Setting:
    return board_setting()


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": ["like", "click"], "combine": {"kind": "first"}},
        {"balance": {"kind": "uncertainty"}},
        {"balance": {"weights": {"like": 0.1}}},
        {"combine": {"kind": "first"}},
        {"combine": {"weights": {"like": 0.1}}},
    ],
)
def test_every_option_changes_the_outcome(setting: Setting, change: dict[str, Any]) -> None:
    assert not np.allclose(outcome(MMoE, setting, **SMALL), outcome(MMoE, setting, **SMALL, **change), atol=1e-4)


def opposed(part: RankingSamples) -> RankingSamples:
    """Clicks go to the first film of the user's own colour, likes to the first of the other colour."""
    other = (part.candidates.item_idx % 2 != np.arange(len(part))[:, None] % 2).argmax(axis=1)
    like = np.zeros_like(part.labels["click"])
    like[np.arange(len(part)), other] = 1.0
    return replace(part, labels={"click": part.labels["click"], "like": like})


def test_each_task_learns_its_own_labels(setting: Setting) -> None:
    """A network that learned one task alone, or their average, could not put both of two different films first."""
    both = replace(setting, samples=opposed(setting.samples), valid=opposed(setting.valid))
    tables: Any = both.tables()
    config = {**SMALL, "hidden": [16, 8], "epochs": 40, "batch_size": 16, "learning_rate": 0.02, "dropout": 0.0}
    ranker: Any = MMoE(config).fit(both.samples, options=QUIET, **tables)
    inputs = ranker._encoder.encode(both.valid.queries, both.valid.candidates)
    with torch.no_grad():
        logits = ranker._network.task_logits(inputs).numpy()
    own = both.valid.candidates.item_idx % 2 == np.arange(60)[:, None] % 2
    best = logits.argmax(axis=1)  # (60, 2)
    rows = np.arange(60)
    assert own[rows, best[:, 0]].mean() > 0.8
    assert own[rows, best[:, 1]].mean() < 0.2


def test_unlabelled_candidates_of_a_task_are_skipped(setting: Setting) -> None:
    """Without a like label anywhere but in one query, the others train clicks alone, and nothing becomes NaN."""
    like = np.full_like(setting.samples.labels["like"], NAN)
    like[0] = setting.samples.labels["like"][0]
    sparse = replace(setting.samples, labels={**setting.samples.labels, "like": like})
    tables: Any = setting.tables()
    ranker: NeuralRanker = MMoE({**SMALL, "epochs": 2, "batch_size": 16}).fit(sparse, options=QUIET, **tables)
    assert np.isfinite(ranker.log.loss).all()
    assert np.isfinite(ranker.score(setting.valid.queries, setting.valid.candidates)).all()


def test_the_epoch_is_chosen_by_the_first_task_under_the_combined_score(setting: Setting) -> None:
    both = replace(setting, samples=opposed(setting.samples), valid=opposed(setting.valid))
    tables: Any = both.tables()

    def best(**changes: Any) -> float:
        config = {**SMALL, "epochs": 12, "batch_size": 16, "learning_rate": 0.02, "patience": 12, **changes}
        value = MMoE(config).fit(both.samples, valid=both.valid, options=QUIET, **tables).log.best_validation
        assert value is not None
        return value

    assert best(combine={"kind": "first"}) > best(combine={"weights": {"click": 0.0}}) + 0.1
