"""Both towers over one catalogue, and the batches they read."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from dataprep.features import PrefixFeatures, prefix_features
from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.features import ItemInputs, UserEncoder
from recall.two_tower.frequency import FrequencyEstimator
from recall.two_tower.loss import LearnedTemperature
from recall.two_tower.towers import ItemTower, MLPUserTower, UserInputs
from reccore import Interactions, ItemTable, QueryBatch
from reccore.arrays import BoolArray, IntArray

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


def query_inputs(queries: QueryBatch, items: ItemTable, encoder: UserEncoder, history_length: int) -> UserInputs:
    """Inputs at the end of each history; users the model does not know count as unknown."""
    history = queries.padded(history_length)
    codes, top_genres = encoder.of_queries(queries, items)
    known = queries.user_idx < encoder.users.n_users
    return UserInputs(
        history=torch.from_numpy(history.item_idx),
        lengths=torch.from_numpy(history.lengths),
        user=torch.from_numpy(np.where(known, queries.user_idx, -1)),
        codes=torch.from_numpy(codes),
        top_genres=torch.from_numpy(top_genres),
    )


class TrainingExamples:
    """Every event of the fit split as an example: its item is the target, what came before is the query."""

    def __init__(self, interactions: Interactions, items: ItemTable, encoder: UserEncoder, history_length: int) -> None:
        self.interactions = interactions
        self.encoder = encoder
        self.history_length = history_length
        self.prefixes: PrefixFeatures = prefix_features(interactions, items)
        self.user_of_event = interactions.user_idx

    def __len__(self) -> int:
        return self.interactions.n_events

    def batch(self, events: IntArray) -> tuple[UserInputs, Tensor]:
        """Inputs (B rows) and target items (B,) of the given events: index gathers only."""
        users = self.user_of_event[events]
        before = self.prefixes.activity[events].astype(np.int64)
        history = self.interactions.padded_prefixes(users, before, self.history_length)
        codes, top_genres = self.encoder.of_prefixes(users, self.prefixes, events)
        inputs = UserInputs(
            history=torch.from_numpy(history.item_idx),
            lengths=torch.from_numpy(history.lengths),
            user=torch.from_numpy(users),
            codes=torch.from_numpy(codes),
            top_genres=torch.from_numpy(top_genres),
        )
        return inputs, torch.from_numpy(self.interactions.item_idx[events])
