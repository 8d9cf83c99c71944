"""From a configuration and trained components to a pipeline, and to disk and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger

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
from reccore.bundle import MANIFEST, read_manifest
from reccore.component import Registry
from rerank import RERANKERS
from rerank.base import BaseReranker

PIPELINE = "pipeline"
PARTS_FOLDER = "parts"
RERANKER_FOLDER = "reranker"

T = TypeVar("T", bound=Component[Any])


def open_channels(workspace: Workspace, names: Sequence[str]) -> dict[str, Bundle]:
    """Bundles of trained channels by name.

    Raises:
        NotReadyError: a channel is not trained; names the command.
        ArtefactError: a damaged bundle, or one of another kind.
    """
    bundles = {}
    for name in names:
        path = workspace.model(name)
        if not path.exists():
            raise NotReadyError(
                f"recall channel {name!r} is not trained; run first: PYTHONPATH=. python scripts/train_recall.py "
                f"--model {name if name in CHANNELS else f'MODEL --name {name}'}"
            )
        bundles[name] = Bundle.open(path, kind=CHANNELS.kind)
    return bundles


def channels_of(bundles: Mapping[str, Bundle]) -> dict[str, BaseRecall]:
    """The channels of opened bundles.

    Raises:
        ArtefactError: two channels were trained on different vocabularies.
    """
    channels = {name: component_of(CHANNELS, bundle) for name, bundle in bundles.items()}
    check_vocabularies({f"channel {name}": channel.vocabulary for name, channel in channels.items()})
    return channels


def load_channels(workspace: Workspace, names: Sequence[str]) -> dict[str, BaseRecall]:
    """Trained channels by name; errors are those of ``open_channels`` and ``channels_of``."""
    return channels_of(open_channels(workspace, names))


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
    partial = frozenset(source.name for source in config.sources if source.below is not None)
    parts = Parts(channels, ranker, reranker, items, vocabulary, partial)
    return Pipeline(
        config,
        sources=[
            ChannelSource(source.name, channels[source.name], source.k, source.below) for source in config.sources
        ],
        merger=Merger(config.merge.method, config.merge.k, config.merge.fill, config.merge.first, config.merge.below),
        stages=[stage for stage_config in config.later for stage in stage_config.build(parts)],
        items=items,
        vocabulary=vocabulary,
        histories=histories,
    )


def save(
    pipeline: Pipeline,
    path: Path,
    parts: Mapping[str, Bundle],
    *,
    data: Mapping[str, Any],
    chosen: Mapping[str, Any] | None = None,
) -> Path:
    """Write the pipeline as one folder that needs nothing outside it, whole or not at all.

    Channels and ranker become hard links to the files of their bundles, which take no space on the same file system.

    Args:
        pipeline: what to write.
        path: its folder, such as ``data/models/pipeline``; an existing pipeline is replaced.
        parts: bundles that the pipeline's channels and ranker were loaded from, by name.
        data: origin of the data that they were fitted on, see ``Prepared.provenance``.
        chosen: what the rule for short histories was chosen on, see ``Choice.facts``; None = it was not chosen.

    Raises:
        ConfigError: the histories come from a store that is not part of the bundle.
        ArtefactError: a part was replaced since it was opened, or writing failed.
    """
    if not isinstance(pipeline.histories, FrozenHistoryStore):
        raise ConfigError(f"a pipeline is saved with a FrozenHistoryStore, got {type(pipeline.histories).__name__}")
    facts = {
        "config": pipeline.config.model_dump(mode="json"),
        "parts": {name: parts[name].fingerprint for name in pipeline.config.parts},
        "data": dict(data),
        "short_history": chosen,
    }
    with write_bundle(path, kind=PIPELINE, component=PIPELINE, **facts) as bundle:
        bundle.vocabulary(pipeline.vocabulary)
        bundle.arrays("items.npz", pipeline.items.to_arrays())
        pipeline.histories.save(bundle.folder)
        if pipeline.reranker is not None:
            pipeline.reranker.save(bundle.path(RERANKER_FOLDER))
        for name in pipeline.config.parts:
            parts[name].link_to(bundle.path(PARTS_FOLDER) / name)
    return path


def open_pipeline(path: Path | str) -> Bundle:
    """The bundle of a pipeline.

    Raises:
        NotReadyError: there is no pipeline; names the command.
        ArtefactError: a damaged bundle, or one of another kind.
    """
    path = Path(path)
    if not path.exists():
        raise NotReadyError(f"no pipeline at {path}; run first: PYTHONPATH=. python scripts/train_ranking.py")
    bundle = Bundle.open(path, kind=PIPELINE)
    if not all(f"{PARTS_FOLDER}/{name}/{MANIFEST}" in bundle.manifest["files"] for name in bundle.manifest["parts"]):
        raise ArtefactError(
            f"the pipeline at {path} does not hold its channels and ranker, as this version writes it; build it again: "
            "PYTHONPATH=. python scripts/train_ranking.py"
        )
    return bundle


def parts_of(bundle: Bundle) -> dict[str, Bundle]:
    """Bundles of a pipeline's channels and ranker by name."""
    return {name: bundle.nested(f"{PARTS_FOLDER}/{name}") for name in bundle.manifest["parts"]}


