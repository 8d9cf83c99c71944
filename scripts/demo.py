"""The whole chain on MovieLens-100K: download, prepare, train, evaluate, recommend.

A second run repeats only what is out of date: each step records its inputs, options and code.

    PYTHONPATH=. python scripts/demo.py
    PYTHONPATH=. python scripts/demo.py --user 42
    PYTHONPATH=. python scripts/demo.py --dataset ml-32m --data_dir data-32m
    PYTHONPATH=. python scripts/demo.py --dataset synthetic-32m --data_dir data-32m-made
    PYTHONPATH=. python scripts/demo.py --dataset synthetic-32m --events 4000000 --data_dir data-4m

ml-32m is MovieLens-32M, downloaded or put there by hand; synthetic-32m is made here, in its shape and size or, by
--events, in a smaller one. For both an estimate of the time comes first, every step has a process of its own, and
reports/costs.json keeps what each took. A training that was stopped goes on from its checkpoint.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/demo.py", file=sys.stderr)
    sys.exit(2)

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from reccore import Bundle, ComponentConfig, DataError, RunOptions, Workspace
from scripts._chain_steps import check_root, data_steps, download_step, model_steps
from scripts._cli import parse_command, run
from scripts._steps import Step, StepRunner
from scripts.recommend import answer_text

DATASET = "ml-100k"
CONFIGS = Path(__file__).resolve().parent.parent / "configs" / DATASET
CHANNELS = ("popularity", "itemcf", "mf", "two_tower", "markov", "usercf")
NEW_USERS = "itemcf_prior"
"""The channel of users with a short history, see ranker.toml."""
SHOWN = ("hit_rate@10", "ndcg@10", "diversity@10")


class DemoSettings(ComponentConfig):
    """Options of the command."""

    user: int = Field(default=1, ge=1, description="whose recommendations to show")
    dataset: Literal["ml-100k", "ml-32m", "synthetic-32m"] = Field(default="ml-100k", description="which data set")
    events: int | None = Field(
        default=None, description="with --dataset synthetic-32m: number of ratings (default: 32,000,204)"
    )

    @model_validator(mode="after")
    def _events_are_made(self) -> Self:
        if self.events is not None and self.dataset != "synthetic-32m":
            raise ValueError("--events is for --dataset synthetic-32m, whose ratings are made; leave it out")
        return self


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, DemoSettings)
    from pipeline import load
    from pipeline.builder import PIPELINE

    job, space, started = command.settings, command.workspace, perf_counter()
    user, options = job.user, replace(command.options, resume=True)
    if job.dataset == "ml-100k":
        steps = run_steps(space, options, user)
    else:
        from scripts._large_demo import run_large

        steps = run_large(space, options, user, job.dataset, job.events)
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
        f"Try it in a browser: {serve_command(space.root)}, then open http://127.0.0.1:8000/",
    ]
    command.emit(result, "\n\n".join(text))


def serve_command(root: Path) -> str:
    """The command that serves what the demo has made."""
    if root == Path("data"):
        return "make serve"
    return f"PYTHONPATH=. python scripts/serve.py --data_dir {shlex.quote(str(root))}"


def run_steps(space: Workspace, options: RunOptions, user: int) -> StepRunner:
    """Run every step that is out of date; an unknown user is refused before the training."""
    check_root(space, DATASET, DATASET)
    runner = StepRunner(space.root / "demo.json")
    data, models = all_steps(space, options)
    for step in data:
        runner.run(step)
    if Bundle.open(space.prepared).vocabulary().users.encode(user) < 0:
        raise DataError(f"{DATASET} has no user {user}; its users are numbered from 1 to 943")
    for step in models:
        runner.run(step)
    return runner


def all_steps(space: Workspace, options: RunOptions) -> tuple[list[Step], list[Step]]:
    """From the download to prepared data, and from there to the evaluated pipeline."""
    download = download_step(space, options, DATASET)
    data = [download, *data_steps(space, options, download.makes, download.name)]
    return data, model_steps(space, options, CONFIGS, CHANNELS, [NEW_USERS])


def report_text(report: Mapping[str, Any]) -> str:
    """Channels and stages with intervals, and the pipeline against its best channel."""
    from evaluation.report import markdown_table

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


def _times(steps: StepRunner) -> str:
    return ", ".join(f"{name} {value:.0f} s" for name, value in steps.seconds.items()) or "nothing"


if __name__ == "__main__":
    run(main)
