"""Training jobs: one channel, or a ranker together with the pipeline it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from loguru import logger

from dataprep.prepare import TRAIN_FILE, Prepared, load_for_training
from dataprep.readers.own import EventFile
from dataprep.splits import parse_protocol
from evaluation.metrics import per_query_metrics
from pipeline.blend import MERGED
from pipeline.builder import PIPELINE, assemble, channels_of, open_channels, save
from pipeline.config import PipelineConfig
from pipeline.history import FrozenHistoryStore
from pipeline.leak_alarm import check_for_leak
from pipeline.provenance import data_of
from pipeline.samples import RankingData, check_tasks, make_ranking_data
from pipeline.short_history import choose_rule
from pipeline.window_refits import stored_refits
from ranking import MAX_QUERIES, RANKERS, SHORT_HISTORIES
from ranking.base import BaseRanker
from recall import CHANNELS
from recall.base import BaseRecall
from recall.graph.files import read_item_graph
from recall.neural.channel import NeuralRecall
from reccore import (
    Bundle,
    Candidates,
    ComponentConfig,
    ConfigError,
    DataError,
    Holdout,
    RankingSamples,
    RunOptions,
    Vocabulary,
    Workspace,
)
from reccore.arrays import BoolArray, IntArray
from reccore.bundle import check_writable, file_sha256, read_manifest
from reccore.workspace import require
from training import TrainingConfig
from training.checkpointing import drop_checkpoint, has_checkpoint
from training.ranks import is_main, main_first, n_ranks, of_rank

VALIDATION_KS = (10, 100)
VALIDATION_QUERIES = 5_000
"""Enough to choose an epoch or a setting; evaluation uses all users."""
SERVING = "serving"
"""The pipeline fitted on every event, see ``pipeline.refitting``."""
RESERVED_NAMES = (PIPELINE, SERVING, MERGED)


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
        # Under last_three networks learn from liked events alone, as MetaSpore's do; other channels from all.
        liked = prepared.split.liked_fit() if isinstance(channel, NeuralRecall) else None
        data = prepared.training_data(liked)
        if item_graph is not None:
            data = replace(data, item_graph=read_item_graph(item_graph, prepared.vocabulary.items))
        channel.fit(data, valid=valid, options=options)


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
        options: seed, device, checkpoints.

    Raises:
        ArtefactError: the data is stale, or ``models/`` cannot be written, which is checked before the fit.

    Returns:
        Plain values: path, config, seconds, the log of the epochs (None for a channel without them), validation
        metrics (None without a split). Empty on other ranks than the first.
    """
    engine = engine or LocalEngine(workspace)
    channel = engine.channel(model, settings)  # an invalid option fails before any data is read
    _check_ranks(model, channel.config)
    options = of_rank(options)
    if item_graph is not None and not channel.reads_item_graph:
        raise ConfigError(f"{model} reads no item graph as configured; add --use_gcn, or leave out --item_adj")
    name = name or model
    path = _model_folder(workspace, name, channel.kind)
    with_files = _with_files(options, workspace, name)
    if input_file is not None and input_file.path.parts[-2:] == (workspace.prepared.name, TRAIN_FILE):
        require(input_file.path, "prepared data", "prepare_two_tower_data.py")
    prepared = engine.load(input_file, protocol)
    valid = validation_sample(prepared, options, query_time=channel.query_time)
    check_writable(workspace.models)
    started = perf_counter()
    engine.fit(channel, prepared, item_graph, valid, with_files)
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


