"""A whole training step of the two towers: the fused softmax against the plain one, side by side.

    PYTHONPATH=. python benchmarks/two_tower.py --repeats 7
    PYTHONPATH=. python benchmarks/two_tower.py --device cuda --repeats 30

The tables have the shape of ML-32M (200,948 users, 87,585 films, 32 million events in memory, with its popularity and
lengths of histories); the model is the MLP over histories of 50 events, at its defaults but for the size of vectors and
batches and for the uniform negatives, of which the bare loss knows nothing (``--uniform`` adds them, on both sides).
All contenders train one network in one run, taking turns, by the trainer's own step; only the loss differs. The plain
one is bare ``F.cross_entropy(u @ v.T / τ)``, which corrects nothing and masks nothing: with the products as the trainer
has them (bf16 factors, fp32 logits, where that is faster), and under autocast (bf16 logits). The better one is what the
fused one is compared with. The fused step takes each item of a batch once, weighted by how often it is there.

"Share" is the three products of a loss over all columns, 6·B·M·D operations, over the time of the whole step, divided
by the machine's own rate of a square matrix product in that precision, measured in the same turns. The peak of memory
is that of the fused step: on a CPU of the whole process, events included, before any plain step has run; on a GPU of
what PyTorch has allocated there. Threads that spin at barriers lose where other programs want the cores too; unless it
is set, ``OMP_WAIT_POLICY`` is ``passive`` here.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is imported

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.softmax import SQUARE, is_narrow, loss_facts, loss_head, loss_parser, square_products, stopwatch
from dataprep.synthetic import ML_32M_MOVIES, ML_32M_RATINGS, ML_32M_USERS, SyntheticSize, event_counts
from dataprep.synthetic_draws import make_world
from recall.neural.encoders.mlp import MLPEncoder
from recall.neural.encoders.prefix import PrefixInputs
from recall.neural.losses.softmax import fused_sampled_softmax
from recall.neural.network import NeuralNetwork
from recall.neural.task import RecallTask
from recall.neural.user_codes import UserCodes
from recall.two_tower import TwoTowerConfig
from reccore import Interactions, ItemTable, RunOptions, UserTable
from reccore.arrays import IntArray, offsets_from_lengths
from reccore.buckets import bucket_boundaries
from training import Trainer, trainer

N_GENRES = 19
WARM_UP = 2
OURS = "fused"


def main() -> None:
    """Parse the options, measure, print a table or JSON on stdout."""
    parser = loss_parser(__doc__, repeats=7, warm_up=WARM_UP)
    parser.add_argument("--users", type=int, default=ML_32M_USERS)
    parser.add_argument("--movies", type=int, default=ML_32M_MOVIES)
    parser.add_argument("--events", type=int, default=ML_32M_RATINGS)
    parser.add_argument("--mask_positives", action="store_true", help="hide all items of the user from the negatives")
    parser.add_argument("--threads", type=int, help="of PyTorch; by default its own choice")
    args = parser.parse_args()
    if args.smoke:
        args.batch, args.dim, args.repeats = 256, 16, 2
        args.users, args.movies, args.events = 400, 300, 20_000
    if min(args.batch, args.dim, args.repeats) < 1 or args.uniform < 0 or args.events < args.batch:
        parser.error("--batch, --dim, --repeats have to be at least 1, --uniform at least 0, --events at least --batch")
    if args.threads:
        torch.set_num_threads(args.threads)
    report = measure(args)
    print(json.dumps(report) if args.json else table(report))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of a step, examples/s, share of the machine's rate, peak memory and the step's parts."""
    training = make_training(args)
    device = training.device
    shuffle = np.random.default_rng(0)
    steps = contenders(training)
    rates = square_products(device)
    parts: dict[str, list[float]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)

    def rows() -> IntArray:
        return shuffle.integers(0, training.task.n_samples, args.batch)

    for _ in range(WARM_UP):
        steps[OURS](rows())
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    for turn in range(WARM_UP + args.repeats):
        for name, step in steps.items():
            batch = rows()
            with parts_timed(training, parts if name == OURS and turn >= WARM_UP else None, device):
                taken = stopwatch(lambda step=step, batch=batch: step(batch), device)
            if turn >= WARM_UP:
                seconds[name].append(taken)
        for name, multiply in rates.items():
            taken = stopwatch(multiply, device)
            if turn >= WARM_UP:
                seconds[name].append(taken)
    median = {name: statistics.median(taken) for name, taken in seconds.items()}
    rate = {name: 2 * SQUARE**3 / median.pop(name) for name in rates}
    work = 6 * args.batch * (args.batch + args.uniform) * args.dim
    best_plain = min(taken for name, taken in median.items() if name.startswith("cross_entropy"))
    return {
        **loss_facts(args, device, rate),
        "table_rows": args.users + args.movies,
        "peak_gb": round(peak / 1e9, 2),
        "times_as_fast_as_the_better_plain_step": round(best_plain / median[OURS], 2),
        "results": {
            name: {
                "seconds": round(taken, 5),
                "examples_per_second": round(args.batch / taken),
                "share_of_product_rate": round(work / taken / rate["bf16" if is_narrow(device) else "fp32"], 4),
            }
            for name, taken in median.items()
        },
        "parts_ms": {name: round(1000 * statistics.median(taken), 1) for name, taken in parts.items()},
    }


