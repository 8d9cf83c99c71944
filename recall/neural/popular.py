"""Negatives drawn by a power of the items' popularity.

Mikolov et al., "Distributed representations of words and phrases and their compositionality", NIPS 2013: a power of
3/4 of the frequency, between uniform draws (many easy negatives) and in-batch ones (popular items in every batch).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from recall.neural.logq import Proposal
from reccore import ComponentConfig, Interactions


class PopularConfig(ComponentConfig):
    """Options of negatives drawn by popularity.

    Attributes:
        per_batch: negatives drawn for each batch.
        power: an item is drawn in proportion to (its number of fit events)^power; 1 as in-batch targets are, 0
            uniformly.
    """

    per_batch: int = Field(default=512, ge=1)
    power: float = Field(default=0.75, ge=0)


class PopularDraws:
    """Draws with replacement by known probabilities."""

    def __init__(self, config: PopularConfig, interactions: Interactions, device: torch.device) -> None:
        self.n = config.per_batch
        weight = torch.from_numpy(interactions.item_counts()).to(torch.float64) ** config.power
        self.probability = (weight / weight.sum()).to(device)  # (N,)
        self.cumulative = self.probability.cumsum(0)

    def draw(self, draws: torch.Generator) -> Tensor:
        """(``per_batch``,) items."""
        place = torch.rand(self.n, generator=draws, dtype=torch.float64).to(self.cumulative.device)
        return torch.searchsorted(self.cumulative, place * self.cumulative[-1], right=True)

    def proposal(self, item_idx: Tensor) -> Proposal:
        """Chance (M,) that one draw is each of the given items."""
        return Proposal(self.n, self.probability[item_idx].to(torch.float32))
