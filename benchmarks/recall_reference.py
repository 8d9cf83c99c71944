"""SASRec and GRU4Rec beside RecTools' SASRec and RecBole's GRU4Rec: same events, same evaluation, same run.

    PYTHONPATH=. python benchmarks/recall_reference.py --data_dir data --python venv-ref/bin/python
    PYTHONPATH=. python benchmarks/recall_reference.py --data_dir data --python venv-ref/bin/python --models gru4rec

Both sides learn from the fit split of ``leave_one_out`` as ids in order, without ratings, times and content; both take
the softmax over the whole catalogue, the same width, history length, number of layers and epochs, and keep the epoch
(theirs: of every ``--every``) with the best NDCG@10 on validation. Their learning rate and dropout are chosen among
``--tried`` by the validation of the first seed, ours are those of configs/recall. Test lists are measured by
``evaluation``.

The libraries are no dependencies of this project and may need other versions of what it needs, so they run in an
environment of their own, whose interpreter is ``--python``:

    python -m venv venv-ref
    venv-ref/bin/pip install "rectools[torch]" recbole==1.2.1 "setuptools<80"

Without ``--python`` only our models run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.path[0] == str(Path(__file__).parent):
    sys.path.remove(sys.path[0])  # Python puts it first, and benchmarks/ranking.py would hide the package of its name

import numpy as np
import torch
from loguru import logger

from benchmarks._exported import events_by_part
from dataprep.prepare import load_prepared
from dataprep.protocols import LeaveLastN
from dataprep.splits import Split
from evaluation.metrics import per_query_metrics
from evaluation.report import markdown_table, without_nan
from evaluation.significance import paired_bootstrap
from recall import CHANNELS
from reccore import (
    Candidates,
    Holdout,
    IdMap,
    Interactions,
    ItemTable,
    RunOptions,
    TrainingData,
    UserTable,
    Vocabulary,
    Workspace,
)
from reccore.arrays import FloatArray, IntArray

LIBRARIES = {"sasrec": "RecTools", "gru4rec": "RecBole"}
METRIC, K = "ndcg@10", 100
SHARED = {"size": 64, "blocks": 2, "heads": 2, "hidden": 64}
# As in configs/recall, but for plain blocks and the whole catalogue as negatives, as theirs.
OURS: dict[str, dict[str, Any]] = {
    "sasrec": {"learning_rate": 4e-3, "encoder": {"blocks": 2, "heads": 2, "dropout": 0.4}},
    "gru4rec": {"learning_rate": 4e-3, "encoder": {"layers": 1, "dropout": 0.4}},
}
BATCH = {"sasrec": 32, "gru4rec": 1024}  # theirs: histories, and prefixes of histories
SMOKE = {"size": 8, "blocks": 2, "heads": 2, "hidden": 8}


@dataclass(frozen=True, eq=False)
class Run:
    """One training.

    Attributes:
        valid: NDCG@10 on validation.
        per_query: (B,) NDCG@10 of every test query.
        hits: (B,) hit rate at 10 of every test query.
        seconds: of training.
    """

    valid: float
    per_query: FloatArray
    hits: FloatArray
    seconds: float


def main() -> None:
    """Parse the options, train, print a table or JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="data root with prepared data")
    parser.add_argument("--python", type=Path, default=None, help="interpreter that has the libraries")
    parser.add_argument("--models", default=",".join(LIBRARIES))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=30, help="most passes, of both sides")
    parser.add_argument("--every", type=int, default=5, help="epochs between two looks at their validation figure")
    parser.add_argument("--length", type=int, default=50, help="latest events of a history that are read")
    parser.add_argument("--tried", default="1e-3:0.2,1e-3:0.4,3e-3:0.4", help="learning rate:dropout of theirs")
    parser.add_argument("--threads", type=int, default=None, help="of PyTorch; by default its choice")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--smoke", action="store_true", help="a size that takes seconds, to test that it runs")
    args = parser.parse_args()
    logger.remove()
    if args.smoke:
        args.seeds, args.tried, args.epochs, args.every, args.length = "0", "1e-3:0.2", 2, 1, 10
        split, shared = synthetic_split(), SMOKE
    else:
        split, shared = bare(load_prepared(Workspace(args.data_dir).prepared).split), SHARED
    RunOptions(threads=args.threads).apply_threads()
    threads = args.threads or torch.get_num_threads()
    settings = {name: getattr(args, name) for name in ("length", "epochs", "every")}
    settings |= {**shared, "k": K, "threads": threads}
    seeds = [int(seed) for seed in args.seeds.split(",")]
    tried = [tuple(map(float, pair.split(":"))) for pair in args.tried.split(",")]
    models = [model for model in args.models.split(",") if model in LIBRARIES]
    report = compare(split, models, seeds, tried, settings, args.python)
    print(json.dumps(without_nan(report)) if args.json else table(report))


