"""The demo at the size of MovieLens-32M, on synthetic data: every step in a process of its own, with its cost."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from reccore import ConfigError, DataError, RunOptions, Workspace
from scripts._chain_steps import data_steps, model_steps
from scripts._costs import CostBook, Estimate, TimeLeft
from scripts._steps import DATA_ROOMS, Step, StepRunner

DATASET = "synthetic-32m"
FOLDER = "synthetic"
CONFIGS = Path(__file__).resolve().parent.parent / "configs" / DATASET
MEASURED = "measured.json"
COSTS = "costs.json"
CHANNELS = ("popularity", "itemcf", "mf", "two_tower")
LEAST_EVENTS = 10_000


def run_large(space: Workspace, options: RunOptions, user: int, events: int | None = None) -> StepRunner:
    """Run every step that is out of date, after an estimate of the time; costs are kept in ``reports/costs.json``.

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
    others = [path.name for path in space.raw.glob("[!.]*") if path.name != FOLDER]
    if others:
        raise DataError(f"{space.root} holds {', '.join(sorted(others))}; give {DATASET} a root of its own: --data_dir")
    steps = large_steps(space, options, events)
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


def large_steps(space: Workspace, options: RunOptions, events: int) -> list[Step]:
    """From the draws to the evaluated pipeline."""
    from dataprep.synthetic import SyntheticSize, make_synthetic

    raw = space.raw / FOLDER
    size = SyntheticSize.of_ratings(events)
    data = Step(
        "data",
        partial(make_synthetic, raw, size, options),
        makes=raw,
        rooms=DATA_ROOMS,
        options=[events, options.seed],
    )
    return [
        data,
        *data_steps(space, options, raw, data.name),
        *model_steps(space, options, CONFIGS, CHANNELS),
    ]
