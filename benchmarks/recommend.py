"""Milliseconds of one request through a whole pipeline, in total and per stage.

    PYTHONPATH=. python benchmarks/recommend.py --data_dir /tmp/requests
    PYTHONPATH=. python benchmarks/recommend.py --pipeline data/models/pipeline --cpu_time

Without --pipeline two chains are measured over synthetic data: ``four channels`` (popularity, itemcf, mf, two_tower,
DeepFM, MMR) and ``demo``, the chain of the demo with six channels and one for short histories. Their models are trained
once per --data_dir, little, since quality does not change the time; without --data_dir in a temporary folder.

A request is ``Pipeline.recommend`` for one stored user, on one thread, in two groups of users: drawn at random, and
those with the longest histories. Rounds go over all users of a group; the first round is not timed. Nothing is kept of
a user's earlier requests.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if sys.path[0] == str(Path(__file__).parent):
    sys.path.remove(sys.path[0])  # Python puts it first, and this file would hide the package of its name

import numpy as np
from loguru import logger

import pipeline.trace
from benchmarks._chains import QUIET, trained_chain
from dataprep.synthetic import SyntheticSize
from pipeline import Pipeline, load
from pipeline.encodings import Encodings
from reccore import RawId, Workspace

DEMO = Path(__file__).resolve().parents[1] / "configs" / "ml-100k" / "ranker.toml"


def main() -> None:
    """Parse the options, measure, print tables or JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipeline", type=Path, help="folder of a pipeline to measure")
    parser.add_argument("--data_dir", type=Path, help="where the synthetic data and models are kept for the next run")
    parser.add_argument("--items", type=int, default=23_715, help="of the synthetic catalogue")
    parser.add_argument("--users", type=int, default=3_000)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--requests", type=int, default=100, help="users of a group")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--k", type=int, default=10, help="length of the list")
    parser.add_argument("--cpu_time", action="store_true", help="count the processor's time")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the tables")
    parser.add_argument("--smoke", action="store_true", help="a size that takes seconds, to test that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.items, args.users, args.events, args.requests, args.rounds = 300, 60, 1500, 5, 1
    logger.remove()
    QUIET.apply_threads()
    clock = time.process_time if args.cpu_time else time.perf_counter
    pipeline.trace.perf_counter = clock
    with tempfile.TemporaryDirectory() as temporary:
        if args.pipeline is None:
            size = SyntheticSize(users=args.users, movies=args.items, ratings=args.events)
            folders = trained_chains(Workspace(args.data_dir or Path(temporary)), size)
        else:
            folders = {str(args.pipeline): args.pipeline}
        report = {
            "cpu_time": args.cpu_time,
            "chains": {name: measure(load(folder), args, clock) for name, folder in folders.items()},
        }
    print(json.dumps(report) if args.json else table(report))


def trained_chains(space: Workspace, size: SyntheticSize) -> dict[str, Path]:
    """Chain → folder of its pipeline."""
    demo = tomllib.loads(DEMO.read_text(encoding="utf-8"))["pipeline"]
    chains = {"four channels": {}, "demo": demo}
    return {name: trained_chain(space, size, name.replace(" ", "_"), chain) for name, chain in chains.items()}


def measure(chain: Pipeline, args: argparse.Namespace, clock: Any) -> dict[str, Any]:
    """Sizes of the catalogue and figures of both groups of users."""
    lengths = chain.histories.history(chain.vocabulary.users.ids.tolist()).lengths
    drawn = np.random.default_rng(0).permutation(len(lengths))[: args.requests]
    groups = {"random users": drawn, "longest histories": np.argsort(-lengths, kind="stable")[: args.requests]}
    return {
        "items": len(chain.vocabulary.items),
        "groups": {
            name: {
                "mean_history": round(float(lengths[rows].mean()), 1),
                **timed(chain, chain.vocabulary.users.ids[rows].tolist(), args, clock),
            }
            for name, rows in groups.items()
        },
    }


def timed(chain: Pipeline, users: list[RawId], args: argparse.Namespace, clock: Any) -> dict[str, Any]:
    """Milliseconds of the requests and medians of the stages; the rest is what no stage counts."""
    chain.encodings = Encodings(capacity=0)
    totals: list[float] = []
    stages: dict[str, list[float]] = {}
    for number in range(args.rounds + 1):
        for user in users:
            started = clock()
            answer = chain.recommend(user=user, k=args.k)
            taken = (clock() - started) * 1e3
            if number > 0:
                totals.append(taken)
                records = answer.trace.stages
                for record in records:
                    stages.setdefault(f"{record.stage} {record.name}", []).append(record.milliseconds)
                rest = taken - sum(record.milliseconds for record in records)
                stages.setdefault("outside the stages", []).append(rest)
    return {
        "median": round(float(np.median(totals)), 2),
        "p99": round(float(np.quantile(totals, 0.99)), 2),
        "stages": {name: round(float(np.median(values)), 3) for name, values in stages.items()},
    }


def table(report: Mapping[str, Any]) -> str:
    """The report as lines for a terminal."""
    lines = [f"milliseconds of one request, one thread, {'CPU' if report['cpu_time'] else 'clock'} time"]
    for name, chain in report["chains"].items():
        groups = chain["groups"]
        lines += ["", f"{name}: {chain['items']:,} items", f"{'':32}" + "".join(f"{group:>20}" for group in groups)]
        for figure in ("mean_history", "median", "p99"):
            values = "".join(f"{group[figure]:>20}" for group in groups.values())
            lines.append(f"{figure.replace('_', ' '):32}{values}")
        for stage in next(iter(groups.values()))["stages"]:
            lines.append(f"  {stage:30}" + "".join(f"{group['stages'][stage]:>20.3f}" for group in groups.values()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
