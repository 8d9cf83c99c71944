"""Item encoder and query encoder over one catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall.graph.item_graph import ItemGraph
from recall.graph.propagation import GraphPropagation
from recall.neural.config import NeuralConfig
from recall.neural.encoders.base import FrozenEncoder, QueryEncoder
from recall.neural.frequency import FrequencyEstimator
from recall.neural.item_content import ItemContent
from recall.neural.item_encoder import ItemEncoder
from recall.neural.logq import StreamingLogQConfig
from recall.neural.negatives import CatalogueNegativesConfig
from recall.neural.popularity_prior import PopularityPrior
from recall.neural.temperature import LearnedTemperature
from recall.neural.user_codes import UserCodes
from reccore import ItemTable
from reccore.arrays import BoolArray
from training.kernels.embedding_table import share_last_row
from training.ranks import RowGenerator, gather_rows, n_ranks, slice_of

ITEMS_PER_CHUNK = 65_536


@dataclass(frozen=True, eq=False)
class BatchPart:
    """What one of several ranks has of a batch.

    Attributes:
        rows: which of the batch's rows, (R,).
        n_rows: rows of the whole batch.
        targets: which of the batch's targets are those of these rows, (P,).
        counts: False for a rank whose rows belong to others and count nothing.
        items_read: distinct items of the whole batch's histories; padding is item 0.
    """

    rows: Tensor
    n_rows: int
    targets: Tensor
    counts: bool
    items_read: Tensor


class NeuralNetwork(nn.Module):
    """The item encoder, the query encoder, and the catalogue's content as buffers.

    With a graph, item vectors are propagated over it. What the loss learns (``frequency``, ``temperature``) and the
    ``prior`` of retrieval are part of the network too, so that they are saved with it.

    Args:
        config: of the channel.
        encoder: class of the query encoder.
        items: the catalogue's columns to read.
        codes: of users.
        graph: for ``config.item.graph``.
    """

    genres: Tensor
    codes: Tensor
    vectors: Tensor

    def __init__(
        self,
        config: NeuralConfig,
        encoder: type[QueryEncoder],
        items: ItemTable,
        codes: UserCodes,
        graph: ItemGraph | None = None,
    ) -> None:
        super().__init__()
        content = ItemContent.of(items)
        self.n_items = items.n_items
        self.register_buffer("genres", content.genres, persistent=False)
        self.register_buffer("codes", content.codes, persistent=False)
        self._labels = [f"labels{number}" for number in range(len(content.labels))]
        for name, labels in zip(self._labels, content.labels, strict=True):
            self.register_buffer(name, labels, persistent=False)
        self.register_buffer("vectors", content.vectors, persistent=False)
        self.code_sizes, self.label_sizes = content.sizes, content.label_sizes
        self.item_encoder = ItemEncoder(self.n_items, content, config.item, config.embedding_size)
        self.propagation: GraphPropagation | None = None
        if graph is not None and config.item.graph is not None:
            self.propagation = GraphPropagation(graph, config.item.graph.layers)
        self.query_encoder = encoder(config.encoder, codes, items, config.embedding_size)
        self.frequency = _frequency(config)
        self.prior: PopularityPrior | None = None
        if config.popularity_prior is not None:
            self.prior = PopularityPrior(items, config.popularity_prior)
        self.temperature: LearnedTemperature | None = None
        if config.tau is not None and config.tau.bounds is not None:
            self.temperature = LearnedTemperature(config.tau.start, config.tau.bounds)

    @property
    def content(self) -> ItemContent:
        """The catalogue's content, on the network's device."""
        labels = tuple(getattr(self, name) for name in self._labels)
        return ItemContent(self.genres, self.codes, self.code_sizes, labels, self.label_sizes, self.vectors)

    def forward(
        self, inputs: Any, item_idx: Tensor, generator: torch.Generator, part: BatchPart | None = None
    ) -> tuple[Tensor, Tensor]:
        """Unit vectors of queries, (P, D) or (P, I, D), and (M, D) of the given items: a training step.

        With ``part`` the queries are some of a batch's, and each rank encodes its part of the items.
        """
        rows = generator if part is None else RowGenerator(generator, part.rows, part.n_rows)
        if not self.query_encoder.reads_vectors:
            queries: Tensor = self.query_encoder(inputs, self.item_encoder.ids, rows)
            return queries, self.items(item_idx, generator)
        # The items of the histories and the sampled ones largely coincide: each is encoded once.
        history = inputs.history.clamp(min=0)
        if part is None:
            distinct, at = torch.unique(torch.cat([history.flatten(), item_idx]), return_inverse=True)
        else:
            distinct = torch.unique(torch.cat([part.items_read.to(item_idx.device), item_idx]))
            at = torch.searchsorted(distinct, torch.cat([history.flatten(), item_idx]))
        encoded = self.items(distinct, generator)
        vectors = F.embedding(at, encoded)
        read, items = vectors[: history.numel()], vectors[history.numel() :]
        return self.query_encoder(inputs, read.view(*history.shape, -1), rows), items

    def queries(self, inputs: Any, catalogue: Tensor | None = None) -> Tensor:
        """Unit vectors of queries; those of histories are looked up in ``catalogue()`` where it is given."""
        if not self.query_encoder.reads_vectors:
            queries: Tensor = self.query_encoder(inputs, self.item_encoder.ids, None)
            return queries
        history = inputs.history.clamp(min=0)
        if catalogue is None:
            distinct, at = torch.unique(history, return_inverse=True)
            vectors = F.embedding(at, self.items(distinct))
        else:
            vectors = F.embedding(history, catalogue)
        encoded: Tensor = self.query_encoder(inputs, vectors, None)
        return encoded

    def frozen_queries(self) -> FrozenEncoder | None:
        """The query encoder with the weights as they are; see ``QueryEncoder.frozen``."""
        return None if self.query_encoder.reads_vectors else self.query_encoder.frozen(self.item_encoder.ids.weight)

    def items(self, item_idx: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Unit vectors (M, D) of the given items."""
        if self.propagation is None:
            return self._own_vectors(item_idx, generator)
        vectors: Tensor = self.propagation(item_idx, lambda near: self._own_vectors(near, generator))
        return vectors

    def catalogue(self) -> Tensor:
        """Unit vectors (N, D) of all items, in chunks, without gradients."""
        with torch.inference_mode():
            every = torch.arange(self.n_items, device=self.genres.device)
            vectors = torch.cat([self._own_vectors(part) for part in torch.split(every, ITEMS_PER_CHUNK)])
            return vectors if self.propagation is None else self.propagation.whole(vectors)

    def share_unknown_rows(self, seen_users: BoolArray, seen_items: BoolArray) -> None:
        """Give users and items without a training event the row of the unknown one.

        Their own rows were never learnt as targets; the unknown rows were, by dropping ids at random. Without such
        dropout nothing changes.
        """
        if self.item_encoder.id_dropout > 0:
            share_last_row(self.item_encoder.ids.weight, seen_items)
        self.query_encoder.share_unknown_rows(seen_users)

    def _own_vectors(self, item_idx: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(M, D) of the item encoder, before any propagation; in a training step of several ranks by all of them."""
        if generator is None or n_ranks() == 1:
            vectors: Tensor = self.item_encoder(item_idx, self.content.of_items(item_idx), generator)
            return vectors
        own = torch.arange(len(item_idx))[slice_of(len(item_idx))]
        item_idx, draws = item_idx[own.to(item_idx.device)], RowGenerator(generator, own, len(item_idx))
        return gather_rows(self.item_encoder(item_idx, self.content.of_items(item_idx), draws), draws.n)


def _frequency(config: NeuralConfig) -> FrequencyEstimator | None:
    if isinstance(config.negatives, CatalogueNegativesConfig):
        return None
    logq = config.negatives.logq
    if not isinstance(logq, StreamingLogQConfig):
        return None
    return FrequencyEstimator(logq.hashes, logq.buckets, logq.alpha, logq.initial_gap, warm_up=logq.warm_up)
