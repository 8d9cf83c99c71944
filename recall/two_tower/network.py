"""Both towers over one catalogue."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.features import ItemInputs
from recall.two_tower.frequency import FrequencyEstimator
from recall.two_tower.loss import LearnedTemperature
from recall.two_tower.towers import ItemTower, MLPUserTower, UserInputs
from reccore.arrays import BoolArray

ITEMS_PER_CHUNK = 65_536


class TwoTowerNetwork(nn.Module):
    """The item tower, the user tower, and the catalogue's content as buffers.

    What the loss learns beside them (``frequency``, ``temperature``) lives here too, to be saved with them.
    """

    genres: Tensor
    codes: Tensor

    def __init__(self, n_users: int, content: ItemInputs, code_sizes: tuple[int, ...], config: TwoTowerConfig) -> None:
        super().__init__()
        n_items, n_genres = content.genres.shape
        self.n_items = n_items
        self.register_buffer("genres", content.genres, persistent=False)
        self.register_buffer("codes", content.codes, persistent=False)
        self.item_tower = ItemTower(n_items, content, config)
        self.user_tower = MLPUserTower(n_users, n_genres, code_sizes, config)
        self.frequency: FrequencyEstimator | None = None
        if config.logq == "streaming":
            self.frequency = FrequencyEstimator(
                config.streaming_hashes,
                config.streaming_buckets,
                config.streaming_alpha,
                config.streaming_initial_gap,
            )
        self.temperature: LearnedTemperature | None = None
        if config.temperature_bounds is not None:
            self.temperature = LearnedTemperature(config.temperature, config.temperature_bounds)

    def forward(self, inputs: UserInputs, item_idx: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Unit vectors (B, D) of queries and (M, D) of the given items: a training step."""
        return self.queries(inputs, generator), self.items(item_idx, generator)

    def items(self, item_idx: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Unit vectors (M, D) of the given items."""
        vectors: Tensor = self.item_tower(item_idx, self.genres[item_idx], self.codes[item_idx], generator)
        return vectors

    @torch.no_grad()
    def share_unknown_rows(self, seen_users: BoolArray, seen_items: BoolArray) -> None:
        """Give users and items without a training event the row of the unknown one.

        Their own rows were never learnt as targets; the unknown rows were, by dropping ids at random, so that
        content speaks for a new film and the history for a new user. Without that dropping nothing is changed.
        """
        for rows, seen, dropped in (
            (self.user_tower.users.weight, seen_users, self.user_tower.config.user_dropout),
            (self.item_tower.ids.weight, seen_items, self.item_tower.id_dropout),
        ):
            if dropped > 0:
                rows[:-1][torch.from_numpy(~seen)] = rows[-1]

    def catalogue(self) -> Tensor:
        """Unit vectors (N, D) of all items, in chunks, without gradients."""
        with torch.inference_mode():
            every = torch.arange(self.n_items, device=self.genres.device)
            return torch.cat([self.items(part) for part in torch.split(every, ITEMS_PER_CHUNK)])

    def queries(self, inputs: UserInputs, generator: torch.Generator | None = None) -> Tensor:
        """Unit vectors (B, D)."""
        vectors: Tensor = self.user_tower(inputs, self.item_tower.ids.weight, generator)
        return vectors
