"""The steps from a raw data set to the evaluated pipeline, for the demo of every size.

Their work is module-level functions and plain arguments, so that it can run in a process of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ranking import MAX_QUERIES
from reccore import DataError, RunOptions, Workspace
from scripts._label_cut import label_cut
from scripts._settings import read_toml
from scripts._steps import ALL_ROOMS, DATA_ROOMS, ROOT, Step, channel_step


def check_root(space: Workspace, folder: str, dataset: str) -> None:
    """Keep a chain from replacing the tables and models of other data.

    Args:
        space: data root.
        folder: name of the data set in its tables.
        dataset: its name for errors.

    Raises:
        DataError: the tables are of another data set.
    """
    from dataprep.preprocess import read_report

    report = read_report(space.processed)
    if report is not None and report.dataset != folder:
        raise DataError(f"{space.root} holds {report.dataset}; give {dataset} a root of its own: --data_dir")


def download_step(space: Workspace, options: RunOptions, dataset: str) -> Step:
    """The raw files of a data set, unless they are there."""
    from data_collector.download import download_dataset

    return Step(
        "download",
        partial(download_dataset, dataset, space, options=options),
        makes=space.raw / dataset,
        rooms=["data_collector"],
    )


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
        options: seed and device; with ``resume`` a training that was stopped goes on.
        configs: folder with ``<channel>.toml`` for every channel, as for train_recall.py, and ``ranker.toml``.
        channels: those that are evaluated.
        beside: further channels that the pipeline needs.
    """
    from experiments.evaluate_pipeline import evaluate_pipeline
    from experiments.evaluate_recall import evaluate_recall
    from pipeline.builder import PIPELINE
    from pipeline.config import ChainConfig
    from pipeline.train_ranker import train_ranker
    from training.checkpointing import train_on

    steps = []
    for name in (*channels, *beside):
        config = read_toml(configs / f"{name}.toml")
        model, cut = config.pop("model"), config.pop("before_labels_of", None)
        labels = None if cut is None else label_cut(ROOT / cut)
        steps.append(channel_step(space, name, model, config, options, labels))
    ranker = read_toml(configs / "ranker.toml")
    model, settings = ranker.pop("model"), ranker.pop("pipeline")
    drawn = {"max_queries": ranker.pop("max_queries", MAX_QUERIES), "found_only": ranker.pop("found_only", False)}
    merging = ChainConfig.parse(settings).merge
    return [
        *steps,
        Step(
            "ranking and pipeline",
            partial(
                train_on,
                partial(train_ranker, space, model, ranker, settings, **drawn),
                space.checkpoint(model),
                options,
            ),
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
