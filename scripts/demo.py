"""The whole chain on MovieLens-100K: download, prepare, train, evaluate, recommend.

A second run redoes only what is out of date: each step remembers its inputs, options and code.

    PYTHONPATH=. python scripts/demo.py
    PYTHONPATH=. python scripts/demo.py --user 42
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from data_collector.download import download_dataset
from dataprep.prepare import prepare
from dataprep.preprocess import preprocess
from evaluation.report import markdown_table
from experiments.evaluate_pipeline import evaluate_pipeline
from experiments.evaluate_recall import evaluate_recall
from pipeline import load
from pipeline.builder import PIPELINE
from pipeline.fitting import train_channel, train_ranker
from pipeline.steps import Steps
from recall.merge import MergeConfig
from reccore import Bundle, ComponentConfig, DataError, RunOptions, Workspace
from scripts._cli import RawId, build_parser, emit, read_settings, run, run_options, workspace
from scripts.recommend import answer_text

DATASET = "ml-100k"
CONFIGS = Path(__file__).resolve().parent.parent / "configs" / DATASET
CHANNELS = ("popularity", "itemcf", "mf", "two_tower")
DATA_ROOMS = ("reccore", "dataprep")
RECALL_ROOMS = (*DATA_ROOMS, "training", "recall")
ALL_ROOMS = (*RECALL_ROOMS, "evaluation", "ranking", "rerank", "pipeline", "experiments")
SHOWN = ("hit_rate@10", "ndcg@10", "diversity@10")


class DemoSettings(ComponentConfig):
    """Options of the command."""

    user: RawId = 1


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__)
    parser.add_argument("--user", type=int, help="whose recommendations to show (default: 1)")
    args = parser.parse_args(argv)
    settings = read_settings(args, {"user": args.user})
    options = run_options(args, settings)
    user = DemoSettings.parse(settings).user
    space, started = workspace(args), perf_counter()
    steps = run_steps(space, options, user)
    report = json.loads((space.reports / "pipeline.json").read_text(encoding="utf-8"))
    pipeline = load(space.model(PIPELINE))
    answer = pipeline.recommend(user=user, k=10)
    result = {
        "report": str(space.reports / "pipeline.md"),
        "evaluations": report["evaluations"],
        "comparisons": report["comparisons"],
        "user": user,
        "recommendations": [item.to_dict() for item in answer.items],
        "seconds": {name: round(value, 1) for name, value in steps.seconds.items()},
        "up_to_date": steps.skipped,
    }
    text = [
        report_text(report),
        f"User {user}",
        answer_text(pipeline, answer),
        f"Up to date: {', '.join(steps.skipped) or 'nothing'}. Done again: {_times(steps)}.",
        f"Reports: {space.reports / 'recall.md'}, {space.reports / 'pipeline.md'} "
        f"({perf_counter() - started:.0f} s in all)",
    ]
    emit(args, result, "\n\n".join(text))


def run_steps(space: Workspace, options: RunOptions, user: int) -> Steps:
    """Everything up to the reports, as far as it is out of date; an unknown user is refused before training."""
    steps = Steps(space.root / "demo.json")
    raw = space.raw / DATASET
    steps.run(
        "download", lambda: download_dataset(DATASET, space, options=options), makes=raw, rooms=["data_collector"]
    )
    steps.run(
        "preprocess",
        lambda: preprocess(raw, space.processed, options=options),
        makes=space.processed / "processed.json",
        needs=["download"],
        rooms=DATA_ROOMS,
    )
    steps.run(
        "prepare",
        lambda: prepare(space).save(space.prepared),
        makes=space.prepared,
        needs=["preprocess"],
        rooms=DATA_ROOMS,
    )
    if Bundle.open(space.prepared).vocabulary().users.encode(user) < 0:
        raise DataError(f"{DATASET} has no user {user}; its users are numbered from 1 to 943")
    for name in CHANNELS:
        config = read_config(name)
        model = config.pop("model")
        work = partial(train_channel, space, model, config, name=name, options=options)
        steps.run(
            name,
            work,
            makes=space.model(name),
            needs=["prepare"],
            rooms=RECALL_ROOMS,
            options=[model, config, options.seed],
        )
    ranker = read_config("ranker")
    model, pipeline_settings = ranker.pop("model"), ranker.pop("pipeline")
    steps.run(
        "ranking and pipeline",
        lambda: train_ranker(space, model, ranker, pipeline_settings, options=options),
        makes=space.model(PIPELINE),
        needs=CHANNELS,
        rooms=ALL_ROOMS,
        options=[model, ranker, pipeline_settings, options.seed],
    )
    merging = MergeConfig.parse(pipeline_settings.get("merge", {}))
    steps.run(
        "evaluate recall",
        lambda: evaluate_recall(space, names=CHANNELS, merging=merging, seed=options.seed),
        makes=space.reports / "recall.json",
        needs=CHANNELS,
        rooms=ALL_ROOMS,
        options=[merging.model_dump(), options.seed],
    )
    steps.run(
        "evaluate pipeline",
        lambda: evaluate_pipeline(space, seed=options.seed),
        makes=space.reports / "pipeline.json",
        needs=["ranking and pipeline"],
        rooms=ALL_ROOMS,
        options=options.seed,
    )
    return steps


def read_config(name: str) -> dict[str, Any]:
    """Settings of one of the demo's runs."""
    return tomllib.loads((CONFIGS / f"{name}.toml").read_text(encoding="utf-8"))


def report_text(report: Mapping[str, Any]) -> str:
    """Channels and stages with intervals, and how the pipeline compares with its best channel."""
    protocol = report["protocol"]
    rows = []
    for evaluation in report["evaluations"]:
        cells = [evaluation["name"]]
        for metric in SHOWN:
            value = evaluation["metrics"].get(metric)
            if value is None:
                cells.append(f"{evaluation['lists'][metric]:.4f}")
            else:
                cells.append(f"{value['mean']:.4f} [{value['low']:.4f}, {value['high']:.4f}]")
        rows.append(cells)
    lines = [
        f"{protocol['dataset']}, {protocol['split']}, {protocol['users']:,} users, full catalogue, seen films filtered",
        "",
        markdown_table(["system", "HitRate@10", "NDCG@10", "diversity@10"], rows),
        "",
    ]
    for c in report["comparisons"]:
        d = c["difference"]
        interval = f"{d['mean']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]"
        lines.append(f"{c['a']} − {c['b']}: NDCG@10 {interval}, {c['verdict']}")
    return "\n".join(lines)


def _times(steps: Steps) -> str:
    return ", ".join(f"{name} {value:.0f} s" for name, value in steps.seconds.items()) or "nothing"


if __name__ == "__main__":
    run(main)
