"""The one training loop of every model that takes epochs: trainer, optimiser, checkpoints, curves, kernels."""

from training.config import AverageConfig, TrainingConfig
from training.task import Batch, Task
from training.trainer import Trainer, TrainingError
from training.training_log import TrainingLog

__all__ = ["AverageConfig", "Batch", "Task", "Trainer", "TrainingConfig", "TrainingError", "TrainingLog"]
