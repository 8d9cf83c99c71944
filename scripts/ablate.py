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

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from reccore import ComponentConfig, ConfigError
from scripts._cli import MAX_SEED, Names, parse_command, run, split_commas
from scripts._settings import deep_merge, read_toml

if TYPE_CHECKING:
    from experiments.ablation_report import Ablation
    from experiments.runs import Row

Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...], BeforeValidator(split_commas), Field(min_length=1)
]
NOT_OF_A_ROW = {
    "name": "rows are named after their files",
    "seed": "give --seeds",
    "device": "give --device",
    "input": "give --input",
    "protocol": "give --protocol",
}


class AblateSettings(ComponentConfig):
    """Options of the command; all others are merged over every row."""

    configs: Path | None = Field(default=None, description="folder of TOML files, one per row")
    baseline: str | None = Field(default=None, description="row that the others are compared with")
    seeds: Seeds = Field(
        default=(0,), description="seeds of training, separated by commas; --seed is for the bootstrap"
    )
    input: Path | None = Field(default=None, description="Parquet file of events to learn from")
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
        input_path=job.input,
        protocol=job.protocol,
        split=job.split,
        plot=job.plot,
        jobs=job.jobs,
        name=job.name,
        options=command.options,
        command=shlex.join(["python", "scripts/ablate.py", *(sys.argv[1:] if argv is None else argv)]),
    )
    command.emit({**ablation.to_dict(), "report": str(report)}, _text(ablation, report))


def read_rows(folder: Path, settings: Mapping[str, Any]) -> list[Row]:
    """The rows of a folder, in the order of their names, with the given settings merged over each.

    Raises:
        ConfigError: no such folder, no TOML file in it, or an invalid row; the message names the file and the option.
    """
    from experiments.runs import Row

    if not folder.is_dir():
        raise ConfigError(f"--configs {folder} is not a folder; give one that holds a TOML file for every row")
    files = sorted(folder.glob("[!._]*.toml"))
    if not files:
        raise ConfigError(f"--configs {folder} holds no TOML file; put one there for every row")
    rows = []
    for file in files:
        row = deep_merge(read_toml(file), settings)
        for option in NOT_OF_A_ROW.keys() & row.keys():
            raise ConfigError(f"{file}: {option} is not an option of a row; {NOT_OF_A_ROW[option]}")
        rows.append(Row.parse(file.stem, row, source=str(file)))
    return rows


def _text(ablation: Ablation, report: Path) -> str:
    return "\n\n".join([ablation.about(), ablation.table(), f"report: {report}"])


if __name__ == "__main__":
    run(main)
