"""Other libraries beside ours in one run: the same split, seen filter and metrics; quality, time and memory.

    PYTHONPATH=. python benchmarks/peers.py --data_dir data
    PYTHONPATH=. python benchmarks/peers.py --data_dir data \\
        --python lenskit=peers/lenskit/bin/python,recbole=peers/old/bin/python,rectools=peers/old/bin/python

Each model of a library, with the library's defaults, stands against the channel here that answers the same question,
with the options of configs/recall. Both learn from the fit split of the data root, each in a process of its own; their
test lists are measured by ``evaluation`` on the same users, and the difference is paired over them. The lists stay in
<data_dir>/comparisons/peers/, so that ``scripts/evaluate_recall.py --external`` takes them too.

implicit is a dependency and runs anyway. The other libraries are none and need other versions of what we need, so
they run in environments of their own, whose interpreters ``--python`` names:

    python -m venv peers/lenskit && peers/lenskit/bin/pip install lenskit
    python -m venv peers/old && peers/old/bin/pip install recbole==1.2.1 rectools torch-rechub "setuptools<80"
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.path[0] == str(Path(__file__).parent):
    sys.path.remove(sys.path[0])  # Python puts it first, and benchmarks/ranking.py would hide the package of its name

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from loguru import logger

from benchmarks._exported import events_by_part
from dataprep import ids
from dataprep.prepare import Prepared, load_prepared, prepare
from dataprep.preprocess import preprocess
from dataprep.synthetic import SyntheticSize, make_synthetic
from evaluation.evaluate import Evaluation, compare
from evaluation.report import markdown_table, without_nan
from experiments.compare_runs import KS, ComparisonJob, run_all
from experiments.external_lists import ExternalLists
from experiments.measuring import choose_holdout, measure
from experiments.results import RowResult, RunResult
from experiments.runs import RunsWorkspace
from reccore import ConfigError, RunOptions, Workspace, threads
from reccore.arrays import IntArray
from scripts._cli import run as run_command
from scripts._rows import read_rows

REPOSITORY = Path(__file__).resolve().parents[1]
OURS = {
    "implicit": {"cosine": "itemcf", "als": "mf", "bpr": "bpr"},
    "lenskit": {"item_knn": "itemcf", "als": "mf", "popular": "popularity"},
    "rectools": {"ease": "ease", "svd": "mf", "popular": "popularity"},
    "recbole": {"bpr": "bpr", "lightgcn": "two_tower", "itemknn": "itemcf"},
    "torch-rechub": {"dssm": "dssm"},
}
"""Library → its model → the channel here that answers the same question."""
PROTOCOL = "leave_one_out"
METRIC, BESIDE, AT_LENGTH = "ndcg@10", "hit_rate@10", "recall@100"


@dataclass(frozen=True, eq=False)
class Peer:
    """One model of a library, measured.

    Attributes:
        evaluation: of its lists.
        fit_seconds, queries_per_second, peak_bytes: its cost; the peak is the process's, libraries included.
    """

    library: str
    model: str
    evaluation: Evaluation
    fit_seconds: float
    queries_per_second: float
    peak_bytes: float


def main(argv: list[str] | None = None) -> None:
    """Parse the options, fit and measure both sides, print a table or JSON on stdout; exit code 1 if a peer failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="data root with prepared data")
    parser.add_argument("--python", default="", help="LIBRARY=interpreter that has it, separated by commas")
    parser.add_argument("--only", default="", help="LIBRARY.MODEL, separated by commas; by default all")
    parser.add_argument(
        "--epochs", type=int, default=0, help="of RecBole's and Torch-RecHub's models; 0 = the library's"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of each library, ours too")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the tables")
    parser.add_argument("--smoke", action="store_true", help="a size that takes seconds, to test that it runs")
    args = parser.parse_args(argv)
    if args.threads < 1:
        parser.error(f"--threads must be at least 1, got {args.threads}")
    if args.epochs < 0:
        parser.error(f"--epochs must be at least 0, got {args.epochs}")
    logger.remove()
    pythons = interpreters(parser, args.python)
    if args.smoke:
        with tempfile.TemporaryDirectory() as folder:
            args.only = "implicit.cosine,implicit.als"
            report = run(smoke_root(Path(folder)), args, pythons)
    else:
        report = run(Workspace(args.data_dir), args, pythons)
    print(json.dumps(without_nan(report)) if args.json else table(report))
    if report["failures"]:
        sys.exit(1)