def changed_parts(bundle: Bundle, workspace: Workspace) -> tuple[str, ...]:
    """Names of a pipeline's parts that were trained again under ``models/`` after it was built."""
    manifests = {name: read_manifest(workspace.model(name)) for name in bundle.manifest["parts"]}
    return tuple(
        name
        for name, manifest in manifests.items()
        if manifest and Bundle(workspace.model(name), manifest).fingerprint != bundle.manifest["parts"][name]
    )


def load(path: Path | str, *, histories: HistoryStore | None = None) -> Pipeline:
    """A pipeline ready to answer, in a fresh process and without training data.

    Args:
        path: the pipeline's folder, such as ``data/models/pipeline`` or a copy of it anywhere.
        histories: where to read the histories of users; by default those that the pipeline was built with.

    Raises:
        NotReadyError: there is no pipeline; names the command.
        ArtefactError: a damaged bundle.
    """
    return pipeline_of(open_pipeline(path), histories=histories)


def load_trained(workspace: Workspace) -> Pipeline:
    """The pipeline of a data root; logs which of its parts were trained again since it was built."""
    bundle = open_pipeline(workspace.model(PIPELINE))
    changed = changed_parts(bundle, workspace)
    if changed:
        logger.warning(
            "{} trained again after the pipeline at {} was built, which answers as before; "
            "train_ranking.py builds it with what is new",
            ", ".join(changed) + (" was" if len(changed) == 1 else " were"),
            bundle.path,
        )
    return pipeline_of(bundle)


def pipeline_of(bundle: Bundle, *, histories: HistoryStore | None = None) -> Pipeline:
    """The pipeline of an opened bundle, see ``load``."""
    config = config_of(bundle)
    parts, vocabulary = parts_of(bundle), bundle.vocabulary()
    return assemble(
        config,
        channels={name: component_of(CHANNELS, parts[name]) for name in config.channels},
        ranker=None if config.ranker is None else component_of(RANKERS, parts[config.ranker]),
        items=ItemTable.from_arrays(bundle.arrays("items.npz"), len(vocabulary.items)),
        histories=FrozenHistoryStore.load(bundle.path, vocabulary) if histories is None else histories,
        reranker=None if config.rerank is None else component_of(RERANKERS, bundle.nested(RERANKER_FOLDER)),
    )


def config_of(bundle: Bundle) -> PipelineConfig:
    """The configuration of a pipeline's bundle.

    Raises:
        ArtefactError: this version does not have an option of it.
    """
    try:
        return PipelineConfig.parse(bundle.manifest["config"])
    except ConfigError as error:
        raise ArtefactError(
            f"the pipeline at {bundle.path} was built by another version ({error}); build it again: PYTHONPATH=. "
            "python scripts/train_ranking.py"
        ) from error


def component_of(registry: Registry[T], bundle: Bundle) -> T:
    """The component of an opened bundle."""
    return registry[bundle.manifest["component"]].from_bundle(bundle)
