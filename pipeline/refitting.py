"""The settings of a trained pipeline fitted on other events: all there are, for serving, or those of some users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from loguru import logger

from dataprep.prepare import Prepared, load_prepared, prepare_file
from dataprep.protocols import NoSplit, parse_protocol
from dataprep.readers.own import EventFile
from pipeline.builder import PIPELINE, assemble, config_of, open_pipeline, parts_of, pipeline_of, save
from pipeline.config import PipelineConfig
from pipeline.history import FrozenHistoryStore
from pipeline.inference import Pipeline
from pipeline.model_files import SERVING
from pipeline.samples import common_liked_from, make_ranking_data
from pipeline.train_ranker import fit_ranker, with_chosen_rule
from pipeline.window_refits import Refit, data_to_learn, folder_beside, purpose_of, refit
from ranking import MAX_QUERIES, SHORT_HISTORIES
from ranking.base import BaseRanker
from recall.base import BaseRecall
from recall.neural.channel import NeuralRecall
from reccore import Bundle, ConfigError, RunOptions, TrainingData, Workspace

ALL_EVENTS = "all_events"


def refit_pipeline(
    original: Pipeline,
    config: PipelineConfig,
    prepared: Prepared,
    drawn: Mapping[str, Any],
    options: RunOptions,
    *,
    refit_channel: Refit | None = None,
    refit_before_labels: Refit | None = None,
) -> Pipeline:
    """The pipeline ``config`` whose channels, ranker and reranker are those of ``original``, fitted on ``prepared``.

    Args:
        original: gives the options of channels and ranker, and the epochs that its channels chose.
        config: stages; a rule for short histories without weights is chosen.
        prepared: data whose fit split is fitted on.
        drawn: arguments of ``make_ranking_data`` about the training queries, see ``draws_of``.
        options: of the run.
        refit_channel: fits a channel on the fit split; None = in memory.
        refit_before_labels: fits it once more without the ranker's label window; None = in memory.
    """
    channels = {source.name: source.channel for source in original.sources}

    def in_memory(name: str, channel: BaseRecall, events: TrainingData, window: int = 0) -> BaseRecall:
        logger.info("fitting {} again on {:,} events", name, events.interactions.n_events)
        return channel.refit(events, options)

    fit_channel, fit_before_labels = refit_channel or in_memory, refit_before_labels or in_memory
    data = prepared.training_data()
    refitted = {
        name: fit_channel(name, channel, data_to_learn(channel, prepared, data)) for name, channel in channels.items()
    }
    ranker, config = refit_ranker(
        original, config, prepared, refitted, drawn, options, refit_before_labels=fit_before_labels
    )
    return assemble(
        config,
        channels=refitted,
        ranker=ranker,
        items=data.items.with_columns(()),
        histories=FrozenHistoryStore(prepared.split.interactions, prepared.vocabulary),
    )


def refit_ranker(
    original: Pipeline,
    config: PipelineConfig,
    prepared: Prepared,
    channels: Mapping[str, BaseRecall],
    drawn: Mapping[str, Any],
    options: RunOptions,
    *,
    refit_before_labels: Refit,
) -> tuple[BaseRanker | None, PipelineConfig]:
    """The ranker of ``original`` fitted on ``prepared``, over the channels that offer the candidates; None without one.

    Arguments are those of ``refit_pipeline``.

    Returns:
        The ranker, and ``config`` with the weights of its rule for short histories.
    """
    if original.ranker is None or config.ranker is None:
        return None, config
    ranker: BaseRanker = type(original.ranker)(original.ranker.config)
    trained = {source.name: source.channel for source in original.sources}
    samples = make_ranking_data(
        prepared,
        lambda name, _, events, window=0: refit_before_labels(name, trained[name], events, window),
        channels,
        config,
        prepared.split.valid().select(np.zeros(0, dtype=np.int64)),
        tasks=ranker.tasks,
        liked_from=common_liked_from([ranker]),
        judge_below=config.judge_below,
        options=options,
        **drawn,
    )
    _, stop = fit_ranker(ranker, samples, prepared.vocabulary, options)
    return ranker, with_chosen_rule(config, ranker, samples, stop)[0]


def draws_of(pipeline: Bundle) -> dict[str, Any]:
    """How the training queries of a pipeline's ranker were drawn: ``max_queries``, ``short_histories``, …"""
    ranker = config_of(pipeline).ranker
    samples = {} if ranker is None else parts_of(pipeline)[ranker].manifest.get("samples", {})
    return {"max_queries": MAX_QUERIES, "short_histories": SHORT_HISTORIES, **samples}


