"""Training of the two towers: epochs, the schedule, the best epoch on validation, and going on after a break."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from loguru import logger
from torch import Tensor

from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.curves import TrainingCurves
from recall.two_tower.examples import Examples
from recall.two_tower.mining import Retrieve
from recall.two_tower.network import TwoTowerNetwork
from recall.two_tower.objective import Objective
from recall.two_tower.optimiser import DeferredAdamW, clip_gradients
from recall.two_tower.tables import Table
from reccore import RecommenderError, ResumeError, RunOptions
from reccore.arrays import IntArray
from reccore.checkpoint import Checkpoints
from reccore.interrupt import held_back
from reccore.metrics_log import new_run
from reccore.precision import training_products
from reccore.progress import progress
from reccore.random_state import generator_state, set_torch_states, torch_states

COMPONENT = "two_tower"
GRADIENT_NORM = 5.0
EVENTS_NAMED = 5
"""An error names so many events of its batch."""


class TrainingError(RecommenderError):
    """Training went wrong in a way that more epochs do not mend."""


@dataclass
class TrainingLog:
    """What happened.

    Attributes:
        loss: mean of each epoch.
        validation: figure of each epoch; empty without validation.
        best_epoch: which epoch was kept.
        minutes: in all, validation included; after a break, those of the steps that counted.
        samples_per_second: training alone.
    """

    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = 0
    minutes: float = 0.0
    samples_per_second: float = 0.0


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
        trainer.begin(trainer.checkpoints, resume=options.resume)
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
        self.optimiser = _optimiser(network, config)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, T_max=self.n_batches * config.epochs)
        n_in_batch = len(examples) / self.n_batches
        self.objective = Objective(network, examples.interactions, n_in_batch, config, self.device, retrieve=retrieve)
        self.shuffle, self.draws = options.generator(1), options.torch_generator(2)
        self.checkpoints: Checkpoints | None = None
        self.run_folder: Path | None = None if options.log_dir is None else new_run(options.log_dir)
        self.curves: TrainingCurves
        self.curves_before: dict[str, Any] = {}
        self.log = TrainingLog()
        self.best: dict[str, Tensor] | None = None
        self.epoch, self.batch, self.total = 1, 0, 0.0  # under way; batches of it done; sum of their losses
        self.epoch_shuffle = generator_state(self.shuffle)  # at the beginning of the epoch under way
        self.n_samples, self.step_seconds = 0, 0.0
        self.started = perf_counter()

    # Running ----------------------------------------------------------------------------------------------

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
            held_back(enabled=self.checkpoints is not None) as interrupted,
        ):
            while not self.finished:
                self._epoch(advance, interrupted)
                self._pause(interrupted)
        if self.validate is None:
            self.log.best_epoch = self.config.epochs
        elif self.best is not None:
            self.network.load_state_dict(self.best)
        self.network.eval()
        self._close_log()
        return self.log

    def _epoch(self, advance: Callable[..., None], interrupted: Callable[[], bool]) -> None:
        """Train what is left of the epoch under way, and judge it."""
        self.network.train()
        self.epoch_shuffle = generator_state(self.shuffle)
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
        self.optimiser.settle()
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

    def _close_log(self) -> None:
        log = self.log
        log.minutes = self._seconds / 60
        log.samples_per_second = self.n_samples / max(self.step_seconds, 1e-9)
        logger.info(
            "{} epochs in {:.1f} minutes, the best of them epoch {}{}; {:,.0f} samples/s",
            len(log.loss),
            log.minutes,
            log.best_epoch,
            f" (validation {max(log.validation):.4f})" if log.validation else "",
            log.samples_per_second,
        )

    @property
    def _seconds(self) -> float:
        """Since the beginning, those before a break included."""
        return self.log.minutes * 60 + perf_counter() - self.started

    # Breaks -----------------------------------------------------------------------------------------------

    def begin(self, checkpoints: Checkpoints, *, resume: bool) -> None:
        """Take up the checkpoint that is there, or discard it."""
        state = checkpoints.read() if resume else None
        if state is None:
            checkpoints.discard()
            return
        try:
            self.load_state_dict(state)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise ResumeError(
                f"cannot resume: the checkpoint at {checkpoints.folder} does not fit this version of the code "
                f"({error}); train without --resume to start from the beginning"
            ) from error
        logger.info("resumed: {} of {} batches of epoch {} are done", self.batch, self.n_batches, self.epoch)

    def _pause(self, interrupted: Callable[[], bool]) -> None:
        """Write a checkpoint; stop here if that is wished.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed since the last batch.
        """
        if self.checkpoints is None:
            return
        self.curves.log.flush()
        written = self.checkpoints.write(
            self.state_dict(), f"epoch {self.epoch}, {self.batch} of {self.n_batches} batches"
        )
        if interrupted():
            if written:
                logger.warning("interrupted; what is done is kept in the checkpoint at {}", self.checkpoints.folder)
            raise KeyboardInterrupt

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on, but for what the identity stands for."""
        log = asdict(self.log)
        log["minutes"] = self._seconds / 60
        return {
            "network": self.network.state_dict(),
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "objective": self.objective.state_dict(),
            "shuffle": generator_state(self.shuffle) if self.batch == 0 else self.epoch_shuffle,
            "draws": self.draws.get_state(),
            "torch": torch_states(self.device),
            "log": log,
            "position": [self.epoch, self.batch, self.total, self.n_samples, self.step_seconds],
            "curves": self.curves.window,
            "run_folder": None if self.run_folder is None else self.run_folder.name,
            "machine": _machine(self.device),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where ``state_dict`` was taken."""
        self.network.load_state_dict(state["network"])
        self.best = state["best"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.objective.load_state_dict(state["objective"])
        self.shuffle.bit_generator.state = state["shuffle"]
        self.draws.set_state(state["draws"])
        set_torch_states(state["torch"], self.device)
        self.log = TrainingLog(**state["log"])
        self.epoch, self.batch, self.total, self.n_samples, self.step_seconds = state["position"]
        self.curves_before = {"window": state["curves"]}
        if self.options.log_dir is not None and state["run_folder"] is not None:
            self.run_folder = self.options.log_dir / state["run_folder"]
            self.curves_before["after_step"] = self.step
        self._warn_of_another_machine(state["machine"])

    def _warn_of_another_machine(self, before: Mapping[str, Any]) -> None:
        changed = [
            f"{name} was {before.get(name)} and is {value}"
            for name, value in _machine(self.device).items()
            if before.get(name) != value
        ]
        if changed:
            logger.warning("the result may differ from one without a break in its last digits: {}", "; ".join(changed))


def _machine(device: torch.device) -> dict[str, Any]:
    """What the last digits of a result depend on."""
    return {"device": device.type, "threads": torch.get_num_threads(), "torch": str(torch.__version__)}


def _optimiser(network: TwoTowerNetwork, config: TwoTowerConfig) -> DeferredAdamW:
    """AdamW; not decayed are a learned temperature, which that would draw to the middle of its bounds, and the
    shares of a graph's layers, which it would make equal."""
    undecayed = [] if network.temperature is None else [network.temperature.position]
    if network.propagation is not None:
        undecayed.append(network.propagation.logits)
    rest = [p for p in network.parameters() if all(p is not u for u in undecayed)]
    groups = [{"params": rest}] + ([{"params": undecayed, "weight_decay": 0.0}] if undecayed else [])
    tables = [module for module in network.modules() if isinstance(module, Table)]
    return DeferredAdamW(groups, tables, lr=config.learning_rate, weight_decay=config.weight_decay)
