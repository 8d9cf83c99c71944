"""Behaviour aggregation: a vector of the user and a pool of the history, mixed by a fixed gate.

    h = g · e_u + (1 − g) · V · Σ_i α_i e(x_i)

Mao et al., "SimpleX: a simple and strong baseline for collaborative filtering", CIKM 2021, section 3.3. e_u here is the
sum of the userId and the facts known of the user, so that a user without an id is represented too.
"""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from recall.neural.encoders.prefix import PrefixEncoder, PrefixInputs
from recall.neural.item_encoder import embedding
from recall.neural.user_codes import UserCodes
from recall.neural.user_content import UserContent
from reccore import ComponentConfig, ItemTable
from training.kernels.embedding_table import EmbeddingTable
from training.kernels.pooled_embeddings import decayed_pools


class AggregationConfig(ComponentConfig):
    """Options of ``AggregationEncoder``.

    Attributes:
        pooling: α: ``mean`` 1/n; ``self_attention`` softmax of ⟨q, tanh(W e(x_i) + b)⟩ with a learned q;
            ``user_attention`` the same with q = e_u.
        half_life: exponential decay of the mean; half-life in events, None = all events alike, as in the paper.
        gate: g, the share of the user's own vector.
        history_length: the latest so many events of a history are read.
        history_dropout: share of history events left out at random in training.
        user_dropout: share of userIds replaced by the unknown one in training, so that new users are represented; 1 =
            no userId is read, in use neither.
        query_time, features: as in ``QueryEncoderConfig``.
    """

    kind: Literal["aggregation"] = "aggregation"
    pooling: Literal["mean", "self_attention", "user_attention"] = "mean"
    half_life: float | None = Field(default=None, gt=0)
    gate: float = Field(default=0.5, gt=0, lt=1)
    history_length: int = Field(default=50, ge=1)
    history_dropout: float = Field(default=0.2, ge=0, lt=1)
    user_dropout: float = Field(default=0.5, ge=0, le=1)
    query_time: bool = False
    features: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _decay_of_the_mean(self) -> Self:
        if self.half_life is not None and self.pooling != "mean":
            raise ValueError(
                f"half_life = {self.half_life} weighs the events of pooling = mean, and {self.pooling} learns its "
                "weights; leave half_life out"
            )
        return self


class AggregationEncoder(PrefixEncoder):
    """Gated sum of user vector and pooled history → unit vector.

    The pool reads the item encoder's own id table, so that a film means the same on both sides. Attention takes
    (B, T, D) numbers of memory; the mean reads the rows in place.
    """

    config: AggregationConfig
    half_lives: Tensor

    def __init__(self, config: AggregationConfig, codes: UserCodes, items: ItemTable, size: int) -> None:
        super().__init__(config, codes, items, size)
        self.code_tables = nn.ModuleList(embedding(n, size) for n in codes.sizes)
        self.user_content = UserContent.of(codes.users, size)
        self.project = nn.Linear(size, size, bias=False)
        nn.init.eye_(self.project.weight)  # starts as the plain pool
        self.keys: nn.Linear | None = None
        self.query: nn.Parameter | None = None
        if config.pooling != "mean":
            self.keys = nn.Linear(size, size)
        if config.pooling == "self_attention":
            self.query = nn.Parameter(torch.randn(size) / math.sqrt(size))
        self.register_buffer("half_lives", torch.tensor([config.half_life or math.inf]), persistent=False)

    def forward(self, inputs: PrefixInputs, items: EmbeddingTable, generator: torch.Generator | None) -> Tensor:
        user = self._with_facts(self._ids(inputs, generator), inputs)  # (B, D)
        history = self._history(inputs, generator)
        if self.keys is None:
            pool = decayed_pools(items, history, inputs.lengths, self.half_lives).squeeze(1)  # (B, D)
        else:
            pool = self._attended(history, items, user if self.query is None else self.query.expand_as(user))
        gate = self.config.gate
        return F.normalize(gate * user + (1 - gate) * self.project(pool), dim=-1)

    def _attended(self, history: Tensor, items: EmbeddingTable, query: Tensor) -> Tensor:
        """(B, D) attention of the queries (B, D) over the history (B, T); 0 for an empty one."""
        assert self.keys is not None
        present = history >= 0
        vectors = items(history.clamp(min=0))  # (B, T, D)
        scores = torch.einsum("btd,bd->bt", torch.tanh(self.keys(vectors)), query)
        least = torch.finfo(scores.dtype).min
        share = torch.softmax(scores.masked_fill(~present, least), dim=1) * present
        return torch.einsum("bt,btd->bd", share, vectors)
