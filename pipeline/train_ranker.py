"""A training job: a ranker, together with the pipeline it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np
from loguru import logger

from dataprep.protocols import parse_protocol
from pipeline.builder import PIPELINE, assemble, channels_of, open_channels, save
from pipeline.config import PipelineConfig
from pipeline.history import FrozenHistoryStore
from pipeline.inference import Pipeline
from pipeline.label_window import WindowKind, kind_under
from pipeline.leak_alarm import check_for_leak
from pipeline.model_files import check_ranks, model_folder, with_training_files
from pipeline.provenance import data_of
from pipeline.samples import RankingData, check_tasks, common_liked_from, make_ranking_data
from pipeline.short_history import Choice, choose_rule
from pipeline.stages import Request
from pipeline.validation import summary, validation_sample
from pipeline.window_refits import stored_refits
from ranking import MAX_QUERIES, RANKERS, SHORT_HISTORIES
from ranking.base import BaseRanker
from ranking.config import LIKE
from reccore import (
    Bundle,
    Candidates,
    ConfigError,
    DataError,
    Exclusions,
    RankingSamples,
    RunOptions,
    Vocabulary,
    Workspace,
)
from reccore.arrays import FloatArray, rows_where
from reccore.bundle import check_writable, read_manifest
from training.checkpointing import drop_checkpoint
from training.ranks import is_main, main_first, of_rank


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
    label_window: WindowKind | None = None,
    label_windows: int = 1,
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
        found_only: keep in memory the queries alone that recall offers a positive for, see ``make_ranking_data``.
        label_window: where the events to learn from are cut; None = at one moment under ``global_time``, else from each
            user's own history.
        label_windows: how many label windows, one before the other, each with channels that know nothing of it and of
            later ones.
        options: seed, device, checkpoints.

    Returns:
        Plain values: paths, config, seconds, validation metrics after recall and after ranking. Empty on other ranks
        than the first.
    """
    ranker = RANKERS[model](settings)
    check_ranks(model, ranker.config)
    options = of_rank(options)
    check_tasks(ranker.tasks)
    name = name or model
    path = model_folder(workspace, name, ranker.kind)
    with_files = with_training_files(options, workspace, name)
    config = pipeline_of_ranker(pipeline_settings, name)
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
    window_kind = label_window or kind_under(prepared.split.protocol)
    with main_first():
        data = make_ranking_data(
            prepared,
            stored_refits(workspace, options),
            channels,
            config,
            valid,
            tasks=ranker.tasks,
            liked_from=common_liked_from([ranker]),
            max_queries=max_queries,
            short_histories=short_histories,
            judge_below=config.judge_below,
            found_only=found_only,
            window_kind=window_kind,
            label_windows=label_windows,
            options=options,
        )
    started = perf_counter()
    train, stop = fit_ranker(ranker, data, prepared.vocabulary, with_files)
    if not is_main():
        return {}
    config, choice = with_chosen_rule(config, ranker, data, stop)
    seconds = perf_counter() - started
    pipeline = assemble(
        config,
        channels=channels,
        ranker=ranker,
        items=items,
        histories=FrozenHistoryStore(prepared.split.interactions, prepared.vocabulary),
        reranker=reranker,
    )
    metrics = None
    if len(valid):
        scores = ranker.score(data.valid.queries, data.valid.candidates)
        known = stop.select(np.flatnonzero(stop.queries.user_idx >= 0))  # validation has no new users
        if len(known):
            check_for_leak(ranker, known, data.valid, scores, valid, seed=options.seed)
        ranked = as_served(pipeline, data.valid, scores)
        metrics = {"recall": summary(data.valid.candidates, valid), "ranking": summary(ranked, valid)}
    facts = {"data": prepared.provenance, "metrics": metrics, "query_time": query_time}
    drawn = {
        "max_queries": max_queries,
        "short_histories": short_histories,
        "found_only": found_only,
        "window_kind": window_kind,
        "label_windows": label_windows,
    }
    ranker.save(path, seed=options.seed, samples=drawn, **facts)
    drop_checkpoint(workspace.checkpoint(name))
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
        "missed_positives": data.missed,
        "seconds": round(seconds, 2),
        "training": (read_manifest(path) or {}).get("training"),
        "validation": metrics,
    }


def with_chosen_rule(
    config: PipelineConfig, ranker: BaseRanker, data: RankingData, stop: RankingSamples
) -> tuple[PipelineConfig, Choice | None]:
    """The pipeline with its rule for short histories chosen, and the choice; as it is and None without such a choice.

    Args:
        config: of the ranker's pipeline.
        ranker: fitted, and named in the pipeline.
        data: made with the pipeline's ``judge_below``.
        stop: the samples that chose the epoch.
    """
    rule = config.undecided
    if rule is None:
        return config, None
    choice = choose_rule(rule, str(config.ranker), ranker, data.window_channels, data.judging, stop)
    logger.info("{}", choice)
    return config.with_short_history(choice.rule), choice


def as_served(pipeline: Pipeline, samples: RankingSamples, scores: FloatArray) -> Candidates:
    """The candidates in the pipeline's order: by the ranker's scores, or by the rule where histories are short.

    Args:
        pipeline: with the ranker; its reranker is not applied.
        samples: what the ranker scores.
        scores: (B, K) by the ranker.
    """
    assert pipeline.scorer is not None
    request = Request(samples.queries, samples.candidates.k, Exclusions.of_history(samples.queries))
    return samples.candidates.reordered(pipeline.scorer.served(scores, request, samples.candidates))


def fit_ranker(
    ranker: BaseRanker, data: RankingData, vocabulary: Vocabulary, options: RunOptions
) -> tuple[RankingSamples, RankingSamples]:
    """Fit a ranker on the label window; returns the samples that it learnt from and those that chose the epoch.

    Raises:
        DataError: recall offers no positive to learn from.
    """
    stopping = data.early_stopping_mask
    train, stop = (data.train.select(rows_where(part)) for part in (~stopping, stopping))
    if not train.chosen.any():
        raise DataError(
            f"recall offers none of the {data.missed:,} events that the ranker is to learn from; users need at "
            "least 5 fit events, and channels must offer enough (pipeline.per_channel, pipeline.candidates)"
        )
    if LIKE in ranker.tasks and not np.any(train.labels[LIKE] == 1.0):
        raise DataError(
            f"of the events that the ranker is to learn from, recall offers none that is rated {ranker.liked_from:g} "
            "or more; lower liked_from, or let channels offer more (pipeline.per_channel, pipeline.candidates)"
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
