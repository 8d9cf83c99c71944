"""Factorisation machine: first-order weights and an inner product for every pair of fields.

Rendle: Factorization Machines, ICDM 2010. Equation (1): ŷ = ⟨w, x⟩ + Σ_{i<j} ⟨v_i, v_j⟩ x_i x_j, computed in linear
time by lemma 3.1.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ranking.config import EmbeddingConfig, FMConfig
from ranking.features import FeatureEncoder, RankingInputs
from ranking.layers import FieldSums, lookup, number_vectors, second_order
from ranking.network import FieldNetwork, Fields
from ranking.neural import NeuralRanker


class FMNetwork(FieldNetwork):
    """Linear part + second order over all fields; the numbers of the pair enter as value × vector."""

    def __init__(self, encoder: FeatureEncoder, config: EmbeddingConfig) -> None:
        super().__init__(encoder, config.embedding_size)
        self.pair = number_vectors(self.n_pair, config.embedding_size)

    def pairwise(self, fields: Fields) -> Tensor:
        """Second-order logits (B, K). Sums over the query's fields are formed once per query, the item's per item."""
        return second_order(
            FieldSums.of_fields(fields.query[:, None]),  # (B, 1, d)
            FieldSums(*(lookup(sums, fields.at) for sums in FieldSums.of_fields(fields.item))),  # (B, K, d)
            FieldSums.of_numbers(fields.pair, self.pair),  # (B, K, d)
        )

    def forward(self, inputs: RankingInputs) -> Tensor:
        """B queries with K candidates to logits (B, K)."""
        items, at = self.distinct_items(inputs.item_row)
        logits: Tensor = self.linear(inputs, items, at) + self.pairwise(self.embed(inputs, items, at))
        return logits


class FM(NeuralRanker):
    """A factorisation machine over user, item, cross and recall features."""

    name: ClassVar[str] = "fm"
    Config: ClassVar[type[FMConfig]] = FMConfig
    Network = FMNetwork
