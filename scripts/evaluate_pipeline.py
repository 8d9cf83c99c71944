"""Measure the whole pipeline: the funnel, and NDCG after recall, after ranking and after reranking.

Writes a Markdown and a JSON report and plots to <data_dir>/reports/.

    PYTHONPATH=. python scripts/evaluate_pipeline.py
    PYTHONPATH=. python scripts/evaluate_pipeline.py --split valid --json
    PYTHONPATH=. python scripts/evaluate_pipeline.py --test held_out.parquet --ks 10,50

--split, --test and --ks are those of evaluate_recall.py.

A pipeline with a channel trained with --query_time is result with --query_time: every query then knows when the
event to predict happens. That is labelled, and written to reports of its own.
"""

from __future__ import annotations

from evaluation.report import comparisons_table, measured_metrics, metrics_table
from experiments.evaluate_pipeline import PIPELINE_KS, evaluate_pipeline
from experiments.measuring import EvaluationResult
from scripts._cli import Lengths, build_parser, emit, read_settings, run, run_options, workspace
from scripts._evaluation import EVALUATION_FLAGS, EvaluationSettings, add_evaluation_flags, metrics_to_show

SHOWN = ("hit_rate@10", "ndcg@10", "diversity@10")


class EvaluatePipelineSettings(EvaluationSettings):
    """Options of the command."""

    ks: Lengths = PIPELINE_KS


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__)
    add_evaluation_flags(parser, PIPELINE_KS)
    args = parser.parse_args(argv)
    settings = read_settings(args, {name: getattr(args, name) for name in EVALUATION_FLAGS})
    options = run_options(args, settings)
    job = EvaluatePipelineSettings.parse(settings)
    result = evaluate_pipeline(
        workspace(args),
        split=job.split or "test",
        test_file=job.test,
        query_time=job.query_time,
        ks=job.ks,
        seed=options.seed,
    )
    emit(args, {**result.data, "report": str(result.report)}, pipeline_text(result))


def pipeline_text(result: EvaluationResult) -> str:
    """The tables for people."""
    funnel = "\n".join(f"{step['stage']:>32}: {step['kept']:,}" for step in result.data["funnel"])
    wanted = metrics_to_show(result.evaluations[0].ks, SHOWN)
    parts = [
        result.protocol.line(),
        metrics_table(result.evaluations, measured_metrics(result.evaluations, wanted)),
        comparisons_table(result.comparisons),
        "The funnel (held-out films kept)\n" + funnel,
        f"One pass over all users\n{result.trace}",
        f"report: {result.report}",
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    run(main)
