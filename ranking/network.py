"""Base of the networks of ranking: embedded fields, the items of a batch, and the linear part."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ranking.features import FeatureBlock, FeatureEncoder, RankingInputs
from ranking.features.recall import MERGED_LOG_RANK
from ranking.layers import FieldEmbedding, NumberEmbedding


class FieldNetwork(nn.Module):
    """Embeddings of all fields and the sum of their first-order terms.

    Untrained, the linear logit is −log(place in the merged list): a ranker starts from the order of recall,
    with a click probability that falls as 1/place, and learns corrections to it. Without the feature
    ``recall.merged.log_rank`` it starts from nothing.
    """

    codes: Tensor
    numbers: Tensor

    def __init__(self, encoder: FeatureEncoder, embedding_size: int) -> None:
        super().__init__()
        schema, block = encoder.schema, encoder.item_block
        self.query = FieldEmbedding(schema, "query", embedding_size)
        self.item = FieldEmbedding(schema, "item", embedding_size)
        self.pair = NumberEmbedding(len(schema.of("pair", "number")), embedding_size)
        if MERGED_LOG_RANK in schema:
            with torch.no_grad():
                self.pair.weights[schema.column(MERGED_LOG_RANK)] = float(encoder.state[MERGED_LOG_RANK]["scale"][1])
        # The catalogue's features are inputs, not weights: the encoder stores them.
        self.register_buffer("codes", block.categories, persistent=False)
        self.register_buffer("numbers", block.numbers, persistent=False)
        self._bags = [f"bag{number}" for number in range(len(block.bags))]
        self._labels = [f"labels{number}" for number in range(len(block.labels))]
        for name, part in zip((*self._bags, *self._labels), (*block.bags, *block.labels), strict=True):
            self.register_buffer(name, part, persistent=False)

    @property
    def item_block(self) -> FeatureBlock:
        """Values of the item side, where the network is."""
        bags, labels = (tuple(getattr(self, name) for name in names) for names in (self._bags, self._labels))
        return FeatureBlock(self.codes, bags, labels, self.numbers)

    def distinct_items(self, rows: Tensor) -> tuple[FeatureBlock, Tensor]:
        """The U distinct items among rows (…) of the item block, and which of them stands where, (…).

        What depends on the item alone is computed once for each of them and looked up.
        """
        distinct, at = torch.unique(rows, return_inverse=True)
        return self.item_block.rows(distinct), at

    @property
    def joined_size(self) -> int:
        """n, width of ``joined``."""
        size: int = self.pair.vectors.shape[1]
        return (self.query.n_fields + self.item.n_fields) * size + len(self.pair.weights)

    def joined(self, inputs: RankingInputs, items: FeatureBlock, at: Tensor) -> Tensor:
        """All fields of each candidate, (B, K, n): vectors of query and item ‖ numbers of the pair."""
        query, item = self.query(inputs.query).flatten(1), self.item(items).flatten(1)  # (B, Fq·d), (U, Fi·d)
        return torch.cat([query[:, None].expand(-1, at.shape[1], -1), lookup(item, at), inputs.pair], dim=2)

    def linear(self, inputs: RankingInputs, items: FeatureBlock, at: Tensor) -> Tensor:
        """First-order logits (B, K)."""
        of_query = self.query.linear(inputs.query)  # (B,)
        of_item = lookup(self.item.linear(items)[:, None], at).squeeze(-1)  # (B, K)
        logits: Tensor = self.pair.linear(inputs.pair) + of_query[:, None] + of_item
        return logits


def lookup(table: Tensor, at: Tensor) -> Tensor:
    """Rows of (U, d) at (…), (…, d); its gradient is summed without sorting, unlike that of ``table[at]``."""
    return nn.functional.embedding(at, table)
