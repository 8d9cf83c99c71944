"""Training of channels on Spark, in the place of ``pipeline.train_channel.LocalEngine``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprep.prepare import TRAIN_FILE, Prepared, load_prepared
from dataprep.protocols import parse_protocol
from dataprep.readers.own import EventFile
from recall.base import BaseRecall
from reccore import ConfigError, Holdout, Interactions, RunOptions, TrainingData, Workspace
from reccore.bundle import temporary_folder
from reccore.component import Registry
from spark.channel import SparkChannel
from spark.events import FitEvents

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SPARK_CHANNELS: Registry[BaseRecall] = Registry(
    "recall",
    {
        "popularity": "spark.popularity:SparkPopularity",
        "itemcf": "spark.itemcf:SparkItemCF",
        "swing": "spark.swing:SparkSwing",
        "mf": "spark.mf:SparkMF",
    },
)


class SparkEngine:
    """Fits channels on the prepared data of a data root, whose files the tasks read.

    Args:
        spark: the session.
        workspace: data root, on storage that driver and executors see under one path.
    """

    name = "spark"

    def __init__(self, spark: SparkSession, workspace: Workspace) -> None:
        self._spark = spark
        self._workspace = workspace

    def channel(self, model: str, settings: Mapping[str, Any]) -> BaseRecall:
        """An unfitted channel.

        Raises:
            ConfigError: the model has no Spark version.
        """
        check_model(model)
        return SPARK_CHANNELS[model](settings)

    def load(self, given: EventFile | None, protocol: str | None) -> Prepared:
        """The prepared data, split again if ``protocol`` is not its own.

        Raises:
            ConfigError: ``given`` is another file, which lies in no bundle.
        """
        folder = self._workspace.prepared
        if given is not None and (given != EventFile(given.path) or not _is_train(given.path, folder) or protocol):
            raise ConfigError(
                f"--engine spark reads the prepared data and not {given.path}; leave out --input, and bring files of "
                "your own in by PYTHONPATH=. python scripts/run_preprocessing.py --interactions FILE"
            )
        prepared = load_prepared(folder)
        return prepared if protocol in (None, prepared.split.protocol) else prepared.resplit(parse_protocol(protocol))

    def fit(
        self, channel: BaseRecall, prepared: Prepared, item_graph: Path | None, valid: Holdout, options: RunOptions
    ) -> None:
        """Fit on the fit split. The driver holds what is kept per user and item, and no events."""
        if not isinstance(channel, SparkChannel):
            raise TypeError(f"{type(channel).__name__} does not learn on Spark")
        split, n_items = prepared.split, len(prepared.vocabulary.items)
        nothing = Interactions(np.zeros(len(split.fit_stop) + 1, dtype=np.int64), np.empty(0, dtype=np.int64), n_items)
        data = TrainingData(nothing, prepared.items, prepared.users, prepared.vocabulary)
        with temporary_folder(self._workspace.root / "spark") as work:
            events = split.interactions
            channel.events = FitEvents.of(self._spark, self._workspace.prepared, events, split.fit_stop, work)
            channel.fit(data, valid=valid, options=options)
            del channel.events  # its files are gone


def check_model(model: str) -> None:
    """Raise ``ConfigError`` for a model without a Spark version, before Spark starts."""
    if model not in SPARK_CHANNELS:
        raise ConfigError(
            f"{model} has no Spark version; there are {', '.join(SPARK_CHANNELS)}. Leave out --engine spark to train "
            "it on this machine"
        )


def _is_train(path: Path, folder: Path) -> bool:
    return path.name == TRAIN_FILE and path.parent.resolve() == folder.resolve()
