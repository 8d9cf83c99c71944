"""DeepFM: a factorisation machine and a deep network over the same field embeddings.

Guo, Tang, Ye, Li and He: DeepFM: A Factorization-Machine based Neural Network for CTR Prediction, IJCAI 2017.
Equations (1)-(4): ŷ = y_FM + y_DNN, y_FM = ⟨w, x⟩ + Σ_{i<j} ⟨v_i, v_j⟩ x_i x_j.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ranking.config import NeuralRankerConfig
from ranking.features import FeatureEncoder, RankingInputs, Schema
from ranking.fm import FMNetwork
from ranking.layers import MLP, FieldEmbedding, LinearPart, lookup
from ranking.neural import NeuralRanker

ITEMS_PER_CHUNK = 65_536


class DeepFMNetwork(FMNetwork):
    """Linear + FM over all fields + deep part over the same vectors and the plain numbers of the pair."""

    linear: LinearPart

    def __init__(self, encoder: FeatureEncoder, config: NeuralRankerConfig) -> None:
        super().__init__(encoder, config)
        self.first = self.over_fields(config.hidden[0])
        self.deep = MLP(config.hidden, config.dropout)
        self._schema = encoder.schema
        self._frozen: list[FrozenDeepFM] = []  # no submodule: it holds no weights of its own

    def freeze(self) -> None:
        self._frozen = [FrozenDeepFM(self, self._schema)]

    def forward(self, inputs: RankingInputs) -> Tensor:
        """B queries with K candidates to logits (B, K)."""
        if self._frozen and not self.training and not torch.is_grad_enabled():
            return self._frozen[0](inputs)
        items, at = self.distinct_items(inputs.item_row)
        fields = self.embed(inputs, items, at)
        deep = self.deep(fields.through(self.first))
        logits: Tensor = self.linear(inputs, items, at) + self.pairwise(fields) + deep
        return logits


class FrozenDeepFM:
    """The same function of weights that do not change: what an item gives to all parts is computed once.

    The parts that are linear in the fields are one: with w, v and W the first-order weights, vectors and first deep
    layer, each of query, item and pair gives [Σ w·x − ½ Σ |v·x|², Σ v·x, W·x], the three are added up, and
    ŷ = s₀ + ½ |s₁|² + deep(s₂). Takes N · (1 + d + hidden[0]) floats.

    Args:
        network: whose weights are taken.
        schema: of its fields.
    """

    def __init__(self, network: DeepFMNetwork, schema: Schema) -> None:
        size, self.deep = network.embedding_size, network.deep
        of_query, of_item, of_pair = torch.split(network.first.weight.detach(), network.first.sizes, dim=1)
        self.sizes = [1, size, len(of_pair)]
        self.query = FieldEmbedding.side_by_side(schema, "query", network.linear.query, network.query)
        self.of_query, self.bias = of_query, network.first.bias
        pair = network.pair.detach()  # (P, d)
        self.pair = torch.cat([network.linear.pair.detach()[:, None], pair, of_pair.T], dim=1)
        self.squares = 0.5 * pair.square().sum(dim=1)  # (P,)
        item = FieldEmbedding.side_by_side(schema, "item", network.linear.item, network.item)
        with torch.no_grad():
            parts = torch.split(torch.arange(len(network.numbers)), ITEMS_PER_CHUNK)
            sums = [self._sums(item(network.item_block.rows(part)), of_item, None) for part in parts]
        self.items = torch.cat(sums)  # (N+1, 1+d+hidden)

    def __call__(self, inputs: RankingInputs) -> Tensor:
        """Logits (B, K)."""
        of_query = self._sums(self.query(inputs.query), self.of_query, self.bias)[:, None]  # (B, 1, 1+d+hidden)
        sums = torch.matmul(inputs.pair, self.pair) + lookup(self.items, inputs.item_row) + of_query
        first_order, vectors, hidden = sums.split(self.sizes, dim=2)
        logits: Tensor = first_order.squeeze(2) + 0.5 * vectors.square().sum(dim=2) + self.deep(hidden)
        return logits - torch.mv(inputs.pair.square().flatten(0, 1), self.squares).view(logits.shape)

    def _sums(self, fields: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What fields (R, F, 1+d) add, (R, 1+d+hidden)."""
        vectors = fields[:, :, 1:]
        first_order = fields[:, :, 0].sum(dim=1) - 0.5 * vectors.square().sum(dim=(1, 2))
        hidden = nn.functional.linear(vectors.flatten(1), weight, bias)
        return torch.cat([first_order[:, None], vectors.sum(dim=1), hidden], dim=1)


class DeepFM(NeuralRanker):
    """DeepFM over user, item, cross and recall features."""

    name: ClassVar[str] = "deepfm"
    Network = DeepFMNetwork
