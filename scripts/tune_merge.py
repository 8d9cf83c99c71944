"""Learn the weights of the merge on the validation split, and check them on users they were not learnt from.

    PYTHONPATH=. python scripts/tune_merge.py --models itemcf,mf,two_tower --metrics recall@100
    PYTHONPATH=. python scripts/tune_merge.py --models itemcf,mf,two_tower --kind scores
    PYTHONPATH=. python scripts/evaluate_recall.py --config data/reports/merge_recall.toml
    PYTHONPATH=. python scripts/train_ranking.py --config data/reports/merge_pipeline.toml

A coordinate search changes one weight, or k0 (rrf) or margin (scores), at a time and keeps what raises the metrics.
The check learns weights on one half of the users, measures them on the other half, and the other way round. Writes a
report and two TOML files to <data_dir>/reports/, for evaluate_recall.py and for train_ranking.py.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/tune_merge.py", file=sys.stderr)
    sys.exit(2)

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from reccore import ComponentConfig, ConfigError
from scripts._cli import Names, parse_command, run
from scripts._evaluation import emit_result

if TYPE_CHECKING:
    from experiments.tune_merge import MergeTuning


class TuneMergeSettings(ComponentConfig):
    """Options of the command."""

    models: Annotated[Names, Field(min_length=1)] | None = Field(
        default=None, description="channels to merge by name, separated by commas"
    )
    kind: Literal["rrf", "scores"] = Field(default="rrf", description="method of merging")
    metrics: Names = Field(
        default=("ndcg@10", "recall@200"), description="what to raise; the mean of their relative changes counts"
    )
    per_channel: int | None = Field(
        default=None,
        ge=1,
        description="candidates to retrieve from each channel (default: 300, or as many as the longest list to raise)",
    )
    max_users: int = Field(default=20_000, ge=2, description="greatest number of users, drawn at random")
    query_time: bool = Field(default=False, description="queries carry the time of the event to predict")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, TuneMergeSettings)
    job = command.settings
    if job.models is None:
        raise ConfigError("name the channels whose merge is to be tuned, such as --models popularity,itemcf,two_tower")
    from experiments.tune_merge import tune_merge

    evaluate = partial(
        tune_merge,
        command.workspace,
        names=job.models,
        kind=job.kind,
        metrics=job.metrics,
        per_channel=job.per_channel,
        max_users=job.max_users,
        query_time=job.query_time,
        seed=command.options.seed,
    )
    emit_result(command, evaluate, _data, _text)


def _data(tuning: MergeTuning) -> dict[str, Any]:
    files = {"recall_toml": str(tuning.recall_toml), "pipeline_toml": str(tuning.pipeline_toml)}
    return {**tuning.result.data, "report": str(tuning.result.report), **files}


def _text(tuning: MergeTuning) -> str:
    from evaluation.report import comparisons_table, metrics_table

    result = tuning.result
    shown = list(dict.fromkeys(c.metric for c in result.comparisons))
    return "\n\n".join(
        [
            result.protocol.line(),
            metrics_table(result.evaluations, shown),
            comparisons_table(result.comparisons),
            *(text for _, text in result.sections),
            f"report: {result.report}\noptions: {tuning.recall_toml}, {tuning.pipeline_toml}",
        ]
    )


if __name__ == "__main__":
    run(main)
