"""DCNv2: explicit feature crosses of bounded degree beside or below a deep network.

Wang et al.: DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank Systems,
WWW 2021. Equation (1): x_{l+1} = x_0 ∘ (W_l x_l + b_l) + x_l, with a full-rank W_l; figure 1 for the two structures.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from ranking.config import NeuralRankerConfig
from ranking.features import FeatureEncoder, RankingInputs
from ranking.layers import MLP
from ranking.network import FieldNetwork
from ranking.neural import NeuralRanker


class DCNv2Config(NeuralRankerConfig):
    """Options of DCNv2, besides those of every neural ranker.

    Attributes:
        cross_layers: L; crosses have at most degree L + 1.
        structure: ``parallel`` adds the logits of the cross and the deep network, which both read the fields;
            ``stacked`` gives the crosses to the deep network.
    """

    cross_layers: PositiveInt = 2
    structure: Literal["parallel", "stacked"] = "parallel"


class CrossNetwork(nn.Module):
    """L full-rank cross layers over inputs (…, n), to (…, n)."""

    def __init__(self, size: int, n_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(size, size) for _ in range(n_layers)])

    def forward(self, start: Tensor) -> Tensor:
        crossed = start
        for layer in self.layers:
            crossed = torch.addcmul(crossed, start, layer(crossed))  # x_0 ∘ (W x_l + b) + x_l
        return crossed


class DCNv2Network(FieldNetwork):
    """Linear part + cross network + deep network over the embeddings of all fields and the numbers of the pair."""

    def __init__(self, encoder: FeatureEncoder, config: DCNv2Config) -> None:
        super().__init__(encoder, config.embedding_size)
        self.stacked = config.structure == "stacked"
        width = sum(self.piece_sizes)
        self.cross = CrossNetwork(width, config.cross_layers)
        self.first = nn.Linear(width, config.hidden[0])
        self.deep = MLP(config.hidden, config.dropout)
        if not self.stacked:
            self.out = nn.Linear(width, 1, bias=False)
            nn.init.zeros_(self.out.weight)  # as in the deep part: untrained, the order of recall stays

    def forward(self, inputs: RankingInputs) -> Tensor:
        """B queries with K candidates to logits (B, K)."""
        items, at = self.distinct_items(inputs.item_row)
        joined = self.embed(inputs, items, at).joined()  # (B, K, n)
        crossed = self.cross(joined)  # (B, K, n)
        logits: Tensor = self.linear(inputs, items, at) + self.deep(self.first(crossed if self.stacked else joined))
        return logits if self.stacked else logits + self.out(crossed).squeeze(-1)


class DCNv2(NeuralRanker):
    """DCNv2 over user, item, cross and recall features."""

    name: ClassVar[str] = "dcnv2"
    Config: ClassVar[type[DCNv2Config]] = DCNv2Config
    Network = DCNv2Network