def train_ranker(
    workspace: Workspace,
    model: str,
    settings: Mapping[str, Any],
    pipeline_settings: Mapping[str, Any],
    *,
    name: str | None = None,
    protocol: str | None = None,
    max_queries: int | None = MAX_QUERIES,
    short_histories: float = SHORT_HISTORIES,
    found_only: bool = False,
    options: RunOptions,
) -> dict[str, Any]:
    """Fit a ranker on candidates of channels that did not see its labels, then write the pipeline.

    Processes that torchrun has started train it together (``training.ranks``); rank 0 validates and saves. Each of them
    makes all samples, after rank 0 has fitted the channels again.

    Args:
        workspace: data root.
        model: registered name of the ranker.
        settings: its options.
        pipeline_settings: options of ``PipelineConfig``.
        name: folder under ``models/``; None = the model's name.
        protocol: that of the channels; None = whichever they were fitted under.
        max_queries: most label events to learn from, drawn at random; None = all. With 200 candidates and the default
            features a query takes some 30 KB, and 20 bytes for every event of its history.
        short_histories: share of the users who play new users for the ranker, see ``label_window``.
        found_only: keep in memory the queries alone that recall offers a positive for.
        options: seed, device, checkpoints.

    Returns:
        Plain values: paths, config, seconds, validation metrics after recall and after ranking. Empty on other ranks
        than the first.
    """
    ranker = RANKERS[model](settings)
    _check_ranks(model, ranker.config)
    options = of_rank(options)
    check_tasks(ranker.tasks)
    name = name or model
    path = _model_folder(workspace, name, ranker.kind)
    with_files = _with_files(options, workspace, name)
    config = pipeline_of_ranker(pipeline_settings, name)
    rule = config.undecided
    parts = open_channels(workspace, config.channels)
    channels = channels_of(parts)
    prepared = data_of(workspace, config.channels)
    if protocol is not None and parse_protocol(protocol).name != prepared.split.protocol:
        raise ConfigError(
            f"the channels were fitted under {prepared.split.protocol}, so the ranker cannot be under {protocol}; "
            f"train them with --protocol {protocol} first"
        )
    check_writable(workspace.models)
    items = prepared.training_data().items.with_columns(())  # models store the columns they read in their own bundles
    reranker = None if config.rerank is None else config.rerank.fit(channels, items, prepared.vocabulary)
    query_time = any(channel.query_time for channel in channels.values())
    valid = validation_sample(prepared, options, query_time=query_time)
    with main_first():
        data = make_ranking_data(
            prepared,
            stored_refits(workspace, options),
            channels,
            config,
            valid,
            tasks=ranker.tasks,
            max_queries=max_queries,
            short_histories=short_histories,
            judge_below=0 if rule is None else rule.below,
            found_only=found_only,
            options=options,
        )
    started = perf_counter()
    train, stop = fit_ranker(ranker, data, prepared.vocabulary, with_files)
    if not is_main():
        return {}
    choice = None if rule is None else choose_rule(rule, name, ranker, data.window_channels, data.judging, stop)
    if choice is not None:
        config = config.with_short_history(choice.rule)
        logger.info("{}", choice)
    seconds = perf_counter() - started
    metrics = None
    if len(valid):
        scores = ranker.score(data.valid.queries, data.valid.candidates)
        known = stop.select(np.flatnonzero(stop.queries.user_idx >= 0))  # validation has no new users
        if len(known):
            check_for_leak(ranker, known, data.valid, scores, valid, seed=options.seed)
        ranked = data.valid.candidates.reordered(scores)
        metrics = {"recall": summary(data.valid.candidates, valid), "ranking": summary(ranked, valid)}
    facts = {"data": prepared.provenance, "metrics": metrics, "query_time": query_time}
    drawn = {"max_queries": max_queries, "short_histories": short_histories, "found_only": found_only}
    ranker.save(path, seed=options.seed, samples=drawn, **facts)
    drop_checkpoint(workspace.checkpoint(name))
    pipeline = assemble(
        config,
        channels=channels,
        ranker=ranker,
        items=items,
        histories=FrozenHistoryStore(prepared.split.interactions, prepared.vocabulary),
        reranker=reranker,
    )
    parts[name] = Bundle.open(path)
    chosen = None if choice is None else choice.facts
    return {
        "model": model,
        "path": str(path),
        "pipeline": str(save(pipeline, workspace.model(PIPELINE), parts, data=prepared.provenance, chosen=chosen)),
        "short_history": None if choice is None else str(choice),
        "config": ranker.config.model_dump(mode="json"),
        "training_queries": len(train),
        "stopping_queries": len(stop),
        "query_time": query_time,
        "missed_positives": 0 if train.missed is None else int(train.missed.sum()),
        "seconds": round(seconds, 2),
        "training": (read_manifest(path) or {}).get("training"),
        "validation": metrics,
    }


