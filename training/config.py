"""Options of the training loop, the same for every model that takes epochs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reccore import ComponentConfig


class AverageConfig(ComponentConfig):
    """Options of ``WeightAverage``.

    Attributes:
        decay: of a step's share in the average for each later step; the average spans about 1 / (1 − decay) steps.
        every: the average reads the weights after so many steps, and after each epoch.
    """

    decay: float = Field(default=0.999, gt=0, lt=1)
    every: int = Field(default=10, ge=1)


class TrainingConfig(ComponentConfig):
    """Base of the configuration of every model trained by ``training.Trainer``.

    Attributes:
        batch_size: samples of a training step.
        epochs: most passes over the samples; the learning-rate schedule spans all of them.
        learning_rate: of AdamW, at the start.
        schedule: ``cosine`` lowers the learning rate to zero along a cosine over all steps; ``constant`` keeps it.
        weight_decay: decoupled (Loshchilov & Hutter, ICLR 2019); parameters that a module lists in ``no_decay`` are
            left out.
        average: validate and keep an average of the weights over the latest steps, and of running statistics of batch
            normalisation; None = the weights themselves.
        patience: stop after so many epochs without a better validation figure; the best epoch is kept.
    """

    batch_size: int = Field(default=1024, ge=1)
    epochs: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(default=1e-2, ge=0)
    average: AverageConfig | None = None
    patience: int = Field(default=4, ge=1)
