"""Measure the whole pipeline: the funnel, and NDCG after recall, after ranking and after reranking.

Writes a Markdown and a JSON report and plots to <data_dir>/reports/.

    PYTHONPATH=. python scripts/evaluate_pipeline.py
    PYTHONPATH=. python scripts/evaluate_pipeline.py --split valid --json
    PYTHONPATH=. python scripts/evaluate_pipeline.py --test held_out.parquet --ks 10,50

--split, --test and --ks are those of evaluate_recall.py.

A pipeline with a channel trained with --query_time is measured with --query_time: every query then carries the
time of the event to predict. The results are labelled and written to separate reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments import PIPELINE_KS
from scripts._cli import Lengths, parse_command, run
from scripts._evaluation import EvaluationSettings, lengths, metrics_to_show

if TYPE_CHECKING:
    from experiments.measuring import EvaluationResult

SHOWN = ("hit_rate@10", "ndcg@10", "diversity@10")


class EvaluatePipelineSettings(EvaluationSettings):
    """Options of the command."""

    ks: Lengths = lengths(PIPELINE_KS)


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, EvaluatePipelineSettings)
    job = command.settings
    from experiments.evaluate_pipeline import evaluate_pipeline

    result = evaluate_pipeline(
        command.workspace,
        split=job.split or "test",
        test_file=job.test,
        query_time=job.query_time,
        ks=job.ks,
        seed=command.options.seed,
    )
    command.emit({**result.data, "report": str(result.report)}, pipeline_text(result))


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
