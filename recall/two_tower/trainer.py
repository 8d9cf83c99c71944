"""Training of the two towers: epochs, the schedule, the best epoch on validation, and going on after a break."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from loguru import logger
from torch import Tensor

from recall.two_tower.breaks import begin, state_of
from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.examples import Examples
from recall.two_tower.mining import Retrieve
from recall.two_tower.network import TwoTowerNetwork
from recall.two_tower.objective import Objective
from recall.two_tower.schedule import optimiser_of, schedule_of
from reccore import RecommenderError, RunOptions
from reccore.arrays import IntArray
from reccore.progress import progress
from training.checkpointing import Checkpoints
from training.curves import TrainingCurves
from training.interrupts import defer_sigint
from training.kernels.deferred_adamw import clip_gradients
from training.metrics_log import new_run
from training.precision import training_products
from training.training_log import TrainingLog

COMPONENT = "two_tower"
GRADIENT_NORM = 5.0
EVENTS_NAMED = 5
"""An error names so many events of its batch."""


class TrainingError(RecommenderError):
    """Training went wrong in a way that more epochs do not mend."""


def train(
    network: TwoTowerNetwork,
    examples: Examples,
    config: TwoTowerConfig,
    options: RunOptions,
    *,
    validate: Callable[[], float] | None = None,
    retrieve: Retrieve | None = None,
    data: Mapping[str, str] | None = None,
) -> TrainingLog:
    """Train in place; with ``validate`` (greater is better) the best epoch's weights are restored.

    With ``options.checkpoint_dir`` Ctrl-C waits for the end of a batch and writes a checkpoint.

    Args:
        network: fresh from ``config`` and the seed; on a resumed run its state is replaced.
        examples: what to learn from.
        config: of the channel.
        options: seed, device, checkpoints, curves.
        validate: figure of the network as it stands, to choose an epoch by.
        retrieve: answers queries by the network's present vectors, to mine hard negatives.
        data: fingerprints of all that is read, by name; a checkpoint of other data is refused.

    Raises:
        TrainingError: the loss or a gradient is not a number; names epoch, batch and events.
        ResumeError: the checkpoint to go on from is of another config, seed or data, damaged or of another version.
    """
    trainer = Trainer(network, examples, config, options, validate=validate, retrieve=retrieve)
    if options.checkpoint_dir is not None:
        identity = {"config": config.model_dump(mode="json"), "seed": options.seed, "data": dict(data or {})}
        trainer.checkpoints = Checkpoints(
            options.checkpoint_dir,
            component=COMPONENT,
            identity=identity,
            every_minutes=options.checkpoint_minutes,
        )
        begin(trainer, trainer.checkpoints, resume=options.resume)
    return trainer.run()


class Trainer:
    """One training, from wherever it stands to its end; ``train`` is the way in."""

    def __init__(
        self,
        network: TwoTowerNetwork,
        examples: Examples,
        config: TwoTowerConfig,
        options: RunOptions,
        *,
        validate: Callable[[], float] | None,
        retrieve: Retrieve | None,
    ) -> None:
        self.network, self.examples, self.config, self.options = network, examples, config, options
        self.validate = validate
        self.device = options.torch_device()
        network.to(self.device)
        self.n_batches = examples.n_batches
        self.optimiser = optimiser_of(network, config)
        self.schedule = schedule_of(self.optimiser, self.n_batches * config.epochs)
        n_in_batch = len(examples) / self.n_batches
        self.objective = Objective(network, examples.interactions, n_in_batch, config, self.device, retrieve=retrieve)
        self.shuffle, self.draws = options.generator("shuffle"), options.torch_generator("negatives")
        self.checkpoints: Checkpoints | None = None
        self.run_folder: Path | None = None if options.log_dir is None else new_run(options.log_dir)
        self.curves: TrainingCurves
        self.curves_before: dict[str, Any] = {}
        self.log = TrainingLog()
        self.best: dict[str, Tensor] | None = None
        self.epoch, self.batch, self.total = 1, 0, 0.0  # under way; batches of it done; sum of their losses
        self.epoch_shuffle = dict(self.shuffle.bit_generator.state)  # at the beginning of the epoch under way
        self.n_samples, self.step_seconds = 0, 0.0
        self.started = perf_counter()

    @property
    def step(self) -> int:
        """Batches done since the beginning."""
        return (self.epoch - 1) * self.n_batches + self.batch

    @property
    def finished(self) -> bool:
        waited = len(self.log.validation) - self.log.best_epoch if self.validate is not None else 0
        return self.epoch > self.config.epochs or waited >= self.config.patience

    def run(self) -> TrainingLog:
        """Train to the end; the network is left in evaluation mode with the state to keep."""
        total = len(self.examples) * self.config.epochs
        with (
            progress(
                "two-tower", total, unit="samples", enabled=self.options.progress, initial=self.n_samples
            ) as advance,
            TrainingCurves(self.run_folder, **self.curves_before) as self.curves,
            defer_sigint(enabled=self.checkpoints is not None) as interrupted,
        ):
            while not self.finished:
                self._epoch(advance, interrupted)
                self._pause(interrupted)
        if self.validate is None:
            self.log.best_epoch = self.config.epochs
        elif self.best is not None:
            self.network.load_state_dict(self.best)
        self.network.eval()
        self.log.minutes = self.seconds / 60
        self.log.samples_per_second = self.n_samples / max(self.step_seconds, 1e-9)
        self.log.show("samples")
        return self.log

    def _epoch(self, advance: Callable[..., None], interrupted: Callable[[], bool]) -> None:
        """Train what is left of the epoch under way, and judge it."""
        self.network.train()
        self.epoch_shuffle = dict(self.shuffle.bit_generator.state)
        for rows in self.examples.batches(self.shuffle)[self.batch :]:
            if self.batch > 0 and (interrupted() or (self.checkpoints is not None and self.checkpoints.due)):
                self._pause(interrupted)
            started = perf_counter()
            n_samples, loss, norm = self._step(rows)
            seconds = perf_counter() - started
            self.batch += 1
            self.total += loss * n_samples
            self.n_samples += n_samples
            self.step_seconds += seconds
            self.curves.batch(
                self.step,
                n_samples=n_samples,
                loss=loss,
                gradient_norm=norm,
                seconds=seconds,
                now=self._now(),
            )
            advance(n_samples, loss=loss, epoch=self.epoch)
        self.optimiser.flush()
        self.log.loss.append(self.total / len(self.examples))
        figures = {"loss": self.log.loss[-1]}
        if self.validate is not None:
            figures["validation"] = self._judge(self.validate)
        self.curves.epoch(self.step, self._now(), **figures)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        logger.debug("epoch {}: {}", self.epoch, shown)
        self.epoch, self.batch, self.total = self.epoch + 1, 0, 0.0

    def _step(self, rows: IntArray) -> tuple[int, float, float]:
        """One batch; its size, its loss, and the norm of its gradient before clipping."""
        inputs, targets = self.examples.batch(rows)
        events = self.examples.events(rows)
        self.optimiser.zero_grad(set_to_none=True)
        with training_products(self.device):
            loss = self.objective(inputs.to(self.device), targets.to(self.device), events, self.draws)
            value = self._finite("loss", loss.item(), rows)
            loss.backward()
        norm = self._finite("gradient's norm", clip_gradients(self.network.parameters(), GRADIENT_NORM).item(), rows)
        self.optimiser.step()
        self.schedule.step()
        return len(targets), value, norm

    def _judge(self, validate: Callable[[], float]) -> float:
        """Validation figure of the epoch just trained, whose weights are kept if it is the best so far."""
        self.network.eval()
        value = validate()
        if value > max(self.log.validation, default=-math.inf):
            self.log.best_epoch, self.best = self.epoch, copy.deepcopy(self.network.state_dict())
        self.log.validation.append(value)
        return value

    def _finite(self, what: str, value: float, rows: IntArray) -> float:
        if math.isfinite(value):
            return value
        events = self.examples.events(rows)[:EVENTS_NAMED].tolist()
        raise TrainingError(
            f"the {what} became {value} in epoch {self.epoch}, batch {self.batch + 1} of {self.n_batches}; "
            "a lower learning_rate or a higher temperature may help. "
            f"The batch begins with events {events} of the fit split; the learning rate there was "
            f"{self._now()['learning_rate']:.3g}"
        )

    def _now(self) -> dict[str, float]:
        """What changes along with training."""
        now = {"learning_rate": float(self.schedule.get_last_lr()[0])}
        if self.network.temperature is not None:
            now["temperature"] = self.network.temperature().item()
        return now

    @property
    def seconds(self) -> float:
        """Since the beginning, those before a break included."""
        return self.log.minutes * 60 + perf_counter() - self.started

    def _pause(self, interrupted: Callable[[], bool]) -> None:
        """Write a checkpoint; stop here if that is wished.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed since the last batch.
        """
        if self.checkpoints is None:
            return
        self.curves.log.flush()
        written = self.checkpoints.write(
            state_of(self), f"epoch {self.epoch}, {self.batch} of {self.n_batches} batches"
        )
        if interrupted():
            if written:
                logger.warning("interrupted; what is done is kept in the checkpoint at {}", self.checkpoints.folder)
            raise KeyboardInterrupt
