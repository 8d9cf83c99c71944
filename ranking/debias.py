"""Against popularity bias: positives weighted by inverse propensity, or a bias tower that only training sees.

What recall offers often is chosen often, whatever the users prefer. The exposure of an item is the number of training
queries whose candidates hold it.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
from pydantic import Field, PositiveInt, Tag
from torch import Tensor, nn

from reccore import Candidates, ComponentConfig
from reccore.arrays import BoolArray, FloatArray
from reccore.config import by_kind


class NoDebiasConfig(ComponentConfig):
    """All positives count alike."""

    kind: Literal["none"] = "none"


class InversePropensityConfig(ComponentConfig):
    """Positives weighted by 1 / propensity (Schnabel et al., ICML 2016), see ``inverse_propensity``.

    Attributes:
        power: η of propensity ∝ exposure^η; 0 would be no correction.
        clip: the largest weight, where the most exposed item has 1: it bounds the variance.
    """

    kind: Literal["ipw"] = "ipw"
    power: float = Field(default=0.5, gt=0, le=1)
    clip: float = Field(default=10.0, ge=1)


class BiasTowerConfig(ComponentConfig):
    """A shallow tower whose logit is added in training and left out in use.

    Zhao et al.: Recommending What Video to Watch Next: A Multitask Ranking System, RecSys 2019.

    Attributes:
        reads: ``exposure`` (the item's, as log(1 + exposure)) or ``place`` (−log of the place in the merged list).
        size: units of its hidden layer.
    """

    kind: Literal["bias_tower"] = "bias_tower"
    reads: Literal["exposure", "place"] = "exposure"
    size: PositiveInt = 8


DebiasConfig: TypeAlias = Annotated[
    Annotated[NoDebiasConfig, Tag("none")]
    | Annotated[InversePropensityConfig, Tag("ipw")]
    | Annotated[BiasTowerConfig, Tag("bias_tower")],
    by_kind("none"),
]


def exposure(candidates: Candidates) -> FloatArray:
    """(B, K) how many of the B queries offer each candidate; 0 on padding."""
    counts = np.bincount(candidates.item_idx[candidates.mask])
    return np.where(candidates.mask, counts[candidates.item_idx], 0).astype(np.float32)


def inverse_propensity(exposed: FloatArray, positive: BoolArray, config: InversePropensityConfig) -> FloatArray:
    """(B, K) weights of positives, with mean 1 over all of them.

    propensity = (exposure / largest exposure)^power; weight = min(1 / propensity, clip), divided by the mean.

    Args:
        exposed: (B, K) exposure of each candidate.
        positive: (B, K) True for the positives.
        config: power and clip.
    """
    propensity = (np.maximum(exposed, 1.0) / max(exposed.max(initial=1.0), 1.0)) ** config.power
    weight = np.minimum(1.0 / propensity, config.clip)
    mean = weight[positive].mean() if positive.any() else 1.0
    return np.asarray(weight / mean, dtype=np.float32)


class BiasTower(nn.Module):
    """One number per candidate to an additive logit; starts at 0."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first = nn.Linear(1, size)
        self.out = nn.Linear(size, 1, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, values: Tensor) -> Tensor:
        """(B, K) to (B, K)."""
        logits: Tensor = self.out(torch.relu(self.first(values[:, :, None]))).squeeze(-1)
        return logits


def bias_inputs(candidates: Candidates, config: BiasTowerConfig) -> FloatArray:
    """(B, K) what the tower reads, standardised over all candidates."""
    if config.reads == "exposure":
        values = np.log1p(exposure(candidates))
    else:
        values = np.broadcast_to(-np.log(np.arange(1, candidates.k + 1)), candidates.item_idx.shape)
    known = values[candidates.mask]
    if len(known) == 0:
        return np.zeros(values.shape, dtype=np.float32)
    return np.asarray((values - known.mean()) / max(known.std(), 1e-6), dtype=np.float32)