def fit_ranker(
    ranker: BaseRanker, data: RankingData, vocabulary: Vocabulary, options: RunOptions
) -> tuple[RankingSamples, RankingSamples]:
    """Fit a ranker on the label window; returns the samples that it learnt from and those that chose the epoch.

    Raises:
        DataError: recall offers no positive to learn from.
    """
    stopping = data.early_stopping_mask
    train, stop = (data.train.select(rows_where(part)) for part in (~stopping, stopping))
    if not all(np.any(labels == 1.0) for labels in train.labels.values()):
        raise DataError(
            f"recall offers none of the {len(train):,} events that the ranker is to learn from; users need at "
            "least 5 fit events, and channels must offer enough (pipeline.per_channel, pipeline.candidates)"
        )
    ranker.fit(
        train,
        items=data.window_data.items,
        users=data.window_data.users,
        vocabulary=vocabulary,
        valid=stop if len(stop) else None,
        options=options,
    )
    return train, stop


def rows_where(mask: BoolArray) -> IntArray | slice:
    """The rows where a mask is True; as a slice, which copies nothing, where they lie together."""
    rows = np.flatnonzero(mask)
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def pipeline_of_ranker(settings: Mapping[str, Any], ranker: str) -> PipelineConfig:
    """The pipeline that a ranker is trained for, whose stages name that ranker.

    The short form has a rule for short histories, to be chosen, unless it says otherwise.

    Raises:
        ConfigError: the settings name another ranker, or none.
    """
    if "stages" not in settings:
        if settings.get("ranker", ranker) != ranker:
            raise ConfigError(f"the pipeline takes the ranker trained here, {ranker!r}; leave out pipeline.ranker")
        return PipelineConfig.parse({"short_history": {}, **settings, "ranker": ranker})
    config = PipelineConfig.parse(settings)
    if config.ranker != ranker:
        raise ConfigError(
            f"pipeline.stages must have a stage 'rank' whose model is the ranker trained here, {ranker!r}; "
            f"got {config.ranker!r}"
        )
    return config


def validation_sample(prepared: Prepared, options: RunOptions, *, query_time: bool = False) -> Holdout:
    """Validation queries: all of them, or ``VALIDATION_QUERIES`` drawn at random.

    Raises:
        DataError: ``query_time`` with data that has no times.
    """

    def draw(n: int) -> IntArray:
        if n <= VALIDATION_QUERIES:
            return np.arange(n)
        return np.sort(options.generator("validation_queries").choice(n, VALIDATION_QUERIES, replace=False))

    return prepared.split.valid(query_time=query_time, draw=draw)


def summary(candidates: Candidates, holdout: Holdout) -> dict[str, float]:
    """Means of HitRate and NDCG at the validation lengths."""
    values = per_query_metrics(candidates, holdout, VALIDATION_KS)
    wanted = [f"{metric}@{k}" for metric in ("hit_rate", "ndcg") for k in VALIDATION_KS]
    return {metric: round(float(np.mean(values[metric])), 5) for metric in wanted}


def _check_ranks(model: str, config: ComponentConfig) -> None:
    """Refuse several ranks for a model that they cannot train together.

    Raises:
        ConfigError: its training is not one of epochs over a network.
    """
    if n_ranks() > 1 and not isinstance(config, TrainingConfig):
        raise ConfigError(f"{model} is not trained in epochs by several processes; start it without torchrun")


def _with_files(options: RunOptions, workspace: Workspace, name: str) -> RunOptions:
    """The same options with the folders of a model's checkpoints and curves."""
    checkpoint = workspace.checkpoint(name)
    if options.resume and not has_checkpoint(checkpoint):
        logger.warning("there is no checkpoint at {}: training starts from the beginning", checkpoint)
    return replace(options, checkpoint_dir=checkpoint, log_dir=workspace.runs / name)


def _model_folder(workspace: Workspace, name: str, kind: str) -> Path:
    """Where to save a model of that name and kind; checked before training.

    Raises:
        ConfigError: a reserved name, or a folder that holds something else.
    """
    path = workspace.model(name)
    if name in RESERVED_NAMES:
        raise ConfigError(f"the name {name!r} is reserved; choose another --name")
    manifest = read_manifest(path)
    if path.exists() and manifest is None:
        raise ConfigError(f"{path} exists and holds no model; move it away or choose another --name")
    if manifest is not None and manifest.get("kind") != kind:
        raise ConfigError(f"{path} holds a {manifest.get('kind')} model; choose another --name")
    return path
