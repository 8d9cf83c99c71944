"""Averaged weights: against a weighted mean written out, what is validated and kept, and resuming."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reccore import ConfigError, RunOptions
from tests.training.test_trainer import QUIET, Killed, Regression, config, weights
from training import AverageConfig, Trainer, TrainingConfig
from training.averaging import WeightAverage
from training.kernels.embedding_table import EmbeddingTable

AVERAGE = {"decay": 0.8, "every": 3}
STEPS, PER_EPOCH = 20, 4
FIGURES = (0.1, 0.3, 0.2, 0.5, 0.4)


class Table(Regression):
    """y = w[row] over a table of 6 rows, of which a batch reads few: AdamW defers the others."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        torch.manual_seed(0)
        self.network = EmbeddingTable(6, 1)

    def loss(self, batch: Any) -> tuple[Tensor, int]:
        rows = torch.from_numpy(batch[:2] % 6)
        return (self.network(rows)[:, 0] - Y[rows]).square().mean(), len(batch)


Y = torch.tensor([1.0, -2.0, 3.0, 0.5, -1.0, 2.0])


def after_each_step(task: Regression, **values: Any) -> tuple[Trainer, list[list[Tensor]]]:
    """The trainer after its run, and the weights after each step, deferred rows included."""
    trainer = Trainer(task, config(**values), QUIET)
    step, seen = trainer._step, []

    def watched(batch: Any) -> Any:
        done = step(batch)
        trainer.optimiser.flush()
        seen.append(weights(task))
        return done

    trainer._step = watched  # type: ignore[method-assign]
    trainer.run()
    return trainer, seen


def by_hand(seen: list[list[Tensor]], last: int) -> list[Tensor]:
    """Mean of the weights after steps 3, 6, … and after each epoch, up to step ``last``."""
    steps = [s for s in range(1, last + 1) if s % AVERAGE["every"] == 0 or s % PER_EPOCH == 0]
    shares = torch.tensor([AVERAGE["decay"] ** (last - s) for s in steps], dtype=torch.float64)
    shares /= shares.sum()
    return [
        sum(share * seen[s - 1][part].double() for share, s in zip(shares, steps, strict=True))  # type: ignore[misc]
        for part in range(len(seen[0]))
    ]


@pytest.mark.parametrize("make", [Regression, Table])
def test_the_weights_kept_are_the_average_of_those_after_steps(make: Callable[..., Regression]) -> None:
    task = make()
    _, seen = after_each_step(task, average=AVERAGE)
    assert len(seen) == STEPS
    for found, expected in zip(weights(task), by_hand(seen, STEPS), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(weights(task)[0], seen[-1][0], atol=1e-3)


def test_statistics_of_batch_normalisation_are_averaged_and_no_other_buffer() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm1d(1, affine=False))
    network.register_buffer("seen", torch.zeros(1))
    norm = network[0]
    average = WeightAverage(network, AverageConfig(decay=0.5, every=1))
    for step, mean in enumerate((1.0, 3.0, 5.0), start=1):
        norm.running_mean.fill_(mean)
        norm.running_var.fill_(10.0 * mean)
        network.seen.fill_(step)
        average.read(step)
    again = WeightAverage(network, AverageConfig(decay=0.5, every=1))
    again.load_state_dict(average.state_dict())
    for one in (average, again):
        with one.applied():  # (1/4 · 1 + 1/2 · 3 + 5) / (1/4 + 1/2 + 1) = 27/7
            assert norm.running_mean.item() == pytest.approx(27 / 7)
            assert norm.running_var.item() == pytest.approx(270 / 7)
            assert network.seen.item() == 3.0
        assert (norm.running_mean.item(), norm.running_var.item()) == (5.0, 50.0)


def test_averaging_does_not_change_the_training() -> None:
    plain, averaged = (after_each_step(Regression(), **values) for values in ({}, {"average": AVERAGE}))
    assert plain[0].log.loss == averaged[0].log.loss
    for one, other in zip(plain[1], averaged[1], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_averaged_weights_are_validated_and_the_best_of_them_kept() -> None:
    task = Regression(figures=FIGURES)
    validated, validate = [], task.validate

    def watched() -> float:
        validated.append(weights(task))
        return validate()

    task.validate = watched  # type: ignore[method-assign]
    trainer, seen = after_each_step(task, average=AVERAGE)
    for epoch, found in enumerate(validated, start=1):
        for ours, expected in zip(found, by_hand(seen, epoch * PER_EPOCH), strict=True):
            torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-6)
    assert trainer.log.best_epoch == 4
    assert all(torch.equal(a, b) for a, b in zip(weights(task), validated[3], strict=True))


@pytest.mark.parametrize("make", [Regression, Table])
@pytest.mark.parametrize("figures", [None, FIGURES])
def test_a_break_anywhere_changes_nothing(tmp_path: Path, make: Callable[..., Regression], figures: Any) -> None:
    options = config(average=AVERAGE)
    expected = make(figures=figures)
    log = Trainer(expected, options, QUIET).run()
    kept = replace(QUIET, checkpoint_dir=tmp_path / "c", checkpoint_minutes=1e-9, resume=True)
    for steps in (1, 4, 2, 6):
        broken_off(make(figures=figures), options, kept, steps)
    task = make(figures=figures)
    assert Trainer(task, options, kept).run().loss == log.loss
    assert all(torch.equal(a, b) for a, b in zip(weights(task), weights(expected), strict=True))


def broken_off(task: Regression, options: TrainingConfig, run: RunOptions, steps: int) -> None:
    """Train until step number ``steps`` + 1 of this process."""
    loss, done = task.loss, 0

    def counted(batch: Any) -> tuple[Tensor, int]:
        nonlocal done
        done += 1
        if done > steps:
            raise Killed
        return loss(batch)

    task.loss = counted  # type: ignore[method-assign]
    with pytest.raises(Killed):
        Trainer(task, options, run).run()


def test_a_slower_decay_looks_farther_back() -> None:
    """Along a straight path of the weights the average lags by the mean age of what it holds."""
    lags = []
    for decay in (0.1, 0.9):
        task = Regression()
        trainer = Trainer(task, config(average={"decay": decay, "every": 1}), QUIET)
        for step in range(1, 101):
            with torch.no_grad():
                task.network[1].weight.fill_(step)
            trainer.average.read(step)
            trainer.average.read(step)  # again: no change
        lags.append(100 - trainer.average.mean["1.weight"].item())
    np.testing.assert_allclose(lags, [1 / 9, 9.0], rtol=2e-3)


def test_wrong_options() -> None:
    with pytest.raises(ConfigError, match="decay"):
        TrainingConfig.parse({"average": {"decay": 1.0}})
    with pytest.raises(ConfigError, match="every"):
        TrainingConfig.parse({"average": {"every": 0}})
