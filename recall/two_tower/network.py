"""Both towers over one catalogue."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.features import ItemInputs, UserEncoder
from recall.two_tower.frequency import FrequencyEstimator
from recall.two_tower.graph import ItemGraph
from recall.two_tower.loss import LearnedTemperature
from recall.two_tower.propagation import GraphPropagation
from recall.two_tower.towers import ItemTower, MLPUserTower, UserInputs
from recall.two_tower.transformer import SequenceInputs, TransformerUserTower
from reccore.arrays import BoolArray

ITEMS_PER_CHUNK = 65_536


class TwoTowerNetwork(nn.Module):
    """The item tower, the user tower, and the catalogue's content as buffers; with a graph, item vectors go over it.

    What the loss learns beside them (``frequency``, ``temperature``) lives here too, to be saved with them.
    """

    genres: Tensor
    codes: Tensor
    vectors: Tensor

    def __init__(
        self, content: ItemInputs, encoder: UserEncoder, config: TwoTowerConfig, graph: ItemGraph | None = None
    ) -> None:
        super().__init__()
        n_items, n_genres = content.genres.shape
        self.n_items = n_items
        self.register_buffer("genres", content.genres, persistent=False)
        self.register_buffer("codes", content.codes, persistent=False)
        self._labels = [f"labels{number}" for number in range(len(content.labels))]
        for name, labels in zip(self._labels, content.labels, strict=True):
            self.register_buffer(name, labels, persistent=False)
        self.register_buffer("vectors", content.vectors, persistent=False)
        self.code_sizes, self.label_sizes = content.sizes, content.label_sizes
        self.item_tower = ItemTower(n_items, content, config)
        self.propagation = None if graph is None else GraphPropagation(graph, config.gcn_layers)
        self.user_tower: MLPUserTower | TransformerUserTower
        if config.user_encoder == "mlp":
            self.user_tower = MLPUserTower(encoder.users.n_users, n_genres, encoder.sizes, config)
        else:
            self.user_tower = TransformerUserTower(
                encoder.fact_sizes, encoder.has_ratings, encoder.has_times, config, encoder.when_sizes
            )
        self.frequency: FrequencyEstimator | None = None
        if config.logq == "streaming":
            self.frequency = FrequencyEstimator(
                config.streaming_hashes,
                config.streaming_buckets,
                config.streaming_alpha,
                config.streaming_initial_gap,
                warm_up=config.streaming_warm_up,
            )
        self.temperature: LearnedTemperature | None = None
        if config.temperature_bounds is not None:
            self.temperature = LearnedTemperature(config.temperature, config.temperature_bounds)

    def forward(
        self, inputs: UserInputs | SequenceInputs, item_idx: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Unit vectors (B, D) of queries and (M, D) of the given items: a training step."""
        if not isinstance(inputs, SequenceInputs):
            return self.queries(inputs, generator), self.items(item_idx, generator)
        # The history's items and the sampled ones are largely the same: each goes through the item tower once.
        history = inputs.history.clamp(min=0)
        distinct, at = torch.unique(torch.cat([history.flatten(), item_idx]), return_inverse=True)
        vectors = F.embedding(at, self.items(distinct, generator))
        read, items = vectors[: history.numel()], vectors[history.numel() :]
        queries: Tensor = self.user_tower.over_vectors(inputs, read.view(*history.shape, -1), generator)  # type: ignore[operator]
        return queries, items

    @property
    def content(self) -> ItemInputs:
        """The catalogue's content, where the network is."""
        labels = tuple(getattr(self, name) for name in self._labels)
        return ItemInputs(self.genres, self.codes, self.code_sizes, labels, self.label_sizes, self.vectors)

    def items(self, item_idx: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Unit vectors (M, D) of the given items."""
        if self.propagation is None:
            return self._own_vectors(item_idx, generator)
        vectors: Tensor = self.propagation(item_idx, lambda near: self._own_vectors(near, generator))
        return vectors

    def _own_vectors(self, item_idx: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(M, D) of the item tower, before any propagation."""
        vectors: Tensor = self.item_tower(item_idx, self.content.of_items(item_idx), generator)
        return vectors

    @torch.no_grad()
    def share_unknown_rows(self, seen_users: BoolArray, seen_items: BoolArray) -> None:
        """Give users and items without a training event the row of the unknown one.

        Their own rows were never learnt as targets; the unknown rows were, by dropping ids at random, so that
        content speaks for a new film and the history for a new user. Without that dropping nothing is changed.
        """
        if self.item_tower.id_dropout > 0:
            _share_last_row(self.item_tower.ids.weight, seen_items)
        if isinstance(self.user_tower, MLPUserTower) and self.user_tower.config.user_dropout > 0:
            _share_last_row(self.user_tower.users.weight, seen_users)

    def catalogue(self) -> Tensor:
        """Unit vectors (N, D) of all items, in chunks, without gradients."""
        with torch.inference_mode():
            every = torch.arange(self.n_items, device=self.genres.device)
            vectors = torch.cat([self._own_vectors(part) for part in torch.split(every, ITEMS_PER_CHUNK)])
            return vectors if self.propagation is None else self.propagation.whole(vectors)

    def queries(
        self,
        inputs: UserInputs | SequenceInputs,
        generator: torch.Generator | None = None,
        catalogue: Tensor | None = None,
    ) -> Tensor:
        """Unit vectors (B, D); with what ``catalogue()`` gave, the vectors of histories are taken from there."""
        if not isinstance(inputs, SequenceInputs):
            vectors: Tensor = self.user_tower(inputs, self.item_tower.ids, generator)
        elif catalogue is None:
            vectors = self.user_tower(inputs, lambda item_idx: self.items(item_idx, generator), generator)
        else:
            vectors = self.user_tower(inputs, lambda item_idx: F.embedding(item_idx, catalogue), generator)
        return vectors


def _share_last_row(rows: Tensor, seen: BoolArray) -> None:
    rows[:-1][torch.from_numpy(~seen)] = rows[-1]
