"""Compare every trained recall channel, and their merge, over the whole catalogue.

Writes a Markdown and a JSON report and plots to <data_dir>/reports/.

    PYTHONPATH=. python scripts/evaluate_recall.py
    PYTHONPATH=. python scripts/evaluate_recall.py --models itemcf,two_tower --split valid
    PYTHONPATH=. python scripts/evaluate_recall.py --test held_out.parquet

--test takes Parquet with raw ids, one row per target; the history of a user is everything of that user in the
data that the models were fitted on, which for this purpose is trained with --protocol none.
"""

from __future__ import annotations

from pathlib import Path

from evaluation.report import comparisons_table, metrics_table
from pipeline.measuring import RECALL_KS, evaluate_recall
from recall.merge import MergeConfig
from reccore import ConfigError
from scripts._cli import build_parser, emit, read_settings, refuse_rest, run, run_options, workspace

SHOWN = ("hit_rate@10", "ndcg@10", "hit_rate@50", "hit_rate@200", "hit_rate@500")


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__)
    parser.add_argument("--models", help="names, separated by commas (default: all trained)")
    parser.add_argument("--split", choices=("valid", "test"), help="which held-out events (default: test)")
    parser.add_argument("--test", type=Path, metavar="FILE.parquet", help="a held-out file of your own")
    parser.add_argument("--ks", help="list lengths, separated by commas (default: 10,20,50,100,200,500)")
    parser.add_argument(
        "--include_seen", action="store_true", default=None, help="let channels offer films of the history again"
    )
    args = parser.parse_args(argv)
    names = ("models", "split", "test", "ks", "include_seen")
    settings = read_settings(args, {name: getattr(args, name) for name in names})
    options = run_options(args, settings)
    models, split, test = settings.pop("models", None), settings.pop("split", None), settings.pop("test", None)
    if split is not None and test is not None:
        raise ConfigError("--split and --test exclude each other")
    measured = evaluate_recall(
        workspace(args),
        names=_listed(models),
        split=split or "test",
        test_file=None if test is None else Path(test),
        include_seen=bool(settings.pop("include_seen", False)),
        merging=MergeConfig.parse(settings.pop("merge", {})),
        ks=_lengths(settings.pop("ks", None)),
        seed=options.seed,
    )
    refuse_rest(settings, "models, split, test, ks, include_seen, merge.<option>")
    shown = [metric for metric in SHOWN if metric in measured.evaluations[0].metrics]
    text = [metrics_table(measured.evaluations, shown)]
    if measured.comparisons:
        text += ["", comparisons_table(measured.comparisons)]
    text += ["", f"report: {measured.report}"]
    emit(args, {**measured.data, "report": str(measured.report)}, "\n".join(text))


def _listed(value: str | list[str] | None) -> list[str] | None:
    if value is None or isinstance(value, list):
        return value
    return [name.strip() for name in value.split(",") if name.strip()]


def _lengths(value: str | list[int] | None) -> tuple[int, ...]:
    if value is None:
        return RECALL_KS
    try:
        return tuple(int(k) for k in (value.split(",") if isinstance(value, str) else value))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"--ks needs whole numbers separated by commas, got {value!r}") from error


if __name__ == "__main__":
    run(main)
