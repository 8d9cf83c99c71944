"""A training that is broken off and goes on: what a checkpoint holds of it, and how it is taken up again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from loguru import logger

from reccore import ResumeError
from training.checkpointing import Checkpoints
from training.random_state import set_torch_states, torch_states
from training.training_log import TrainingLog

if TYPE_CHECKING:
    from recall.two_tower.trainer import Trainer


def begin(trainer: Trainer, checkpoints: Checkpoints, *, resume: bool) -> None:
    """Take up the checkpoint that is there, or discard it.

    Raises:
        ResumeError: the training cannot go on from it.
    """
    state = checkpoints.read() if resume else None
    if state is None:
        checkpoints.discard()
        return
    try:
        restore(trainer, state)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ResumeError(
            f"cannot resume: the checkpoint at {checkpoints.folder} does not fit this version of the code "
            f"({error}); train without --resume to start from the beginning"
        ) from error
    logger.info("resumed: {} of {} batches of epoch {} are done", trainer.batch, trainer.n_batches, trainer.epoch)


def state_of(trainer: Trainer) -> dict[str, Any]:
    """Everything that the rest of the training depends on, but for what the identity stands for."""
    log = asdict(trainer.log)
    log["minutes"] = trainer.seconds / 60
    return {
        "network": trainer.network.state_dict(),
        "best": trainer.best,
        "optimiser": trainer.optimiser.state_dict(),
        "schedule": trainer.schedule.state_dict(),
        "objective": trainer.objective.state_dict(),
        "shuffle": dict(trainer.shuffle.bit_generator.state) if trainer.batch == 0 else trainer.epoch_shuffle,
        "draws": trainer.draws.get_state(),
        "torch": torch_states(trainer.device),
        "log": log,
        "position": [trainer.epoch, trainer.batch, trainer.total, trainer.n_samples, trainer.step_seconds],
        "curves": trainer.curves.window,
        "run_folder": None if trainer.run_folder is None else trainer.run_folder.name,
        "machine": _machine(trainer.device),
    }


def restore(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Stand where ``state_of`` was taken."""
    trainer.network.load_state_dict(state["network"])
    trainer.best = state["best"]
    trainer.optimiser.load_state_dict(state["optimiser"])
    trainer.schedule.load_state_dict(state["schedule"])
    trainer.objective.load_state_dict(state["objective"])
    trainer.shuffle.bit_generator.state = state["shuffle"]
    trainer.draws.set_state(state["draws"])
    set_torch_states(state["torch"], trainer.device)
    trainer.log = TrainingLog(**state["log"])
    trainer.epoch, trainer.batch, trainer.total, trainer.n_samples, trainer.step_seconds = state["position"]
    trainer.curves_before = {"window": state["curves"]}
    if trainer.options.log_dir is not None and state["run_folder"] is not None:
        trainer.run_folder = trainer.options.log_dir / state["run_folder"]
        trainer.curves_before["after_step"] = trainer.step
    _warn_of_another_machine(state["machine"], _machine(trainer.device))


def _warn_of_another_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [
        f"{name} was {before.get(name)} and is {value}" for name, value in now.items() if before.get(name) != value
    ]
    if changed:
        logger.warning("the result may differ from one without a break in its last digits: {}", "; ".join(changed))


def _machine(device: torch.device) -> dict[str, Any]:
    """What the last digits of a result depend on."""
    return {"device": device.type, "threads": torch.get_num_threads(), "torch": str(torch.__version__)}