def compare(
    split: Split,
    models: list[str],
    seeds: list[int],
    tried: list[tuple[float, ...]],
    settings: dict[str, Any],
    python: Path | None,
) -> dict[str, Any]:
    """Ours and theirs of every model; without an interpreter for them, ours."""
    results, differences = [], []
    for model in models:
        ours = [train_ours(split, model, seed, settings) for seed in seeds]
        results.append(summary(model, ours))
        if python is not None:
            theirs, chosen = train_theirs(split, model, seeds, tried, settings, python)
            results.append({**summary(f"{model} ({LIBRARIES[model]})", theirs), "chosen": chosen})
            differences.append({"model": model, "library": LIBRARIES[model], **difference(ours, theirs)})
    fit = split.fit()
    return {
        "events": fit.n_events,
        "users": fit.n_users,
        "items": fit.n_items,
        "seeds": seeds,
        "settings": settings,
        "results": results,
        "differences": differences,
    }


def train_ours(split: Split, model: str, seed: int, settings: dict[str, Any]) -> Run:
    """One training of our channel."""
    fit = split.fit()
    vocabulary = Vocabulary(IdMap(np.arange(fit.n_users)), IdMap(np.arange(fit.n_items)))
    data = TrainingData(fit, ItemTable(fit.n_items), UserTable(fit.n_users), vocabulary)
    own = OURS[model]
    encoder = {**own["encoder"], "history_length": settings["length"]}
    if model == "gru4rec":
        encoder["hidden_size"] = settings["hidden"]
    config = {
        **own,
        "embedding_size": settings["size"],
        "epochs": settings["epochs"],
        "encoder": encoder,
        "negatives": {"kind": "catalogue"},
    }
    channel = CHANNELS[model](config)
    started = time.perf_counter()
    channel.fit(data, valid=split.valid(), options=RunOptions(seed=seed, device="cpu", progress=False))
    seconds = time.perf_counter() - started
    valid, test = split.valid(), split.test()
    at_valid = ndcg_and_hits(channel.retrieve(valid.queries, K), valid)[0].mean()
    return Run(float(at_valid), *ndcg_and_hits(channel.retrieve(test.queries, K), test), seconds)


def train_theirs(
    split: Split,
    model: str,
    seeds: list[int],
    tried: list[tuple[float, ...]],
    settings: dict[str, Any],
    python: Path,
) -> tuple[list[Run], dict[str, float]]:
    """The library's model for every seed, with the options that are best on validation for the first."""
    first = {options: train_one(split, model, seeds[0], options, settings, python) for options in tried}
    best = max(first, key=lambda options: first[options].valid)
    runs = [first[best], *(train_one(split, model, seed, best, settings, python) for seed in seeds[1:])]
    return runs, dict(zip(("learning_rate", "dropout"), best, strict=True))


def train_one(
    split: Split, model: str, seed: int, options: Sequence[float], settings: dict[str, Any], python: Path
) -> Run:
    """One training in the libraries' environment; its best epoch on validation."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder, f"{name}.npz")) for name in ("events", "lists")}
        np.savez(paths["events"], **events_by_part(split))
        rate, dropout = options
        job = {**settings, **paths, "model": model, "seed": seed, "learning_rate": rate, "dropout": dropout}
        (file := Path(folder, "job.json")).write_text(json.dumps({**job, "batch": BATCH[model]}), encoding="utf-8")
        script = Path(__file__).with_name("_recall_libraries.py").resolve()
        ended = subprocess.run([python, script, file], capture_output=True, text=True, check=False)
        if ended.returncode:
            raise SystemExit(f"{LIBRARIES[model]}'s {model} failed in {python}:\n{ended.stderr[-2000:]}")
        with np.load(paths["lists"]) as lists:
            return best_step(split, lists["valid"], lists["test"], float(lists["seconds"]))


def best_step(split: Split, valid: IntArray, test: IntArray, seconds: float) -> Run:
    """The step of (E, U, K) lists with the best validation figure, the first of equal ones."""
    figures = [float(ndcg_and_hits(as_candidates(lists, split.valid()), split.valid())[0].mean()) for lists in valid]
    best = int(np.argmax(figures))
    return Run(figures[best], *ndcg_and_hits(as_candidates(test[best], split.test()), split.test()), seconds)


def as_candidates(lists: IntArray, holdout: Holdout) -> Candidates:
    """Lists (U, K) of all users as candidates of the holdout's queries; scores fall with the rank."""
    item_idx = lists[holdout.queries.user_idx]
    score = np.where(item_idx >= 0, -np.arange(item_idx.shape[1]), -np.inf).astype(np.float32)
    return Candidates(item_idx, score)


