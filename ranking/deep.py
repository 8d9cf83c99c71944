"""A deep network over embedded fields and numbers, with no other part.

Covington, Adams and Sargin: Deep Neural Networks for YouTube Recommendations, RecSys 2016, section 4: embedded
categories and normalised numbers, concatenated, below fully connected layers.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ranking.config import NeuralRankerConfig
from ranking.features import FeatureEncoder, RankingInputs
from ranking.layers import MLP, MergedOrder
from ranking.network import FieldNetwork
from ranking.neural import NeuralRanker


class DeepNetwork(FieldNetwork):
    """Deep part; of the linear part only the order of recall, from which it starts."""

    Linear = MergedOrder

    def __init__(self, encoder: FeatureEncoder, config: NeuralRankerConfig) -> None:
        super().__init__(encoder, config.embedding_size)
        self.first = self.over_fields(config.hidden[0])
        self.deep = MLP(config.hidden, config.dropout)

    def forward(self, inputs: RankingInputs) -> Tensor:
        """B queries with K candidates to logits (B, K)."""
        items, at = self.distinct_items(inputs.item_row)
        first = self.embed(inputs, items, at).through(self.first)  # (B, K, hidden[0])
        logits: Tensor = self.linear(inputs, items, at) + self.deep(first)
        return logits


class Deep(NeuralRanker):
    """A deep network over user, item, cross and recall features."""

    name: ClassVar[str] = "deep"
    Network = DeepNetwork
