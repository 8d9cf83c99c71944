"""An MLP over time-decayed pools of the history, the userId and what is known of the user.

    pool_h(x) = Σ_i 2^(−age_i / half-life_h) · e(x_i) / Σ_i 2^(−age_i / half-life_h)

The query tower of Covington et al., "Deep neural networks for YouTube recommendations", RecSys 2016, with pools of
several half-lives in place of one mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from dataprep.features import TOP_GENRES, PrefixFeatures, prefix_features
from recall.neural.encoders.base import QueryEncoder, QueryEncoderConfig
from recall.neural.item_encoder import EMBEDDING_SCALE, embedding, large_embedding
from recall.neural.user_codes import UserCodes
from recall.neural.user_content import UserContent
from reccore import Interactions, ItemTable, QueryBatch
from reccore.arrays import BoolArray, IntArray
from training.kernels.embedding_table import EmbeddingTable, share_last_row
from training.kernels.masking import PositiveItems
from training.kernels.pooled_embeddings import decayed_pools


class MLPEncoderConfig(QueryEncoderConfig):
    """Options of ``MLPEncoder``, besides those of every query encoder.

    Attributes:
        half_lives: one pool per entry; exponential decay, half-life in events.
        user_dropout: share of userIds replaced by the unknown one in training, so that new users are represented.
    """

    kind: Literal["mlp"] = "mlp"
    half_lives: tuple[PositiveFloat, ...] = Field(default=(2.0, 10.0, 50.0), min_length=1)
    user_dropout: float = Field(default=0.5, ge=0, le=1)


@dataclass(frozen=True, eq=False)
class PrefixInputs:
    """A batch of queries, one row each.

    Attributes:
        history: (B, T) int64 item indices, oldest first, -1 = padding on the right.
        lengths: (B,) int64.
        user: (B,) int64, -1 = unknown.
        codes: (B, C) int64.
        top_genres: (B, 3) int64, -1 = none.
    """

    history: Tensor
    lengths: Tensor
    user: Tensor
    codes: Tensor
    top_genres: Tensor

    def to(self, device: torch.device) -> PrefixInputs:
        return PrefixInputs(*(part.to(device) for part in vars(self).values()))

    def positives(self) -> PositiveItems:
        start = torch.arange(len(self.history), device=self.history.device) * self.history.shape[1]
        return PositiveItems(self.history.flatten(), start, start + self.lengths)


class MLPEncoder(QueryEncoder):
    """Decayed pools of the history, userId, top genres and codes → unit vector.

    The pools read the item encoder's own id table, so that a film means the same on both sides.
    """

    reads_vectors: ClassVar[bool] = False
    queries_per_chunk: ClassVar[int] = 1024
    config: MLPEncoderConfig
    half_lives: Tensor

    def __init__(self, config: MLPEncoderConfig, codes: UserCodes, items: ItemTable, size: int) -> None:
        super().__init__()
        self.config, self.codes, self.items = config, codes, items
        self.n_users = codes.users.n_users
        self.users = large_embedding(self.n_users + 1, size)  # row n_users: unknown
        self.genres = nn.Embedding(items.n_genres + 1, size, padding_idx=0)
        nn.init.normal_(self.genres.weight[1:], std=EMBEDDING_SCALE)
        self.code_tables = nn.ModuleList(embedding(n, size) for n in codes.sizes)
        self.mix = nn.Parameter(torch.ones(len(config.half_lives), 1))
        self.hidden = nn.Linear(size * (len(config.half_lives) + 1), config.hidden_size)
        self.out = nn.Linear(config.hidden_size, size)
        nn.init.zeros_(self.out.weight)  # starts as the plain mean of the pools
        nn.init.zeros_(self.out.bias)
        self.register_buffer("half_lives", torch.tensor(config.half_lives), persistent=False)
        self.user_content = UserContent.of(codes.users, size)

    def inputs(self, queries: QueryBatch) -> PrefixInputs:
        history = queries.padded(self.config.history_length)
        codes, top_genres = self.codes.of_queries(queries, self.items)
        user = np.where(queries.user_idx < self.n_users, queries.user_idx, -1)
        return _inputs(history.item_idx, history.lengths, user, codes, top_genres)

    def examples(self, interactions: Interactions, batch_size: int) -> PrefixExamples:
        return PrefixExamples(interactions, self.items, self.codes, self.config.history_length, batch_size)

    def forward(self, inputs: PrefixInputs, items: EmbeddingTable, generator: torch.Generator | None) -> Tensor:
        pools = self._pools(inputs, items, generator)  # (B, H, D)
        about = self._about(inputs, generator)  # (B, D)
        # One product passes over the pools for both readers, the hidden layer and their weighted mean; pools and
        # facts are not copied into one (B, (H+1)·D) tensor.
        size = about.shape[1]
        of_pools, of_about = self.hidden.weight.split([pools.shape[1] * size, size], dim=1)
        mean = torch.kron(self.mix.T / len(self.mix), torch.eye(size, dtype=about.dtype, device=about.device))
        of_both = F.linear(pools.flatten(1), torch.cat([of_pools, mean]))  # (B, hidden + D)
        hidden, mixed = of_both.split([len(of_pools), size], dim=1)
        hidden = hidden + F.linear(about, of_about, self.hidden.bias)
        x = mixed + about + self.out(F.gelu(hidden))
        return F.normalize(x, dim=-1)

    @torch.no_grad()
    def share_unknown_rows(self, seen_users: BoolArray) -> None:
        if self.config.user_dropout > 0:
            share_last_row(self.users.weight, seen_users)

    def _pools(self, inputs: PrefixInputs, items: EmbeddingTable, generator: torch.Generator | None) -> Tensor:
        """(B, H, D) weighted means of the history's id embeddings, one per half-life; 0 for an empty history."""
        history = inputs.history
        if self.training and self.config.history_dropout > 0:
            draws = torch.rand(history.shape, generator=generator).to(history.device)
            history = torch.where(draws < self.config.history_dropout, -1, history)
        return decayed_pools(items, history, inputs.lengths, self.half_lives)

    def _about(self, inputs: PrefixInputs, generator: torch.Generator | None) -> Tensor:
        """(B, D) sum of what is known beside the history."""
        user = torch.where(inputs.user < 0, self.n_users, inputs.user)
        if self.training and self.config.user_dropout > 0:
            dropped = torch.rand(len(user), generator=generator).to(user.device) < self.config.user_dropout
            user = torch.where(dropped, self.n_users, user)
        x: Tensor = self.users(user) + self._genres(inputs.top_genres)
        for column, table in enumerate(self.code_tables):
            x = x + table(inputs.codes[:, column])
        return x if self.user_content is None else x + self.user_content(inputs.user)

    def _genres(self, top_genres: Tensor) -> Tensor:
        """(B, D) mean over a user's top genres, as a product with their multi-hot rows; −1 = none."""
        count = self.genres.weight.new_zeros(len(top_genres), self.genres.num_embeddings)
        count.scatter_add_(1, top_genres + 1, count.new_full(top_genres.shape, 1 / TOP_GENRES))
        return count[:, 1:] @ self.genres.weight[1:]


