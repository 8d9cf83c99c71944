"""DIN: the user's interest in a candidate as a sum over the history, weighted by an attention unit.

Zhou et al.: Deep Interest Network for Click-Through Rate Prediction, KDD 2018. Equation (3) and figure 2; equation (9)
for Dice.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from ranking.config import NeuralRankerConfig
from ranking.features import DEFAULT, Choice, FeatureEncoder, RankingInputs
from ranking.layers import MLP, ActivationName, AttentionPooling, SplitLinear, lookup
from ranking.layers.fields import INIT_STD
from ranking.network import FieldNetwork
from ranking.neural import NeuralRanker
from reccore import ConfigError


class DINConfig(NeuralRankerConfig):
    """Options of DIN, besides those of every neural ranker.

    Attributes:
        features: as for every ranker; film ids are among them by default, since the attention compares films by them.
        attend: features of the item that the attention compares candidates and events by, such as ``item.brand``; None
            = ``item.id`` and ``item.genres``, as far as they are features.
        history_length: T, how many of the latest events the attention reads.
        attention_hidden: width of the activation unit. Training holds a few tensors of
            batch_size × (negatives + positives) × attention_hidden × history_length floats.
        activation: of the deep part's layers; ``dice`` is the paper's. The activation unit keeps its PReLU.
    """

    features: tuple[Choice, ...] = (DEFAULT, "item.id")
    attend: tuple[str, ...] | None = Field(default=None, min_length=1)
    history_length: PositiveInt = 50
    attention_hidden: PositiveInt = 16
    activation: ActivationName = "relu"


class DINNetwork(FieldNetwork):
    """Attention over the history beside the same query, item, cross and recall fields as DeepFM.

    An item's vector is that of its id ‖ that of its genres, or of what ``attend`` names. To the paper's unit, keys add
    an embedding of how many events ago each was. Histories are encoded once per query.
    """

    def __init__(self, encoder: FeatureEncoder, config: DINConfig) -> None:
        super().__init__(encoder, config.embedding_size)
        names = config.attend or [name for name in ("item.id", "item.genres") if name in self.item.names]
        unknown = [name for name in names if name not in self.item.names]
        if unknown or not names:
            raise ConfigError(
                f"din attends over items by {', '.join(unknown) or 'item.id or item.genres'}, which is none of the "
                f"features; add it, or name others in attend: {', '.join(self.item.names) or 'there are none'}"
            )
        self._item_fields = [self.item.names.index(name) for name in names]
        width = config.embedding_size * len(self._item_fields)
        self.recency = nn.Parameter(torch.randn(config.history_length, width) * INIT_STD)
        self.attention = AttentionPooling(width, config.attention_hidden)
        self.first = SplitLinear([*self.piece_sizes, width, width], config.hidden[0])
        self.deep = MLP(config.hidden, config.dropout, config.activation)

    def forward(self, inputs: RankingInputs) -> Tensor:
        """B queries with K candidates and T events to logits (B, K)."""
        k = inputs.item_row.shape[1]
        items, at = self.distinct_items(torch.cat([inputs.item_row, inputs.history], dim=1))  # U items
        at, at_history = at[:, :k], at[:, k:]  # (B, K), (B, T)
        query, item = self.query(inputs.query), self.item(items)  # (B, Fq, d), (U, Fi, d)
        vectors = item[:, self._item_fields].flatten(1)  # (U, D)
        candidates, events = lookup(vectors, at), lookup(vectors, at_history)  # (B, K, D), (B, T, D)
        mask = inputs.history > 0  # (B, T)
        pooled = self.attention(candidates, events + self._recency_of(mask), events, mask)  # (B, K, D)
        from_query, from_item, *rest = self.first(
            query.flatten(1), item.flatten(1), inputs.pair, pooled, pooled * candidates
        )
        first = from_query[:, None] + lookup(from_item, at) + rest[0] + rest[1] + rest[2]  # (B, K, hidden[0])
        logits: Tensor = self.linear(inputs, items, at) + self.deep(first)  # (B, K)
        return logits

    def _recency_of(self, mask: Tensor) -> Tensor:
        """(B, T, D): row 0 of ``recency`` for the latest event, row 1 for the one before, ..."""
        ago = mask.sum(dim=1, keepdim=True) - 1 - torch.arange(mask.shape[1], device=mask.device)  # (B, T)
        return lookup(self.recency, ago.clamp(min=0))


class DIN(NeuralRanker):
    """DIN with attention over the latest events, beside user, item, cross and recall features."""

    name: ClassVar[str] = "din"
    Config: ClassVar[type[DINConfig]] = DINConfig
    Network = DINNetwork
    config: DINConfig

    @property
    def _history_length(self) -> int:
        return self.config.history_length
