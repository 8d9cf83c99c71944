"""Several interests of a user by dynamic routing from the events of the history.

Li et al., "Multi-interest network with dynamic routing for recommendation at Tmall", CIKM 2019, sections 4.3 and 4.4.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from recall.neural.encoders.base import QueryEncoder, QueryEncoderConfig
from recall.neural.encoders.prefix import PrefixExamples, PrefixInputs
from recall.neural.item_encoder import embedding
from recall.neural.user_codes import UserCodes
from recall.neural.user_content import UserContent
from reccore import Interactions, ItemTable, QueryBatch
from reccore.arrays import IntArray
from training.ranks import uniform


class MINDEncoderConfig(QueryEncoderConfig):
    """Options of ``MINDEncoder``, besides those of every query encoder.

    Attributes:
        interests: K, most vectors of a query; a history of n events gets max(1, min(K, ⌊log₂ n⌋)) of them.
        iterations: of the routing.
        half_life: an event's vector is multiplied by an exponential decay before the routing; half-life in events,
            None = all events alike, as in the paper.
        logit_scale: standard deviation of the routing's first logits; where it is 0 all interests stay equal.
    """

    kind: Literal["mind"] = "mind"
    interests: int = Field(default=4, ge=1)
    iterations: int = Field(default=3, ge=1)
    half_life: float | None = Field(default=None, gt=0)
    logit_scale: float = Field(default=1.0, gt=0)


class MINDEncoder(QueryEncoder):
    """Routes the events of a history to K interests, then one MLP with the user's codes reads each interest.

    The first routing logits b (K, T) are drawn once, when the network is built, and saved with it: the same history
    always gets the same interests. Interests beyond those that a history gets are zero vectors. Of an empty history the
    user's codes alone speak. The order of the events matters through b only.
    """

    reads_vectors: ClassVar[bool] = True
    queries_per_chunk: ClassVar[int] = 256
    config: MINDEncoderConfig
    logits: Tensor

    def __init__(self, config: MINDEncoderConfig, codes: UserCodes, items: ItemTable, size: int) -> None:
        super().__init__()
        self.config, self.codes, self.items = config, codes, items
        self.register_buffer("logits", config.logit_scale * torch.randn(config.interests, config.history_length))
        self.map = nn.Linear(size, size, bias=False)  # S, shared by all events and interests
        nn.init.eye_(self.map.weight)
        self.code_tables = nn.ModuleList(embedding(n, size) for n in codes.sizes)
        self.hidden = nn.Linear(size, config.hidden_size)
        self.out = nn.Linear(config.hidden_size, size)
        nn.init.zeros_(self.out.weight)  # starts as the plain sum of interest and codes
        nn.init.zeros_(self.out.bias)
        self.user_content = UserContent.of(codes.users, size)

    def inputs(self, queries: QueryBatch) -> PrefixInputs:
        history = queries.padded(self.config.history_length)
        codes, top_genres = self.codes.of_queries(queries, self.items)
        user = np.where(queries.user_idx < self.codes.users.n_users, queries.user_idx, -1)
        columns = history.item_idx, history.lengths, user, codes, top_genres
        return PrefixInputs(*(torch.from_numpy(column) for column in columns))

    def examples(self, interactions: Interactions, batch_size: int, since: IntArray | None = None) -> PrefixExamples:
        return PrefixExamples(interactions, self.items, self.codes, self.config.history_length, batch_size, since)

    def forward(self, inputs: PrefixInputs, items: Tensor, generator: torch.Generator | None) -> Tensor:
        read = inputs.history >= 0  # (B, T)
        if self.training and self.config.history_dropout > 0:
            draws = uniform(*read.shape, generator=generator).to(read.device)
            read = read & (draws >= self.config.history_dropout)
        present = self._present(inputs.lengths)  # (B, K)
        weight = read if self.config.half_life is None else read * recency(inputs, self.config.half_life)
        x = self._route(self.map(items) * weight[:, :, None], present)  # (B, K, D)
        for column, table in enumerate(self.code_tables):
            x = x + table(inputs.codes[:, column])[:, None]
        if self.user_content is not None:
            x = x + self.user_content(inputs.user)[:, None]
        x = x + self.out(F.gelu(self.hidden(x)))
        return F.normalize(x, dim=-1) * present[:, :, None]

    def _present(self, lengths: Tensor) -> Tensor:
        """(B, K): the interests that a history of so many events gets."""
        number = torch.arange(1, self.config.interests + 1, device=lengths.device)
        return (number == 1) | (2**number <= lengths[:, None])

    def _route(self, events: Tensor, present: Tensor) -> Tensor:
        """Behaviour-to-interest routing: (B, T, D) mapped events, 0 on padding, → (B, K, D).

        w = softmax of b over the interests,  u_k = squash(Σ_i w_ki S e_i),  b_ki ← b_ki + u_k · S e_i

        The logits take no gradient: it passes through the last sum alone.
        """
        constant = events.detach()
        logits = self.logits[:, : events.shape[1]].masked_fill(~present[:, :, None], -torch.inf)  # (B, K, T)
        for _ in range(self.config.iterations - 1):
            interests = squash(torch.softmax(logits, dim=1) @ constant)
            logits = logits + interests @ constant.transpose(1, 2)
        return squash(torch.softmax(logits, dim=1) @ events)


def recency(inputs: PrefixInputs, half_life: float) -> Tensor:
    """(B, T) exponential decay of the events of each history, 1 for the latest; half-life in events."""
    slots = torch.arange(inputs.history.shape[1], device=inputs.history.device)
    return torch.exp2(-(inputs.lengths[:, None] - 1 - slots).clamp(min=0) / half_life)


def squash(x: Tensor) -> Tensor:
    """|x|² / (1 + |x|²) · x / |x| along the last axis; 0 for 0."""
    square = x.square().sum(dim=-1, keepdim=True)
    return x * (square / (1 + square) * (square + 1e-12).rsqrt())
