"""Train a channel with one change at a time, over several seeds, and measure the effect of each change.

Every TOML file of a folder is a row, with the options of train_recall.py --config. A row may extend another one and
give only what differs: extends = "streaming.toml". A file whose name starts with _ can be extended, but is not a row.
Options given by --set apply to every row. A finished run with the same configuration, data and seed is not trained
again, and an interrupted one continues from its last checkpoint. Writes a Markdown and a JSON report, the metrics of
every user and, with --plot, a plot of popularity to <data_dir>/reports/.

    PYTHONPATH=. python scripts/ablate.py --configs configs/ml-100k/ablation --baseline streaming --seeds 0,1,2
    PYTHONPATH=. python scripts/ablate.py --configs configs/ml-100k/ablation --baseline streaming \
        --plot none,streaming --split test
    PYTHONPATH=. python scripts/ablate.py --configs configs/ml-100k/ablation --baseline streaming --set epochs=1
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/ablate.py", file=sys.stderr)
    sys.exit(2)

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from reccore import ConfigError
from scripts._cli import Names, parse_command, run
from scripts._input import InputSettings
from scripts._rows import Seeds, read_rows

if TYPE_CHECKING:
    from experiments.ablation_report import Ablation


class AblateSettings(InputSettings):
    """Options of the command; all others are merged over every row."""

    configs: Path | None = Field(default=None, description="folder of TOML files, one per row")
    baseline: str | None = Field(default=None, description="row that the others are compared with")
    seeds: Seeds = Field(
        default=(0,), description="seeds of training, separated by commas; --seed is for the bootstrap"
    )
    protocol: str | None = Field(default=None, description="how the events are split, as for train_recall.py")
    split: Literal["valid", "test"] = Field(default="valid", description="which held-out events")
    plot: Names = Field(default=(), description="rows whose popularity is drawn, separated by commas")
    jobs: int = Field(default=1, ge=1, description="runs trained at the same time")
    name: str = Field(default="ablation", description="of the report and of the folder under ablations/")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, AblateSettings, rest=True)
    job = command.settings
    if job.configs is None:
        raise ConfigError("--configs is missing; give a folder of TOML files, one per row")
    from experiments.ablation import ablate

    ablation, report = ablate(
        command.workspace,
        read_rows(job.configs, command.rest),
        baseline=job.baseline,
        seeds=job.seeds,
        input_file=job.input_file,
        protocol=job.protocol,
        split=job.split,
        plot=job.plot,
        jobs=job.jobs,
        name=job.name,
        options=command.options,
        command=shlex.join(["python", "scripts/ablate.py", *(sys.argv[1:] if argv is None else argv)]),
    )
    command.emit({**ablation.to_dict(), "report": str(report)}, _text(ablation, report))


def _text(ablation: Ablation, report: Path) -> str:
    return "\n\n".join([ablation.about(), ablation.table(), f"report: {report}"])


if __name__ == "__main__":
    run(main)
