"""What DeepFM and DIN share as rankers: encoding, training, scoring and storing around a network."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from loguru import logger
from torch import nn

from dataprep.tmdb import MetadataName, metadata_to_read
from ranking.base import BaseRanker
from ranking.features import FeatureEncoder
from ranking.trainer import TrainingConfig, TrainingReport, score_queries, seeded, train
from reccore import Bundle, Candidates, ConfigError, ItemTable, QueryBatch, RankingSamples, RunOptions, UserTable
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter

TASK = "click"
WEIGHTS = "network.safetensors"


class NeuralConfig(TrainingConfig):
    """Options of every neural ranker.

    Attributes:
        metadata: features of TMDb to read (``dataprep.tmdb``), such as ``director``, ``keywords``, ``overview``; an
            error where they were not prepared. ``vote_average``, ``vote_count``, ``popularity`` and ``revenue`` are of
            the day TMDb was asked, later than the events to predict: a leak in time.
    """

    metadata: tuple[MetadataName, ...] = ()


class NeuralRanker(BaseRanker):
    """A ranker around a torch network. Subclasses name themselves and build the network.

    Trained on the task ``click``. After fitting or loading the network lies on the CPU.

    Attributes:
        report: how the last ``fit`` went; None after ``load``.
    """

    Config: ClassVar[type[NeuralConfig]]

    report: TrainingReport | None = None
    _encoder: FeatureEncoder
    _network: nn.Module

    @property
    def _history_length(self) -> int:
        """Latest events that the network looks at."""
        return 0

    @abstractmethod
    def _build(self, encoder: FeatureEncoder) -> nn.Module:
        """A fresh network for the encoder's fields."""

    def _fit(
        self,
        samples: RankingSamples,
        items: ItemTable,
        users: UserTable,
        valid: RankingSamples | None,
        options: RunOptions,
    ) -> None:
        for given in (samples, valid):
            if given is not None and TASK not in given.labels:
                raise ConfigError(f"{self.name} learns the task {TASK!r}; the samples have {', '.join(given.tasks)}")
        if not np.any(samples.labels[TASK] == 1.0):
            raise ConfigError(f"no candidate has a positive label for {TASK!r}; recall more items or label more events")
        samples = replace(samples, queries=samples.queries.known_items_only(items.n_items))
        if valid is not None:
            valid = replace(valid, queries=valid.queries.known_items_only(items.n_items))
        items = items.with_columns(metadata_to_read(items, self.config.metadata))
        self._encoder = FeatureEncoder.fit(samples, items, users, history_length=self._history_length)
        with seeded(options):
            self._network = self._build(self._encoder)
            self.report = train(self._network, self._encoder, samples, valid, self.config, options, task=TASK)
        self._network.cpu()
        if self.report.best_epoch == 0:
            logger.warning("{}: no epoch was better on validation than the merged order, which stays", self.name)
        logger.info(
            "{}: kept epoch {}, {:,.0f} queries/s", self.name, self.report.best_epoch, self.report.queries_per_second
        )

    def _score(self, queries: QueryBatch, candidates: Candidates) -> FloatArray:
        return score_queries(self._network, self._encoder, queries, candidates, torch.device("cpu"))

    def _write(self, bundle: BundleWriter) -> None:
        self._encoder.write(bundle)
        bundle.tensors(WEIGHTS, self._network.state_dict())

    def _read(self, bundle: Bundle) -> None:
        self._encoder = FeatureEncoder.read(bundle)
        with torch.random.fork_rng(devices=[]):
            self._network = self._build(self._encoder)
        self._network.load_state_dict(bundle.tensors(WEIGHTS))
        self._network.eval()
