"""The steps from a raw data set to the evaluated pipeline, for the demo of every size.

Their work is module-level functions and plain arguments, so that it can run in a process of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ranking import MAX_QUERIES
from reccore import RunOptions, Workspace
from scripts._settings import read_toml
from scripts._steps import ALL_ROOMS, DATA_ROOMS, Step, channel_step


def data_steps(space: Workspace, options: RunOptions, raw: Path, source: str) -> list[Step]:
    """From the raw files, which the step ``source`` makes, to prepared data."""
    from dataprep.preprocess import preprocess

    return [
        Step(
            "preprocess",
            partial(preprocess, raw, space.processed, options=options),
            makes=space.processed / "processed.json",
            needs=[source],
            rooms=DATA_ROOMS,
        ),
        Step(
            "prepare",
            partial(_prepare_and_save, space),
            makes=space.prepared,
            needs=["preprocess"],
            rooms=DATA_ROOMS,
        ),
    ]


def _prepare_and_save(space: Workspace) -> None:
    from dataprep.prepare import prepare

    prepare(space).save(space.prepared)


def model_steps(
    space: Workspace, options: RunOptions, configs: Path, channels: Sequence[str], beside: Sequence[str] = ()
) -> list[Step]:
    """From the channels to the evaluated pipeline.

    Args:
        space: data root.
        options: seed and device.
        configs: folder with ``<channel>.toml`` for every channel, and ``ranker.toml``.
        channels: those that are evaluated.
        beside: further channels that the pipeline needs.
    """
    from experiments.evaluate_pipeline import evaluate_pipeline
    from experiments.evaluate_recall import evaluate_recall
    from pipeline.builder import PIPELINE
    from pipeline.config import ChainConfig
    from pipeline.train_ranker import train_ranker

    steps = []
    for name in (*channels, *beside):
        config = read_toml(configs / f"{name}.toml")
        model = config.pop("model")
        steps.append(channel_step(space, name, model, config, options))
    ranker = read_toml(configs / "ranker.toml")
    model, settings = ranker.pop("model"), ranker.pop("pipeline")
    drawn = {"max_queries": ranker.pop("max_queries", MAX_QUERIES), "found_only": ranker.pop("found_only", False)}
    merging = ChainConfig.parse(settings).merge
    return [
        *steps,
        Step(
            "ranking and pipeline",
            partial(train_ranker, space, model, ranker, settings, **drawn, options=options),
            makes=space.model(PIPELINE),
            needs=(*channels, *beside),
            rooms=ALL_ROOMS,
            options=[model, ranker, settings, drawn, options.seed],
        ),
        Step(
            "evaluate recall",
            partial(evaluate_recall, space, names=tuple(channels), merging=merging, seed=options.seed),
            makes=space.reports / "recall.json",
            needs=channels,
            rooms=ALL_ROOMS,
            options=[merging.model_dump(), options.seed],
        ),
        Step(
            "evaluate pipeline",
            partial(evaluate_pipeline, space, seed=options.seed),
            makes=space.reports / "pipeline.json",
            needs=["ranking and pipeline"],
            rooms=ALL_ROOMS,
            options=options.seed,
        ),
    ]
