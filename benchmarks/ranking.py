"""Speed of the rankers: training examples per second, and milliseconds to rank the candidates of one user.

    PYTHONPATH=. python benchmarks/ranking.py --threads 2
    PYTHONPATH=. python benchmarks/ranking.py --threads 1 --cpu_time --models deepfm,din

Training: batches of 4,096 rows of one user and one film, with the user's latest 50 films, ids, genres and pointwise
loss. ``--per_query`` rows share a user and a history, as the candidates of a query do; 1 for the rows of
scripts/compare_ctr.py. The time of the trainer's steps counts. Where torch-rechub is installed (pip install --no-deps
torch-rechub), its ``CTRTrainer`` trains the same architecture on the same rows, written out one by one, in turns with
ours: by its own loader, which collates row by row, and from whole batches.

Latency: ``score`` of one query with 500 candidates and every default feature, whose computation is included; of
LambdaMART (500 trees of 7 leaves) also the features alone, and the same scores with LightGBM's own prediction. Figures
are medians over the turns.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

if sys.path[0] == str(Path(__file__).parent):
    sys.path.remove(sys.path[0])  # Python puts it first, and this file would hide the package of its name

import numpy as np
import torch
from loguru import logger

import training.trainer
from benchmarks.ctr_reference import LIBRARY, Batches, columns, synthetic_ratings, their_network
from dataprep.prepare import Prepared
from experiments.ctr import HISTORY, OPTIONS, SHARED, CTRData, ImpressionRows, features_of, impressions
from ranking import RANKERS
from ranking.lambdamart import LambdaMART
from ranking.neural import NeuralRanker
from reccore import Candidates, IdMap, QueryBatch, RankingSamples, RunOptions, Vocabulary

TRAINED = ("deepfm", "din")
CHANNELS = ("itemcf", "mf", "two_tower", "popularity")
Clock = Callable[[], float]


def main() -> None:
    """Parse the options, measure, print a table or JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(TRAINED), help="models whose training is timed")
    parser.add_argument("--batch_size", type=int, default=4096)
    parser.add_argument("--per_query", default="64,1", help="rows that share a query; several are timed in turn")
    parser.add_argument("--steps", type=int, default=10, help="of a turn")
    parser.add_argument("--repeats", type=int, default=5, help="timed turns, after an untimed one")
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--threads", type=int, default=None, help="of every library; by default PyTorch's choice")
    parser.add_argument("--cpu_time", action="store_true", help="count the processor's time; for one thread")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--smoke", action="store_true", help="a size that takes seconds, to test that it runs")
    args = parser.parse_args()
    logger.remove()
    users, items, events = (40, 120, 40) if args.smoke else (2000, 3400, 80)
    if args.smoke:
        args.batch_size, args.steps, args.repeats, args.candidates = 64, 1, 1, 20
    args.threads = args.threads or torch.get_num_threads()
    RunOptions(threads=args.threads).apply_threads()
    clock = time.process_time if args.cpu_time else time.perf_counter
    training.trainer.perf_counter = clock
    prepared = synthetic_ratings(users, items, events)
    data = impressions(prepared)
    report = {
        **{name: getattr(args, name) for name in ("batch_size", "steps", "repeats", "candidates", "threads")},
        "cpu_time": args.cpu_time,
        "training": {
            f"{model}, {per_query} per query": training_speed(query_rows(data, per_query, args), model, args, clock)
            for model in args.models.split(",")
            for per_query in map(int, args.per_query.split(","))
        },
        "milliseconds": latencies(prepared, data, args, clock),
    }
    print(json.dumps(report) if args.json else table(report))


def query_rows(data: CTRData, per_query: int, args: argparse.Namespace) -> ImpressionRows:
    """As many queries as the steps take, each with random films, the first of them chosen."""
    n_queries = args.steps * args.batch_size // per_query
    queries = data.train.samples.queries.select(np.arange(n_queries) % len(data.train))
    rng = np.random.default_rng(0)
    item_idx = rng.integers(0, data.train.items.n_items, (n_queries, per_query))
    labels = np.zeros(item_idx.shape, dtype=np.float32)
    labels[:, 0] = np.arange(n_queries) % 2 if per_query == 1 else 1.0
    candidates = Candidates(item_idx, np.zeros(item_idx.shape, dtype=np.float32))
    return replace(data.train, samples=RankingSamples(queries, candidates, {"click": labels}))


