"""DCN: explicit crosses of bounded degree by a rank-one layer, beside a deep network.

Wang, Fu, Fu and Wang: Deep & Cross Network for Ad Click Predictions, ADKDD 2017. Equation (3):
x_{l+1} = x_0 x_lᵀ w_l + b_l + x_l; equation (5) for the logit over [x_L ‖ h].
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from ranking.config import NeuralRankerConfig
from ranking.features import FeatureEncoder, RankingInputs
from ranking.layers import MLP
from ranking.network import FieldNetwork, Fields
from ranking.neural import NeuralRanker


class DCNConfig(NeuralRankerConfig):
    """Options of DCN, besides those of every neural ranker.

    Attributes:
        cross_layers: L; crosses have at most degree L + 1.
    """

    cross_layers: PositiveInt = 3


class DCNNetwork(FieldNetwork):
    """Linear part + cross network + deep network over the vectors of all fields and the numbers of the pair.

    Every x_l is a_l x_0 + c_l with a number a_l of the candidate and a vector c_l of the network: it holds for x_0, and

        x_{l+1} = x_0 (a_l x_0ᵀw_l + c_lᵀw_l) + b_l + a_l x_0 + c_l
        a_{l+1} = a_l (1 + x_0ᵀw_l) + c_lᵀw_l        c_{l+1} = c_l + b_l

    So the logit wᵀx_L needs the products x_0ᵀw_0, …, x_0ᵀw_{L-1} and x_0ᵀw alone, which one layer over the fields
    gives; no x_l is written out.
    """

    def __init__(self, encoder: FeatureEncoder, config: DCNConfig) -> None:
        super().__init__(encoder, config.embedding_size)
        self.cross = self.over_fields(config.cross_layers + 1, bias=False)  # w_0, …, w_{L-1}, and w of the logit
        self.biases = nn.Parameter(torch.zeros(config.cross_layers, sum(self.piece_sizes)))  # b_l
        with torch.no_grad():
            self.cross.weight[-1] = 0.0  # as in the deep part: untrained, the order of recall stays
        self.first = self.over_fields(config.hidden[0])
        self.deep = MLP(config.hidden, config.dropout)

    def crossed(self, fields: Fields) -> Tensor:
        """wᵀx_L of each candidate, (B, K)."""
        products = fields.through(self.cross)  # (B, K, L + 1)
        a: Tensor | float = 1.0
        c = torch.zeros_like(self.biases[0])  # (n,)
        for layer, bias in enumerate(self.biases):
            a = a * (1.0 + products[:, :, layer]) + c @ self.cross.weight[layer]
            c = c + bias
        logits: Tensor = a * products[:, :, -1] + c @ self.cross.weight[-1]
        return logits

    def forward(self, inputs: RankingInputs) -> Tensor:
        """B queries with K candidates to logits (B, K)."""
        items, at = self.distinct_items(inputs.item_row)
        fields = self.embed(inputs, items, at)
        deep = self.deep(fields.through(self.first))
        logits: Tensor = self.linear(inputs, items, at) + self.crossed(fields) + deep
        return logits


class DCN(NeuralRanker):
    """DCN over user, item, cross and recall features."""

    name: ClassVar[str] = "dcn"
    Config: ClassVar[type[DCNConfig]] = DCNConfig
    Network = DCNNetwork