def interpreters(parser: argparse.ArgumentParser, text: str) -> dict[str, Path]:
    """Library → interpreter; implicit has ours."""
    found = {"implicit": Path(sys.executable)}
    for pair in filter(None, text.split(",")):
        library, _, path = pair.partition("=")
        if library not in OURS:
            parser.error(f"--python {pair}: it is LIBRARY=PATH, and the libraries are {', '.join(OURS)}")
        if not Path(path).is_file():
            parser.error(f"--python {pair}: no such interpreter")
        found[library] = Path(path).absolute()
    return found


def run(space: Workspace, args: argparse.Namespace, pythons: dict[str, Path]) -> dict[str, Any]:
    """Fit and measure what ``--only`` names, or everything that has an interpreter."""
    pairs = [(library, model) for library, models in OURS.items() for model in models]
    wanted = set(filter(None, args.only.split(",")))
    if unknown := wanted - {".".join(pair) for pair in pairs}:
        raise SystemExit(f"error: --only {sorted(unknown)[0]}: known are {', '.join('.'.join(pair) for pair in pairs)}")
    if lacking := [name for name in wanted if name.split(".")[0] not in pythons]:
        raise ConfigError(f"{min(lacking)} needs an interpreter: --python LIBRARY=PATH")
    chosen = [pair for pair in pairs if pair[0] in pythons and (not wanted or ".".join(pair) in wanted)]
    prepared = load_prepared(space.prepared)
    if prepared.split.protocol != PROTOCOL:  # RecBole splits by itself, and learns from what others hold out
        raise ConfigError(
            f"{space.prepared} is split by {prepared.split.protocol}, and peers are compared by {PROTOCOL}"
        )
    options = RunOptions(seed=args.seed, device="cpu", progress=False, threads=args.threads)
    ours = fit_ours(space, sorted({OURS[library][model] for library, model in chosen}), options)
    peers, failures = [], {}
    for library, model in chosen:
        result = fit_peer(space, prepared, library, model, pythons[library], args)
        if isinstance(result, Peer):
            peers.append(result)
        else:
            failures[f"{library}.{model}"] = result
    return report_of(prepared, ours, peers, failures, args)


def fit_ours(space: Workspace, names: list[str], options: RunOptions) -> dict[str, RunResult]:
    """Our channels, trained and measured in processes of their own, as ``scripts/compare_recall.py`` does."""
    rows = read_rows(REPOSITORY / "configs" / "recall", {}, only=tuple(names))
    job = ComparisonJob(RunsWorkspace(space.root, "peers", "comparisons"), None, None, "test", False, options)
    results: list[RowResult[RunResult]]
    results, failures = run_all(job, rows, (options.seed,))
    if failures:
        raise SystemExit("\n".join(f"error: {name}: {why}" for name, why in failures.items()))
    found = {result.row.name: result.runs[0] for result in results}
    for name, result in found.items():
        if result.facts["threads"] != options.threads:
            raise ConfigError(
                f"{name} was trained with {result.facts['threads']} threads, and its seconds are of these; give "
                f"--threads {result.facts['threads']}, or remove {job.workspace.models} first"
            )
    return found


def fit_peer(
    space: Workspace, prepared: Prepared, library: str, model: str, python: Path, args: argparse.Namespace
) -> Peer | str:
    """One model of a library, measured; or the end of what it printed if it failed."""
    holdout, _ = choose_holdout(prepared, "test", None)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder, f"{name}.npz")) for name in ("events", "lists")}
        np.savez(paths["events"], **events_by_part(prepared.split))
        job = {**paths, "library": library, "model": model, "k": min(max(KS), len(prepared.vocabulary.items))}
        job |= {name: getattr(args, name) for name in ("seed", "threads", "epochs")}
        (file := Path(folder, "job.json")).write_text(json.dumps(job), encoding="utf-8")
        script = Path(__file__).with_name("_peer_libraries.py").resolve()
        env = {**os.environ, **dict.fromkeys(threads.VARIABLES, str(args.threads))}
        ended = subprocess.run([python, script, file], capture_output=True, text=True, check=False, env=env)
        if ended.returncode:
            return ended.stderr.strip()[-600:] or f"{python} ended with exit code {ended.returncode}"
        with np.load(paths["lists"]) as stored:
            lists, cost = stored["lists"], {name: float(stored[name]) for name in stored.files if name != "lists"}
    path = space.root / "comparisons" / "peers" / f"{library}_{model}.parquet"
    write_lists(path, lists, prepared)
    given = ExternalLists.read(path, prepared.vocabulary, holdout.queries, max(KS))
    evaluation = measure(f"{library}.{model}", given.offer, holdout, prepared.training_data(), KS, args.seed)
    per_second = len(lists) / max(cost["answer_seconds"], 1e-9)
    return Peer(library, model, evaluation, cost["fit_seconds"], per_second, cost["peak_bytes"])


