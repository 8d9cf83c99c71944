"""Measure rankers within the candidates of recall: AUC, GAUC, NDCG, MRR, logloss, calibration, speed.

The merged order and every channel's own order of the same candidates are shown beside them. A ranker that learnt from
channels that the pipeline lacks is an error. Writes a Markdown and a JSON report and plots to <data_dir>/reports/.

    PYTHONPATH=. python scripts/evaluate_ranking.py
    PYTHONPATH=. python scripts/evaluate_ranking.py --models deepfm,din --split valid --ks 5,10
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print(
        "error: run it from the repository's root, as PYTHONPATH=. python scripts/evaluate_ranking.py", file=sys.stderr
    )
    sys.exit(2)

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from reccore import ComponentConfig
from scripts._cli import Lengths, Names, parse_command, run
from scripts._evaluation import emit_result, lengths

if TYPE_CHECKING:
    from experiments.evaluate_ranking import RankingEvaluation


class EvaluateRankingSettings(ComponentConfig):
    """Options of the command."""

    models: Names = Field(default=(), description="trained rankers by name (default: the pipeline's)")
    split: Literal["valid", "test"] = Field(default="test", description="which held-out events")
    ks: Lengths = lengths((10,))
    query_time: bool = Field(default=False, description="queries carry the time of the event to predict")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, EvaluateRankingSettings)
    job = command.settings
    from experiments.evaluate_ranking import evaluate_ranking

    evaluate = partial(
        evaluate_ranking,
        command.workspace,
        models=job.models,
        split=job.split,
        query_time=job.query_time,
        ks=job.ks,
        options=command.options,
    )
    emit_result(command, evaluate, lambda result: {**result.to_dict(), "report": str(result.report)}, _text)


def _text(result: RankingEvaluation) -> str:
    from evaluation.report import comparisons_table

    shown = [result.about, result.table(), result.calibration(), comparisons_table(result.comparisons)]
    return "\n\n".join([*filter(None, shown), f"report: {result.report}"])


if __name__ == "__main__":
    run(main)
