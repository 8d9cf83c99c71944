"""How the losses of several tasks are balanced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field, NonNegativeFloat, Tag
from torch import Tensor, nn

from reccore import ComponentConfig
from reccore.config import by_kind


class FixedBalanceConfig(ComponentConfig):
    """Loss = Σ_t weight_t · L_t.

    Attributes:
        weights: by task; a task that is not named has 1.
    """

    kind: Literal["fixed"] = "fixed"
    weights: dict[str, NonNegativeFloat] = Field(default_factory=dict)


class UncertaintyBalanceConfig(ComponentConfig):
    """Loss = Σ_t L_t / σ_t² + log σ_t with learned σ_t.

    Kendall, Gal and Cipolla: Multi-Task Learning Using Uncertainty to Weigh Losses, CVPR 2018, equation (10) for
    classification. Learned is s_t = log σ_t², which starts at 0.
    """

    kind: Literal["uncertainty"] = "uncertainty"


BalanceConfig: TypeAlias = Annotated[
    Annotated[FixedBalanceConfig, Tag("fixed")] | Annotated[UncertaintyBalanceConfig, Tag("uncertainty")],
    by_kind("fixed"),
]


def loss_weights(tasks: Sequence[str], config: FixedBalanceConfig | UncertaintyBalanceConfig) -> list[float]:
    """Weight of each task's loss; where it is learned, the 1 that it starts with."""
    return [1.0 if config.kind == "uncertainty" else config.weights.get(task, 1.0) for task in tasks]


class LossBalance(nn.Module):
    """From the losses of the tasks to the one to minimise."""

    def __init__(self, tasks: Sequence[str], config: FixedBalanceConfig | UncertaintyBalanceConfig) -> None:
        super().__init__()
        self.log_variance: nn.Parameter | None = None
        self.fixed = loss_weights(tasks, config)
        if config.kind == "uncertainty":
            self.log_variance = nn.Parameter(torch.zeros(len(tasks)))

    def forward(self, losses: Mapping[int, Tensor]) -> Tensor:
        """Number of a task → its loss, () each. A task that is absent has no label in the batch and adds nothing."""
        if self.log_variance is None:
            return torch.stack([self.fixed[task] * loss for task, loss in losses.items()]).sum()
        s = self.log_variance
        return torch.stack([loss * torch.exp(-s[task]) + 0.5 * s[task] for task, loss in losses.items()]).sum()
