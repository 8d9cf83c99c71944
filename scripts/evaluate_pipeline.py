"""Measure the whole pipeline: the funnel, and NDCG after recall, after ranking and after reranking.

Writes a Markdown and a JSON report and plots to <data_dir>/reports/.

    PYTHONPATH=. python scripts/evaluate_pipeline.py
    PYTHONPATH=. python scripts/evaluate_pipeline.py --split valid --json

A pipeline with a channel trained with --query_time is measured with --query_time: every query then knows when the
event to predict happens. That is labelled, and written to reports of its own.
"""

from __future__ import annotations

from typing import Literal

from evaluation.report import comparisons_table, measured_metrics, metrics_table
from pipeline.measuring import Measured
from pipeline.measuring_pipeline import evaluate_pipeline
from reccore import ComponentConfig
from scripts._cli import build_parser, emit, read_settings, run, run_options, workspace

SHOWN = ("hit_rate@10", "ndcg@10", "diversity@10")


class EvaluatePipelineSettings(ComponentConfig):
    """Options of the command."""

    split: Literal["valid", "test"] = "test"
    query_time: bool = False


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__)
    parser.add_argument("--split", choices=("valid", "test"), help="which held-out events (default: test)")
    parser.add_argument(
        "--query_time", action="store_true", default=None, help="queries know when the event to predict happens"
    )
    args = parser.parse_args(argv)
    settings = read_settings(args, {"split": args.split, "query_time": args.query_time})
    options = run_options(args, settings)
    job = EvaluatePipelineSettings.parse(settings)
    measured = evaluate_pipeline(workspace(args), split=job.split, query_time=job.query_time, seed=options.seed)
    emit(args, {**measured.data, "report": str(measured.report)}, pipeline_text(measured))


def pipeline_text(measured: Measured) -> str:
    """The tables for people."""
    funnel = "\n".join(f"{step['stage']:>32}: {step['kept']:,}" for step in measured.data["funnel"])
    parts = [
        measured.protocol.line(),
        metrics_table(measured.evaluations, measured_metrics(measured.evaluations, SHOWN)),
        comparisons_table(measured.comparisons),
        "The funnel (held-out films kept)\n" + funnel,
        f"One pass over all users\n{measured.trace}",
        f"report: {measured.report}",
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    run(main)
