"""A causal transformer as user tower: every position of a history is a query.

Kang & McAuley, "Self-attentive sequential recommendation", ICDM 2018, with pre-normalised blocks (Xiong et al.,
ICML 2020), over the item tower's own vectors.

Two things make it fast on a CPU. Histories are padded on the right, so that the causal flag alone keeps padding
out of every valid position and attention stays on its fast path. And dropout draws one mask per sequence and
channel, shared along time: drawing B·T·D Bernoulli numbers costs more there than the products they thin out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.towers import EMBEDDING_SCALE, embedding

RATING_CODES = 12
"""0 = none, then half stars from 0 to 5."""
GAP_CODES = 32
"""0 = none, then log2 of seconds since the event before."""


@dataclass(frozen=True, eq=False)
class SequenceInputs:
    """Windows of histories, and the positions in them that are queries.

    Position 0 of a window is its start, before any event; position j comes after the window's j-th event.

    Attributes:
        history: (W, T) int64 item indices, oldest first, -1 = padding on the right.
        continued: (W,) int64, 1 where events before the window were cut off.
        facts: (W, C) int64 codes of the user.
        ratings: (W, T) int64 codes of the ratings, or None.
        gaps: (W, T) int64 codes of the time since the event before, or None.
        asked: (P,) int64, window·(T + 1) + position of each query.
        when: (P, 2) int64 codes of when each query is asked, or None.
    """

    history: Tensor
    continued: Tensor
    facts: Tensor
    ratings: Tensor | None
    gaps: Tensor | None
    asked: Tensor
    when: Tensor | None = None

    @property
    def owner(self) -> Tensor:
        """(P,) window of each query."""
        return self.asked // (self.history.shape[1] + 1)

    def to(self, device: torch.device) -> SequenceInputs:
        return SequenceInputs(
            self.history.to(device),
            self.continued.to(device),
            self.facts.to(device),
            None if self.ratings is None else self.ratings.to(device),
            None if self.gaps is None else self.gaps.to(device),
            self.asked.to(device),
            None if self.when is None else self.when.to(device),
        )


class TransformerUserTower(nn.Module):
    """History as vectors of the item tower, with ratings, time gaps and positions → unit vectors.

    A start position that holds what is known of the user answers for an empty history.

    Args:
        fact_sizes: number of codes of each column of the user's facts.
        has_ratings: whether events come with ratings.
        has_times: whether events come with times.
        when_sizes: number of codes of each column of when a query is asked; none where that is not read.
    """

    def __init__(
        self,
        fact_sizes: Sequence[int],
        has_ratings: bool,
        has_times: bool,
        config: TwoTowerConfig,
        when_sizes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        size = config.embedding_size
        self.config = config
        self.start = embedding(2, size)
        self.facts = nn.ModuleList(embedding(n, size) for n in fact_sizes)
        self.ratings = embedding(RATING_CODES, size) if has_ratings else None
        self.gaps = embedding(GAP_CODES, size) if has_times else None
        self.positions = embedding(config.history_length + 1, size)
        self.hidden_event = nn.Parameter(torch.zeros(size))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.moment = Moment(when_sizes, config) if when_sizes else None
        self.norm = nn.LayerNorm(size)

    def forward(
        self, inputs: SequenceInputs, item_vectors: Callable[[Tensor], Tensor], generator: torch.Generator | None
    ) -> Tensor:
        """Unit vectors (P, D); ``item_vectors`` gives the item tower's (n, D) of n items."""
        distinct, at = torch.unique(inputs.history.clamp(min=0), return_inverse=True)  # (n,), (W, T)
        return self.over_vectors(inputs, F.embedding(at, item_vectors(distinct)), generator)

    def over_vectors(self, inputs: SequenceInputs, vectors: Tensor, generator: torch.Generator | None) -> Tensor:
        """Unit vectors (P, D) from the history's vectors (W, T, D); what stands on padding is not read."""
        x = torch.cat([self._start(inputs)[:, None], self._events(inputs, vectors, generator)], dim=1)
        x = x + self.positions.weight[: x.shape[1]]  # (W, T+1, D)
        for block in self.blocks:
            x = block(x, generator)
        asked = x.flatten(0, 1)[inputs.asked]  # (P, D)
        if self.moment is not None and inputs.when is not None:
            asked = self.moment(asked, inputs.when)
        return F.normalize(self.norm(asked), dim=-1)

    def _start(self, inputs: SequenceInputs) -> Tensor:
        x: Tensor = self.start(inputs.continued)  # (W, D)
        for column, table in enumerate(self.facts):
            x = x + table(inputs.facts[:, column])
        return x

    def _events(self, inputs: SequenceInputs, vectors: Tensor, generator: torch.Generator | None) -> Tensor:
        x = vectors * self.scale
        if self.training and self.config.history_dropout > 0:
            draws = torch.rand(inputs.history.shape, generator=generator).to(x.device)
            x = torch.where((draws < self.config.history_dropout)[:, :, None], self.hidden_event, x)
        if self.ratings is not None and inputs.ratings is not None:
            x = x + self.ratings(inputs.ratings)
        if self.gaps is not None and inputs.gaps is not None:
            x = x + self.gaps(inputs.gaps)
        return x


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each normalised before and added after."""

    def __init__(self, config: TwoTowerConfig) -> None:
        super().__init__()
        size = config.embedding_size
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
        x = x + self._thinned(self._attention(self.attention_norm(x)), generator)
        return x + self._thinned(self.out(F.gelu(self.hidden(self.hidden_norm(x)))), generator)

    def _attention(self, x: Tensor) -> Tensor:
        n_windows, length, size = x.shape
        qkv = self.qkv(x).view(n_windows, length, 3, self.heads, size // self.heads)
        y = causal_attention(*qkv.permute(2, 0, 3, 1, 4))  # (W, H, L, D/H)
        mixed: Tensor = self.mix(y.transpose(1, 2).reshape(n_windows, length, size))
        return mixed

    def _thinned(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        if not self.training or self.dropout == 0:
            return x
        kept = torch.rand(x.shape[0], 1, x.shape[2], generator=generator) >= self.dropout
        return x * (kept.to(x.dtype) / (1 - self.dropout)).to(x.device)


class Moment(nn.Module):
    """When a query is asked, joined to what its history says.

    It comes after the attention, where a query is a row of its own. So keys and values of a history are the same
    whenever it is asked; and in training, where the query at position j is asked at the time of event j + 1, that
    time reaches this one query and no other: nothing is read there but its own row and its own codes.

    Args:
        sizes: number of codes of each column of when a query is asked.
    """

    def __init__(self, sizes: Sequence[int], config: TwoTowerConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.codes = nn.ModuleList(embedding(n, size) for n in sizes)
        self.hidden_norm = nn.LayerNorm(size)
        self.hidden = nn.Linear(size, config.hidden_size)
        self.out = nn.Linear(config.hidden_size, size)
        nn.init.zeros_(self.out.weight)  # starts as the plain sum; learns what moment and history say together
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, when: Tensor) -> Tensor:
        """(P, D) → (P, D) of P queries; ``when`` (P, C) are their codes."""
        for column, table in enumerate(self.codes):
            x = x + table(when[:, column])
        mixed: Tensor = self.out(F.gelu(self.hidden(self.hidden_norm(x))))
        return x + mixed


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ/√d + causal mask) v over (W, H, L, d).

    On a CPU the L×L weights are written out: at the few hundred events of a history, three plain products took
    half the time of PyTorch's blockwise kernel there, forward and backward together.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    n_windows, heads, length, size = q.shape
    hidden = torch.full((length, length), -torch.inf, dtype=q.dtype).triu(1)
    rows, columns, values = (part.reshape(n_windows * heads, length, size) for part in (q, k, v))
    scores = torch.baddbmm(hidden, rows, columns.transpose(1, 2), alpha=size**-0.5)
    return torch.bmm(torch.softmax(scores, dim=-1), values).view(n_windows, heads, length, size)
