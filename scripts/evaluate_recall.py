"""Compare every trained recall channel over the whole catalogue, or the named ones and their merge.

Writes a Markdown and a JSON report and plots to <data_dir>/reports/. Channels are named by --models or by `models` in
the file of --config; only named ones are merged, as [merge] of that file says, each with its first --per_channel films.

    PYTHONPATH=. python scripts/evaluate_recall.py
    PYTHONPATH=. python scripts/evaluate_recall.py --models itemcf,two_tower --split valid
    PYTHONPATH=. python scripts/evaluate_recall.py --test held_out.parquet

--test takes Parquet, CSV or .csv.gz with raw ids, one row per target. The history of a user is all of the user's events
in the data that the models were fitted on; train the models with --protocol none for this purpose.

--external puts lists that any other library made behind the same evaluation, beside ours: a file with user, film, and
rank or score, whose name becomes the system's. Let it learn from processed/two_tower/train.parquet alone; for the test
split, valid.parquet may be added to the histories.

    PYTHONPATH=. python scripts/evaluate_recall.py --external lists/lightfm.parquet,lists/my_model.csv

--query_time gives every query the time of the event to predict. Channels trained with --query_time need it. The
results are labelled and written to separate reports, because they do not compare with results without it.

--new_users measures users who are absent from training: a tenth of the users is kept out, the channels are fitted
again on the others, and each user kept out asks with the first N events. --split valid and --split test are different
users. Targets are all later events, or those with --min_rating.

    PYTHONPATH=. python scripts/evaluate_recall.py --new_users 1,3,5,10
    PYTHONPATH=. python scripts/evaluate_recall.py --new_users 1,3,5,10 --models itemcf --min_rating 4 --split valid
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print(
        "error: run it from the repository's root, as PYTHONPATH=. python scripts/evaluate_recall.py", file=sys.stderr
    )
    sys.exit(2)

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from experiments import RECALL_KS
from recall.merge import MergeConfig, RRFConfig
from scripts._cli import Invocation, Lengths, Names, parse_command, run, split_commas
from scripts._evaluation import NewUsersSettings, emit_result, lengths, metrics_to_show, new_users_data, new_users_text

if TYPE_CHECKING:
    from experiments.measuring import EvaluationResult

SHOWN = ("hit_rate@10", "ndcg@10", "hit_rate@50", "hit_rate@200", "hit_rate@500")


class EvaluateRecallSettings(NewUsersSettings):
    """Options of the command."""

    with_new_users: ClassVar[frozenset[str]] = NewUsersSettings.with_new_users | {"models"}

    models: Annotated[Names, Field(min_length=1)] | None = Field(
        default=None, description="channels by name, separated by commas (default: all trained, without a merge)"
    )
    ks: Lengths = lengths(RECALL_KS)
    include_seen: bool = Field(default=False, description="let channels offer films of the history again")
    merge: MergeConfig = RRFConfig()
    per_channel: int | None = Field(
        default=None, ge=1, description="candidates that each channel gives the merge (default: the longest of ks)"
    )
    external: Annotated[tuple[Path, ...], BeforeValidator(split_commas)] = Field(
        default=(), description="files of lists made elsewhere (user, film, rank or score), separated by commas"
    )

    @model_validator(mode="after")
    def _merges_named_channels(self) -> Self:
        for name in ("merge", "per_channel"):
            if name in self.model_fields_set and self.models is None:
                raise ValueError(f"{name} has no use without the channels to merge; name them: --models A,B")
        return self


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, EvaluateRecallSettings)
    job = command.settings
    if job.new_users:
        _new_users(command)
        return
    from experiments.evaluate_recall import evaluate_recall

    evaluate = partial(
        evaluate_recall,
        command.workspace,
        names=job.models,
        split=job.split or "test",
        test_file=job.test_file,
        include_seen=job.include_seen,
        query_time=job.query_time,
        merging=job.merge,
        per_channel=job.per_channel,
        external=job.external,
        ks=job.ks,
        seed=command.options.seed,
    )
    emit_result(command, evaluate, lambda result: {**result.data, "report": str(result.report)}, _text)


def _new_users(command: Invocation[EvaluateRecallSettings]) -> None:
    from experiments.new_users import evaluate_new_users

    job = command.settings
    evaluate = partial(
        evaluate_new_users,
        command.workspace,
        job.new_users,
        names=job.models,
        split=job.split or "test",
        min_rating=job.min_rating,
        options=command.options,
    )
    emit_result(command, evaluate, new_users_data, new_users_text)


def _text(result: EvaluationResult) -> str:
    from evaluation.report import comparisons_table, measured_metrics, metrics_table

    wanted = metrics_to_show(result.evaluations[0].ks, SHOWN)
    parts = [
        result.protocol.line(),
        metrics_table(result.evaluations, measured_metrics(result.evaluations, wanted)),
    ]
    if result.comparisons:
        parts.append(comparisons_table(result.comparisons))
    parts += [f"{heading}\n\n{text}" for heading, text in result.sections]
    return "\n\n".join([*parts, f"report: {result.report}"])


if __name__ == "__main__":
    run(main)
