"""Compare rankers on one data root: their lists and their scores of the same candidates, over several seeds.

Every TOML file of a folder is a row: a ranker with the options of train_ranking.py --config except those of the
pipeline, which are the same for all: --pipeline FILE.toml with a table [pipeline]. A row may extend another one and
give only what differs: extends = "all.toml". Options given by --set apply to every row. The channels are those trained
under models/; samples and training are those of train_ranking.py. What is measured is kept under
<data_dir>/comparisons/ and not repeated. Writes a Markdown and a JSON report to <data_dir>/reports/.

    PYTHONPATH=. python scripts/compare_ranking.py --pipeline configs/ml-100k/ranker.toml
    PYTHONPATH=. python scripts/compare_ranking.py --only deepfm,lambdamart --seeds 0 --split valid
    PYTHONPATH=. python scripts/compare_ranking.py --pipeline configs/ml-100k/ranker.toml --split valid \
        --configs configs/ranking/ablation --baseline all --name feature_groups
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print(
        "error: run it from the repository's root, as PYTHONPATH=. python scripts/compare_ranking.py", file=sys.stderr
    )
    sys.exit(2)

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ranking import RANKERS
from scripts._cli import Names, parse_command, run
from scripts._rows import Seeds, read_rows
from scripts._samples import SamplesSettings
from scripts._settings import read_toml

if TYPE_CHECKING:
    from experiments.ranking_report import RankingComparison


class CompareRankingSettings(SamplesSettings):
    """Options of the command; all others are merged over every row."""

    configs: Path = Field(default=Path("configs/ranking"), description="folder of TOML files, one per ranker")
    pipeline: Path | None = Field(default=None, description="TOML file whose table [pipeline] names the channels")
    only: Names = Field(default=(), description="rankers of the folder to compare, separated by commas (default: all)")
    baseline: str | None = Field(default=None, description="row to compare the others with (default: the best channel)")
    seeds: Seeds = Field(
        default=(0, 1, 2), description="seeds of training, separated by commas; --seed is for the bootstrap"
    )
    split: Literal["valid", "test"] = Field(default="test", description="which held-out events")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of each library (default: its own)")
    name: str = Field(default="rankers", description="of the report and of the folder under comparisons/")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, CompareRankingSettings, rest=True)
    job = command.settings
    rows = read_rows(job.configs, command.rest, only=job.only, registry=RANKERS)
    pipeline = {} if job.pipeline is None else read_toml(job.pipeline).get("pipeline", {})
    from experiments.compare_ranking import compare_ranking

    comparison, report = compare_ranking(
        command.workspace,
        rows,
        pipeline,
        seeds=job.seeds,
        baseline=job.baseline,
        split=job.split,
        max_queries=job.max_queries,
        short_histories=job.short_histories,
        found_only=job.found_only,
        label_window=job.label_window,
        label_windows=job.label_windows,
        name=job.name,
        options=replace(command.options, threads=job.threads),
        command=shlex.join(["python", "scripts/compare_ranking.py", *(sys.argv[1:] if argv is None else argv)]),
    )
    command.emit({**comparison.to_dict(), "report": str(report)}, _text(comparison, report))


def _text(comparison: RankingComparison, report: Path) -> str:
    from evaluation.report import comparisons_table

    shown = [comparison.about(), comparison.samples, comparison.short, comparison.table(), *comparison.warnings()]
    return "\n\n".join([*shown, comparisons_table(comparison.comparisons), f"report: {report}"])


if __name__ == "__main__":
    run(main)
