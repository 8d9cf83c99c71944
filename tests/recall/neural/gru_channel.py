"""A neural channel with a query encoder of its own, in one file: a GRU over the history.

Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recall.neural.channel import NeuralRecall
from recall.neural.config import NeuralConfig
from recall.neural.encoders.base import QueryEncoder, QueryEncoderConfig
from recall.neural.encoders.sequence import SequenceEncoder


class GRUConfig(QueryEncoderConfig):
    """Options of ``GRUEncoder``.

    Attributes:
        layers: stacked GRUs.
    """

    kind: Literal["gru"] = "gru"
    layers: int = Field(default=1, ge=1)


class GRUEncoder(SequenceEncoder):
    """The state of a GRU, added to the vector of the latest event."""

    config: GRUConfig

    def _build_layers(self, size: int) -> None:
        self.gru = nn.GRU(size, self.config.hidden_size, self.config.layers, batch_first=True)
        self.out = nn.Linear(self.config.hidden_size, size)

    def _read(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        states, _ = self.gru(x)
        read: Tensor = x + self.out(states)
        return read


class GRU4RecConfig(NeuralConfig):
    """Options of ``GRU4Rec``."""

    encoder: GRUConfig = GRUConfig()


class GRU4Rec(NeuralRecall):
    """A GRU over the history against the item encoder."""

    name: ClassVar[str] = "gru4rec"
    Config: ClassVar[type[GRU4RecConfig]] = GRU4RecConfig
    config: GRU4RecConfig

    @property
    def _encoder_class(self) -> type[QueryEncoder]:
        return GRUEncoder
