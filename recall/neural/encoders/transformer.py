"""A causal transformer over the history.

Kang & McAuley, "Self-attentive sequential recommendation", ICDM 2018, over the item encoder's own vectors.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recall.neural.encoders.attention_bias import PositionBias, TimeBias
from recall.neural.encoders.base import QueryEncoderConfig
from recall.neural.encoders.blocks import LiGRBlock, PreNormBlock
from recall.neural.encoders.sequence import SequenceEncoder
from recall.neural.encoders.windows import WindowInputs
from recall.neural.item_encoder import embedding
from reccore import DataError


class TransformerConfig(QueryEncoderConfig):
    """Options of ``TransformerEncoder``, besides those of every query encoder.

    Attributes:
        blocks: number of blocks.
        heads: of each block's attention; they divide ``embedding_size``.
        dropout: after attention and feed-forward layer of each block.
        block: ``prenorm`` is the plain block; ``ligr`` adds learned gates and a SwiGLU feed-forward layer.
        positions: add a learned vector of each position to the events.
        position_bias: add a learned number per head and distance between two events to the attention's scores.
        time_bias: the same per octave of the time between two events of the history; an error where events have no
            times.
    """

    kind: Literal["transformer"] = "transformer"
    blocks: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    block: Literal["prenorm", "ligr"] = "prenorm"
    positions: bool = True
    position_bias: bool = False
    time_bias: bool = False


class TransformerEncoder(SequenceEncoder):
    """Causal self-attention blocks over the history, with learned positions, absolute, relative, or both."""

    config: TransformerConfig

    @property
    def reads_event_times(self) -> bool:
        return self.config.time_bias

    def _build_layers(self, size: int) -> None:
        config, length = self.config, self.config.history_length + 1
        if config.time_bias and not self.codes.has_times:
            raise DataError("encoder.time_bias needs timestamps, and this data set has none; set it to false")
        self.positions = embedding(length, size) if config.positions else None
        block = LiGRBlock if config.block == "ligr" else PreNormBlock
        self.blocks = nn.ModuleList(
            block(size, config.hidden_size, heads=config.heads, dropout=config.dropout, depth=config.blocks)
            for _ in range(config.blocks)
        )
        self.position_bias = PositionBias(config.heads, length) if config.position_bias else None
        self.time_bias = TimeBias(config.heads) if config.time_bias else None

    def _read(self, x: Tensor, inputs: WindowInputs, generator: torch.Generator | None) -> Tensor:
        length = x.shape[1]
        if self.positions is not None:
            x = x + self.positions.weight[:length]
        bias = self._bias(inputs, length)
        for block in self.blocks:
            x = block(x, bias, generator)
        return x

    def _bias(self, inputs: WindowInputs, length: int) -> Tensor | None:
        """(1 or W, H, L, L) with the causal mask, for all blocks; None = the causal mask alone."""
        bias: Tensor | None = None if self.position_bias is None else self.position_bias(length)
        if self.time_bias is None or inputs.event_times is None:
            return bias
        times: Tensor = self.time_bias(inputs.event_times)
        return times if bias is None else times + bias
