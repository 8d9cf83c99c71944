"""Logistic regression: first-order weights alone, the baseline of every other ranker.

McMahan et al.: Ad Click Prediction: a View from the Trenches, KDD 2013, section 3: p = σ(⟨w, x⟩). Here the weights take
the steps of the common optimiser, and the loss may be listwise.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ranking.config import SingleTaskConfig
from ranking.features import FeatureEncoder, RankingInputs
from ranking.network import RankingNetwork
from ranking.neural import NeuralRanker


class LRNetwork(RankingNetwork):
    """The linear part."""

    def __init__(self, encoder: FeatureEncoder, config: SingleTaskConfig) -> None:
        super().__init__(encoder)

    def forward(self, inputs: RankingInputs) -> Tensor:
        """B queries with K candidates to logits (B, K)."""
        logits: Tensor = self.linear(inputs, *self.distinct_items(inputs.item_row))
        return logits


class LR(NeuralRanker):
    """Logistic regression over user, item, cross and recall features."""

    name: ClassVar[str] = "lr"
    Config: ClassVar[type[SingleTaskConfig]] = SingleTaskConfig
    Network = LRNetwork
