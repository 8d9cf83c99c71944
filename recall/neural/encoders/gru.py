"""A gated recurrent unit over the history.

Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016; Hidasi & Karatzoglou,
"Recurrent neural networks with top-k gains for session-based recommendations", CIKM 2018.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recall.neural.encoders.base import QueryEncoderConfig
from recall.neural.encoders.sequence import SequenceEncoder, shared_dropout
from recall.neural.encoders.windows import WindowInputs


class GRUConfig(QueryEncoderConfig):
    """Options of ``GRUEncoder``, besides those of every query encoder.

    Attributes:
        layers: stacked GRUs, each of width ``hidden_size``.
        dropout: of the states that a layer hands on, with one mask for all positions of a history (Gal & Ghahramani,
            "A theoretically grounded application of dropout in recurrent neural networks", NeurIPS 2016).
    """

    kind: Literal["gru"] = "gru"
    layers: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class GRUEncoder(SequenceEncoder):
    """The state of the last GRU, mapped to D and added to the vector of the latest event.

    Time is linear in the length of a history, where attention's is quadratic; but the steps of a history wait for each
    other.
    """

    config: GRUConfig

    def _build_layers(self, size: int) -> None:
        hidden = self.config.hidden_size
        sizes = [size, *[hidden] * (self.config.layers - 1)]
        self.layers = nn.ModuleList(nn.GRU(width, hidden, batch_first=True) for width in sizes)
        self.out = nn.Linear(hidden, size)

    def _read(self, x: Tensor, inputs: WindowInputs, generator: torch.Generator | None) -> Tensor:
        rate = self.config.dropout if self.training else 0.0
        states = x
        for layer in self.layers:
            states = shared_dropout(layer(states)[0], rate, generator)  # (W, T+1, hidden)
        read: Tensor = x + self.out(states)
        return read
