"""The one training loop, of recall and ranking alike: epochs, the best epoch on validation, checkpoints, curves."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from loguru import logger

from reccore import RecommenderError, ResumeError, RunOptions
from reccore.interrupts import defer_sigint
from reccore.progress import progress
from training import ranks
from training.averaging import WeightAverage
from training.checkpointing import Checkpoints
from training.config import TrainingConfig
from training.curves import TrainingCurves
from training.kernels.deferred_adamw import clip_gradients
from training.metrics_log import new_run
from training.optimiser import build_optimiser, build_schedule
from training.precision import training_products
from training.random_state import generator_states, set_generator_states, set_torch_states, torch_states
from training.rank_gradients import average_gradients
from training.task import Batch, Task
from training.training_log import TrainingLog

GRADIENT_NORM = 5.0


class TrainingError(RecommenderError):
    """The loss or a gradient stopped being a finite number."""


class Trainer:
    """Trains the network of a task in place, from wherever a checkpoint left it to the end.

    After every epoch the validation figure decides which weights are kept; of equal figures the earlier epoch wins.
    With ``config.average`` it is the averaged weights that are validated and kept; training goes on from the others.
    With ``options.checkpoint_dir`` a checkpoint is written after every epoch and every ``checkpoint_minutes``, Ctrl-C
    waits for the end of a batch, and a resumed training ends with the same weights to the bit (same machine, same
    number of threads).

    Where torchrun has started several processes (``training.ranks``), they train together: every step is that of one
    process on the same batch up to the order of sums, except for what layers drop out by torch's own generators. Rank 0
    alone writes checkpoints and curves and shows progress; a training may be resumed on another number of ranks.

    Args:
        task: what to train.
        config: options of the loop.
        options: seed, device, checkpoints, curves, progress.
        stop_after: end after so many epochs although the schedule spans ``config.epochs``; None = all of them.
        identity: whatever else decides the result, such as fingerprints of the data; a checkpoint with another
            config, seed or identity is refused.

    Raises:
        ConfigError: the device is not available, or there are more ranks than users.
    """

    def __init__(
        self,
        task: Task,
        config: TrainingConfig,
        options: RunOptions,
        *,
        stop_after: int | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.task, self.config, self.options = task, config, options
        self.device = options.torch_device()
        if ranks.n_ranks() > 1:
            ranks.check(task.n_users, config.batch_size)
        self.network = task.network.to(self.device)
        ranks.broadcast(self.network)
        self.n_epochs = config.epochs if stop_after is None else min(stop_after, config.epochs)
        self.identity = {
            "config": config.model_dump(mode="json"),
            "seed": options.seed,
            "stop_after": self.n_epochs,
            **(identity or {}),
        }
        self.optimiser = build_optimiser(self.network, config)
        self.schedule = build_schedule(self.optimiser, config, task.n_batches * config.epochs)
        self.average = None if config.average is None else WeightAverage(self.network, config.average)
        self.checkpoints: Checkpoints | None = None
        self.options = options = ranks.of_rank(options)
        self.run_folder: Path | None = None if options.log_dir is None else new_run(options.log_dir)
        self.curves: TrainingCurves
        self.curves_before: dict[str, Any] = {}
        self.log = TrainingLog()
        self.best: dict[str, torch.Tensor] | None = None
        self.epoch, self.batch, self.total = 1, 0, 0.0  # current epoch; its finished batches; sum of their losses
        self.epoch_start = generator_states(task.generators)  # at the beginning of the current epoch
        self.n_samples, self.step_seconds = 0, 0.0
        self.started = perf_counter()

    def run(self) -> TrainingLog:
        """Train to the end and leave the network in evaluation mode with the weights to keep.

        Raises:
            TrainingError: the loss or a gradient is not finite; names epoch, batch and samples.
            ResumeError: the checkpoint belongs to another training, is damaged or of another version.
            ArtefactError: checkpoints cannot be written to their folder.
            RankLostError: another rank has ended.
        """
        resumed = self._open_checkpoints()
        total = self.task.n_samples * self.n_epochs
        with (
            progress(
                self.task.name, total, unit=self.task.unit, enabled=self.options.progress, initial=self.n_samples
            ) as advance,
            TrainingCurves(self.run_folder, **self.curves_before) as self.curves,
            defer_sigint(enabled=self.options.checkpoint_dir is not None) as interrupted,
            _lost_by_sigint(interrupted),
        ):
            if self.task.validates_start and self.task.validates and not resumed:
                self._validate_start()
            while not self.finished:
                self._run_epoch(advance, interrupted)
                self._checkpoint(interrupted)
        if not self.task.validates:
            self.log.best_epoch = len(self.log.loss)
            if self.average is not None:
                self.average.apply()
        elif self.best is not None:
            self.network.load_state_dict(self.best)
        self.network.eval()
        self.log.minutes = self.seconds / 60
        self.log.samples_per_second = self.n_samples / max(self.step_seconds, 1e-9)
        if ranks.is_main():
            self.log.show(self.task.unit)
        return self.log

    @property
    def step(self) -> int:
        """Finished batches since the beginning."""
        return (self.epoch - 1) * self.task.n_batches + self.batch

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        waited = len(self.log.validation) - self.log.best_epoch if self.task.validates else 0
        return self.epoch > self.n_epochs or waited >= self.config.patience

    @property
    def seconds(self) -> float:
        """Since the beginning, those before a resume included."""
        return self.log.minutes * 60 + perf_counter() - self.started

    def _run_epoch(self, advance: Callable[..., None], interrupted: Callable[[], bool]) -> None:
        """Train the rest of the current epoch and validate it."""
        self.network.train()
        for batch in self._remaining_batches():
            if self.batch > 0 and (interrupted() or (self.checkpoints is not None and self.checkpoints.due)):
                self._checkpoint(interrupted)
            started = perf_counter()
            n_samples, loss, norm = self._step(batch)
            self.batch += 1
            if self.average is not None and self.step % self.average.config.every == 0:
                self.optimiser.flush()
                self.average.read(self.step)
            seconds = perf_counter() - started
            self.total += loss * n_samples
            self.n_samples += n_samples
            self.step_seconds += seconds
            self.curves.batch(
                self.step, n_samples=n_samples, loss=loss, gradient_norm=norm, seconds=seconds, now=self._current()
            )
            advance(n_samples, loss=loss, epoch=self.epoch)
        self.optimiser.flush()
        if self.average is not None:
            self.average.read(self.step)
        self.log.loss.append(self.total / self.task.n_samples)
        figures = {"loss": self.log.loss[-1]}
        if self.task.validates:
            figures["validation"] = self._validate_epoch()
        self.curves.epoch(self.step, self._current(), **figures)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        logger.debug("epoch {}: {}", self.epoch, shown)
        self.epoch, self.batch, self.total = self.epoch + 1, 0, 0.0

    def _remaining_batches(self) -> list[Batch]:
        """Batches of the current epoch that are not done; those done are drawn again and passed over."""
        if self.batch == 0:
            self.epoch_start = generator_states(self.task.generators)
            return list(self.task.batches())
        now = generator_states(self.task.generators)
        set_generator_states(self.task.generators, self.epoch_start)
        batches = self.task.batches()
        set_generator_states(self.task.generators, now)
        return list(batches[self.batch :])

    def _step(self, batch: Batch) -> tuple[int, float, float]:
        """Take one step; returns the batch's size, its loss, and the norm of its gradient before clipping."""
        self.optimiser.zero_grad(set_to_none=True)
        ranks.seed_step(self.options.seed, self.step)
        with training_products(self.device):
            loss, n_samples = self.task.loss(batch)
            value = self._finite("loss", loss.item(), batch)
            loss.backward()
            average_gradients(self.network)
        norm = self._finite("gradient's norm", clip_gradients(self.network.parameters(), GRADIENT_NORM).item(), batch)
        self.optimiser.step()
        self.schedule.step()
        return n_samples, value, norm

    def _validate_start(self) -> None:
        self.network.eval()
        self.log.untrained = ranks.of_main(self.task.validate())
        self.best = copy.deepcopy(self.network.state_dict())

    def _validate_epoch(self) -> float:
        """Validation figure of the epoch just trained, whose weights are kept if it is the best so far."""
        self.network.eval()
        with nullcontext() if self.average is None else self.average.applied():
            value, best = ranks.of_main(self.task.validate()), self.log.best_validation
            if best is None or value > best:
                self.log.best_epoch, self.best = self.epoch, copy.deepcopy(self.network.state_dict())
        self.log.validation.append(value)
        return value

    def _finite(self, what: str, value: float, batch: Batch) -> float:
        if math.isfinite(value):
            return value
        raise TrainingError(
            f"the {what} became {value} in epoch {self.epoch}, batch {self.batch + 1} of {self.task.n_batches}; "
            f"a lower learning_rate may help (it was {self._current()['learning_rate']:.3g}). "
            f"The batch: {self.task.describe(batch)}"
        )

    def _current(self) -> dict[str, float]:
        """Values that change along the training."""
        return {"learning_rate": float(self.schedule.get_last_lr()[0]), **self.task.curves()}

    def _open_checkpoints(self) -> bool:
        """Resume from the checkpoint, or set it aside; whether training was resumed."""
        if self.options.checkpoint_dir is None or not (ranks.is_main() or self.options.resume):
            return False
        checkpoints = Checkpoints(
            self.options.checkpoint_dir,
            component=self.task.name,
            identity=self.identity,
            every_minutes=self.options.checkpoint_minutes,
        )
        self.checkpoints = checkpoints if ranks.is_main() else None
        state = checkpoints.read() if self.options.resume else None
        if state is None:
            if ranks.is_main():
                checkpoints.set_aside()
            return False
        try:
            self.load_state_dict(state)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise ResumeError(
                f"cannot resume: the checkpoint at {checkpoints.folder} does not fit this version of the code "
                f"({error}); train without --resume to start from the beginning"
            ) from error
        logger.info("resumed: {} of {} batches of epoch {} are done", self.batch, self.task.n_batches, self.epoch)
        return True

    def _checkpoint(self, interrupted: Callable[[], bool]) -> None:
        """Write a checkpoint.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed since the last batch.
        """
        if self.checkpoints is None:
            return
        self.curves.log.flush()
        where = f"epoch {self.epoch}, {self.batch} of {self.task.n_batches} batches"
        written = self.checkpoints.write(self.state_dict(), where)
        if interrupted():
            if written:
                logger.warning("interrupted; progress is kept in the checkpoint at {}", self.checkpoints.folder)
            raise KeyboardInterrupt

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on, except what ``identity`` covers."""
        log = copy.deepcopy(vars(self.log))
        log["minutes"] = self.seconds / 60
        return {
            "network": self.network.state_dict(),
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "task": self.task.state_dict(),
            "generators": generator_states(self.task.generators),
            "epoch_start": self.epoch_start,
            "torch": torch_states(self.device),
            "log": log,
            "position": [self.epoch, self.batch, self.total, self.n_samples, self.step_seconds],
            "curves": self.curves.window,
            "run_folder": None if self.run_folder is None else self.run_folder.name,
            "machine": _machine(self.device),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore ``state_dict``; a warning names what may change the last digits."""
        self.network.load_state_dict(state["network"])
        self.best = state["best"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.task.load_state_dict(state["task"])
        set_generator_states(self.task.generators, state["generators"])
        self.epoch_start = state["epoch_start"]
        set_torch_states(state["torch"], self.device)
        self.log = TrainingLog(**state["log"])
        self.epoch, self.batch, self.total, self.n_samples, self.step_seconds = state["position"]
        self.curves_before = {"window": state["curves"]}
        if self.options.log_dir is not None and state["run_folder"] is not None:
            self.run_folder = self.options.log_dir / state["run_folder"]
            self.curves_before["after_step"] = self.step
        _warn_of_another_machine(state["machine"], _machine(self.device))


@contextmanager
def _lost_by_sigint(interrupted: Callable[[], bool]) -> Iterator[None]:
    """After Ctrl-C rank 0 ends at a checkpoint, and so do the others when they miss it."""
    try:
        yield
    except ranks.RankLostError as error:
        if interrupted():
            raise KeyboardInterrupt from error
        raise


def _machine(device: torch.device) -> dict[str, Any]:
    """What the last digits of a result depend on."""
    return {
        "device": device.type,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "ranks": ranks.n_ranks(),
    }


def _warn_of_another_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [
        f"{name} was {before.get(name)} and is {value}" for name, value in now.items() if before.get(name) != value
    ]
    if changed:
        logger.warning("the result may differ in its last digits from an uninterrupted one: {}", "; ".join(changed))
