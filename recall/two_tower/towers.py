"""The two towers: functions from a film, and from a user's history, to points of one unit sphere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.features import TOP_GENRES, ItemInputs
from recall.two_tower.propagation import sparse_product
from training.kernels.embedding_table import EmbeddingTable
from training.kernels.pooled_embeddings import decayed_pools

EMBEDDING_SCALE = 0.05


def embedding(n: int, size: int) -> nn.Embedding:
    """An embedding table with small random rows."""
    table = nn.Embedding(n, size)
    nn.init.normal_(table.weight, std=EMBEDDING_SCALE)
    return table


def large_embedding(n: int, size: int) -> EmbeddingTable:
    """The same, of which a batch reads a few rows out of many."""
    table = EmbeddingTable(n, size)
    nn.init.normal_(table.weight, std=EMBEDDING_SCALE)
    return table


class ItemTower(nn.Module):
    """movieId, multi-label genres, codes (year, popularity, mean rating), further labels and vectors → unit vector.

    Row N of the id table is the unknown film: it stands in for ids dropped in training.
    """

    def __init__(self, n_items: int, content: ItemInputs, config: TwoTowerConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.n_items = n_items
        self.id_dropout = config.id_dropout
        self.ids = large_embedding(n_items + 1, size)
        self.genres = nn.Linear(content.genres.shape[1], size, bias=False) if content.genres.shape[1] else None
        self.codes = nn.ModuleList(embedding(n, size) for n in content.sizes)
        self.labels = nn.ParameterList(embedding(n, size).weight for n in content.label_sizes)
        self.vectors = nn.Linear(content.vectors.shape[1], size, bias=False) if content.vectors.shape[1] else None
        self.hidden = nn.Linear(size, config.hidden_size)
        self.out = nn.Linear(config.hidden_size, size)
        nn.init.zeros_(self.out.weight)  # starts as the plain sum of embeddings
        nn.init.zeros_(self.out.bias)

    def forward(self, item_idx: Tensor, content: ItemInputs, generator: torch.Generator | None) -> Tensor:
        """Unit vectors (M, D) of M items.

        Args:
            item_idx: (M,) int64, N = unknown.
            content: of these M items, in this order.
            generator: draws the ids to drop in training.
        """
        if self.training and self.id_dropout > 0:
            dropped = torch.rand(len(item_idx), generator=generator).to(item_idx.device) < self.id_dropout
            item_idx = torch.where(dropped, self.n_items, item_idx)
        x = self.ids(item_idx)  # (M, D)
        if self.genres is not None:
            x = x + self.genres(content.genres)
        for column, table in enumerate(self.codes):
            x = x + table(content.codes[:, column])
        for table, labels in zip(self.labels, content.labels, strict=True):
            x = x + mean_rows(table, labels)
        if self.vectors is not None:
            x = x + self.vectors(content.vectors)
        x = x + self.out(F.gelu(self.hidden(x)))
        return F.normalize(x, dim=-1)


def mean_rows(table: Tensor, idx: Tensor) -> Tensor:
    """(M, D) mean of the rows of ``table`` (T, D) that ``idx`` (M, P) names, -1 = none; 0 without any."""
    kept = (idx >= 0).to(table.dtype)
    weights = kept / kept.sum(dim=1, keepdim=True).clamp(min=1.0)
    offsets = torch.arange(0, idx.numel() + 1, idx.shape[1], device=idx.device)
    return sparse_product(offsets, idx.clamp(min=0).flatten(), weights.flatten(), table)


@dataclass(frozen=True, eq=False)
class UserInputs:
    """A batch of queries as tensors.

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

    def to(self, device: torch.device) -> UserInputs:
        return UserInputs(
            self.history.to(device),
            self.lengths.to(device),
            self.user.to(device),
            self.codes.to(device),
            self.top_genres.to(device),
        )


class MLPUserTower(nn.Module):
    """Time-decayed pools of the history, userId, top genres and codes → unit vector.

    The pools read the item tower's own id table, so that a film means the same on both sides.
    """

    half_lives: Tensor

    def __init__(self, n_users: int, n_genres: int, code_sizes: Sequence[int], config: TwoTowerConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.config = config
        self.n_users = n_users
        self.users = large_embedding(n_users + 1, size)  # row n_users: unknown
        self.genres = nn.Embedding(n_genres + 1, size, padding_idx=0)
        nn.init.normal_(self.genres.weight[1:], std=EMBEDDING_SCALE)
        self.codes = nn.ModuleList(embedding(n, size) for n in code_sizes)
        self.mix = nn.Parameter(torch.ones(len(config.half_lives), 1))
        self.hidden = nn.Linear(size * (len(config.half_lives) + 1), config.hidden_size)
        self.out = nn.Linear(config.hidden_size, size)
        nn.init.zeros_(self.out.weight)  # starts as the plain mean of the pools
        nn.init.zeros_(self.out.bias)
        self.register_buffer("half_lives", torch.tensor(config.half_lives), persistent=False)

    def forward(self, inputs: UserInputs, item_ids: EmbeddingTable, generator: torch.Generator | None) -> Tensor:
        """Unit vectors (B, D); ``item_ids`` is the item tower's id table."""
        pools = self._pools(inputs, item_ids, generator)  # (B, H, D)
        about = self._about(inputs, generator)  # (B, D)
        # One product passes over the pools for both that read them, the hidden layer and their weighted mean; pools and
        # facts are not copied beside one another into a (B, (H+1)·D) tensor.
        size = about.shape[1]
        of_pools, of_about = self.hidden.weight.split([pools.shape[1] * size, size], dim=1)
        mean = torch.kron(self.mix.T / len(self.mix), torch.eye(size, dtype=about.dtype, device=about.device))
        of_both = F.linear(pools.flatten(1), torch.cat([of_pools, mean]))  # (B, hidden + D)
        hidden, mixed = of_both.split([len(of_pools), size], dim=1)
        hidden = hidden + F.linear(about, of_about, self.hidden.bias)
        x = mixed + about + self.out(F.gelu(hidden))
        return F.normalize(x, dim=-1)

    def _pools(self, inputs: UserInputs, item_ids: EmbeddingTable, generator: torch.Generator | None) -> Tensor:
        """(B, H, D) weighted means of the history's id embeddings, one per half-life; 0 for an empty history."""
        history = inputs.history
        if self.training and self.config.history_dropout > 0:
            draws = torch.rand(history.shape, generator=generator).to(history.device)
            history = torch.where(draws < self.config.history_dropout, -1, history)
        return decayed_pools(item_ids, history, inputs.lengths, self.half_lives)

    def _about(self, inputs: UserInputs, generator: torch.Generator | None) -> Tensor:
        """(B, D) sum of what is known beside the history."""
        user = torch.where(inputs.user < 0, self.n_users, inputs.user)
        if self.training and self.config.user_dropout > 0:
            dropped = torch.rand(len(user), generator=generator).to(user.device) < self.config.user_dropout
            user = torch.where(dropped, self.n_users, user)
        x: Tensor = self.users(user) + self._genres(inputs.top_genres)
        for column, table in enumerate(self.codes):
            x = x + table(inputs.codes[:, column])
        return x

    def _genres(self, top_genres: Tensor) -> Tensor:
        """(B, D) sum over a user's top genres, by a product with how often each is there; −1 = none."""
        count = self.genres.weight.new_zeros(len(top_genres), self.genres.num_embeddings)
        count.scatter_add_(1, top_genres + 1, count.new_full(top_genres.shape, 1 / TOP_GENRES))
        return count[:, 1:] @ self.genres.weight[1:]
