"""Wide & Deep: memorised crosses of history and candidate beside a deep network over embeddings.

Cheng et al.: Wide & Deep Learning for Recommender Systems, DLRS 2016. Equation (3): σ(w_wideᵀ[x, φ(x)] + w_deepᵀa).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from ranking.config import NeuralRankerConfig
from ranking.features import FeatureEncoder, RankingInputs
from ranking.layers import MLP, lookup
from ranking.network import FieldNetwork
from ranking.neural import NeuralRanker

MULTIPLIER = 0x9E3779B97F4A7C15 - 2**64
"""2^64 / golden ratio, odd: the low bits of a code times it spread over the high bits (Knuth, TAOCP 3, 6.4)."""


class WideDeepConfig(NeuralRankerConfig):
    """Options of Wide & Deep, besides those of every neural ranker.

    Attributes:
        cross_events: how many of the latest events are crossed with the candidate.
        cross_buckets_log2: the crosses share 2^this weights; two crosses of one bucket share their weight.
    """

    cross_events: PositiveInt = 5
    cross_buckets_log2: int = Field(default=18, ge=1, le=28)


class HashedCrosses(nn.Module):
    """Σ_t w[h(event t, candidate)]: the paper's AND(user_installed_app, impression_app), with films.

    Weights start at 0 and are a table of codes, which weight decay applies to.
    """

    def __init__(self, log2: int) -> None:
        super().__init__()
        self.shift = 64 - log2
        self.table = nn.Parameter(torch.zeros(2**log2, 1))

    @property
    def tables(self) -> list[nn.Parameter]:
        """The parameters with one row per code."""
        return [self.table]

    def buckets(self, events: Tensor, candidates: Tensor) -> Tensor:
        """(B, K, T) bucket of every pair of a candidate (B, K) and an event (B, T)."""
        mixed = (candidates[:, :, None] * MULTIPLIER + events[:, None]) * MULTIPLIER  # wraps around in 64 bits
        return (mixed >> self.shift) & (len(self.table) - 1)

    def forward(self, events: Tensor, candidates: Tensor) -> Tensor:
        """Rows of the item block, events (B, T) with 0 = none and candidates (B, K), to logits (B, K)."""
        weights = lookup(self.table, self.buckets(events, candidates)).squeeze(-1)  # (B, K, T)
        return (weights * (events > 0)[:, None]).sum(dim=2)


class WideDeepNetwork(FieldNetwork):
    """Wide part: linear over all fields and the crosses; deep part: an MLP over the vectors and numbers."""

    def __init__(self, encoder: FeatureEncoder, config: WideDeepConfig) -> None:
        super().__init__(encoder, config.embedding_size)
        self.crosses = HashedCrosses(config.cross_buckets_log2)
        self.first = self.over_fields(config.hidden[0])
        self.deep = MLP(config.hidden, config.dropout)

    def forward(self, inputs: RankingInputs) -> Tensor:
        """B queries with K candidates and T events to logits (B, K)."""
        items, at = self.distinct_items(inputs.item_row)
        crosses = self.crosses(self.items_of(inputs.history), self.items_of(inputs.item_row))  # (B, K)
        wide = self.linear(inputs, items, at) + crosses
        logits: Tensor = wide + self.deep(self.embed(inputs, items, at).through(self.first))
        return logits


class WideDeep(NeuralRanker):
    """Wide & Deep over user, item, cross and recall features and the latest events."""

    name: ClassVar[str] = "wide_deep"
    Config: ClassVar[type[WideDeepConfig]] = WideDeepConfig
    Network = WideDeepNetwork
    config: WideDeepConfig

    @property
    def _history_length(self) -> int:
        return self.config.cross_events