def write_lists(path: Path, lists: IntArray, prepared: Prepared) -> None:
    """Lists (U, K) with raw ids, as ``evaluate_recall.py --external`` reads them."""
    user, place = np.nonzero(lists >= 0)
    columns = {
        "userId": ids.decode(prepared.vocabulary.users, user),
        "movieId": ids.decode(prepared.vocabulary.items, lists[user, place]),
        "rank": pa.array(place + 1),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def report_of(
    prepared: Prepared,
    ours: dict[str, RunResult],
    peers: list[Peer],
    failures: dict[str, str],
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Figures of both sides, and each peer's channel against it."""
    rows = [
        {
            "system": name,
            **figures(result.evaluation),
            "fit_seconds": result.facts["seconds"],
            "peak_mb": result.facts["peak_bytes"] / 1e6,
            "queries_per_second": result.facts["queries_per_second"],
        }
        for name, result in ours.items()
    ]
    pairs = []
    for peer in peers:
        cost = {"fit_seconds": peer.fit_seconds, "peak_mb": peer.peak_bytes / 1e6}
        cost["queries_per_second"] = peer.queries_per_second
        rows.append({"system": peer.evaluation.name, **figures(peer.evaluation), **cost})
        own = ours[OURS[peer.library][peer.model]]
        found = compare(own.evaluation, peer.evaluation, METRIC, seed=args.seed)
        pairs.append(
            {
                "ours": own.run.row.name,
                "theirs": peer.evaluation.name,
                "difference": found.difference.mean,
                "low": found.difference.low,
                "high": found.difference.high,
                "verdict": found.verdict,
                "fit_ratio": peer.fit_seconds / max(own.facts["seconds"], 1e-9),
                "memory_ratio": peer.peak_bytes / own.facts["peak_bytes"],
                "throughput_ratio": own.facts["queries_per_second"] / peer.queries_per_second,
            }
        )
    fit = prepared.split.fit()
    data = {"dataset": str(prepared.source["dataset"]), "users": fit.n_users, "items": fit.n_items}
    return {**data, "fit_events": fit.n_events, "rows": rows, "pairs": pairs, "failures": failures, "seed": args.seed}


def figures(evaluation: Evaluation) -> dict[str, float]:
    """The metrics of a row."""
    return {metric: evaluation.mean(metric) for metric in (METRIC, BESIDE, AT_LENGTH)}


def smoke_root(folder: Path) -> Workspace:
    """A prepared data root of some thousand made-up events."""
    space, quiet = Workspace(folder), RunOptions(progress=False)
    make_synthetic(space.raw / "synthetic", SyntheticSize(users=100, movies=400, ratings=3000), quiet)
    preprocess(space.raw / "synthetic", space.processed, options=quiet)
    prepare(space).save(space.prepared)
    return space


def table(report: dict[str, Any]) -> str:
    """The report as Markdown for a terminal."""
    systems = [
        [
            row["system"],
            *(f"{row[metric]:.4f}" for metric in (METRIC, BESIDE, AT_LENGTH)),
            f"{row['fit_seconds']:.1f}",
            f"{row['peak_mb']:,.0f}",
            f"{row['queries_per_second']:,.0f}",
        ]
        for row in sorted(report["rows"], key=lambda row: -row[METRIC])
    ]
    pairs = [
        [
            f"{pair['ours']} − {pair['theirs']}",
            f"{pair['difference']:+.4f} [{pair['low']:+.4f}, {pair['high']:+.4f}]",
            pair["verdict"],
            *(times(pair[name]) for name in ("fit_ratio", "memory_ratio", "throughput_ratio")),
        ]
        for pair in report["pairs"]
    ]
    lines = [
        f"{report['dataset']}: {report['users']:,} users, {report['items']:,} items, {report['fit_events']:,} events "
        f"to learn from; {PROTOCOL}, test; seed {report['seed']}",
        markdown_table(["system", "NDCG@10", "HR@10", "Recall@100", "fit s", "peak MB", "queries/s"], systems),
        "Ours against theirs: NDCG@10 paired over users; their fit time and peak memory over ours, our queries per "
        "second over theirs (more than 1 × is in our favour). Peak memory is the process's with its libraries.",
        markdown_table(["pair", "NDCG@10", "verdict", "fit time", "memory", "queries/s"], pairs),
        *(f"failed: {name}: {why}" for name, why in report["failures"].items()),
    ]
    return "\n\n".join(lines)


def times(ratio: float) -> str:
    """Such as ``0.52 ×`` and ``1,600 ×``."""
    return f"{ratio:,.0f} ×" if ratio >= 10 else f"{ratio:.2g} ×"


if __name__ == "__main__":
    run_command(main)
