"""An MLP over time-decayed pools of the history, the userId and what is known of the user.

    pool_h(x) = Σ_i 2^(−age_i / half-life_h) · e(x_i) / Σ_i 2^(−age_i / half-life_h)

The query tower of Covington et al., "Deep neural networks for YouTube recommendations", RecSys 2016, with pools of
several half-lives in place of one mean.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from dataprep.features import TOP_GENRES
from recall.neural.encoders.base import QueryEncoderConfig
from recall.neural.encoders.frozen_mlp import FrozenMLP
from recall.neural.encoders.prefix import PrefixEncoder, PrefixInputs
from recall.neural.item_encoder import EMBEDDING_SCALE, embedding
from recall.neural.user_codes import UserCodes
from recall.neural.user_content import UserContent
from reccore import ItemTable
from training.kernels.embedding_table import EmbeddingTable
from training.kernels.pooled_embeddings import decayed_pools


class MLPEncoderConfig(QueryEncoderConfig):
    """Options of ``MLPEncoder``, besides those of every query encoder.

    Attributes:
        half_lives: one pool per entry; exponential decay, half-life in events.
        user_dropout: share of userIds replaced by the unknown one in training, so that new users are represented; 1 =
            no userId is read, in use neither.
    """

    kind: Literal["mlp"] = "mlp"
    half_lives: tuple[PositiveFloat, ...] = Field(default=(2.0, 10.0, 50.0), min_length=1)
    user_dropout: float = Field(default=0.5, ge=0, le=1)


class MLPEncoder(PrefixEncoder):
    """Decayed pools of the history, userId, top genres and codes → unit vector.

    The pools read the item encoder's own id table, so that a film means the same on both sides.
    """

    config: MLPEncoderConfig
    half_lives: Tensor

    def __init__(self, config: MLPEncoderConfig, codes: UserCodes, items: ItemTable, size: int) -> None:
        super().__init__(config, codes, items, size)
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

    def frozen(self, ids: Tensor) -> FrozenMLP | None:
        if type(self) is not MLPEncoder or self.user_content is not None:  # a subclass may compute something else
            return None
        return FrozenMLP(self, ids)

    def _pools(self, inputs: PrefixInputs, items: EmbeddingTable, generator: torch.Generator | None) -> Tensor:
        """(B, H, D) weighted means of the history's id embeddings, one per half-life; 0 for an empty history."""
        return decayed_pools(items, self._history(inputs, generator), inputs.lengths, self.half_lives)

    def _about(self, inputs: PrefixInputs, generator: torch.Generator | None) -> Tensor:
        """(B, D) sum of what is known beside the history."""
        return self._with_facts(self._ids(inputs, generator) + self._genres(inputs.top_genres), inputs)

    def _genres(self, top_genres: Tensor) -> Tensor:
        """(B, D) mean over a user's top genres, as a product with their multi-hot rows; −1 = none."""
        count = self.genres.weight.new_zeros(len(top_genres), self.genres.num_embeddings)
        count.scatter_add_(1, top_genres + 1, count.new_full(top_genres.shape, 1 / TOP_GENRES))
        return count[:, 1:] @ self.genres.weight[1:]
