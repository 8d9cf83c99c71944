"""Base of rankers around a torch network: encoding, training, scoring and storing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, ClassVar

import torch
from loguru import logger
from torch import Tensor

from dataprep.tmdb import metadata_to_read
from ranking.attribution import integrated_gradients
from ranking.balance import FixedBalanceConfig, LossBalance
from ranking.base import BaseRanker
from ranking.config import NeuralRankerConfig, RankerTrainingConfig
from ranking.features import FeatureEncoder, with_windows
from ranking.network import RankingNetwork
from ranking.sampling import training_inputs
from ranking.scoring import score_queries
from ranking.task import RankingTask
from reccore import Bundle, Candidates, ItemTable, QueryBatch, RankingSamples, RunOptions, UserTable, Vocabulary
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter
from training import Trainer, TrainingLog
from training.loading import NoInitialWeights

WEIGHTS = "network.safetensors"


class NeuralRanker(BaseRanker):
    """A ranker around a torch network. Subclasses set ``name``, ``Config`` and ``Network``.

    After fitting or loading the network lies on the CPU.

    Attributes:
        Network: class of the network, a ``RankingNetwork``; built from the encoder and the config.
        log: how training went.
    """

    Config: ClassVar[type[RankerTrainingConfig]] = NeuralRankerConfig
    Network: ClassVar[type[Any]]

    log: TrainingLog
    _encoder: FeatureEncoder
    _network: RankingNetwork

    @property
    def tasks(self) -> tuple[str, ...]:
        """The task it learns."""
        return (self.config.task,)

    def _balance(self) -> LossBalance:
        """How the losses of the tasks become one."""
        return LossBalance(self.tasks, FixedBalanceConfig())

    @property
    def _history_length(self) -> int:
        """Latest events that the network reads."""
        return 0

    def _fit(
        self,
        samples: RankingSamples,
        items: ItemTable,
        users: UserTable,
        valid: RankingSamples | None,
        options: RunOptions,
    ) -> None:
        samples = replace(samples, queries=samples.queries.known_items_only(items.n_items))
        if valid is not None:
            valid = replace(valid, queries=valid.queries.known_items_only(items.n_items))
        items = items.with_columns([*metadata_to_read(items, self.config.metadata), *items.own])
        self._encoder = FeatureEncoder.fit(
            samples, items, users, features=self.config.features, history_length=self._history_length
        )
        encoder = with_windows(self._encoder, samples)
        with _seeded(options):
            self._network = self.Network(encoder, self.config)
            task = RankingTask(
                self._network, encoder, samples, valid, self.tasks, self._balance(), self.config, options
            )
            identity = None
            if options.checkpoint_dir is not None:
                identity = {"ranker": self.name, **training_inputs(self._encoder, samples, valid)}
            self.log = Trainer(task, self.config, options, identity=identity).run()
        self._network.cpu().hold_items(self._encoder.item_block)
        self._network.freeze()
        if self.log.best_epoch == 0:
            logger.warning("{}: no epoch was better on validation than the merged order, which stays", self.name)

    def _grow(self, items: ItemTable, users: UserTable, vocabulary: Vocabulary) -> None:
        weights = self._network.state_dict()
        self._encoder = self._encoder.grown(items, users)
        self._build(weights)

    def _build(self, weights: Mapping[str, Tensor]) -> None:
        """The network of the encoder, with these weights."""
        with torch.random.fork_rng(devices=[]), NoInitialWeights():
            self._network = self.Network(self._encoder, self.config)
        self._network.load_state_dict(weights)
        self._network.eval().freeze()

    def _score(self, queries: QueryBatch, candidates: Candidates) -> FloatArray:
        return score_queries(self._network, self._encoder, queries, candidates, torch.device("cpu"))

    def missing_columns(self, candidates: Candidates) -> list[str]:
        return self._encoder.missing_candidate_columns(candidates)

    def _contributions(self, queries: QueryBatch, candidates: Candidates) -> dict[str, FloatArray]:
        return integrated_gradients(self._network, self._encoder, queries, candidates)

    def _write(self, bundle: BundleWriter) -> None:
        self._encoder.write(bundle)
        bundle.tensors(WEIGHTS, self._network.state_dict())
        bundle.manifest["training"] = asdict(self.log)

    def _read(self, bundle: Bundle) -> None:
        self._encoder = FeatureEncoder.read(bundle)
        self._build(bundle.tensors(WEIGHTS))
        self.log = TrainingLog(**bundle.manifest["training"])


@contextmanager
def _seeded(options: RunOptions) -> Iterator[None]:
    """Draw initial weights and dropout from the run's seed; the process's own random state is left as it was."""
    devices = [options.torch_device()] if options.torch_device().type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(options.generator("network").integers(2**62)))
        yield