def ndcg_and_hits(candidates: Candidates, holdout: Holdout) -> tuple[FloatArray, FloatArray]:
    """(B,) NDCG and hit rate at 10 of every query."""
    found = per_query_metrics(candidates, holdout, (10,))
    return found[METRIC], found["hit_rate@10"]


def summary(name: str, runs: list[Run]) -> dict[str, Any]:
    """Means over seeds."""
    per_seed = [float(run.per_query.mean()) for run in runs]
    return {
        "model": name,
        "ndcg@10": float(np.mean(per_seed)),
        "per_seed": per_seed,
        "hit_rate@10": float(np.mean([run.hits.mean() for run in runs])),
        "valid": float(np.mean([run.valid for run in runs])),
        "seconds": float(np.mean([run.seconds for run in runs])),
    }


def difference(ours: list[Run], theirs: list[Run]) -> dict[str, Any]:
    """Ours − theirs, per-query means over seeds, paired over users."""
    a, b = (np.mean([run.per_query for run in runs], axis=0) for runs in (ours, theirs))
    error = float((a - b).std(ddof=1) / np.sqrt(len(a)))
    interval = paired_bootstrap(a, b, seed=0)
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "standard_errors": interval.mean / error if error else 0.0,
        "below_by_more_than_two": bool(interval.mean < -2 * error),
    }


def bare(split: Split) -> Split:
    """The split with ids in order alone."""
    events = split.interactions
    plain = Interactions(np.asarray(events.user_offsets), np.asarray(events.item_idx), events.n_items)
    return Split(plain, split.fit_stop, split.valid_stop, split.protocol)


def synthetic_split(n_users: int = 60, n_items: int = 40, n_events: int = 12) -> Split:
    """Walks in circles: the next item is the one after the last, most of the time."""
    rng = np.random.default_rng(0)
    steps = np.where(rng.random((n_users, n_events)) < 0.8, 1, rng.integers(2, n_items, (n_users, n_events)))
    items = (rng.integers(n_items, size=(n_users, 1)) + steps.cumsum(axis=1)) % n_items
    return LeaveLastN(1).split(Interactions(n_events * np.arange(n_users + 1), items.ravel(), n_items))


def table(report: dict[str, Any]) -> str:
    """The report as Markdown for a terminal."""
    rows = [
        [
            result["model"],
            f"{result['ndcg@10']:.4f}",
            " ".join(f"{value:.4f}" for value in result["per_seed"]),
            f"{result['hit_rate@10']:.4f}",
            f"{result['valid']:.4f}",
            f"{result['seconds']:.1f}",
        ]
        for result in report["results"]
    ]
    lines = [
        f"{report['users']:,} users, {report['items']:,} items, {report['events']:,} events, seeds {report['seeds']}, "
        f"at most {report['settings']['epochs']} epochs",
        markdown_table(["model", "NDCG@10", "of each seed", "HR@10", "validation", "seconds"], rows),
    ]
    lines += [f"{result['model']}: {result['chosen']}" for result in report["results"] if "chosen" in result]
    for d in report["differences"]:
        verdict = "below by more than two" if d["below_by_more_than_two"] else "not below by two"
        lines.append(
            f"{d['model']} − {d['library']}'s: NDCG@10 {d['mean']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}], "
            f"{d['standard_errors']:+.1f} standard errors over users: {verdict}"
        )
    if not report["differences"]:
        lines.append("no --python, so there is nothing to compare with")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
