"""Compare every trained recall channel, and their merge, over the whole catalogue.

Writes a Markdown and a JSON report and plots to <data_dir>/reports/.

    PYTHONPATH=. python scripts/evaluate_recall.py
    PYTHONPATH=. python scripts/evaluate_recall.py --models itemcf,two_tower --split valid
    PYTHONPATH=. python scripts/evaluate_recall.py --test held_out.parquet

--test takes Parquet with raw ids, one row per target; the history of a user is everything of that user in the
data that the models were fitted on, which for this purpose is trained with --protocol none.

--query_time tells every query when the event to predict happens. Channels trained with --query_time need it; what
it gives is labelled, and written to reports of its own, since it does not compare with results without it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from evaluation.report import comparisons_table, measured_metrics, metrics_table
from experiments.evaluate_recall import RECALL_KS, evaluate_recall
from experiments.measuring import EvaluationResult
from recall.merge import MergeConfig
from scripts._cli import Lengths, Names, build_parser, emit, read_settings, run, run_options, workspace
from scripts._evaluation import EVALUATION_FLAGS, EvaluationSettings, add_evaluation_flags, metrics_to_show

SHOWN = ("hit_rate@10", "ndcg@10", "hit_rate@50", "hit_rate@200", "hit_rate@500")


class EvaluateRecallSettings(EvaluationSettings):
    """Options of the command."""

    models: Annotated[Names, Field(min_length=1)] | None = None
    ks: Lengths = RECALL_KS
    include_seen: bool = False
    merge: MergeConfig = MergeConfig()


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__)
    parser.add_argument("--models", help="names, separated by commas (default: all trained)")
    add_evaluation_flags(parser, RECALL_KS)
    parser.add_argument(
        "--include_seen", action="store_true", default=None, help="let channels offer films of the history again"
    )
    args = parser.parse_args(argv)
    names = ("models", "include_seen", *EVALUATION_FLAGS)
    settings = read_settings(args, {name: getattr(args, name) for name in names})
    options = run_options(args, settings)
    job = EvaluateRecallSettings.parse(settings)
    result = evaluate_recall(
        workspace(args),
        names=job.models,
        split=job.split or "test",
        test_file=job.test,
        include_seen=job.include_seen,
        query_time=job.query_time,
        merging=job.merge,
        ks=job.ks,
        seed=options.seed,
    )
    emit(args, {**result.data, "report": str(result.report)}, _text(result))


def _text(result: EvaluationResult) -> str:
    wanted = metrics_to_show(result.evaluations[0].ks, SHOWN)
    parts = [
        result.protocol.line(),
        metrics_table(result.evaluations, measured_metrics(result.evaluations, wanted)),
    ]
    if result.comparisons:
        parts.append(comparisons_table(result.comparisons))
    return "\n\n".join([*parts, f"report: {result.report}"])


if __name__ == "__main__":
    run(main)
