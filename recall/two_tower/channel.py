"""The sampling-bias-corrected two-tower channel.

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, Self

import numpy as np
import torch
from loguru import logger
from torch import Tensor

from recall.embedding import EmbeddingRecall
from recall.index.base import BaseIndex
from recall.index.choose import create_index
from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.examples import TrainingExamples, query_inputs
from recall.two_tower.features import ItemInputs, UserEncoder, columns_to_read
from recall.two_tower.graph import ItemGraph, cooccurrence_graph
from recall.two_tower.graph_files import read_item_graph
from recall.two_tower.network import TwoTowerNetwork
from recall.two_tower.query_time import QueryTime
from recall.two_tower.towers import UserInputs
from recall.two_tower.trainer import train
from recall.two_tower.transformer import SequenceInputs
from recall.two_tower.windows import WindowExamples, sequence_inputs
from reccore import (
    Bundle,
    DataError,
    Exclusions,
    Holdout,
    ItemTable,
    QueryBatch,
    RunOptions,
    TrainingData,
    UserTable,
)
from reccore.arrays import FloatArray, IntArray
from reccore.buckets import bucket_boundaries
from reccore.bundle import BundleWriter
from reccore.candidates import ranks_of_targets
from training.checkpointing import digest
from training.training_log import TrainingLog

VALIDATION_K = 10
WINDOWS_PER_CHUNK = 64
POOLED_PER_CHUNK = 1024
"""Queries of the MLP to encode together: the vectors of their histories are written out, T·D numbers for each."""


class TwoTower(EmbeddingRecall):
    """User tower over history and user features, item tower over movieId, content and statistics.

    The history is read in order by a transformer, or pooled by an MLP, which reads the userId too. Trained with
    every event as an example whose query is the history before it; searched by inner product of unit vectors.
    Answers every query: an empty history from what else is known of the user.
    """

    name = "two_tower"
    Config = TwoTowerConfig
    config: TwoTowerConfig
    network: TwoTowerNetwork
    log: TrainingLog
    _catalogue: Tensor | None = None  # of the fitted network, see ``_read_by_queries``

    @property
    def query_time(self) -> bool:
        return self.config.query_time

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        if data.interactions.n_events == 0:
            raise DataError("the two towers need at least one event to learn from")
        self._graph = self._item_graph(data, options) if self.config.use_gcn else None
        rating = data.interactions.rating
        boundaries = None
        if rating is not None:
            boundaries = bucket_boundaries(_mean_ratings(data))
        self._catalogue = None
        self._items = columns_to_read(data.items, self.config)
        has_times = data.interactions.timestamp is not None
        query_time = QueryTime.of(data.interactions) if self.query_time else None
        self._encoder = UserEncoder(boundaries, data.users, has_times, query_time)
        torch.manual_seed(options.seed)
        self.network = self._build_network()
        examples = self._examples(data)
        validate = None if valid is None or len(valid) == 0 else lambda: self._validation_ndcg(valid)
        self.log = train(
            self.network,
            examples,
            self.config,
            options,
            validate=validate,
            retrieve=self._retrieve_by_present_vectors,
            data=None if options.checkpoint_dir is None else self._fingerprints(data, valid),
        )
        self.network.to("cpu")
        self.network.share_unknown_rows(data.interactions.lengths > 0, data.interactions.item_counts() > 0)
        self.index = self._build_index(self.encode_items(), options.seed)

    def _fingerprints(self, data: TrainingData, valid: Holdout | None) -> dict[str, str]:
        """Of all that training reads; a checkpoint says by them what it belongs to."""
        return {
            "events": data.interactions.fingerprint,
            "items": digest(data.items.to_arrays()),
            "users": digest(data.users.to_arrays()),
            "network inputs": digest(dict(self.network.named_buffers())),
            "validation": "none" if valid is None else digest(_arrays(valid)),
        }

    def _retrieve_by_present_vectors(self, queries: QueryBatch, depth: int, exclude: Exclusions) -> IntArray:
        """(B, depth) items while training goes on, through an index like the one to be saved; -1 = none."""
        catalogue = self._present_catalogue()
        index = self._build_index(catalogue.cpu().numpy(), seed=0)
        return index.search(self._encode(queries, catalogue), depth, exclude).item_idx

    def _build_index(self, vectors: FloatArray, seed: int) -> BaseIndex:
        return create_index(self.config.index, len(vectors), self.config.index_options).build(vectors, seed)

    def _item_graph(self, data: TrainingData, options: RunOptions) -> ItemGraph:
        """The graph given, or that of co-occurrence in the fit split."""
        config = self.config
        if config.item_adj is not None:
            graph = read_item_graph(config.item_adj, data.vocabulary.items)
        else:
            graph = cooccurrence_graph(
                data.interactions,
                neighbours=config.gcn_neighbours,
                window=config.gcn_window,
                progress=options.progress,
            )
        logger.info(
            "item graph: {:,} edges, {:,} of {:,} items have none", graph.n_edges, graph.n_isolated, graph.n_items
        )
        return graph

    def _build_network(self) -> TwoTowerNetwork:
        content = ItemInputs.of(self._items)
        return TwoTowerNetwork(content, self._encoder, self.config, self._graph)

    def _examples(self, data: TrainingData) -> TrainingExamples | WindowExamples:
        if self.config.user_encoder == "transformer":
            return WindowExamples(data.interactions, self._encoder, self.config)
        return TrainingExamples(data.interactions, data.items, self._encoder, self.config)

    def _inputs(self, queries: QueryBatch) -> UserInputs | SequenceInputs:
        if self.config.user_encoder == "transformer":
            return sequence_inputs(queries, self._encoder, self.config.history_length)
        return query_inputs(queries, self._items, self._encoder, self.config.history_length)

    def encode_queries(self, queries: QueryBatch) -> FloatArray:
        """(B, D) unit vectors, in chunks of bounded memory."""
        return self._encode(queries, self._read_by_queries())

    def _read_by_queries(self) -> Tensor | None:
        """(N, D) vectors that a transformer takes histories from, worked out once and kept; None for the other.

        Without them each chunk of queries would send the items of its histories through the item tower, and over the
        graph, again: on ML-1M nearly the whole catalogue for every 64 queries.
        """
        if self.config.user_encoder == "transformer" and self._catalogue is None:
            self._catalogue = self._present_catalogue()
        return self._catalogue

    def _encode(self, queries: QueryBatch, catalogue: Tensor | None) -> FloatArray:
        queries = queries.known_items_only(self._items.n_items)
        self.network.eval()
        vectors = np.empty((len(queries), self.config.embedding_size), dtype=np.float32)
        for rows in self._chunks(queries):
            inputs = self._inputs(queries.select(rows)).to(self.network.genres.device)
            with torch.inference_mode():
                vectors[rows] = self.network.queries(inputs, catalogue=catalogue).cpu().numpy()
        return vectors

    def _chunks(self, queries: QueryBatch) -> list[IntArray]:
        """Rows to encode together; windows go by length and in numbers whose activations stay in the cache."""
        if self.config.user_encoder == "mlp":
            order, size = np.arange(len(queries)), POOLED_PER_CHUNK
        else:
            order, size = np.argsort(queries.lengths, kind="stable"), WINDOWS_PER_CHUNK
        return np.array_split(order, max(1, -(-len(order) // size)))

    def encode_items(self) -> FloatArray:
        """(N, D) unit vectors."""
        return self._present_catalogue().cpu().numpy()

    def _present_catalogue(self) -> Tensor:
        """(N, D) unit vectors of the network as it stands, where it is."""
        self.network.eval()
        return self.network.catalogue()

    def refit(self, data: TrainingData, options: RunOptions | None = None) -> Self:
        """A new channel of the same configuration with as many epochs as validation chose, fitted on other events."""
        config = self.config.model_copy(update={"epochs": max(self.log.best_epoch, 1)})
        return type(self)(config).fit(data, options=options)

    def refit_facts(self) -> dict[str, Any]:
        """The number of epochs that validation chose."""
        return {"epochs": max(self.log.best_epoch, 1)}

    def _validation_ndcg(self, valid: Holdout) -> float:
        """NDCG@10 of the first target, over the whole catalogue, seen items filtered."""
        catalogue = self._present_catalogue()
        items = catalogue.cpu().numpy()
        total = 0.0
        for start in range(0, len(valid), 1024):
            part = valid.select(np.arange(start, min(start + 1024, len(valid))))
            scores = self._encode(part.queries, catalogue) @ items.T
            Exclusions.of_history(part.queries).mask_scores(scores)
            ranks = ranks_of_targets(scores, part.target_idx[part.target_offsets[:-1]])
            total += float(np.where(ranks < VALIDATION_K, 1.0 / np.log2(ranks + 2.0), 0.0).sum())
        return total / len(valid)

    def _write(self, bundle: BundleWriter) -> None:
        super()._write(bundle)
        bundle.tensors("network.safetensors", dict(self.network.state_dict()))
        bundle.arrays("items.npz", self._items.to_arrays())
        bundle.arrays("users.npz", self._encoder.users.to_arrays())
        encoder = {"has_times": np.array(self._encoder.has_times)}
        if self._encoder.rating_boundaries is not None:
            encoder["rating_boundaries"] = self._encoder.rating_boundaries
        if self._encoder.query_time is not None:
            encoder |= self._encoder.query_time.to_arrays()
        bundle.arrays("encoder.npz", encoder)
        if self._graph is not None:
            bundle.arrays("graph.npz", self._graph.to_arrays())
        bundle.manifest["training"] = asdict(self.log)

    def _read(self, bundle: Bundle) -> None:
        super()._read(bundle)
        vocabulary = self.vocabulary
        users = UserTable.from_arrays(bundle.arrays("users.npz"), len(vocabulary.users))
        self._items = ItemTable.from_arrays(bundle.arrays("items.npz"), len(vocabulary.items))
        encoder = bundle.arrays("encoder.npz")
        has_times, query_time = bool(encoder["has_times"]), QueryTime.from_arrays(encoder)
        self._encoder = UserEncoder(encoder.get("rating_boundaries"), users, has_times, query_time)
        self._graph = ItemGraph.from_arrays(bundle.arrays("graph.npz")) if self.config.use_gcn else None
        self.network = self._build_network()
        self._catalogue = None
        self.network.load_state_dict(bundle.tensors("network.safetensors"))
        self.network.eval()
        self.log = TrainingLog(**bundle.manifest["training"])


def _arrays(holdout: Holdout) -> dict[str, np.ndarray]:
    """Queries and targets by name, those that are there."""
    queries = {column.name: getattr(holdout.queries, column.name) for column in fields(holdout.queries)}
    columns = {**queries, "target_offsets": holdout.target_offsets, "target_idx": holdout.target_idx}
    return {name: values for name, values in columns.items() if values is not None}


def _mean_ratings(data: TrainingData) -> FloatArray:
    """(U,) mean rating of each user's events; NaN for users without any."""
    matrix = data.interactions.to_csr(data.interactions.rating)
    with np.errstate(invalid="ignore"):
        mean = np.asarray(matrix.sum(axis=1)).ravel() / data.interactions.lengths
    return mean.astype(np.float32)
