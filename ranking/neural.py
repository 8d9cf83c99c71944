"""Base of rankers around a torch network: encoding, training, scoring and storing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from loguru import logger
from pydantic import Field, PositiveInt, field_validator
from torch import nn

from dataprep.tmdb import MetadataName, metadata_to_read
from ranking.base import BaseRanker
from ranking.features import DEFAULT, FeatureEncoder, check_names
from ranking.scoring import score_queries
from ranking.trainer import TrainingConfig, TrainingReport, seeded, train
from reccore import Bundle, Candidates, ItemTable, QueryBatch, RankingSamples, RunOptions, UserTable
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter

WEIGHTS = "network.safetensors"


class NeuralConfig(TrainingConfig):
    """Options of every neural ranker.

    Attributes:
        features: names of features (``ranking.features``), wildcards such as ``recall.*``, and ``default`` for the
            default set. A feature named in full is an error where the data lacks a column it needs; a wildcard leaves
            it out.
        metadata: features of TMDb to read (``dataprep.tmdb``), such as ``director``, ``keywords``, ``overview``; an
            error where they were not prepared. ``vote_average``, ``vote_count``, ``popularity`` and ``revenue`` are of
            the day of the crawl, later than the events to predict: a leak in time.
        embedding_size: d, size of every field's vector.
        hidden: widths of the deep part's layers.
        dropout: after each of them.
    """

    features: tuple[str, ...] = Field(default=(DEFAULT,), min_length=1)
    metadata: tuple[MetadataName, ...] = ()
    embedding_size: PositiveInt = 16
    hidden: tuple[PositiveInt, ...] = Field(default=(64, 32), min_length=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)

    @field_validator("features")
    @classmethod
    def _features_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        check_names(names)
        return names


class NeuralRanker(BaseRanker):
    """A ranker around a torch network. Subclasses set ``name``, ``Config`` and ``Network``.

    After fitting or loading the network lies on the CPU.

    Attributes:
        Network: class of the network; built from the encoder and the config, called with ``RankingInputs``.
        report: how the last ``fit`` went; None after ``load``.
    """

    Config: ClassVar[type[NeuralConfig]] = NeuralConfig
    Network: ClassVar[type[Any]]

    report: TrainingReport | None = None
    _encoder: FeatureEncoder
    _network: nn.Module

    @property
    def tasks(self) -> tuple[str, ...]:
        """The task it learns."""
        return (self.config.task,)

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
        items = items.with_columns(metadata_to_read(items, self.config.metadata))
        self._encoder = FeatureEncoder.fit(
            samples, items, users, features=self.config.features, history_length=self._history_length
        )
        with seeded(options):
            self._network = self.Network(self._encoder, self.config)
            self.report = train(self._network, self._encoder, samples, valid, self.config, options)
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
            self._network = self.Network(self._encoder, self.config)
        self._network.load_state_dict(bundle.tensors(WEIGHTS))
        self._network.eval()
