"""What a training of the two towers tells afterwards; a model's manifest keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field

from loguru import logger


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

    def show(self) -> None:
        """A line for people, at the end of a training."""
        logger.info(
            "{} epochs in {:.1f} minutes, the best of them epoch {}{}; {:,.0f} samples/s",
            len(self.loss),
            self.minutes,
            self.best_epoch,
            f" (validation {max(self.validation):.4f})" if self.validation else "",
            self.samples_per_second,
        )
