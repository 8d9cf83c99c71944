"""The demo at the size of MovieLens-32M, real or synthetic: every step in a process of its own, with its cost."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from reccore import ConfigError, RunOptions, Workspace
from scripts._chain_steps import check_root, data_steps, download_step, model_steps
from scripts._costs import CostBook, Estimate, TimeLeft
from scripts._steps import DATA_ROOMS, Step, StepRunner

LargeDataset: TypeAlias = Literal["ml-32m", "synthetic-32m"]
FOLDERS: dict[LargeDataset, str] = {"ml-32m": "ml-32m", "synthetic-32m": "synthetic"}
"""Of the raw files, and the name of the data set in the tables."""
CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "ml-32m"
MEASURED = "measured.json"
COSTS = "costs.json"
CHANNELS = ("popularity", "itemcf", "mf", "two_tower")
LEAST_EVENTS = 10_000


def run_large(
    space: Workspace, options: RunOptions, user: int, dataset: LargeDataset, events: int | None = None
) -> StepRunner:
    """Run every step that is out of date, after an estimate of the time; costs are kept in ``reports/costs.json``.

    Args:
        space: data root.
        options: seed and device.
        user: whose recommendations will be asked for.
        dataset: downloaded, or made here.
        events: number of ratings to make; None = as many as MovieLens-32M has.

    Raises:
        ConfigError: too few events, or a user that the data will not have.
        DataError: the data root holds another data set.
    """
    from dataprep.synthetic import ML_32M_RATINGS, SyntheticSize

    events = ML_32M_RATINGS if events is None else events
    if events < LEAST_EVENTS:
        raise ConfigError(f"--events must be at least {LEAST_EVENTS:,}, got {events:,}")
    size = SyntheticSize.of_ratings(events)
    size.check()
    if user > size.users:
        raise ConfigError(f"{events:,} events are of {size.users:,} users, so there is no user {user}")
    check_root(space, FOLDERS[dataset], dataset)
    steps = large_steps(space, options, dataset, events)
    runner = StepRunner(space.root / "demo.json")
    book = CostBook(space.reports / COSTS, events)
    left = TimeLeft(Estimate.read(CONFIGS / MEASURED), events)
    due = runner.due(steps)
    left.start(due)
    for step in steps:
        runner.run(book.measured(step))
        if step.name in due:
            due.remove(step.name)
            left.after(step.name, runner.seconds.get(step.name, 0.0), due)
    return runner


def large_steps(space: Workspace, options: RunOptions, dataset: LargeDataset, events: int) -> list[Step]:
    """From the download, or the draws, to the evaluated pipeline."""
    from dataprep.synthetic import SyntheticSize, make_synthetic

    raw = space.raw / FOLDERS[dataset]
    if dataset == "ml-32m":
        source = download_step(space, options, dataset)
    else:
        source = Step(
            "data",
            partial(make_synthetic, raw, SyntheticSize.of_ratings(events), options),
            makes=raw,
            rooms=DATA_ROOMS,
            options=[events, options.seed],
        )
    return [
        source,
        *data_steps(space, options, raw, source.name),
        *model_steps(space, options, CONFIGS, CHANNELS),
    ]
