"""The training loop on a small regression: the epoch it keeps, the schedule, resuming, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reccore import ResumeError, RunOptions
from training import Task, Trainer, TrainingConfig, TrainingError
from training.optimiser import build_optimiser, build_schedule

QUIET = RunOptions(device="cpu", progress=False, threads=1)
X = torch.linspace(-1, 1, 24)[:, None]
Y = 2 * X[:, 0] - 1


class Regression(Task):
    """y = w·x + b over 24 points in 4 batches, with noise and dropout so that every random generator is used."""

    name = "regression"
    unit = "points"

    def __init__(self, *, figures: Sequence[float] | None = None, fails_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Dropout(0.2), nn.Linear(1, 1))
        self.n_samples, self.n_batches = 24, 4
        self.generators = {"shuffle": np.random.default_rng(1), "noise": torch.Generator().manual_seed(2)}
        self.figures = None if figures is None else list(figures)
        self.fails_at, self.n_losses, self.n_validations = fails_at, 0, 0

    def batches(self) -> Sequence[Any]:
        return np.array_split(self.generators["shuffle"].permutation(24), 4)

    def loss(self, batch: Any) -> tuple[Tensor, int]:
        rows = torch.from_numpy(batch)
        noise = 0.01 * torch.randn(len(rows), generator=self.generators["noise"])
        loss = (self.network(X[rows])[:, 0] - Y[rows] + noise).square().mean()
        self.n_losses += 1
        if self.fails_at is not None and self.n_losses == self.fails_at:
            loss = loss * float("nan")
        return loss, len(rows)

    def describe(self, batch: Any) -> str:
        return f"points {batch.tolist()}"

    @property
    def validates(self) -> bool:
        return self.figures is not None

    def validate(self) -> float:
        assert self.figures is not None
        assert not self.network.training
        self.n_validations += 1
        return self.figures[self.n_validations - 1]

    def state_dict(self) -> dict[str, Any]:
        return {"n_validations": self.n_validations}

    def load_state_dict(self, state: Any) -> None:
        self.n_validations = state["n_validations"]


class FromStart(Regression):
    """The untrained network takes part in the choice."""

    validates_start = True


def config(**values: Any) -> TrainingConfig:
    return TrainingConfig(**{"batch_size": 6, "epochs": 5, "learning_rate": 0.1, **values})


def weights(task: Task) -> list[Tensor]:
    return [value.clone() for value in task.network.state_dict().values()]


def test_it_learns() -> None:
    task = Regression()
    log = Trainer(task, config(epochs=40), QUIET).run()
    assert log.loss[-1] < 0.2 * log.loss[0]
    assert (log.best_epoch, log.validation, log.untrained) == (40, [], None)
    assert not task.network.training


@pytest.mark.parametrize(
    ("figures", "patience", "epochs_run", "best"),
    [
        ((0.1, 0.3, 0.2, 0.2, 0.4), 4, 5, 5),
        ((0.1, 0.3, 0.2, 0.2, 0.4), 2, 4, 2),
        ((0.3, 0.3, 0.3, 0.3, 0.3), 9, 5, 1),  # of equal figures the first
        ((0.0, 0.0, 0.0, 0.0, 0.0), 3, 4, 1),
    ],
)
def test_the_best_epoch_is_kept(figures: tuple[float, ...], patience: int, epochs_run: int, best: int) -> None:
    task = Regression(figures=figures)
    log = Trainer(task, config(patience=patience), QUIET).run()
    assert (log.validation, log.best_epoch) == (list(figures[:epochs_run]), best)
    shorter = Regression()
    Trainer(shorter, config(), QUIET, stop_after=best).run()
    assert all(torch.equal(a, b) for a, b in zip(weights(task), weights(shorter), strict=True))


def test_the_untrained_network_is_epoch_zero() -> None:
    task = FromStart(figures=(0.5, 0.4, 0.3, 0.2))
    before = weights(task)
    log = Trainer(task, config(patience=3), QUIET).run()
    assert (log.untrained, log.validation, log.best_epoch) == (0.5, [0.4, 0.3, 0.2], 0)
    assert all(torch.equal(a, b) for a, b in zip(weights(task), before, strict=True))
    assert Trainer(FromStart(figures=(0.1, 0.4, 0.3, 0.2)), config(epochs=3), QUIET).run().best_epoch == 1


def test_stopping_early_keeps_the_schedule_of_all_epochs() -> None:
    whole = Trainer(Regression(), config(epochs=8), QUIET).run()
    trainer = Trainer(Regression(), config(epochs=8), QUIET, stop_after=3)
    assert trainer.run().loss == whole.loss[:3]
    assert trainer.schedule.get_last_lr()[0] == pytest.approx(0.1 * (1 + np.cos(np.pi * 3 / 8)) / 2)


@pytest.mark.parametrize(("schedule", "middle", "end"), [("cosine", 0.05, 0.0), ("constant", 0.1, 0.1)])
def test_schedules(schedule: str, middle: float, end: float) -> None:
    options = config(schedule=schedule)
    optimiser = build_optimiser(Regression().network, options)
    rates = build_schedule(optimiser, options, 10)
    seen = []
    for _ in range(10):
        optimiser.step()
        rates.step()
        seen.append(rates.get_last_lr()[0])
    assert (seen[4], seen[9]) == (pytest.approx(middle), pytest.approx(end))


def test_weight_decay_is_decoupled_and_spares_what_a_module_names() -> None:
    """Without a gradient, decay alone moves a weight: w ← w·(1 − lr·λ)."""
    network = nn.Linear(1, 1)
    network.no_decay = ("bias",)
    before = network.weight.item(), network.bias.item()
    optimiser = build_optimiser(network, config(weight_decay=0.5))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    assert network.weight.item() == pytest.approx(before[0] * (1 - 0.1 * 0.5))
    assert network.bias.item() == before[1]


class Killed(Exception):
    """The end of the process."""


def broken_off(options: RunOptions, steps: int, **values: Any) -> None:
    """Train until step number ``steps`` + 1 of this process."""
    task = Regression(**values)
    loss, done = task.loss, 0

    def counted(batch: Any) -> tuple[Tensor, int]:
        nonlocal done
        done += 1
        if done > steps:
            raise Killed
        return loss(batch)

    task.loss = counted  # type: ignore[method-assign]
    with pytest.raises(Killed):
        Trainer(task, config(), options).run()


def test_a_break_anywhere_changes_nothing(tmp_path: Path) -> None:
    figures = (0.1, 0.3, 0.2, 0.5, 0.4)
    expected = Regression(figures=figures)
    log = Trainer(expected, config(), QUIET).run()
    kept = replace(QUIET, checkpoint_dir=tmp_path / "c", checkpoint_minutes=1e-9, resume=True)
    for steps in (1, 4, 2, 6):
        broken_off(kept, steps, figures=figures)
    task = Regression(figures=figures)
    resumed = Trainer(task, config(), kept).run()
    assert task.n_losses < 20
    assert (resumed.loss, resumed.validation, resumed.best_epoch) == (log.loss, log.validation, log.best_epoch)
    assert all(torch.equal(a, b) for a, b in zip(weights(task), weights(expected), strict=True))


def test_another_training_is_not_resumed(tmp_path: Path) -> None:
    kept = replace(QUIET, checkpoint_dir=tmp_path / "c")
    Trainer(Regression(), config(), kept, identity={"data": "a"}).run()
    again = replace(kept, resume=True)
    for options, other, named in (
        (again, {"config": config(learning_rate=0.2), "identity": {"data": "a"}}, "learning_rate was 0.1 and is 0.2"),
        (replace(again, seed=3), {"config": config(), "identity": {"data": "a"}}, "seed was 0 and is 3"),
        (again, {"config": config(), "identity": {"data": "b"}}, "data was a and is b"),
        (again, {"config": config(), "identity": {"data": "a"}, "stop_after": 2}, "stop_after was 5 and is 2"),
    ):
        with pytest.raises(ResumeError, match=named):
            Trainer(Regression(), other.pop("config"), options, **other).run()


def test_a_loss_that_is_not_finite_names_its_batch() -> None:
    with pytest.raises(TrainingError, match=r"loss became nan in epoch 2, batch 3 of 4; .*The batch: points \["):
        Trainer(Regression(fails_at=7), config(), QUIET).run()
