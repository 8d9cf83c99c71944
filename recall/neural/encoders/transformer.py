"""A causal transformer over the history.

Kang & McAuley, "Self-attentive sequential recommendation", ICDM 2018, with pre-normalised blocks (Xiong et al.,
ICML 2020), over the item encoder's own vectors.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from recall.neural.encoders.base import QueryEncoderConfig
from recall.neural.encoders.sequence import SequenceEncoder, shared_dropout
from recall.neural.encoders.windows import WindowInputs
from recall.neural.item_encoder import EMBEDDING_SCALE, embedding


class TransformerConfig(QueryEncoderConfig):
    """Options of ``TransformerEncoder``, besides those of every query encoder.

    Attributes:
        blocks: number of blocks.
        heads: of each block's attention; they divide ``embedding_size``.
        dropout: after attention and feed-forward layer of each block.
    """

    kind: Literal["transformer"] = "transformer"
    blocks: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class TransformerEncoder(SequenceEncoder):
    """Learned positions and causal self-attention blocks over the history."""

    config: TransformerConfig

    def _build_layers(self, size: int) -> None:
        self.positions = embedding(self.config.history_length + 1, size)
        self.blocks = nn.ModuleList(Block(self.config, size) for _ in range(self.config.blocks))

    def _read(self, x: Tensor, inputs: WindowInputs, generator: torch.Generator | None) -> Tensor:
        x = x + self.positions.weight[: x.shape[1]]
        for block in self.blocks:
            x = block(x, generator)
        return x


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each normalised before and added after."""

    def __init__(self, config: TransformerConfig, size: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.attention_norm = nn.LayerNorm(size)
        self.qkv = nn.Linear(size, 3 * size)
        self.mix = nn.Linear(size, size)
        self.hidden_norm = nn.LayerNorm(size)
        self.hidden = nn.Linear(size, config.hidden_size)
        self.out = nn.Linear(config.hidden_size, size)
        for last in (self.mix, self.out):  # a block starts close to the identity
            nn.init.normal_(last.weight, std=EMBEDDING_SCALE / (2 * config.blocks) ** 0.5)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """(W, L, D) → (W, L, D); position j reads positions up to j."""
        rate = self.dropout if self.training else 0.0
        x = x + shared_dropout(self._attention(self.attention_norm(x)), rate, generator)
        return x + shared_dropout(self.out(F.gelu(self.hidden(self.hidden_norm(x)))), rate, generator)

    def _attention(self, x: Tensor) -> Tensor:
        n_windows, length, size = x.shape
        qkv = self.qkv(x).view(n_windows, length, 3, self.heads, size // self.heads)
        y = causal_attention(*qkv.permute(2, 0, 3, 1, 4))  # (W, H, L, D/H)
        mixed: Tensor = self.mix(y.transpose(1, 2).reshape(n_windows, length, size))
        return mixed


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ/√d + causal mask) v over (W, H, L, d).

    On a CPU the L×L weights are written out: at the few hundred events of a history, three plain products take half
    the time of PyTorch's blockwise kernel there, forward and backward together.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    n_windows, heads, length, size = q.shape
    hidden = torch.full((length, length), -torch.inf, dtype=q.dtype).triu(1)
    rows, columns, values = (part.reshape(n_windows * heads, length, size) for part in (q, k, v))
    scores = torch.baddbmm(hidden, rows, columns.transpose(1, 2), alpha=size**-0.5)
    return torch.bmm(torch.softmax(scores, dim=-1), values).view(n_windows, heads, length, size)
