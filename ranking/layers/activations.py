"""Activations between the layers of a deep part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from training.ranks import n_ranks, sum_over_ranks

ActivationName: TypeAlias = Literal["relu", "prelu", "sigmoid", "dice"]


class Dice(nn.Module):
    """The data-adaptive activation of Zhou et al. 2018, section 5.3, equation (9).

    f(s) = p(s)·s + (1 − p(s))·α·s, p(s) = σ((s − E[s]) / √(Var[s] + ε)), with one α per unit. Mean and variance are of
    the batch in training and moving averages in use, which makes p a batch normalisation without scale and shift.
    """

    def __init__(self, size: int, eps: float = 1e-8) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm1d(size, eps=eps, affine=False)
        self.alpha = nn.Parameter(torch.zeros(size))

    def forward(self, values: Tensor) -> Tensor:
        """(…, n) to (…, n)."""
        rows = values.reshape(-1, values.shape[-1])
        normalised = self._over_ranks(rows) if self.training and n_ranks() > 1 else self.normalise(rows)
        p = torch.sigmoid(normalised.view_as(values))
        return values * (self.alpha + p * (1.0 - self.alpha))

    def _over_ranks(self, rows: Tensor) -> Tensor:
        """``self.normalise`` with mean and variance of the rows (R, n) of all ranks."""
        norm = self.normalise
        n = sum_over_ranks(torch.tensor(float(len(rows)), device=rows.device))
        mean = sum_over_ranks(rows.sum(dim=0)) / n
        variance = sum_over_ranks((rows - mean).square().sum(dim=0)) / n
        with torch.no_grad():
            for average, now in ((norm.running_mean, mean), (norm.running_var, variance * n / (n - 1))):
                average.lerp_(now, norm.momentum)  # type: ignore[union-attr, arg-type]  # set by its constructor
            norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        return (rows - mean) * (variance + norm.eps).rsqrt()


class PReLU(nn.Module):
    """max(s, 0) + α·min(s, 0) with one α per unit of the last axis (He et al. 2015)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((size,), 0.25))

    def forward(self, values: Tensor) -> Tensor:
        """(…, n) to (…, n)."""
        return values.clamp(min=0.0) + self.alpha * values.clamp(max=0.0)


ACTIVATIONS: dict[ActivationName, Callable[[int], nn.Module]] = {
    "relu": lambda size: nn.ReLU(),
    "prelu": PReLU,
    "sigmoid": lambda size: nn.Sigmoid(),
    "dice": Dice,
}
"""Name → activation of a layer with so many units."""
