"""Pipelines of trained channels without a ranker: the merged order, for data too small to learn a ranking from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprep.prepare import Prepared
from pipeline.builder import PIPELINE, assemble, channels_of, open_channels, save
from pipeline.config import ChainConfig, PipelineConfig
from pipeline.history import FrozenHistoryStore
from pipeline.inference import Pipeline
from pipeline.provenance import data_of
from recall.merge import fill_of
from reccore import Bundle, ConfigError, Workspace


def unranked_config(settings: Mapping[str, Any]) -> PipelineConfig:
    """The pipeline of these settings, without a ranker and, unless they name one, without a reranker.

    Popularity fills short lists if it is among the channels.

    Raises:
        ConfigError: the settings name a ranker.
    """
    if "stages" in settings:
        config = PipelineConfig.parse(settings)
    else:
        channels = settings.get("channels", ChainConfig.model_fields["channels"].default)
        config = PipelineConfig.parse({"fill": fill_of(channels), "ranker": None, "rerank": None, **settings})
    if config.ranker is not None:
        raise ConfigError(
            f"the ranker {config.ranker!r} has to be trained for its pipeline: "
            f"PYTHONPATH=. python scripts/train_ranking.py --model {config.ranker}"
        )
    return config


def unranked_pipeline(workspace: Workspace, config: PipelineConfig) -> tuple[Pipeline, dict[str, Bundle], Prepared]:
    """A pipeline of trained channels, their bundles, and the data that they were fitted on.

    Raises:
        NotReadyError: a channel is not trained; names the command.
        ArtefactError: channels fitted on different data.
    """
    parts = open_channels(workspace, config.channels)
    channels, prepared = channels_of(parts), data_of(workspace, config.channels)
    pipeline = assemble(
        config,
        channels=channels,
        ranker=None,
        items=prepared.training_data().items.with_columns(()),
        histories=FrozenHistoryStore(prepared.split.interactions, prepared.vocabulary),
    )
    return pipeline, parts, prepared


def build_unranked(workspace: Workspace, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Put trained channels together and write ``models/pipeline``.

    Args:
        workspace: data root.
        settings: options of ``PipelineConfig`` without a ranker.

    Returns:
        Plain values: path, channels, merge, reranker.

    Raises:
        ConfigError, NotReadyError, ArtefactError: see ``unranked_config`` and ``unranked_pipeline``.
    """
    config = unranked_config(settings)
    pipeline, parts, prepared = unranked_pipeline(workspace, config)
    path = save(pipeline, workspace.model(PIPELINE), parts, data=prepared.provenance)
    return {
        "pipeline": str(path),
        "channels": ", ".join(config.channels),
        "merge": pipeline.merger.name,
        "reranker": None if pipeline.reranker is None else pipeline.reranker.name,
        "events": prepared.split.interactions.n_events,
    }
