"""The first-order part of a ranker, which starts it from the order of recall."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ranking.features import FeatureBlock, FeatureEncoder, RankingInputs
from ranking.features.recall import MERGED_LOG_RANK
from ranking.layers.fields import FieldEmbedding
from ranking.layers.lookup import lookup


class LinearPart(nn.Module):
    """⟨w, x⟩ over all fields.

    Untrained it is −log(place in the merged list): a ranker starts from the order of recall, with a click probability
    that falls as 1/place, and learns corrections to it. Without the feature ``recall.merged.log_rank`` it starts from
    nothing.
    """

    query: FieldEmbedding
    item: FieldEmbedding

    def __init__(self, encoder: FeatureEncoder) -> None:
        super().__init__()
        schema = encoder.schema.first_order()
        self.query = FieldEmbedding(schema, "query", 1, std=0.0)
        self.item = FieldEmbedding(schema, "item", 1, std=0.0)
        self.pair = nn.Parameter(torch.zeros(len(encoder.schema.of("pair", "number"))))
        if MERGED_LOG_RANK in encoder.schema:
            with torch.no_grad():
                self.pair[encoder.schema.column(MERGED_LOG_RANK)] = _deviation_of_log_rank(encoder)

    def forward(self, inputs: RankingInputs, items: FeatureBlock, at: Tensor) -> Tensor:
        """B queries with K candidates, which are the rows ``at`` (B, K) of ``items``, to logits (B, K)."""
        of_query = self.query(inputs.query).sum(dim=(1, 2))  # (B,)
        of_item = self.item(items).sum(dim=1)  # (U, 1)
        logits: Tensor = inputs.pair @ self.pair + of_query[:, None] + lookup(of_item, at).squeeze(-1)
        return logits


class MergedOrder(nn.Module):
    """w · (−log place in the merged list), w = 1 at the start: the part of ``LinearPart`` that carries recall's order.

    Without the feature ``recall.merged.log_rank`` it is 0.
    """

    def __init__(self, encoder: FeatureEncoder) -> None:
        super().__init__()
        known = MERGED_LOG_RANK in encoder.schema
        self.column = encoder.schema.column(MERGED_LOG_RANK) if known else None
        self.weight = nn.Parameter(torch.tensor(_deviation_of_log_rank(encoder) if known else 0.0))

    def forward(self, inputs: RankingInputs, items: FeatureBlock, at: Tensor) -> Tensor:
        """Logits (B, K); arguments as for ``LinearPart``."""
        if self.column is None:
            return inputs.pair.new_zeros(at.shape)
        return inputs.pair[:, :, self.column] * self.weight


def _deviation_of_log_rank(encoder: FeatureEncoder) -> float:
    """The weight by which the standardised feature becomes −log(place) again, up to a constant."""
    return float(encoder.state[MERGED_LOG_RANK]["scale"][1])
