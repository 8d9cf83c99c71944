"""The temperature τ by which cosines are divided, fixed or learned between two bounds."""

from __future__ import annotations

import math
from typing import Annotated, Self

import torch
from pydantic import BeforeValidator, Field, PositiveFloat, model_validator
from torch import Tensor, nn

from reccore import ComponentConfig


class TemperatureConfig(ComponentConfig):
    """Options of τ; a bare number is a fixed τ.

    Attributes:
        start: τ, or its value before training where it is learned.
        bounds: least and greatest τ; with bounds τ is learned.
    """

    start: float = Field(default=0.1, gt=0)
    bounds: tuple[PositiveFloat, PositiveFloat] | None = None

    @model_validator(mode="after")
    def _start_inside(self) -> Self:
        if self.bounds is not None and not self.bounds[0] < self.start < self.bounds[1]:
            low, high = self.bounds
            raise ValueError(f"temperature {self.start} must lie inside its bounds {low} … {high}")
        return self


Temperature = Annotated[
    TemperatureConfig,
    BeforeValidator(lambda value: {"start": value} if isinstance(value, (int, float)) else value),
]


class LearnedTemperature(nn.Module):
    """τ between two bounds: log τ moves from the lower to the upper along a sigmoid.

    Args:
        start: τ before training, strictly inside the bounds.
        bounds: the least and the greatest τ.
    """

    no_decay = ("position",)  # decay would pull τ to the middle of its bounds

    def __init__(self, start: float, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.log_bounds = math.log(bounds[0]), math.log(bounds[1])
        share = (math.log(start) - self.log_bounds[0]) / (self.log_bounds[1] - self.log_bounds[0])
        self.position = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    def forward(self) -> Tensor:
        """() τ."""
        low, high = self.log_bounds
        return torch.exp(low + (high - low) * torch.sigmoid(self.position))
