"""Minutes and memory of every step of the large demo against the number of events: a table, a plot, and the estimates.

    PYTHONPATH=. python scripts/demo.py --dataset synthetic-32m --events 1000000 --data_dir data-1m
    PYTHONPATH=. python scripts/demo.py --dataset synthetic-32m --events 4000000 --data_dir data-4m
    PYTHONPATH=. python benchmarks/scale.py --roots data-1m,data-4m --write

It reads reports/costs.json of every root and prints the table of docs/scale.md. With --write the runs become
configs/ml-32m/measured.json, from which demo.py estimates, and the plot docs/scale.png. Stored runs of other sizes on
the same machine stay. Without --roots all runs are those that are stored there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self

if sys.path[0] == str(Path(__file__).parent):
    sys.path.remove(sys.path[0])  # Python puts it first, and files of this folder would hide packages of their names

import numpy as np
from loguru import logger
from pydantic import Field, model_validator

from evaluation.figure_style import COLOURS, MARKERS, panels
from evaluation.report import markdown_table
from reccore import ComponentConfig, DataError
from scripts._cli import Names, parse_command, run
from scripts._costs import GIGABYTE, Estimate, StepCost, costs_of
from scripts._large_demo import CONFIGS, COSTS, MEASURED

ROOT = Path(__file__).resolve().parent.parent
PLOT = "docs/scale.png"
LINEAR = 1.0
EXPECTED = {"evaluate recall": 2.0, "evaluate pipeline": 2.0}
"""Slopes on log axes other than 1: users and films grow alike, and every film is scored for every user."""


class ScaleSettings(ComponentConfig):
    """Options of the command."""

    roots: Names = Field(default=(), description="data roots of the large demo (default: the stored runs)")
    write: bool = Field(default=False, description="store the runs and draw the plot")
    smoke: bool = Field(default=False, description="read the stored runs and write nothing")

    @model_validator(mode="after")
    def _smoke_writes_nothing(self) -> Self:
        if self.smoke and (self.write or self.roots):
            raise ValueError("--smoke reads the stored runs and writes nothing; leave out --roots and --write")
        return self


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, ScaleSettings)
    job = command.settings
    stored = Estimate.read(CONFIGS / MEASURED)
    runs = with_stored(read_roots([Path(root) for root in job.roots]), stored) if job.roots else stored
    if job.write:
        content = {
            "machine": runs.machine,
            "runs": [
                {"events": events, "steps": {name: asdict(cost) for name, cost in steps.items()}}
                for events, steps in sorted(runs.runs.items())
            ],
        }
        (CONFIGS / MEASURED).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        draw(runs, ROOT / PLOT)
    slopes = {step: {"cpu_seconds": cpu, "peak_bytes": peak} for step, cpu, peak in slopes_of(runs)}
    result = {"machine": runs.machine, "slopes": slopes}
    command.emit(result, table(runs))


def read_roots(roots: Sequence[Path]) -> Estimate:
    """The runs of several data roots.

    Raises:
        DataError: a root without costs or with damaged ones, or roots of different machines.
    """
    runs, machines = {}, set()
    for root in roots:
        path = root / "reports" / COSTS
        if not path.is_file():
            raise DataError(
                f"{path} is not there; run first: PYTHONPATH=. python scripts/demo.py --dataset synthetic-32m"
            )
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            runs[int(stored["events"])] = costs_of(stored["steps"])
            machines.add(stored["machine"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path} does not hold the costs of a run ({error!r}); run the demo again") from error
    if len(machines) > 1:
        raise DataError(f"runs of different machines do not compare: {'; '.join(sorted(machines))}")
    return Estimate(machines.pop(), runs)


def with_stored(runs: Estimate, stored: Estimate) -> Estimate:
    """The runs, and the stored ones of other sizes if they are of the same machine."""
    if runs.machine != stored.machine:
        logger.info("the stored runs are of another machine ({}) and are left out", stored.machine)
        return runs
    return Estimate(runs.machine, {**stored.runs, **runs.runs})


def steps_of(runs: Estimate) -> list[str]:
    """Names of the steps, in the order of the longest run."""
    longest = max(runs.runs.values(), key=len)
    return list(dict.fromkeys([*longest, *(step for steps in runs.runs.values() for step in steps)]))


def points(runs: Estimate, step: str) -> list[tuple[int, StepCost]]:
    """Number of events and cost of a step, ascending."""
    return [(events, steps[step]) for events, steps in sorted(runs.runs.items()) if step in steps]


def slopes_of(runs: Estimate) -> Iterator[tuple[str, float | None, float | None]]:
    """Of every step, the slopes of CPU time and of peak memory on log axes between the two largest sizes; None with one
    size."""
    for step in steps_of(runs):
        found = points(runs, step)[-2:]
        if len(found) < 2:
            yield step, None, None
            continue
        (few, low), (many, high) = found
        grown = np.log([high.cpu_seconds / low.cpu_seconds, high.peak_bytes / low.peak_bytes]) / np.log(many / few)
        yield step, float(grown[0]), float(grown[1])


def table(runs: Estimate) -> str:
    """CPU seconds, wall seconds and peak memory of every step at every size, and the slopes."""
    sizes = sorted(runs.runs)
    rows = []
    for step, *slopes in slopes_of(runs):
        found = dict(points(runs, step))
        cells = [_cell(found, events) for events in sizes]
        cpu, memory = ("–" if slope is None else f"{slope:.2f}" for slope in slopes)
        rows.append([step, *cells, cpu, f"{EXPECTED.get(step, LINEAR):g}", memory])
    header = ["step", *(f"{events / 1e6:.0f}M" for events in sizes), "slope", "expected", "of memory"]
    note = f"CPU seconds (wall seconds), peak memory; {runs.machine}"
    return f"{note}\n\n{markdown_table(header, rows)}"


def _cell(found: Mapping[int, StepCost], events: int) -> str:
    if events not in found:
        return "–"
    cost = found[events]
    return f"{cost.cpu_seconds:,.0f} ({cost.seconds:,.0f}), {cost.peak_bytes / GIGABYTE:.1f} GB"


def draw(runs: Estimate, path: Path) -> None:
    """CPU minutes and peak memory against events, both axes logarithmic, with a line of slope 1."""
    with panels(path, (11.0, 5.2), "What each step takes, on log axes", 1, 2) as (time, memory):
        for number, step in enumerate(steps_of(runs)):
            found = points(runs, step)
            events = [size for size, _ in found]
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            minutes = [cost.cpu_seconds / 60 for _, cost in found]
            gigabytes = [cost.peak_bytes / GIGABYTE for _, cost in found]
            line = "-" if number < len(COLOURS) else "--"
            time.plot(events, minutes, color=colour, marker=marker, linestyle=line, label=step)
            memory.plot(events, gigabytes, color=colour, marker=marker, linestyle=line, label=step)
        sizes = np.array(sorted(runs.runs), dtype=np.float64)
        time.plot(sizes, sizes / sizes[0] * 0.02, color="#999999", linestyle=":", label="in proportion")
        for axes, label in ((time, "CPU minutes"), (memory, "peak memory, GB")):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlabel("events")
            axes.set_ylabel(label)
        memory.legend(*time.get_legend_handles_labels(), fontsize=8, loc="upper left")


if __name__ == "__main__":
    run(main)