def make_training(args: argparse.Namespace) -> Trainer:
    """A training about to begin, on random events with the lengths and the popularity of ML-32M."""
    rng = np.random.default_rng(0)
    counts = event_counts(SyntheticSize(args.users, args.movies, args.events), rng)
    world = make_world(args.movies, rng)
    drawn = rng.random(args.events) * world.cumulated[-1]
    item_idx = np.minimum(np.searchsorted(world.cumulated, drawn, side="right") - 1, args.movies - 1)
    rating = rng.integers(1, 11, args.events).astype(np.float32) / 2
    events = Interactions(offsets_from_lengths(counts), item_idx, args.movies, rating)
    items = ItemTable(
        args.movies,
        year=rng.integers(1920, 2023, args.movies),
        genre_names=tuple(f"genre {g}" for g in range(N_GENRES)),
        genre_offsets=2 * np.arange(args.movies + 1, dtype=np.int64),
        genre_idx=rng.integers(0, N_GENRES, 2 * args.movies),
        statistics={"count": events.item_counts().astype(np.float32)},
    )
    config = TwoTowerConfig.parse(
        {
            "embedding_size": args.dim,
            "batch_size": args.batch,
            "encoder": {"kind": "mlp", "history_length": 50, "history_dropout": 0.2},
            "negatives": {"uniform": args.uniform},
            "loss": {"implementation": "fused", "mask_positives": "all" if args.mask_positives else "none"},
        }
    )
    codes = UserCodes(
        bucket_boundaries(rating[:100_000]),
        UserTable(args.users),
        longest=int(counts.max()) - 1,
        typical_rating=float(rating.mean()),
    )
    torch.manual_seed(0)
    network = NeuralNetwork(config, MLPEncoder, items, codes)
    network.train()
    options = RunOptions(device=args.device, progress=False)
    examples = network.query_encoder.examples(events, config.batch_size)
    return Trainer(RecallTask(network, examples, config, options), config, options)


def contenders(training: Trainer) -> dict[str, Callable[[IntArray], object]]:
    """A training step each over the rows given, all of one network."""
    task = training.task
    assert isinstance(task, RecallTask)
    network, config = task.network, task.config
    fused = task.objective

    def bare(narrow: bool) -> Callable[..., Tensor]:
        def loss(inputs: PrefixInputs, targets: Tensor, events: IntArray, draws: torch.Generator) -> Tensor:
            uniform = torch.randint(network.n_items, (config.negatives.uniform,), generator=draws)
            queries, items = network(inputs, torch.cat([targets, uniform.to(targets.device)]), draws)
            with torch.autocast(targets.device.type, dtype=torch.bfloat16, enabled=narrow):
                logits = queries @ items.T / config.tau.start
            return F.cross_entropy(logits, torch.arange(len(targets), device=targets.device))

        return loss

    def step_with(objective: Callable[..., Tensor]) -> Callable[[IntArray], object]:
        def step(rows: IntArray) -> object:
            task.objective = objective  # type: ignore[assignment]
            return training._step(rows)

        return step

    return {
        OURS: step_with(fused),
        "cross_entropy fp32": step_with(bare(False)),
        "cross_entropy bf16": step_with(bare(True)),
    }


@contextmanager
def parts_timed(training: Trainer, parts: dict[str, list[float]] | None, device: torch.device) -> Any:
    """Where a step's time goes: what is called from outside is timed, backward and the rest are the difference."""
    if parts is None:
        yield
        return
    seconds: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            result: list[Any] = []
            seconds[name] += stopwatch(lambda: result.append(function(*args, **options)), device)
            return result[0]

        return call

    start = time.perf_counter()
    network, examples, optimiser = training.network, training.task.examples, training.optimiser
    with (
        mock.patch.object(examples, "batch", timed("gathering of the batch", examples.batch)),
        mock.patch.object(network.query_encoder, "forward", timed("query encoder", network.query_encoder.forward)),
        mock.patch.object(network.item_encoder, "forward", timed("item encoder", network.item_encoder.forward)),
        mock.patch(
            "recall.neural.losses.softmax.fused_sampled_softmax", timed("loss and its gradients", fused_sampled_softmax)
        ),
        mock.patch.object(Tensor, "backward", timed("backward", Tensor.backward)),
        mock.patch.object(trainer, "clip_gradients", timed("clipping", trainer.clip_gradients)),
        mock.patch.object(optimiser, "step", timed("optimiser", optimiser.step)),
    ):
        yield
    whole = time.perf_counter() - start
    for name, taken in seconds.items():
        parts[name].append(taken)
    parts["the rest"].append(whole - sum(seconds.values()))


def peak_memory() -> int:
    """Peak resident memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def table(report: dict[str, Any]) -> str:
    """The report as lines for a terminal."""
    lines = [
        *loss_head(report),
        f"{report['table_rows']:,} rows of embedding tables",
        f"{'whole step':24}{'ms':>10}{'examples/s':>14}{'share':>8}",
    ]
    for name, row in report["results"].items():
        milliseconds, share = f"{1000 * row['seconds']:.1f}", f"{row['share_of_product_rate']:.1%}"
        lines.append(f"{name:24}{milliseconds:>10}{row['examples_per_second']:>14,}{share:>8}")
    ratio = report["times_as_fast_as_the_better_plain_step"]
    lines.append(f"fused is {ratio} times as fast as the better plain step; peak of memory {report['peak_gb']} GB")
    lines += [f"  {name:30}{taken:>8.1f} ms" for name, taken in report["parts_ms"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
