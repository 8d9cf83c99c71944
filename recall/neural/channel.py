"""A recall channel whose encoders are a network trained on the fit split."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from loguru import logger
from torch import Tensor

from dataprep.own_features import own_to_read
from evaluation.metrics import ndcg_of_ranks
from recall.base import queries_per_chunk
from recall.embedding import EmbeddingRecall
from recall.graph.item_graph import ItemGraph, cooccurrence_graph
from recall.index.base import BaseIndex
from recall.neural.config import NeuralConfig
from recall.neural.encoders.base import FrozenEncoder, QueryEncoder
from recall.neural.network import NeuralNetwork
from recall.neural.task import RecallTask
from recall.neural.updating import LEARNING_RATE_SHARE, UPDATE_EPOCHS, UPDATE_STEPS, LaterEvents, grow_weights
from recall.neural.user_codes import UserCodes
from recall.neural.warm_start import als_vectors
from reccore import (
    Bundle,
    DataError,
    Exclusions,
    Holdout,
    Interactions,
    ItemTable,
    QueryBatch,
    RunOptions,
    TrainingData,
    UserTable,
)
from reccore.aligned import aligned_items, aligned_users
from reccore.arrays import FloatArray, IntArray
from reccore.bundle import BundleWriter
from reccore.candidates import ranks_of_targets
from training import Trainer, TrainingLog
from training.checkpointing import digest
from training.loading import NoInitialWeights
from training.ranks import n_ranks, rank, sum_number

VALIDATION_K = 10


class NeuralRecall(EmbeddingRecall):
    """Item encoder, query encoder, negatives and loss, composed by the configuration.

    Every event of the fit split is an example whose query is the history before it; items are searched by inner
    product of unit vectors, with one more coordinate where there is a popularity prior. Every query is answered, an
    empty history from what else is known of the user.

    A subclass is a name, a configuration, and ``_encoder_class``.
    """

    Config: ClassVar[type[NeuralConfig]]
    keeps_checkpoints: ClassVar[bool] = True
    config: NeuralConfig
    network: NeuralNetwork
    log: TrainingLog
    _catalogue: Tensor | None = None  # (N, D) of the fitted network; histories are read from it
    _frozen: FrozenEncoder | None = None  # of the fitted network
    _stop_after: int | None = None
    _given_graph: ItemGraph | None = None  # of the last fit, not of co-occurrence
    _refit_graph: ItemGraph | None = None
    _refit_prior: float | None = None  # γ that validation chose in the original
    _original: NeuralRecall | None = None  # whose weights the fit goes on from
    _before: Interactions | None = None  # what it was fitted on

    @property
    @abstractmethod
    def _encoder_class(self) -> type[QueryEncoder]:
        """Class of the query encoder of ``config.encoder``."""

    @property
    def item_vectors(self) -> FloatArray:
        """(N, D) unit vectors, for reading only: those in the index, without the coordinate of the popularity prior."""
        return super().item_vectors[:, : self.config.embedding_size]

    @property
    def query_time(self) -> bool:
        return bool(self.config.encoder.query_time)

    @property
    def reads_item_graph(self) -> bool:
        return self.config.item.graph is not None

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        if data.interactions.n_events == 0:
            raise DataError(f"{self.name} needs at least one event to learn from")
        self._catalogue, self._frozen = None, None
        if self._original is None:
            self._train(data, valid, options)
        else:
            self._go_on(self._original, data, options)
        self.network.to("cpu").eval()
        self.network.share_unknown_rows(data.interactions.lengths > 0, data.interactions.item_counts() > 0)
        self._frozen = self.network.frozen_queries()
        self.index = self._build_index(self.encode_items(), options.seed)

    def _train(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        self._graph = None if self.config.item.graph is None else self._item_graph(data, options)
        self._items = self.config.item.columns_of(data.items)
        users = data.users.with_columns(own_to_read(data.users, self.config.encoder.features, "encoder.features"))
        self._codes = UserCodes.fit(replace(data, users=users), query_time=self.query_time)
        torch.manual_seed(options.seed)
        self.network = self._build_network()
        self._start_items(data, options)
        if self.network.prior is not None and self._refit_prior is not None:
            self.network.prior.strength.fill_(self._refit_prior)
        validates = valid is not None and len(valid) > 0
        task = RecallTask(
            self.network,
            self.network.query_encoder.examples(data.interactions, self.config.batch_size),
            self.config,
            options,
            validate=(lambda: self._validation_ndcg(valid)) if validates and valid is not None else None,
            retrieve=self._retrieve_while_training,
        )
        identity = {} if options.checkpoint_dir is None else {"data": self._fingerprints(data, valid)}
        self.log = Trainer(task, self.config, options, stop_after=self._stop_after, identity=identity).run()

    def refit(self, data: TrainingData, options: RunOptions | None = None) -> Self:
        """Fit the same configuration on other events, stopping at the epoch that validation chose here.

        The learning-rate schedule spans as many epochs as in the original, so that the best epoch is reached along
        the same path.
        """
        again = type(self)(self.config)
        again._stop_after = max(self.log.best_epoch, 1)
        again._refit_graph, again._refit_prior = self._given_graph, self._chosen_prior
        return again.fit(data, options=options)

    def update(
        self,
        data: TrainingData,
        before: Interactions,
        options: RunOptions | None = None,
        *,
        memory: Path | None = None,
    ) -> Self:
        """The same network with rows for new items and users, trained further on the later events.

        Cost grows with the histories of the users with later events (``LaterEvents``). Genres, labels and categories
        that the network has not learnt are unknown to it, and the codes of ratings stay as they were fitted. A
        network over an item graph, which later events change as a whole, is fitted anew.
        """
        if self.config.item.graph is not None or before.n_events == 0:
            again = type(self)(self.config)
            again._stop_after = max(self.log.best_epoch, 1)
            again._refit_prior = self._chosen_prior
            if self._given_graph is not None:
                again._refit_graph = self._given_graph.resized(data.interactions.n_items)
            return again.fit(data, options=options)
        again = type(self)(self.config)
        again._original = self
        again._before = before
        again.fit(data, options=options)
        again._original, again._before = None, None
        return again

    def _go_on(self, old: NeuralRecall, data: TrainingData, options: RunOptions) -> None:
        """Take over a network and train it on the events that are not in ``_before``."""
        assert self._before is not None
        self._items = aligned_items(data.items, old._items)
        users = aligned_users(data.users, old._codes.users)
        longest = max(old._codes.longest, int(data.interactions.lengths.max(initial=0)) - 1)
        self._codes = replace(old._codes, users=users, longest=longest)
        torch.manual_seed(options.seed)
        self._graph = None
        self.network = self._build_network()
        grow_weights(self.network, old.network)
        later = LaterEvents.of(data.interactions, self._before, options.generator("replayed_users"))
        self.log = old.log  # which says how many epochs a refit takes
        if len(later) == 0:
            return
        examples = self.network.query_encoder.examples(later.interactions, self.config.batch_size, later.since)
        epochs = max(UPDATE_EPOCHS, -(-UPDATE_STEPS // examples.n_batches))
        config = self.config.model_copy(
            update={"epochs": epochs, "learning_rate": LEARNING_RATE_SHARE * self.config.learning_rate}
        )
        task = RecallTask(self.network, examples, config, options, retrieve=self._retrieve_while_training)
        Trainer(task, config, replace(options, checkpoint_dir=None, log_dir=None)).run()

    @property
    def _chosen_prior(self) -> float | None:
        return None if self.network.prior is None else self.network.prior.strength.item()

    def refit_facts(self) -> dict[str, Any]:
        prior = {} if self._chosen_prior is None else {"popularity_prior": self._chosen_prior}
        return {"stop_after": max(self.log.best_epoch, 1), **prior}

    def _build_network(self) -> NeuralNetwork:
        return NeuralNetwork(self.config, self._encoder_class, self._items, self._codes, self._graph)

    def _start_items(self, data: TrainingData, options: RunOptions) -> None:
        config = self.config.item.warm_start
        if config is not None:
            vectors = als_vectors(data, self.config.embedding_size, config, options)
            self.network.item_encoder.start_ids_at(vectors)

    def _build_index(self, vectors: FloatArray, seed: int) -> BaseIndex:
        return self.config.index.create(len(vectors)).build(vectors, seed)

    def _item_graph(self, data: TrainingData, options: RunOptions) -> ItemGraph:
        """The given graph, or that of co-occurrence in the fit split."""
        config = self.config.item.graph
        assert config is not None
        self._given_graph = self._refit_graph if data.item_graph is None else ItemGraph.of(data.item_graph)
        if self._given_graph is not None:
            graph = self._given_graph
        else:
            graph = cooccurrence_graph(
                data.interactions,
                neighbours=config.neighbours,
                window=config.window,
                progress=options.progress,
            )
        logger.info(
            "item graph: {:,} edges, {:,} of {:,} items have none", graph.n_edges, graph.n_isolated, graph.n_items
        )
        return graph

    def _fingerprints(self, data: TrainingData, valid: Holdout | None) -> dict[str, str]:
        """Of all that training reads, so that a checkpoint names the data it belongs to."""
        return {
            "events": data.interactions.fingerprint,
            "items": digest(data.items.to_arrays()),
            "users": digest(data.users.to_arrays()),
            "network inputs": digest(dict(self.network.named_buffers())),
            "validation": "none" if valid is None else digest(_arrays(valid)),
        }

    def _retrieve_while_training(self, queries: QueryBatch, depth: int, exclude: Exclusions) -> IntArray:
        """(B, depth) items by the network's current vectors, through an index like the one to be saved; -1 = none."""
        catalogue = self._current_catalogue()
        self.index = self._build_index(catalogue.cpu().numpy(), seed=0)  # replaced at the end of the training
        vectors = self._encode(queries, catalogue)
        return self._retrieve(vectors.reshape(len(vectors), -1, vectors.shape[-1]), depth, exclude).item_idx

    def _validation_ndcg(self, valid: Holdout) -> float:
        """NDCG@10 of the first target, all items ranked, seen ones filtered; sets the popularity prior that is best."""
        catalogue, prior = self._current_catalogue(), self.network.prior
        items = catalogue.cpu().numpy()
        strengths = (0.0,) if prior is None else prior.strengths
        totals = np.zeros(len(strengths))
        step = queries_per_chunk(len(items))
        starts = range(0, len(valid), step)
        for start in starts[rank() :: n_ranks()]:
            part = valid.select(np.arange(start, min(start + step, len(valid))))
            cosines = _scores(self._encode(part.queries, catalogue), items)
            Exclusions.of_history(part.queries).mask_scores(cosines)
            for number, strength in enumerate(strengths):
                scores = cosines if prior is None else cosines + prior.added(strength)
                ranks = ranks_of_targets(scores, part.target_idx[part.target_offsets[:-1]])
                totals[number] += float(ndcg_of_ranks(ranks, VALIDATION_K).sum())
        means = [sum_number(total) / len(valid) for total in totals]
        if prior is not None:
            prior.strength.fill_(strengths[int(np.argmax(means))])
        return max(means)

    def encode_queries(self, queries: QueryBatch) -> FloatArray:
        """(B, D) or (B, I, D) unit vectors, in chunks of bounded memory; with a popularity prior of D + 1 numbers."""
        if self.network.query_encoder.reads_vectors and self._catalogue is None:
            self._catalogue = self._current_catalogue()
        vectors = self._encode(queries, self._catalogue, self._frozen)
        return vectors if self.network.prior is None else self.network.prior.of_queries(vectors)

    def encode_items(self) -> FloatArray:
        """(N, D) unit vectors; with a popularity prior of D + 1 numbers."""
        vectors, prior = self._current_catalogue(), self.network.prior
        return (vectors if prior is None else prior.of_items(vectors)).cpu().numpy()

    def _encode(self, queries: QueryBatch, catalogue: Tensor | None, frozen: FrozenEncoder | None = None) -> FloatArray:
        """(B, D) or (B, I, D) by the network as it stands, or by its frozen query encoder."""
        queries = queries.known_items_only(self._items.n_items)
        encoder, device = self.network.query_encoder, self.network.genres.device
        if self.network.training:
            self.network.eval()

        def encode(part: QueryBatch) -> FloatArray:
            if frozen is not None:
                return frozen(part)
            with torch.inference_mode():
                vectors: FloatArray = self.network.queries(encoder.inputs(part).to(device), catalogue).cpu().numpy()
            return vectors

        if len(queries) == 1:
            return encode(queries)
        chunks = encoder.chunks(queries)
        vectors = np.concatenate([encode(queries.select(rows)) for rows in chunks])
        encoded: FloatArray = np.empty_like(vectors)
        encoded[np.concatenate(chunks)] = vectors
        return encoded

    def _current_catalogue(self) -> Tensor:
        """(N, D) unit vectors of the network as it stands, on its device."""
        self.network.eval()
        return self.network.catalogue()

    def _write(self, bundle: BundleWriter) -> None:
        super()._write(bundle)
        bundle.tensors("network.safetensors", dict(self.network.state_dict()))
        bundle.arrays("items.npz", self._items.to_arrays())
        bundle.arrays("users.npz", self._codes.users.to_arrays())
        bundle.arrays("codes.npz", self._codes.to_arrays())
        if self._graph is not None:
            bundle.arrays("graph.npz", self._graph.to_arrays())
            bundle.manifest["graph_given"] = self._given_graph is not None
        bundle.manifest["training"] = asdict(self.log)

    def _read(self, bundle: Bundle) -> None:
        super()._read(bundle)
        users = UserTable.from_arrays(bundle.arrays("users.npz"), len(self.vocabulary.users))
        self._items = ItemTable.from_arrays(bundle.arrays("items.npz"), len(self.vocabulary.items))
        self._codes = UserCodes.from_arrays(bundle.arrays("codes.npz"), users)
        has_graph = self.config.item.graph is not None
        self._graph = ItemGraph.from_arrays(bundle.arrays("graph.npz")) if has_graph else None
        self._given_graph = self._graph if bundle.manifest.get("graph_given") else None
        self._catalogue = None
        with NoInitialWeights():
            self.network = self._build_network()
        self.network.load_state_dict(bundle.tensors("network.safetensors"))
        self._frozen = self.network.eval().frozen_queries()
        self.log = TrainingLog(**bundle.manifest["training"])


def _scores(vectors: FloatArray, items: FloatArray) -> FloatArray:
    """(B, N): inner products of (B, D), or the greatest of those of (B, I, D); zero vectors give none."""
    if vectors.ndim == 2:
        return vectors @ items.T
    absent = ~vectors.any(axis=2, keepdims=True)
    best: FloatArray = np.where(absent, -np.inf, vectors @ items.T).max(axis=1)
    return best


def _arrays(holdout: Holdout) -> Mapping[str, np.ndarray]:
    """Queries and targets by name, those that are present."""
    queries = {column.name: getattr(holdout.queries, column.name) for column in fields(holdout.queries)}
    columns = {**queries, "target_offsets": holdout.target_offsets, "target_idx": holdout.target_idx}
    return {name: values for name, values in columns.items() if values is not None}
