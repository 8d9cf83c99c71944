"""Bases of the networks of ranking: the items of a batch, the linear part, and the embedded fields."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ranking.features import FeatureBlock, FeatureEncoder, RankingInputs
from ranking.layers import FieldEmbedding, LinearPart, MergedOrder, SplitLinear, lookup


class RankingNetwork(nn.Module):
    """A linear part over the fields of query, item and pair, and the item side of the catalogue.

    Attributes:
        Linear: class of the part that starts the network from the order of recall.
    """

    Linear: ClassVar[type[LinearPart] | type[MergedOrder]] = LinearPart

    codes: Tensor
    numbers: Tensor

    def __init__(self, encoder: FeatureEncoder) -> None:
        super().__init__()
        self.linear = self.Linear(encoder)
        self.n_rows = encoder.tables.items.n_items + 1
        self.hold_items(encoder.item_block)

    def hold_items(self, block: FeatureBlock) -> None:
        """Take the values of the item side. They are inputs, not weights: the encoder stores them."""
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

    def items_of(self, rows: Tensor) -> Tensor:
        """Rows of the item block in which an item has the same row in every label window; 0 stays."""
        return rows % self.n_rows

    def freeze(self) -> None:
        """Compute what a network whose weights do not change any more needs once; called after fitting and loading."""

    def distinct_items(self, rows: Tensor) -> tuple[FeatureBlock, Tensor]:
        """The U distinct items among rows (…) of the item block, and which of them stands where, (…).

        What depends on the item alone is computed once for each of them and looked up.
        """
        distinct, at = torch.unique(rows, return_inverse=True)
        return self.item_block.rows(distinct), at

    def task_logits(self, inputs: RankingInputs) -> Tensor:
        """Logits of each task, (B, K, S). A network of one task has its scores alone."""
        logits: Tensor = self(inputs)[:, :, None]
        return logits


class Fields(NamedTuple):
    """The embedded fields of B queries with K candidates, before they are joined.

    Attributes:
        query: (B, Fq, d).
        item: (U, Fi, d) of the distinct items.
        at: (B, K) which of them each candidate is.
        pair: (B, K, P) numbers.
    """

    query: Tensor
    item: Tensor
    at: Tensor
    pair: Tensor

    def through(self, layer: SplitLinear) -> Tensor:
        """A linear layer over query ‖ item ‖ pair of each candidate, (B, K, n); see ``FieldNetwork.over_fields``."""
        of_query, of_item, of_pair = layer(self.query.flatten(1), self.item.flatten(1), self.pair)
        total: Tensor = of_pair + of_query[:, None] + lookup(of_item, self.at)
        return total

    def joined(self) -> Tensor:
        """Vectors of query ‖ of item ‖ numbers of the pair of each candidate, (B, K, n)."""
        query = self.query.flatten(1)[:, None].expand(-1, self.at.shape[1], -1)
        return torch.cat([query, lookup(self.item.flatten(1), self.at), self.pair], dim=2)


class FieldNetwork(RankingNetwork):
    """Embeddings of all fields beside the linear part.

    Query fields are embedded once per query, item fields once per distinct item of the batch; the numbers of the pair
    stay plain values where a linear layer reads them, since it computes the same functions.
    """

    def __init__(self, encoder: FeatureEncoder, embedding_size: int) -> None:
        super().__init__(encoder)
        self.embedding_size = embedding_size
        self.query = FieldEmbedding(encoder.schema, "query", embedding_size)
        self.item = FieldEmbedding(encoder.schema, "item", embedding_size)
        for embedding in (self.query, self.item):
            embedding.borrow((self.query, self.item))
        self.n_pair = len(encoder.schema.of("pair", "number"))

    @property
    def piece_sizes(self) -> list[int]:
        """Widths of query, item and pair in ``Fields.joined``."""
        return [self.query.n_fields * self.embedding_size, self.item.n_fields * self.embedding_size, self.n_pair]

    def over_fields(self, out_size: int, bias: bool = True) -> SplitLinear:
        """A linear layer over all fields, for ``Fields.through``: each piece is multiplied once, not per candidate."""
        return SplitLinear(self.piece_sizes, out_size, bias)

    def embed(self, inputs: RankingInputs, items: FeatureBlock, at: Tensor) -> Fields:
        """The fields of queries and of candidates, which are the rows ``at`` (B, K) of ``items``."""
        return Fields(self.query(inputs.query), self.item(items), at, inputs.pair)