class PrefixExamples:
    """Every event as an example: its item is the target, the events before it are the query."""

    def __init__(
        self, interactions: Interactions, items: ItemTable, codes: UserCodes, history_length: int, batch_size: int
    ) -> None:
        self.interactions, self.codes, self.history_length = interactions, codes, history_length
        self.n_batches = math.ceil(interactions.n_events / batch_size)
        self.prefixes: PrefixFeatures = prefix_features(interactions, items)
        self.user_of_event = interactions.user_idx

    def __len__(self) -> int:
        return self.interactions.n_events

    def batches(self, shuffle: np.random.Generator) -> list[IntArray]:
        """The events of each batch."""
        return np.array_split(shuffle.permutation(len(self)), self.n_batches)

    def events(self, rows: IntArray) -> IntArray:
        return rows

    def batch(self, rows: IntArray) -> tuple[PrefixInputs, Tensor]:
        users = self.user_of_event[rows]
        before = self.prefixes.activity[rows].astype(np.int64)
        history = self.interactions.padded_prefixes(users, before, self.history_length)
        codes, top_genres = self.codes.of_prefixes(self.interactions, users, self.prefixes, rows)
        inputs = _inputs(history.item_idx, history.lengths, users, codes, top_genres)
        return inputs, torch.from_numpy(self.interactions.item_idx[rows])


def _inputs(*columns: IntArray) -> PrefixInputs:
    return PrefixInputs(*(torch.from_numpy(column) for column in columns))
