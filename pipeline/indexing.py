"""Another index for a trained channel: chosen by measurement, written in place of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from pipeline.builder import PIPELINE, load_channels, open_pipeline, parts_of, pipeline_of, save
from pipeline.provenance import data_of
from recall import CHANNELS
from recall.embedding import EmbeddingRecall
from recall.index.base import BaseIndex, BaseIndexConfig
from recall.index.choose import build_best
from recall.index.tuning import QuerySample
from reccore import Bundle, ConfigError, DataError, Exclusions, Holdout, NotReadyError, RunOptions, Workspace
from reccore.arrays import FloatArray
from reccore.bundle import read_manifest

SAMPLE_QUERIES = 1000
PERTURBATION = 0.5
"""Without validation queries: length of the noise added to an item vector, as a share of the vector's length."""
_NOT_COPIED = ("format_version", "kind", "component", "config", "vocabulary", "libraries", "git_commit", "files")


def build_index(
    workspace: Workspace,
    name: str,
    *,
    index: BaseIndexConfig,
    min_recall: float,
    k: int,
    options: RunOptions,
) -> dict[str, Any]:
    """Choose an index for a trained channel by its measured recall and replace the channel's own index.

    The sample holds validation queries with their histories excluded, as in use, or item vectors with noise if there
    are none. A complete new bundle replaces the old one. Pipelines built with the channel stay valid: its answers
    change by no more than ``min_recall`` allows.

    Returns:
        Plain values: path, sample, the chosen index, the measurements of every index.

    Raises:
        NotReadyError: the channel is not trained; names the command.
        ConfigError: a channel without an index, or an index of that kind does not reach the recall.
    """
    path = workspace.model(name)
    channel = _load(workspace, name)
    vectors = channel.index.vectors
    source, queries, exclude = _queries(workspace, name, channel, vectors, options)
    best, measured = build_best(
        index, vectors, lambda exact: QuerySample.of(exact, queries, k, exclude), min_recall, seed=options.seed
    )
    _replace(workspace, path, channel, best)
    return {
        "model": name,
        "path": str(path),
        "items": len(vectors),
        "sample": source,
        "queries": len(queries),
        "k": min(k, len(vectors)),
        "min_recall": min_recall,
        "index": best.name,
        "options": best.config.model_dump(mode="json", exclude={"kind"}),
        "measured": [one.to_dict() for one in measured],
    }


def _load(workspace: Workspace, name: str) -> EmbeddingRecall:
    channel = load_channels(workspace, (name,))[name]
    if not isinstance(channel, EmbeddingRecall):
        known = ", ".join(cls for cls in CHANNELS if issubclass(CHANNELS[cls], EmbeddingRecall))
        raise ConfigError(f"channel {name!r} ({channel.name}) searches without an index; channels with one: {known}")
    return channel


def _queries(
    workspace: Workspace, name: str, channel: EmbeddingRecall, vectors: FloatArray, options: RunOptions
) -> tuple[str, FloatArray, Exclusions]:
    """The sample to measure with: its source, (B, D) query vectors, and the items excluded for each."""
    rng = options.generator("index_queries")
    valid = _validation(workspace, name, channel)
    if valid is not None and len(valid):
        rows = np.sort(rng.permutation(len(valid))[:SAMPLE_QUERIES])
        queries = valid.select(rows).queries
        encoded = channel.encode_queries(queries)
        return "validation queries", *channel.index_queries(encoded, Exclusions.of_history(queries))
    logger.info("no validation queries: measuring with item vectors to which noise was added")
    chosen = vectors[rng.permutation(len(vectors))[:SAMPLE_QUERIES]]
    length = PERTURBATION * np.linalg.norm(chosen, axis=1, keepdims=True) / np.sqrt(chosen.shape[1])
    noisy = (chosen + length * rng.standard_normal(chosen.shape)).astype(np.float32)
    return "perturbed item vectors", noisy, Exclusions.nothing(len(noisy))


def _validation(workspace: Workspace, name: str, channel: EmbeddingRecall) -> Holdout | None:
    """Validation queries of the data that the channel was fitted on; None if that data is not available."""
    if (read_manifest(workspace.model(name)) or {}).get("data") is None:
        return None
    try:
        return data_of(workspace, [name]).split.valid(query_time=channel.query_time)
    except (NotReadyError, DataError) as error:
        logger.warning("the data of {} is not available: {}", name, error)
        return None


def _replace(workspace: Workspace, path: Path, channel: EmbeddingRecall, index: BaseIndex) -> None:
    """Write the channel's bundle with the new index, and with its options in the configuration for later fits."""
    before = Bundle.open(path)
    channel.index = index
    if "index" in type(channel.config).model_fields:
        channel.config = channel.config.model_copy(update={"index": index.config})
    facts = {name: value for name, value in before.manifest.items() if name not in _NOT_COPIED}
    channel.save(path, **facts)
    after = Bundle.open(path)
    for folder in sorted(path.parent.iterdir()):
        _follow(folder, path.name, before.fingerprint, after)


def _follow(folder: Path, part: str, before: str, after: Bundle) -> None:
    """Take the new bundle of a channel into a pipeline that holds the previous one."""
    manifest = read_manifest(folder) if folder.is_dir() else None
    if manifest is None or manifest.get("kind") != PIPELINE or manifest["parts"].get(part) != before:
        return
    pipeline = open_pipeline(folder)
    save(pipeline_of(pipeline), folder, {**parts_of(pipeline), part: after}, data=pipeline.manifest["data"])
    logger.info("{} now uses the new index", folder)
