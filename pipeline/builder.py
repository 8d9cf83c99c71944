"""From a configuration and trained components to a pipeline, and to disk and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config import PipelineConfig
from pipeline.history import FrozenHistoryStore, HistoryStore
from pipeline.inference import Pipeline
from pipeline.stage_configs import Parts
from pipeline.stages import ChannelSource, Merger
from ranking import RANKERS
from ranking.base import BaseRanker
from recall import CHANNELS
from recall.base import BaseRecall
from reccore import (
    ArtefactError,
    Bundle,
    Component,
    ConfigError,
    ItemTable,
    NotReadyError,
    Vocabulary,
    Workspace,
    write_bundle,
)
from reccore.component import Registry
from rerank import RERANKERS
from rerank.base import BaseReranker

PIPELINE = "pipeline"
RERANKER_FOLDER = "reranker"

T = TypeVar("T", bound=Component[Any])


def load_channels(workspace: Workspace, names: tuple[str, ...]) -> dict[str, BaseRecall]:
    """Trained channels by name.

    Raises:
        NotReadyError: a channel is not trained; names the command.
        ArtefactError: two channels were trained on different vocabularies.
    """
    channels = {}
    for name in names:
        path = workspace.model(name)
        if not path.exists():
            raise NotReadyError(
                f"recall channel {name!r} is not trained; run first: PYTHONPATH=. python scripts/train_recall.py "
                f"--model {name if name in CHANNELS else f'MODEL --name {name}'}"
            )
        channels[name] = CHANNELS.load(path)
    check_vocabularies({f"channel {name}": channel.vocabulary for name, channel in channels.items()})
    return channels


def check_vocabularies(vocabularies: Mapping[str, Vocabulary]) -> None:
    """Raise ``ArtefactError`` if two of them differ, naming both."""
    first_name, first = next(iter(vocabularies.items()))
    for name, vocabulary in vocabularies.items():
        if vocabulary.fingerprint != first.fingerprint:
            raise ArtefactError(
                f"{first_name} has vocabulary {first} and {name} has {vocabulary}; train both on the same data"
            )


def assemble(
    config: PipelineConfig,
    *,
    channels: Mapping[str, BaseRecall],
    ranker: BaseRanker | None,
    items: ItemTable,
    histories: HistoryStore,
    reranker: BaseReranker | None = None,
) -> Pipeline:
    """Join fitted components; the reranker is fitted as configured unless one is given.

    Raises:
        ArtefactError: components with different vocabularies.
        ConfigError: a stage lacks a component, or the channel whose vectors the reranker needs has none.
    """
    vocabularies = {f"channel {name}": channel.vocabulary for name, channel in channels.items()}
    if ranker is not None:
        vocabularies[f"ranker {ranker.name}"] = ranker.vocabulary
    if reranker is not None:
        vocabularies[f"reranker {reranker.name}"] = reranker.vocabulary
    check_vocabularies(vocabularies)
    vocabulary = next(iter(vocabularies.values()))
    parts = Parts(channels, ranker, reranker, items, vocabulary)
    return Pipeline(
        config,
        sources=[ChannelSource(source.name, channels[source.name], source.k) for source in config.sources],
        merger=Merger(config.merge.method, config.merge.k, config.merge.fill),
        stages=[stage for stage_config in config.later for stage in stage_config.build(parts)],
        items=items,
        vocabulary=vocabulary,
        histories=histories,
    )


def save(pipeline: Pipeline, workspace: Workspace, name: str = PIPELINE) -> Path:
    """Write the pipeline's bundle: its own parts, and references to the bundles of its components.

    Raises:
        ConfigError: the histories come from a store that is not part of the bundle.
    """
    if not isinstance(pipeline.histories, FrozenHistoryStore):
        raise ConfigError(f"a pipeline is saved with a FrozenHistoryStore, got {type(pipeline.histories).__name__}")
    path = workspace.model(name)
    parts = {
        part: {
            "path": os.path.relpath(workspace.model(part), path),
            "fingerprint": Bundle.open(workspace.model(part)).fingerprint,
        }
        for part in pipeline.config.parts
    }
    facts = {"config": pipeline.config.model_dump(mode="json"), "parts": parts}
    with write_bundle(path, kind="pipeline", component=PIPELINE, **facts) as bundle:
        bundle.vocabulary(pipeline.vocabulary)
        bundle.arrays("items.npz", pipeline.items.to_arrays())
        pipeline.histories.save(bundle.folder)
        if pipeline.reranker is not None:
            pipeline.reranker.save(bundle.path(RERANKER_FOLDER))
    return path


def load(path: Path | str, *, histories: HistoryStore | None = None) -> Pipeline:
    """A pipeline ready to answer, in a fresh process and without training data.

    Args:
        path: the pipeline's folder, such as ``data/models/pipeline``.
        histories: where to read the histories of users; by default those that the pipeline was built with.

    Raises:
        NotReadyError: there is no pipeline; names the command.
        ArtefactError: a damaged bundle, or a component that was trained again since.
    """
    path = Path(path)
    if not path.exists():
        raise NotReadyError(f"no pipeline at {path}; run first: PYTHONPATH=. python scripts/train_ranking.py")
    bundle = Bundle.open(path, kind="pipeline")
    config = PipelineConfig.parse(bundle.manifest["config"])
    parts = {part: _open_part(path, part, facts, config) for part, facts in bundle.manifest["parts"].items()}
    vocabulary = bundle.vocabulary()
    return assemble(
        config,
        channels={name: _component(CHANNELS, parts[name]) for name in config.channels},
        ranker=None if config.ranker is None else _component(RANKERS, parts[config.ranker]),
        items=ItemTable.from_arrays(bundle.arrays("items.npz"), len(vocabulary.items)),
        histories=FrozenHistoryStore.load(path, vocabulary) if histories is None else histories,
        reranker=None if config.rerank is None else RERANKERS.load(path / RERANKER_FOLDER),
    )


def _open_part(path: Path, part: str, facts: Mapping[str, str], config: PipelineConfig) -> Bundle:
    """The bundle of a component, which must be the one that the pipeline was built with."""
    folder = Path(os.path.normpath(path / facts["path"]))
    if not folder.exists():
        command = "train_recall.py" if part in config.channels else "train_ranking.py"
        raise ArtefactError(
            f"the pipeline at {path} needs {part!r}, which is no longer there; train it again with {command}"
        )
    bundle = Bundle.open(folder)
    if bundle.fingerprint != facts["fingerprint"]:
        raise ArtefactError(
            f"{part!r} was trained again after the pipeline at {path} was built; "
            "run PYTHONPATH=. python scripts/train_ranking.py to bring them together"
        )
    return bundle


def _component(registry: Registry[T], bundle: Bundle) -> T:
    return registry[bundle.manifest["component"]].from_bundle(bundle)
