"""Summary of a training, which a model's manifest keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loguru import logger


@dataclass
class TrainingLog:
    """Figures of a training.

    Attributes:
        loss: mean of each epoch.
        validation: figure of each epoch; empty without validation.
        untrained: validation figure before the first epoch; None where it was not measured.
        best_epoch: which epoch was kept; 0 = the untrained network.
        minutes: in all, validation included; after a resume, only the time of steps that count.
        samples_per_second: of the training steps alone.
    """

    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    untrained: float | None = None
    best_epoch: int = 0
    minutes: float = 0.0
    samples_per_second: float = 0.0

    @property
    def best_validation(self) -> float | None:
        """Greatest validation figure so far, the untrained one included; None without any."""
        figures = [*self.validation, *([] if self.untrained is None else [self.untrained])]
        return max(figures, default=None)

    def show(self, unit: str) -> None:
        """Log one line at the end of a training."""
        best = self.best_validation
        logger.info("{}{}", training_text(vars(self), unit), "" if best is None else f" (validation {best:.4f})")


def training_text(log: Mapping[str, Any], unit: str) -> str:
    """Epochs, time and speed of a ``TrainingLog``, or of what a manifest keeps of one."""
    n, minutes = len(log["loss"]), log["minutes"]
    took = f"{minutes:.1f} minutes" if minutes >= 1 else f"{60 * minutes:.1f} seconds"
    return (
        f"{n} epoch{'' if n == 1 else 's'} in {took}, {log['samples_per_second']:,.0f} {unit}/s, "
        f"the best is epoch {log['best_epoch']}"
    )