def written_out(rows: ImpressionRows) -> ImpressionRows:
    """One row for every candidate."""
    samples = rows.samples
    n, k = samples.candidates.item_idx.shape
    single = Candidates(samples.candidates.item_idx.reshape(-1, 1), np.zeros((n * k, 1), dtype=np.float32))
    labels = {"click": samples.labels["click"].reshape(-1, 1)}
    return replace(rows, samples=RankingSamples(samples.queries.select(np.repeat(np.arange(n), k)), single, labels))


def training_speed(rows: ImpressionRows, model: str, args: argparse.Namespace, clock: Clock) -> dict[str, float]:
    """Examples per second of ours and theirs, which take turns."""
    contenders = {"ours": our_turn(rows, model, args)}
    if find_spec("torch_rechub") is not None:
        contenders[f"{LIBRARY}, whole batches"] = their_turn(rows, model, args, clock, own_loader=False)
        contenders[f"{LIBRARY}, its own loader"] = their_turn(rows, model, args, clock, own_loader=True)
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(args.repeats + 1):
        for name, turn in contenders.items():
            found[name].append(turn())
    return {name: round(statistics.median(speeds[1:])) for name, speeds in found.items()}


def our_turn(rows: ImpressionRows, model: str, args: argparse.Namespace) -> Callable[[], float]:
    """An epoch; the trainer counts the time of its steps."""
    per_query = rows.samples.candidates.k
    wanted = {**SHARED, **OPTIONS.get(model, {}), "batch_size": args.batch_size // per_query, "epochs": 1}
    tables: dict[str, Any] = {"items": rows.items, "users": rows.users}
    vocabulary = Vocabulary(IdMap(np.arange(rows.users.n_users)), IdMap(np.arange(rows.items.n_items)))
    options = RunOptions(seed=0, device="cpu", progress=False)

    def turn() -> float:
        ranker = RANKERS[model]({"features": features_of(rows), **wanted})
        assert isinstance(ranker, NeuralRanker)
        ranker.fit(rows.samples, vocabulary=vocabulary, options=options, **tables)
        return ranker.log.samples_per_second * per_query

    return turn


def their_turn(
    rows: ImpressionRows, model: str, args: argparse.Namespace, clock: Clock, *, own_loader: bool
) -> Callable[[], float]:
    """A turn of ``CTRTrainer``."""
    from torch_rechub.trainers import CTRTrainer
    from torch_rechub.utils.data import TorchDataset

    single = written_out(rows)
    inputs, labels = columns(single), torch.from_numpy(single.labels)
    trainer = CTRTrainer(their_network(model, rows, SHARED["embedding_size"]), device="cpu")

    def batches() -> Any:
        if not own_loader:
            return Batches(inputs, labels, args.batch_size, 0)
        plain = {name: values.numpy() for name, values in inputs.items()}
        dataset = TorchDataset(plain, labels.numpy())
        return torch.utils.data.DataLoader(dataset, batch_size=args.batch_size, shuffle=True, num_workers=0)

    def turn() -> float:
        started = clock()
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):  # its progress bar
            trainer.train_one_epoch(batches())
        return len(labels) / (clock() - started)

    return turn


