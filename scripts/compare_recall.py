"""Compare recall channels on one data root: accuracy over several seeds, training time, memory, queries per second.

Every TOML file of a folder is a channel, with the options of train_recall.py --config; files whose names start with _
can be extended (extends = "_base.toml"), but are no channels. Each training runs in a process of its own and is kept
under <data_dir>/comparisons/: after Ctrl-C, a crash or kill -9 the same command continues, and what is there with the
same options, data and seed is not repeated. A channel that draws no random numbers is shown once. Writes a Markdown
and a JSON report and two plots to <data_dir>/reports/.

    PYTHONPATH=. python scripts/compare_recall.py
    PYTHONPATH=. python scripts/compare_recall.py --seeds 0 --only popularity,itemcf --split valid
    PYTHONPATH=. python scripts/compare_recall.py --configs configs/recall --data_dir data-ml-1m --threads 1
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/compare_recall.py", file=sys.stderr)
    sys.exit(2)

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from scripts._cli import Names, parse_command, run
from scripts._input import InputSettings
from scripts._rows import Seeds, read_rows

if TYPE_CHECKING:
    from experiments.compare_report import RecallComparison


class CompareRecallSettings(InputSettings):
    """Options of the command."""

    configs: Path = Field(default=Path("configs/recall"), description="folder of TOML files, one per channel")
    only: Names = Field(default=(), description="channels of the folder to compare, separated by commas (default: all)")
    seeds: Seeds = Field(
        default=(0, 1, 2), description="seeds of training, separated by commas; --seed is for the bootstrap"
    )
    protocol: str | None = Field(default=None, description="how the events are split, as for train_recall.py")
    split: Literal["valid", "test"] = Field(default="test", description="which held-out events")
    query_time: bool = Field(default=False, description="queries carry the time of the event to predict")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of each library (default: its own)")
    name: str = Field(default="channels", description="of the report and of the folder under comparisons/")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, CompareRecallSettings)
    job = command.settings
    rows = read_rows(job.configs, {}, only=job.only)
    from experiments.compare_recall import compare_recall

    comparison, report = compare_recall(
        command.workspace,
        rows,
        seeds=job.seeds,
        input_file=job.input_file,
        protocol=job.protocol,
        split=job.split,
        query_time=job.query_time,
        name=job.name,
        options=replace(command.options, threads=job.threads),
        command=shlex.join(["python", "scripts/compare_recall.py", *(sys.argv[1:] if argv is None else argv)]),
    )
    command.emit({**comparison.to_dict(), "report": str(report)}, _text(comparison, report))


def _text(comparison: RecallComparison, report: Path) -> str:
    failed = [f"not trained: {run}: {why}" for run, why in comparison.failures.items()]
    return "\n\n".join([comparison.about(), comparison.table(), *failed, f"report: {report}"])


if __name__ == "__main__":
    run(main)
