"""Measure the whole pipeline: the funnel, and NDCG after recall, after ranking and after reranking.

Writes a Markdown and a JSON report and plots to <data_dir>/reports/.

    PYTHONPATH=. python scripts/evaluate_pipeline.py
    PYTHONPATH=. python scripts/evaluate_pipeline.py --split valid --json
    PYTHONPATH=. python scripts/evaluate_pipeline.py --test held_out.parquet --ks 10,50

--split, --test and --ks are those of evaluate_recall.py.

A pipeline with a channel trained with --query_time is measured with --query_time: every query then carries the
time of the event to predict. The results are labelled and written to separate reports.

--new_users measures users who are absent from training at every stage, as evaluate_recall.py does for channels: a tenth
of the users is kept out, channels, ranker and reranker are fitted again on the others, and each user kept out asks with
the first N events. The ranker learns from as many short histories as it was trained with, or --short_histories.

    PYTHONPATH=. python scripts/evaluate_pipeline.py --new_users 1,3,5,10
    PYTHONPATH=. python scripts/evaluate_pipeline.py --new_users 1,3 --short_histories 0 --min_rating 4 --split valid
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print(
        "error: run it from the repository's root, as PYTHONPATH=. python scripts/evaluate_pipeline.py", file=sys.stderr
    )
    sys.exit(2)

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from experiments import PIPELINE_KS
from scripts._cli import Invocation, Lengths, parse_command, run
from scripts._evaluation import NewUsersSettings, emit_result, lengths, metrics_to_show, new_users_data, new_users_text

if TYPE_CHECKING:
    from experiments.measuring import EvaluationResult

SHOWN = ("hit_rate@10", "ndcg@10", "diversity@10")


class EvaluatePipelineSettings(NewUsersSettings):
    """Options of the command."""

    with_new_users: ClassVar[frozenset[str]] = NewUsersSettings.with_new_users | {"short_histories"}
    ks: Lengths = lengths(PIPELINE_KS)
    short_histories: float | None = Field(
        default=None, ge=0, le=1, description="with --new_users: as for train_ranking.py (default: as trained)"
    )


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, EvaluatePipelineSettings)
    job = command.settings
    if job.new_users:
        _new_users(command)
        return
    from experiments.evaluate_pipeline import evaluate_pipeline

    evaluate = partial(
        evaluate_pipeline,
        command.workspace,
        split=job.split or "test",
        test_file=job.test_file,
        query_time=job.query_time,
        ks=job.ks,
        seed=command.options.seed,
    )
    emit_result(command, evaluate, lambda result: {**result.data, "report": str(result.report)}, pipeline_text)


def _new_users(command: Invocation[EvaluatePipelineSettings]) -> None:
    from experiments.new_users_pipeline import evaluate_new_users_pipeline

    job = command.settings
    evaluate = partial(
        evaluate_new_users_pipeline,
        command.workspace,
        job.new_users,
        split=job.split or "test",
        min_rating=job.min_rating,
        short_histories=job.short_histories,
        options=command.options,
    )
    emit_result(command, evaluate, new_users_data, new_users_text)


def pipeline_text(result: EvaluationResult) -> str:
    """The tables for people."""
    from evaluation.report import comparisons_table, measured_metrics, metrics_table

    sections = dict(result.sections)
    wanted = metrics_to_show(result.evaluations[0].ks, SHOWN)
    parts = [
        result.protocol.line(),
        metrics_table(result.evaluations, measured_metrics(result.evaluations, wanted)),
        comparisons_table(result.comparisons),
        f"The funnel\n{sections['The funnel']}",
        f"Slices\n{sections['Slices']}",
        f"One pass over all users\n{result.trace}",
        f"report: {result.report}",
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    run(main)
