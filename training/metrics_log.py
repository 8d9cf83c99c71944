"""Curves of a training for TensorBoard: ``tensorboard --logdir <data_dir>/runs``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from loguru import logger

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class MetricsLog:
    """Scalars by step, in a folder of event files for each training; does nothing without a folder.

    If the disk is full, an error is logged, the curves end there, and training continues.

    Args:
        folder: of this training, see ``new_run``; None = nothing is written.
        after_step: last step of a resumed training; later points of the interrupted run are hidden, so that no
            curve has a point twice.
    """

    def __init__(self, folder: Path | None, *, after_step: int | None = None) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None
        if folder is not None:
            purge = None if after_step is None else after_step + 1
            self._guarded(lambda: self._open(folder, purge))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._guarded(self._writer.close)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each named curve."""
        if self._writer is not None:
            self._guarded(lambda: self._add(step, values))

    def flush(self) -> None:
        """Write everything to disk, as before a checkpoint: a resumed training does not write it again."""
        if self._writer is not None:
            self._guarded(self._writer.flush)

    def _open(self, folder: Path, purge: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes half a second, which not every command needs

        self._writer = SummaryWriter(str(folder), purge_step=purge)

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            logger.error("no training curves from here on, {} cannot be written: {}", self.folder, error)
            self._writer = None


def new_run(folder: Path) -> Path:
    """A folder below ``folder`` named for the present second; earlier trainings stay beside it to compare."""
    started = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    run, number = folder / started, 1
    while run.exists():
        number += 1
        run = folder / f"{started}_{number}"
    return run
