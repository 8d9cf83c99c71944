"""Trainings that end at a chosen step, shared by the tests of checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from training import Trainer
from training.checkpointing import Checkpoints


class Killed(Exception):
    """The end of a process, as far as the trainer is concerned."""


def killed() -> None:
    raise Killed


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int, action: Callable[[], None] = killed) -> None:
    """Do ``action`` instead of step number ``steps`` + 1 of this process."""
    step, done = Trainer._step, 0

    def counted(self: Trainer, rows: Any) -> tuple[int, float, float]:
        nonlocal done
        done += 1
        if done == steps + 1:
            action()
        return step(self, rows)

    monkeypatch.setattr(Trainer, "_step", counted)


def count_steps(monkeypatch: pytest.MonkeyPatch, end_after: int | None = None) -> list[int]:
    """Sizes of the batches trained from here on; raises ``Killed`` after ``end_after`` batches."""
    steps: list[int] = []
    step = Trainer._step

    def counted(trainer: Trainer, rows: Any) -> tuple[int, float, float]:
        if len(steps) == end_after:
            raise Killed
        steps.append(len(rows))
        return step(trainer, rows)

    monkeypatch.setattr(Trainer, "_step", counted)
    return steps


def stop_after_checkpoint(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Raise ``Killed`` as soon as checkpoint ``number`` of this process, from 1, is written."""
    write, done = Checkpoints.write, 0

    def counted(self: Checkpoints, *args: Any) -> bool:
        nonlocal done
        written = write(self, *args)
        done += 1
        if done == number:
            raise Killed
        return written

    monkeypatch.setattr(Checkpoints, "write", counted)
