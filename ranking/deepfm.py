"""DeepFM: a factorisation machine and a deep network over the same field embeddings.

Guo, Tang, Ye, Li and He: DeepFM: A Factorization-Machine based Neural Network for CTR Prediction, IJCAI 2017.
Equations (1)-(4): ŷ = y_FM + y_DNN, y_FM = ⟨w, x⟩ + Σ_{i<j} ⟨v_i, v_j⟩ x_i x_j.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ranking.config import NeuralRankerConfig
from ranking.features import FeatureEncoder, RankingInputs
from ranking.layers import MLP, FieldSums, SplitLinear, second_order
from ranking.network import FieldNetwork, lookup
from ranking.neural import NeuralRanker


class DeepFMNetwork(FieldNetwork):
    """Linear + FM over all fields + deep part.

    Query fields are embedded once per query, item fields once per distinct item of the batch. The numbers of
    the pair enter the FM as value × vector. The deep part takes the plain values: its first layer is linear, so it
    computes the same functions.
    """

    def __init__(self, encoder: FeatureEncoder, config: NeuralRankerConfig) -> None:
        super().__init__(encoder, config.embedding_size)
        d, n_pair = config.embedding_size, len(self.pair.weights)
        self.first = SplitLinear([self.query.n_fields * d, self.item.n_fields * d, n_pair], config.hidden[0])
        self.deep = MLP(config.hidden, config.dropout)

    def forward(self, inputs: RankingInputs) -> Tensor:
        """B queries with K candidates to logits (B, K)."""
        items, at = self.distinct_items(inputs.item_row)  # U items; at (B, K)
        query, item = self.query(inputs.query), self.item(items)  # (B, Fq, d), (U, Fi, d)
        fm = second_order(
            FieldSums.of_fields(query[:, None]),  # (B, 1, d)
            FieldSums(*(lookup(sums, at) for sums in FieldSums.of_fields(item))),  # (B, K, d)
            FieldSums.of_numbers(inputs.pair, self.pair.vectors),  # (B, K, d)
        )  # (B, K)
        from_query, from_item, from_pair = self.first(query.flatten(1), item.flatten(1), inputs.pair)
        first = from_pair + from_query[:, None] + lookup(from_item, at)  # (B, K, hidden[0])
        logits: Tensor = self.linear(inputs, items, at) + fm + self.deep(first)  # (B, K)
        return logits


class DeepFM(NeuralRanker):
    """DeepFM over user, item, cross and recall features."""

    name: ClassVar[str] = "deepfm"
    Network = DeepFMNetwork