def refit_for_serving(workspace: Workspace, *, options: RunOptions) -> dict[str, Any]:
    """Fit the trained pipeline again on every event of the data root, and write it to ``models/serving``.

    Nothing is chosen again: channels take the epochs that they chose on validation, the ranker chooses its epoch on
    users kept out of its training, as it did before. The data may have grown since: users, films and events that came
    later are learnt from too. ``models/pipeline``, which evaluations measure, stays.

    Fitted channels are kept in hidden folders under ``models/``, so that a run that was killed repeats none of them.

    Returns:
        Plain values: path, events, users and items, seconds.

    Raises:
        NotReadyError: there is no pipeline, or no prepared data.
        DataError: the file that the pipeline was trained on is gone, or recall offers nothing to learn from.
        ConfigError: networks of the pipeline learnt from liked events alone.
    """
    started = perf_counter()
    bundle = open_pipeline(workspace.model(PIPELINE))
    original, parts = pipeline_of(bundle), parts_of(bundle)
    prepared = _everything(workspace, bundle.manifest["data"])
    _check_learns_from_all(original, bundle.manifest["data"]["protocol"], prepared)
    pipeline = refit_pipeline(
        original,
        original.config,
        prepared,
        draws_of(bundle),
        options,
        refit_channel=stored_refit(workspace, parts, ALL_EVENTS, options),
        refit_before_labels=stored_refit(workspace, parts, f"{ALL_EVENTS}.label_window", options),
    )
    folders = {name: stored_folder(workspace, name, ALL_EVENTS) for name in pipeline.config.parts}
    if pipeline.ranker is not None and pipeline.config.ranker is not None:
        samples = parts[pipeline.config.ranker].manifest.get("samples")
        pipeline.ranker.save(folders[pipeline.config.ranker], seed=options.seed, samples=samples)
    opened = {name: Bundle.open(folder) for name, folder in folders.items()}
    chosen = bundle.manifest.get("short_history")
    path = save(pipeline, workspace.model(SERVING), opened, data=prepared.provenance, chosen=chosen)
    return {
        "pipeline": str(path),
        "events": prepared.split.interactions.n_events,
        "users": len(prepared.vocabulary.users),
        "items": len(prepared.vocabulary.items),
        "channels": ", ".join(pipeline.config.channels),
        "ranker": pipeline.config.ranker,
        "seconds": round(perf_counter() - started, 1),
    }


def _everything(workspace: Workspace, facts: Mapping[str, Any]) -> Prepared:
    """All events of the file or of the prepared data that a pipeline was trained on, as they are now."""
    if facts["input"] is not None:
        return prepare_file(EventFile.of_facts(facts), workspace, NoSplit())
    return load_prepared(workspace.prepared).resplit(NoSplit())


def _check_learns_from_all(original: Pipeline, protocol: str, prepared: Prepared) -> None:
    """Raise ``ConfigError`` if a network learnt from liked events alone: for serving they learn from all events."""
    counted = replace(prepared.split, targets=parse_protocol(protocol).targets)
    events = prepared.split.interactions
    networks = [source.name for source in original.sources if isinstance(source.channel, NeuralRecall)]
    if networks and counted.liked(events) is not events:
        raise ConfigError(
            f"under {protocol} {', '.join(networks)} learnt from liked events alone, and for serving channels learn "
            "from every event; train channels and ranker with --protocol leave_one_out first"
        )


def stored_refit(workspace: Workspace, parts: Mapping[str, Bundle], purpose: str, options: RunOptions) -> Refit:
    """Refits of the given parts that are kept in ``stored_folder``, see ``pipeline.window_refits.refit``."""
    return lambda name, channel, data, window=0: refit(
        channel, data, parts[name].path, options, stored_folder(workspace, name, purpose_of(purpose, window))
    )


def stored_folder(workspace: Workspace, name: str, purpose: str) -> Path:
    """A hidden folder under ``models/`` for something about a part of a pipeline."""
    return folder_beside(workspace.model(name), purpose)
