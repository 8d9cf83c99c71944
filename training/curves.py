"""Curves of a training: each point is a mean over some batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from training.metrics_log import MetricsLog

BATCHES_PER_POINT = 50


@dataclass
class Window:
    """Sums over the batches since the last point."""

    n_batches: int = 0
    n_samples: int = 0
    loss: float = 0.0
    gradient_norm: float = 0.0
    seconds: float = 0.0


class TrainingCurves:
    """Loss, gradient norm and speed every ``BATCHES_PER_POINT`` batches and at an epoch's end, for TensorBoard.

    Args:
        folder: of event files; None = none are written.
        after_step: finished batches, when a training is resumed.
        window: sums since the last point before the break, see ``window``.
    """

    def __init__(
        self, folder: Path | None, *, after_step: int | None = None, window: Mapping[str, float] | None = None
    ) -> None:
        self.log = MetricsLog(folder, after_step=after_step)
        self._window = Window(**(window or {}))  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        self.log.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.log.__exit__(kind, error, trace)

    @property
    def window(self) -> dict[str, float]:
        """Sums of the next point so far; part of a checkpoint."""
        return asdict(self._window)

    def batch(
        self, step: int, *, n_samples: int, loss: float, gradient_norm: float, seconds: float, now: Mapping[str, float]
    ) -> None:
        """Add a batch; of ``now`` (learning rate, temperature) a point shows the last value."""
        window = self._window
        window.n_batches += 1
        window.n_samples += n_samples
        window.loss += loss
        window.gradient_norm += gradient_norm
        window.seconds += seconds
        if window.n_batches >= BATCHES_PER_POINT:
            self._point(step, now)

    def epoch(self, step: int, now: Mapping[str, float], **figures: float) -> None:
        """Add the figures of an epoch (mean loss, validation)."""
        if self._window.n_batches:
            self._point(step, now)
        self.log.scalars(step, {f"epoch/{name}": value for name, value in figures.items()})

    def _point(self, step: int, now: Mapping[str, float]) -> None:
        window = self._window
        values = {
            "loss": window.loss / window.n_batches,
            "gradient_norm": window.gradient_norm / window.n_batches,
            "samples_per_second": window.n_samples / max(window.seconds, 1e-9),
            **now,
        }
        self.log.scalars(step, {f"train/{name}": value for name, value in values.items()})
        self._window = Window()
