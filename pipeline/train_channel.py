"""A training job: one recall channel, fitted, validated and saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from loguru import logger

from dataprep.prepare import TRAIN_FILE, Prepared, load_for_training
from dataprep.readers.own import EventFile
from pipeline.model_files import check_ranks, model_folder, with_training_files
from pipeline.validation import VALIDATION_KS, summary, validation_sample
from pipeline.window_refits import LabelCut, check_trains_on, data_to_learn, fit_around_labels
from recall import CHANNELS
from recall.base import BaseRecall
from recall.graph.files import read_item_graph
from reccore import ConfigError, Holdout, RunOptions, Workspace
from reccore.bundle import check_writable, file_sha256, read_manifest
from reccore.workspace import require
from training.checkpointing import drop_checkpoint
from training.ranks import is_main, of_rank


class Engine(Protocol):
    """What reads prepared data and fits channels; ``spark.engine`` has another one."""

    @property
    def name(self) -> str:
        """Name for manifests."""

    def channel(self, model: str, settings: Mapping[str, Any]) -> BaseRecall:
        """An unfitted channel."""

    def load(self, given: EventFile | None, protocol: str | None) -> Prepared:
        """The data to learn from."""

    def fit(
        self, channel: BaseRecall, prepared: Prepared, item_graph: Path | None, valid: Holdout, options: RunOptions
    ) -> None:
        """Fit the channel on the fit split."""


class LocalEngine:
    """Fits channels in this process."""

    name = "local"

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def channel(self, model: str, settings: Mapping[str, Any]) -> BaseRecall:
        return CHANNELS[model](settings)

    def load(self, given: EventFile | None, protocol: str | None) -> Prepared:
        return load_for_training(self._workspace, given, protocol)

    def fit(
        self, channel: BaseRecall, prepared: Prepared, item_graph: Path | None, valid: Holdout, options: RunOptions
    ) -> None:
        data = data_to_learn(channel, prepared, prepared.training_data())
        if item_graph is not None:
            data = replace(data, item_graph=read_item_graph(item_graph, prepared.vocabulary.items))
        channel.fit(data, valid=valid, options=options)


def _no_item_graph(model: str, channel: BaseRecall) -> str:
    """What to do about a graph that the channel does not read."""
    if channel.Config.has_option("item.graph"):
        return f"{model} reads no item graph as configured; add --use_gcn, or leave out --item_adj"
    others = ", ".join(CHANNELS.with_option("item.graph"))
    return f"{model} cannot read an item graph; leave out --item_adj, or choose a channel that can: {others}"


def _with_training_files(channel: BaseRecall, options: RunOptions, workspace: Workspace, name: str) -> RunOptions:
    """The options with folders for the files of the training, where the channel writes them."""
    if channel.keeps_checkpoints:
        return with_training_files(options, workspace, name)
    if options.resume:
        logger.warning(
            "{} keeps no checkpoint, so --resume changes nothing: it is trained from the beginning, in the time that "
            "a whole training takes",
            channel.name,
        )
    return options


def train_channel(
    workspace: Workspace,
    model: str,
    settings: Mapping[str, Any],
    *,
    name: str | None = None,
    input_file: EventFile | None = None,
    protocol: str | None = None,
    item_graph: Path | None = None,
    engine: Engine | None = None,
    labels: LabelCut | None = None,
    options: RunOptions,
) -> dict[str, Any]:
    """Fit one recall channel on the fit split, validate it, and save it under ``models/``.

    Processes that torchrun has started train it together (``training.ranks``); rank 0 validates and saves.

    Args:
        workspace: data root.
        model: registered name of the channel.
        settings: its options.
        name: folder under ``models/``; None = the model's name.
        input_file, protocol: as for ``load_for_training``.
        item_graph: file with an item–item graph for a channel that propagates over one; else unused.
        engine: what reads the data and fits; None = this process.
        labels: learn the events before this cut first, and keep that for the ranker, see ``fit_around_labels``.
        options: seed, device, checkpoints.

    Raises:
        ArtefactError: the data is stale, or ``models/`` cannot be written, which is checked before the fit.

    Returns:
        Plain values: path, config, seconds, the log of the epochs (None for a channel without them), validation
        metrics (None without a split). Empty on other ranks than the first.
    """
    engine = engine or LocalEngine(workspace)
    channel = engine.channel(model, settings)  # an invalid option fails before any data is read
    check_ranks(model, channel.config)
    if labels is not None:
        check_trains_on(channel)
    options = of_rank(options)
    if item_graph is not None and not channel.reads_item_graph:
        raise ConfigError(_no_item_graph(model, channel))
    name = name or model
    path = model_folder(workspace, name, channel.kind)
    with_files = _with_training_files(channel, options, workspace, name)
    if input_file is not None and input_file.path.parts[-2:] == (workspace.prepared.name, TRAIN_FILE):
        require(input_file.path, "prepared data", "prepare_two_tower_data.py")
    prepared = engine.load(input_file, protocol)
    valid = validation_sample(prepared, options, query_time=channel.query_time)
    check_writable(workspace.models)
    started = perf_counter()
    keep = None
    if labels is None:
        engine.fit(channel, prepared, item_graph, valid, with_files)
    else:
        channel, keep = fit_around_labels(channel, prepared, labels, valid, with_files)
    if not is_main():
        return {}
    seconds = perf_counter() - started
    metrics = None
    if len(valid):
        metrics = summary(channel.retrieve(valid.queries, max(VALIDATION_KS)), valid)
    facts = {
        "data": prepared.provenance,
        "metrics": metrics,
        "query_time": channel.query_time,
        "engine": engine.name,
    }
    if item_graph is not None:
        facts["item_graph"] = {"path": str(item_graph), "sha256": file_sha256(item_graph)}
    channel.save(path, seed=options.seed, **facts)
    if keep is not None:
        keep(path)
    drop_checkpoint(workspace.checkpoint(name))
    return {
        "model": model,
        "path": str(path),
        "config": channel.config.model_dump(mode="json"),
        "protocol": prepared.split.protocol,
        "query_time": channel.query_time,
        "engine": engine.name,
        "seconds": round(seconds, 2),
        "training": (read_manifest(path) or {}).get("training"),
        "validation": metrics,
    }
