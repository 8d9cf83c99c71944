"""From a configuration and trained components to a pipeline, and to disk and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pipeline.config import PipelineConfig
from pipeline.inference import Pipeline
from pipeline.stages import ChannelSource, MatchHydrator, RankerScorer, RerankSelector, SeenFilter, Stage, TopSelector
from ranking import RANKERS
from ranking.base import BaseRanker
from recall import CHANNELS
from recall.base import BaseRecall
from recall.embedding import VectorChannel
from reccore import (
    ArtefactError,
    Bundle,
    ConfigError,
    Interactions,
    ItemTable,
    NotReadyError,
    Vocabulary,
    Workspace,
    write_bundle,
)
from rerank import RERANKERS
from rerank.base import BaseReranker

PIPELINE = "pipeline"
RERANKER_FOLDER = "reranker"


def load_channels(workspace: Workspace, names: tuple[str, ...]) -> dict[str, BaseRecall]:
    """Trained channels by name.

    Raises:
        NotReadyError: one is not trained; names the command.
        ArtefactError: two of them were trained on different vocabularies.
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
    """Raise ``ArtefactError`` unless all are the same, naming two that differ."""
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
    histories: Interactions,
    reranker: BaseReranker | None = None,
) -> Pipeline:
    """Join fitted components; the reranker is built from the configuration unless one is given.

    Candidates are hydrated where the configuration names a ranker, even while that ranker is still to be fitted
    (``ranker`` None): it must learn from what it will meet.

    Raises:
        ArtefactError: components with different vocabularies.
        ConfigError: the channel whose vectors the reranker needs is missing or has none.
    """
    vocabularies = {f"channel {name}": channel.vocabulary for name, channel in channels.items()}
    if ranker is not None:
        vocabularies[f"ranker {ranker.name}"] = ranker.vocabulary
    if reranker is not None:
        vocabularies[f"reranker {reranker.name}"] = reranker.vocabulary
    check_vocabularies(vocabularies)
    vocabulary = next(iter(vocabularies.values()))
    stages: list[Stage] = [
        MatchHydrator(name, channel)
        for name, channel in channels.items()
        if isinstance(channel, VectorChannel) and config.ranker is not None
    ]
    stages.append(SeenFilter())
    if ranker is not None:
        stages.append(RankerScorer(ranker))
    if reranker is None and config.reranker is not None:
        reranker = build_reranker(config, channels, items, vocabulary)
    stages.append(TopSelector() if reranker is None else RerankSelector(reranker))
    return Pipeline(
        config,
        sources=[ChannelSource(name, channel, config.per_channel) for name, channel in channels.items()],
        stages=stages,
        items=items,
        vocabulary=vocabulary,
        histories=histories,
    )


def build_reranker(
    config: PipelineConfig, channels: Mapping[str, BaseRecall], items: ItemTable, vocabulary: Vocabulary
) -> BaseReranker:
    """The configured reranker over the item vectors of ``vectors_of``."""
    if config.reranker is None:
        raise ConfigError("no reranker is configured")
    vectors = None
    source = channels.get(config.vectors_of)
    if isinstance(source, VectorChannel):
        vectors = source.encode_items()
    elif config.rerank.get("similarity", "vectors") == "vectors":
        raise ConfigError(
            f"the reranker needs item vectors, and vectors_of={config.vectors_of!r} is no channel with vectors; "
            "name one, or set rerank.similarity to 'genres'"
        )
    return RERANKERS[config.reranker].build(config.rerank, items, vectors, vocabulary)


def save(pipeline: Pipeline, workspace: Workspace, name: str = PIPELINE) -> Path:
    """Write the pipeline bundle: its own parts, and which component bundles it rests on."""
    path = workspace.model(name)
    config = pipeline.config
    names = [*config.channels, *([config.ranker] if config.ranker else [])]
    parts = {
        part: {
            "path": os.path.relpath(workspace.model(part), path),
            "fingerprint": Bundle.open(workspace.model(part)).fingerprint,
        }
        for part in names
    }
    facts = {"config": config.model_dump(mode="json"), "parts": parts}
    with write_bundle(path, kind="pipeline", component=PIPELINE, **facts) as bundle:
        bundle.vocabulary(pipeline.vocabulary)
        bundle.arrays("items.npz", pipeline.items.to_arrays())
        pipeline.histories.save(bundle.folder)
        for stage in pipeline.stages:
            if isinstance(stage, RerankSelector):
                stage.reranker.save(bundle.path(RERANKER_FOLDER))
    return path


def load(path: Path | str) -> Pipeline:
    """A pipeline ready to answer, in a fresh process and without training data.

    Args:
        path: the pipeline's folder, such as ``data/models/pipeline``.

    Raises:
        NotReadyError: there is no pipeline; names the command.
        ArtefactError: damaged, or a component was trained again since.
    """
    path = Path(path)
    if not path.exists():
        raise NotReadyError(f"no pipeline at {path}; run first: PYTHONPATH=. python scripts/train_ranking.py")
    bundle = Bundle.open(path, kind="pipeline")
    config = PipelineConfig.parse(bundle.manifest["config"])
    parts = {}
    for part, facts in bundle.manifest["parts"].items():
        folder = Path(os.path.normpath(path / facts["path"]))
        if not folder.exists():
            command = "train_recall.py" if part in config.channels else "train_ranking.py"
            raise ArtefactError(
                f"the pipeline at {path} rests on {part!r}, which is no longer there; train it again with {command}"
            )
        parts[part] = Bundle.open(folder)
        if parts[part].fingerprint != facts["fingerprint"]:
            raise ArtefactError(
                f"{part!r} was trained again after the pipeline at {path} was built; "
                "run PYTHONPATH=. python scripts/train_ranking.py to bring them together"
            )
    ranker = None
    if config.ranker is not None:
        ranker = RANKERS[parts[config.ranker].manifest["component"]].from_bundle(parts[config.ranker])
    return assemble(
        config,
        channels={
            name: CHANNELS[parts[name].manifest["component"]].from_bundle(parts[name]) for name in config.channels
        },
        ranker=ranker,
        items=ItemTable.from_arrays(bundle.arrays("items.npz"), len(bundle.vocabulary().items)),
        histories=Interactions.load(path),
        reranker=RERANKERS.load(path / RERANKER_FOLDER) if config.reranker is not None else None,
    )
