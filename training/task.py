"""What a trainer runs: the batches of an epoch, the loss of a batch, and the validation figure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

Batch: TypeAlias = Any
"""Whatever ``Task.batches`` lists and ``Task.loss`` takes, such as row numbers."""


class Task(ABC):
    """One training problem: a network, its samples, and how both meet in a loss.

    All random draws of batches and losses come from ``generators``, so that the trainer can store and restore them.

    Attributes:
        network: trained in place.
        n_samples: samples of an epoch.
        n_batches: batches of an epoch.
        generators: random generators by name, NumPy's or torch's.
        n_users: whose samples they are; read where several ranks share them.
    """

    name: ClassVar[str] = "training"
    """Name of the progress bar and of checkpoints."""
    unit: ClassVar[str] = "samples"
    """What the samples are called in progress lines and logs."""
    validates_start: ClassVar[bool] = False
    """Whether the untrained network is validated too, as epoch 0, and kept where no epoch is better."""

    network: nn.Module
    n_samples: int
    n_batches: int
    generators: Mapping[str, np.random.Generator | torch.Generator]
    n_users: int

    @abstractmethod
    def batches(self) -> Sequence[Batch]:
        """The ``n_batches`` batches of the next epoch, in random order."""

    @abstractmethod
    def loss(self, batch: Batch) -> tuple[Tensor, int]:
        """Mean loss of a batch, (), with a gradient; and the number of its samples.

        One of several ranks computes its share of the batch (``training.ranks``) and returns the loss of the whole.
        """

    @abstractmethod
    def describe(self, batch: Batch) -> str:
        """What a batch holds, for the error message when its loss is not finite."""

    @property
    def validates(self) -> bool:
        """Whether there is a validation figure to choose an epoch by."""
        return False

    def validate(self) -> float:
        """Validation figure of the network as it stands, in evaluation mode; greater is better.

        Of several ranks the first one's figure counts.
        """
        raise NotImplementedError(f"{type(self).__name__} has no validation figure")

    def curves(self) -> dict[str, float]:
        """Further values to show beside the loss, such as a learned temperature."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """State between batches that neither the network nor the generators hold."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore ``state_dict``."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state to restore, got {', '.join(state)}")
