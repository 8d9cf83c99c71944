"""Blocks of a causal transformer: causal self-attention, then a feed-forward layer, each added to what it reads.

``PreNormBlock`` is that of Xiong et al., "On layer normalization in the transformer architecture", ICML 2020.
``LiGRBlock`` multiplies both additions by learned gates (Borisyuk et al., "From features to transformers: redefining
ranking for scalable impact", 2025) and is the block of eSASRec (Tikhonovich et al., RecSys 2025).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall.neural.encoders.sequence import shared_dropout
from recall.neural.item_encoder import EMBEDDING_SCALE


class Block(nn.Module, ABC):
    """What both blocks share: the attention and the two norms.

    Args:
        size: D, of input and output.
        hidden_size: width of the feed-forward layer.
        heads: of the attention; they divide ``size``.
        dropout: after attention and feed-forward layer, one mask for all positions of a window.
        depth: blocks of the encoder; each starts the closer to the identity the more there are.
    """

    def __init__(self, size: int, hidden_size: int, *, heads: int, dropout: float, depth: int) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.LayerNorm(size)
        self.qkv = nn.Linear(size, 3 * size)
        self.mix = nn.Linear(size, size)
        self.hidden_norm = nn.LayerNorm(size)
        self._build_feed_forward(size, hidden_size)
        for last in (self.mix, self.out):
            nn.init.normal_(last.weight, std=EMBEDDING_SCALE / (2 * depth) ** 0.5)
            nn.init.zeros_(last.bias)

    out: nn.Linear

    @abstractmethod
    def _build_feed_forward(self, size: int, hidden_size: int) -> None:
        """Create ``out``, the last layer, and whatever comes before it."""

    @abstractmethod
    def forward(self, x: Tensor, bias: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """(W, L, D) → (W, L, D); position j reads positions up to j. ``bias`` is that of ``causal_attention``."""

    def _attention(self, x: Tensor, bias: Tensor | None) -> Tensor:
        n_windows, length, size = x.shape
        qkv = self.qkv(x).view(n_windows, length, 3, self.heads, size // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (W, H, L, D/H)
        y = causal_attention(q, k, v, bias)
        mixed: Tensor = self.mix(y.transpose(1, 2).reshape(n_windows, length, size))
        return mixed

    def _dropped(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return shared_dropout(x, self.dropout if self.training else 0.0, generator)


class PreNormBlock(Block):
    """x + Attention(norm(x)), then x + W₂ gelu(W₁ norm(x))."""

    def _build_feed_forward(self, size: int, hidden_size: int) -> None:
        self.hidden = nn.Linear(size, hidden_size)
        self.out = nn.Linear(hidden_size, size)

    def forward(self, x: Tensor, bias: Tensor | None, generator: torch.Generator | None) -> Tensor:
        x = x + self._dropped(self._attention(self.attention_norm(x), bias), generator)
        return x + self._dropped(self.out(F.gelu(self.hidden(self.hidden_norm(x)))), generator)


class LiGRBlock(Block):
    """x + σ(G₁ x) ⊙ Attention(norm(x)), then x + σ(G₂ x) ⊙ W₃ (silu(W₁ norm(x)) ⊙ W₂ norm(x)).

    The gates read x before it is normalised. The feed-forward layer is SwiGLU (Shazeer, "GLU variants improve
    transformer", 2020): at the same width it has half as many weights again as that of ``PreNormBlock``.
    """

    def _build_feed_forward(self, size: int, hidden_size: int) -> None:
        self.hidden = nn.Linear(size, 2 * hidden_size)  # W₁ and W₂ in one product
        self.out = nn.Linear(hidden_size, size)
        self.attention_gate = nn.Linear(size, size)
        self.hidden_gate = nn.Linear(size, size)

    def forward(self, x: Tensor, bias: Tensor | None, generator: torch.Generator | None) -> Tensor:
        read = self._dropped(self._attention(self.attention_norm(x), bias), generator)
        x = x + torch.sigmoid(self.attention_gate(x)) * read
        gate, value = self.hidden(self.hidden_norm(x)).chunk(2, dim=-1)
        return x + torch.sigmoid(self.hidden_gate(x)) * self._dropped(self.out(F.silu(gate) * value), generator)


def causal_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ/√d + bias) v over (W, H, L, d).

    Without ``bias`` it is the causal mask; else (1 or W, H, L, L), −inf wherever a position must not be read.

    On a CPU the L×L weights are written out: at the few hundred events of a history, three plain products take half
    the time of PyTorch's blockwise kernel there, forward and backward together.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=bias is None)
    n_windows, heads, length, size = q.shape
    rows, columns, values = (part.reshape(n_windows * heads, length, size) for part in (q, k, v))
    if bias is None:
        hidden = torch.full((length, length), -torch.inf, dtype=q.dtype).triu(1)
        scores = torch.baddbmm(hidden, rows, columns.transpose(1, 2), alpha=size**-0.5)
    else:
        scores = torch.bmm(rows * size**-0.5, columns.transpose(1, 2))
        scores = (scores.view(n_windows, heads, length, length).add_(bias)).flatten(0, 1)
    return torch.bmm(torch.softmax(scores, dim=-1), values).view(n_windows, heads, length, size)
