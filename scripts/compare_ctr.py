"""Compare rankers as click-through models: single (user, film) rows, positive from 4 stars, no channels.

Each user's last ten ratings are test, the ten before choose the epoch; AUC and logloss over several seeds. Writes
<data_dir>/reports/ctr.md and ctr.json. Needs prepared data (scripts/prepare_two_tower_data.py) and no trained model.

    PYTHONPATH=. python scripts/compare_ctr.py
    PYTHONPATH=. python scripts/compare_ctr.py --models deepfm,din --seeds 0 --set epochs=5
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/compare_ctr.py", file=sys.stderr)
    sys.exit(2)

from dataclasses import replace

from pydantic import Field

from ranking import RANKERS
from reccore import ComponentConfig
from scripts._cli import Names, parse_command, run
from scripts._rows import Seeds


class CompareCTRSettings(ComponentConfig):
    """Options of the command; all others are those of every model that has them."""

    models: Names = Field(default=(), description="rankers to compare, separated by commas (default: all of the table)")
    seeds: Seeds = Field(
        default=(0, 1, 2), description="seeds of training, separated by commas; --seed is for the bootstrap"
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads of each library (default: its own)")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, CompareCTRSettings, rest=True)
    job = command.settings
    from experiments.ctr import MODELS, compare_ctr

    comparison, report = compare_ctr(
        command.workspace,
        models=job.models or [model for model in MODELS if model in RANKERS],
        seeds=job.seeds,
        settings=command.rest,
        options=replace(command.options, threads=job.threads),
    )
    command.emit({**comparison.to_dict(), "report": str(report)}, f"{comparison.markdown()}\n\nreport: {report}")


if __name__ == "__main__":
    run(main)
