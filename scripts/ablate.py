"""Train a channel with one thing changed at a time, over several seeds, and say what each change is worth.

Every TOML file of a folder is a row: what train_recall.py --config takes. A row says only what differs where it
extends another, extends = "streaming.toml"; a file whose name starts with _ is no row and only extended. Options
given by --set hold for every row. What has been trained before, with the same configuration, data and seed, is not
trained again, and a training that was broken off goes on from its last checkpoint. Writes a Markdown and a JSON
report, the figures of every user and, with --plot, a plot of popularity to <data_dir>/reports/.

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
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from experiments.ablation import ablate
from experiments.ablation_report import Ablation
from experiments.ablation_runs import Row
from reccore import ComponentConfig, ConfigError
from scripts._cli import (
    MAX_SEED,
    Names,
    build_parser,
    deep_merge,
    emit,
    read_settings,
    read_toml,
    run,
    run_options,
    split_commas,
    take,
    workspace,
)

Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...], BeforeValidator(split_commas), Field(min_length=1)
]
ELSEWHERE = {
    "name": "rows are named after their files",
    "seed": "give --seeds",
    "device": "give --device",
    "input": "give --input",
    "protocol": "give --protocol",
}


class AblateSettings(ComponentConfig):
    """Options of the command; all others are laid over every row."""

    configs: Path | None = None
    baseline: str | None = None
    seeds: Seeds = (0,)
    input: Path | None = None
    protocol: str | None = None
    split: Literal["valid", "test"] = "valid"
    plot: Names = ()
    jobs: int = Field(default=1, ge=1)
    name: str = "ablation"


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__)
    parser.add_argument("--configs", type=Path, metavar="FOLDER", help="folder of TOML files, one per row")
    parser.add_argument("--baseline", help="row that the others are compared with")
    parser.add_argument("--seeds", help="seeds of training, separated by commas (default: 0); --seed: of the bootstrap")
    parser.add_argument("--input", type=Path, metavar="FILE.parquet", help="events to learn from")
    parser.add_argument("--protocol", help="how they are cut, as for train_recall.py")
    parser.add_argument("--split", choices=("valid", "test"), help="which held-out events (default: valid)")
    parser.add_argument("--plot", metavar="ROWS", help="rows whose popularity is drawn, separated by commas")
    parser.add_argument("--jobs", type=int, help="runs trained at the same time (default: 1)")
    parser.add_argument("--name", help="of the report and of the folder under ablations/ (default: ablation)")
    args = parser.parse_args(argv)
    settings = read_settings(args, {name: getattr(args, name) for name in AblateSettings.model_fields})
    options = run_options(args, settings)
    job = take(AblateSettings, settings)
    if job.configs is None:
        raise ConfigError("--configs is missing; give a folder of TOML files, one per row")
    ablation, report = ablate(
        workspace(args),
        read_rows(job.configs, settings),
        baseline=job.baseline,
        seeds=job.seeds,
        input_path=job.input,
        protocol=job.protocol,
        split=job.split,
        plot=job.plot,
        jobs=job.jobs,
        name=job.name,
        options=options,
        command=shlex.join(["python", "scripts/ablate.py", *(sys.argv[1:] if argv is None else argv)]),
    )
    emit(args, {**ablation.to_dict(), "report": str(report)}, _text(ablation, report))


def read_rows(folder: Path, settings: Mapping[str, Any]) -> list[Row]:
    """The rows of a folder, in the order of their names, with the given settings laid over each.

    Raises:
        ConfigError: no such folder, no TOML file in it, or one that is no row; names the file and the option.
    """
    if not folder.is_dir():
        raise ConfigError(f"--configs {folder} is not a folder; give one that holds a TOML file for every row")
    files = sorted(folder.glob("[!._]*.toml"))
    if not files:
        raise ConfigError(f"--configs {folder} holds no TOML file; put one there for every row")
    rows = []
    for file in files:
        row = deep_merge(read_toml(file), settings)
        for option in ELSEWHERE.keys() & row.keys():
            raise ConfigError(f"{file}: {option} is no option of a row; {ELSEWHERE[option]}")
        rows.append(Row.parse(file.stem, row, source=str(file)))
    return rows


def _text(ablation: Ablation, report: Path) -> str:
    return "\n\n".join([ablation.about(), ablation.table(), f"report: {report}"])


if __name__ == "__main__":
    run(main)
