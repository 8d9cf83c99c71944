"""Training jobs: one channel, or a ranker together with the pipeline it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from dataprep.prepare import Prepared, load_for_training
from evaluation.metrics import per_query_metrics
from pipeline.builder import assemble, load_channels, save
from pipeline.config import PipelineConfig
from pipeline.training import make_ranking_data
from ranking import RANKERS
from recall import CHANNELS
from reccore import ArtefactError, Candidates, ConfigError, Holdout, RunOptions, Workspace
from reccore.bundle import read_manifest

VALIDATION_KS = (10, 100)
VALIDATION_QUERIES = 5_000
"""Choosing an epoch or a setting needs no more users; evaluation takes them all."""


def train_channel(
    workspace: Workspace,
    model: str,
    settings: Mapping[str, Any],
    *,
    name: str | None = None,
    input_path: Path | None = None,
    protocol: str | None = None,
    options: RunOptions,
) -> dict[str, Any]:
    """Fit one recall channel on the fit split, validate it, and save it under ``models/``.

    Returns:
        What happened, as plain values: path, config, seconds, validation metrics (None without a split).
    """
    channel = CHANNELS[model](settings)  # a wrong option fails before any data is read
    path = workspace.model(name or model)
    _refuse_other_kind(path, channel.kind)
    prepared = load_for_training(workspace, input_path, protocol)
    valid = validation_sample(prepared, options)
    started = perf_counter()
    channel.fit(prepared.training_data(), valid=valid, options=options)
    seconds = perf_counter() - started
    metrics = None
    if len(valid):
        metrics = summary(channel.retrieve(valid.queries, max(VALIDATION_KS)), valid)
    channel.save(path, seed=options.seed, data=prepared.provenance, metrics=metrics)
    return {
        "model": model,
        "path": str(path),
        "config": channel.config.model_dump(mode="json"),
        "protocol": prepared.split.protocol,
        "seconds": round(seconds, 2),
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
    max_queries: int | None = None,
    options: RunOptions,
) -> dict[str, Any]:
    """Fit a ranker on candidates of channels that did not see its labels, then write the pipeline.

    Returns:
        What happened: paths, config, seconds, validation metrics after recall and after ranking.
    """
    ranker = RANKERS[model](settings)
    name = name or model
    config = PipelineConfig.parse({**pipeline_settings, "ranker": name})
    _refuse_other_kind(workspace.model(name), ranker.kind)
    prepared = load_for_training(workspace, None, protocol)
    channels = load_channels(workspace, config.channels)
    check_protocol(workspace, config.channels, prepared)
    valid = validation_sample(prepared, options)
    data = make_ranking_data(prepared, workspace, channels, config, valid, max_queries=max_queries, options=options)
    started = perf_counter()
    ranker.fit(
        data.train,
        items=data.window_data.items,
        users=data.window_data.users,
        vocabulary=prepared.vocabulary,
        valid=data.valid if len(data.valid) else None,
        options=options,
    )
    seconds = perf_counter() - started
    metrics = None
    if len(valid):
        ranked = data.valid.candidates.reordered(ranker.score(data.valid.queries, data.valid.candidates))
        metrics = {"recall": summary(data.valid.candidates, valid), "ranking": summary(ranked, valid)}
    ranker.save(workspace.model(name), seed=options.seed, data=prepared.provenance, metrics=metrics)
    pipeline = assemble(
        config,
        channels=channels,
        ranker=ranker,
        items=prepared.training_data().items,
        histories=prepared.split.history(),
    )
    return {
        "model": model,
        "path": str(workspace.model(name)),
        "pipeline": str(save(pipeline, workspace)),
        "config": ranker.config.model_dump(mode="json"),
        "training_queries": len(data.train),
        "missed_positives": data.train.missed,
        "seconds": round(seconds, 2),
        "validation": metrics,
    }


def validation_sample(prepared: Prepared, options: RunOptions) -> Holdout:
    """Validation queries: all of them, or as many as are needed, drawn at random."""
    valid = prepared.split.valid()
    if len(valid) <= VALIDATION_QUERIES:
        return valid
    return valid.select(np.sort(options.generator(4).choice(len(valid), VALIDATION_QUERIES, replace=False)))


def check_protocol(workspace: Workspace, names: tuple[str, ...], prepared: Prepared) -> None:
    """Raise ``ArtefactError`` if a model was fitted on other data, or under another protocol, than ``prepared``."""
    for name in names:
        data = (read_manifest(workspace.model(name)) or {}).get("data", {})
        fitted = (data.get("fingerprint"), data.get("protocol"))
        if fitted != (prepared.source["fingerprint"], prepared.split.protocol):
            raise ArtefactError(
                f"{name} was fitted on {data.get('dataset')} under {data.get('protocol')}, the data at hand is "
                f"{prepared.source['dataset']} under {prepared.split.protocol}; train {name} again"
            )


def summary(candidates: Candidates, holdout: Holdout) -> dict[str, float]:
    """Means of HitRate and NDCG at the validation lengths."""
    values = per_query_metrics(candidates, holdout, VALIDATION_KS)
    wanted = [f"{metric}@{k}" for metric in ("hit_rate", "ndcg") for k in VALIDATION_KS]
    return {metric: round(float(np.mean(values[metric])), 5) for metric in wanted}


def _refuse_other_kind(path: Path, kind: str) -> None:
    manifest = read_manifest(path)
    if manifest is not None and manifest.get("kind") != kind:
        raise ConfigError(f"{path} holds a {manifest.get('kind')} model; choose another --name")
