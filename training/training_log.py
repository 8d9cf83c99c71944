"""Summary of a training, which a model's manifest keeps."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        took = f"{self.minutes:.1f} minutes" if self.minutes >= 1 else f"{60 * self.minutes:.0f} seconds"
        logger.info(
            "{} epochs in {}, best epoch {}{}; {:,.0f} {}/s",
            len(self.loss),
            took,
            self.best_epoch,
            "" if best is None else f" (validation {best:.4f})",
            self.samples_per_second,
            unit,
        )