def latencies(prepared: Prepared, data: CTRData, args: argparse.Namespace, clock: Clock) -> dict[str, float]:
    """Registered ranker → milliseconds of ``score`` for one query, median of 10 for each repeat."""
    train, (query, candidates) = ranking_lists(prepared, 64, 40), one_request(prepared, args.candidates)
    found = {}
    for name in RANKERS:
        try:
            config: dict[str, Any] = {"epochs": 1} if "epochs" in RANKERS[name].Config.model_fields else {}
            if name == LambdaMART.name:
                config = {"min_data_in_leaf": 10}  # so that so few rows give full trees
            ranker = RANKERS[name](config)
            tables: dict[str, Any] = {"items": data.train.items, "users": data.train.users}
            ranker.fit(
                with_tasks(train, ranker.tasks),
                vocabulary=prepared.vocabulary,
                options=RunOptions(device="cpu", progress=False),
                **tables,
            )
        except ImportError:  # an optional package
            continue
        found[name] = milliseconds(partial(ranker.score, query, candidates), args, clock)
        if isinstance(ranker, LambdaMART):
            features = partial(ranker._features.matrix, query, candidates, candidates.mask)
            found[f"{name}, features alone"] = milliseconds(features, args, clock)
            ranker._compiled = None
            found[f"{name}, trees by LightGBM"] = milliseconds(partial(ranker.score, query, candidates), args, clock)
    return found


def milliseconds(turn: Callable[[], Any], args: argparse.Namespace, clock: Clock) -> float:
    """Median of 10 calls for each repeat, after a first one."""
    turn()
    seconds = []
    for _ in range(10 * args.repeats):
        started = clock()
        turn()
        seconds.append(clock() - started)
    return round(1000 * statistics.median(seconds), 2)


def with_tasks(samples: RankingSamples, tasks: Sequence[str]) -> RankingSamples:
    """The same samples with the same labels for every task."""
    (labels,) = samples.labels.values()
    return RankingSamples(samples.queries, samples.candidates, dict.fromkeys(tasks, labels))


def ranking_lists(prepared: Prepared, n_queries: int, k: int) -> RankingSamples:
    """Random candidates of the first users, of which two channels' scores together choose one."""
    events = prepared.split.interactions
    queries = events.queries(np.arange(min(n_queries, events.n_users)))
    candidates = random_candidates(len(queries), min(k, events.n_items), events.n_items)
    labels = np.zeros(candidates.item_idx.shape, dtype=np.float32)
    best = sum(candidates.features[f"recall_score.{channel}"] for channel in CHANNELS[:2])
    labels[np.arange(len(labels)), np.argmax(best, axis=1)] = 1.0
    return RankingSamples(queries, candidates, {"click": labels})


def one_request(prepared: Prepared, k: int) -> tuple[QueryBatch, Candidates]:
    """One user with a history of 50 events, and k candidates."""
    events = prepared.split.interactions
    query = events.queries(np.array([1])).latest(HISTORY)
    return query, random_candidates(1, min(k, events.n_items), events.n_items)


def random_candidates(n_queries: int, k: int, n_items: int) -> Candidates:
    """Distinct items with the scores and ranks of four channels."""
    rng = np.random.default_rng(0)
    item_idx = np.argsort(rng.random((n_queries, n_items)), axis=1)[:, :k].astype(np.int64)
    features = {}
    for channel in CHANNELS:
        features[f"recall_score.{channel}"] = rng.random(item_idx.shape).astype(np.float32)
        features[f"recall_rank.{channel}"] = np.tile(np.arange(1, k + 1, dtype=np.float32), (n_queries, 1))
    score = np.tile(1.0 / np.arange(1, k + 1, dtype=np.float32), (n_queries, 1))
    return Candidates(item_idx, score, features)


def table(report: dict[str, Any]) -> str:
    """The report as lines for a terminal."""
    clock = "CPU" if report["cpu_time"] else "clock"
    lines = [f"{report['threads']} threads, {clock} time", f"\ntraining, examples/s at batch {report['batch_size']:,}"]
    for model, speeds in report["training"].items():
        for name, speed in speeds.items():
            times = "" if name == "ours" else f"   ours is {speeds['ours'] / speed:.1f} times as fast"
            lines.append(f"{model + ', ' + name:56}{speed:>10,}{times}")
    if find_spec("torch_rechub") is None:
        lines.append(f"{LIBRARY} is not installed: pip install --no-deps {LIBRARY}")
    lines.append(f"\nranking {report['candidates']} candidates of one user, milliseconds")
    lines += [f"{name:56}{taken:>10.2f}" for name, taken in report["milliseconds"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
