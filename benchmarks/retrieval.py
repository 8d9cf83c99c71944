"""Retrieval of every channel, its merge, and the same work by ``implicit`` and PyTorch, side by side.

    PYTHONPATH=. python benchmarks/retrieval.py --threads 1
    PYTHONPATH=. python benchmarks/retrieval.py --threads 1 --sizes 3416:6040:999611

Synthetic events with popularity, clusters and long histories; each catalogue has items, users and events. Queries are
whole histories of random users, whose items are excluded. The contenders take turns; figures are medians in queries
per second. Those of one group do the same work on the same data, and ``same`` is the share of their items that are
also in our lists:

- vectors: item factors and folded-in users of ``mf``; ours in float64 with exact ties, the others in float32.
- item cosine: plain co-occurrence cosine, ``--neighbours`` each; implicit's rows hold the item itself beside them. Its
  fit is timed too, in seconds.
- channels: ``retrieve`` from the histories. ``two_tower`` is trained for one epoch on a part of the events, which
  decides what its lists are worth and hardly their speed.
- merge: of the lists of all four channels; all four: their retrieval and the merge.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is imported

import numpy as np
import torch
from implicit.cpu.topk import topk
from implicit.nearest_neighbours import CosineRecommender
from scipy import sparse

from dataprep.synthetic import SyntheticSize, event_counts
from dataprep.synthetic_draws import draw_events, make_world
from recall import CHANNELS
from recall.base import BaseRecall
from recall.embedding import EmbeddingRecall
from recall.itemcf import ItemCF
from recall.merge import RRFConfig, merge
from reccore import (
    Candidates,
    Exclusions,
    IdMap,
    Interactions,
    ItemTable,
    QueryBatch,
    RunOptions,
    TrainingData,
    UserTable,
    Vocabulary,
)
from reccore.arrays import row_of_each

# Items, users and events: those of ML-1M, a middle size, and the catalogue of ML-32M with a tenth of its users.
SIZES = "3416:6040:999611,23715:6040:1000000,87585:20000:3200000"
SMOKE = "300:200:8000"
BATCH = 1024  # queries of one product of PyTorch's
LONG_K = 500  # of the retrieval of all users
TRAINED_ON = 20

CONFIGS: dict[str, dict[str, Any]] = {
    "popularity": {},
    "itemcf": {},
    "mf": {"epochs": 3},
    "two_tower": {"epochs": 1},
}


def main() -> None:
    """Parse the options, measure, print a table or JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=SIZES, help="items:users:events of each catalogue, separated by commas")
    parser.add_argument("--queries", type=int, default=2048)
    parser.add_argument("--k", type=int, default=300)
    parser.add_argument("--neighbours", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3, help="timed turns, after an untimed one")
    parser.add_argument("--threads", type=int, default=None, help="of every library; by default PyTorch's choice")
    parser.add_argument("--cpu_time", action="store_true", help="count the processor's time; for one thread")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--smoke", action="store_true", help="a size that takes seconds, to test that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.sizes, args.queries, args.k, args.neighbours, args.repeats = SMOKE, 64, 50, 20, 1
    args.threads = args.threads or torch.get_num_threads()
    args.clock = time.process_time if args.cpu_time else time.perf_counter
    RunOptions(threads=args.threads).apply_threads()
    warnings.filterwarnings("ignore", module="implicit")
    shapes = [[int(number) for number in shape.split(":")] for shape in args.sizes.split(",")]
    report = {
        **{name: getattr(args, name) for name in ("queries", "k", "neighbours", "repeats", "threads", "cpu_time")},
        "catalogues": [measure(SyntheticSize(users, items, events), args) for items, users, events in shapes],
    }
    print(json.dumps(report) if args.json else table(report))


def measure(size: SyntheticSize, args: argparse.Namespace) -> dict[str, Any]:
    """All groups on one catalogue."""
    data = synthetic_training_data(size)
    everyone = data.interactions.queries()
    rng = np.random.default_rng(1)
    queries = everyone.select(np.sort(rng.permutation(len(everyone))[: args.queries]))
    channels = fitted_channels(data)
    lists = {name: channel.retrieve(queries, args.k) for name, channel in channels.items()}
    groups = [
        vectors_group(channels["mf"], queries, args),
        item_cosine_group(data, queries, args),
        {name: (len(queries), retrieval(channel, queries, args.k), None) for name, channel in channels.items()},
        {"two_tower, encoding alone": (len(queries), lambda: encode(channels["two_tower"], queries), None)},
        {
            f"merge of {len(lists)} lists": (len(queries), lambda: merged(lists, args.k), None),
            "all four, merged": (
                len(queries),
                lambda: merged({name: c.retrieve(queries, args.k) for name, c in channels.items()}, args.k),
                None,
            ),
            f"mf, all users, k {LONG_K}": (len(everyone), retrieval(channels["mf"], everyone, LONG_K), None),
        },
    ]
    rows = [row for group in groups for row in measured(group, args)]
    return {
        "items": size.movies,
        "users": size.users,
        "events": data.interactions.n_events,
        "mean_history": round(float(queries.lengths.mean()), 1),
        "fit_seconds": item_cosine_fit(data, args),
        "rows": rows,
    }


Contender = tuple[int, Callable[[], Any], "Candidates | None"]


def measured(group: Mapping[str, Contender], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Queries per second of each contender, which take turns, and the share of the first one's items in its lists."""
    seconds: dict[str, list[float]] = {name: [] for name in group}
    found: dict[str, Any] = {}
    for turn in range(args.repeats + 1):
        for name, (_, run, _) in group.items():
            started = args.clock()
            found[name] = run()
            if turn:
                seconds[name].append(args.clock() - started)
    rows = []
    for name, (n_queries, _, reference) in group.items():
        row = {"name": name, "queries_per_second": round(n_queries / statistics.median(seconds[name]), 1)}
        if reference is not None:
            row["same"] = round(share_in_common(reference, found[name]), 5)
        rows.append(row)
    return rows


def share_in_common(reference: Candidates, found: np.ndarray) -> float:
    """Share of the reference's items that are in the rows of ``found`` (B, ≥ K)."""
    span = int(max(reference.item_idx.max(), found.max())) + 1
    row, column = np.nonzero(reference.mask)
    wanted = row * span + reference.item_idx[row, column]
    offered = np.arange(len(found))[:, None] * span + found
    return float(np.isin(wanted, offered[found >= 0]).mean())


def vectors_group(channel: BaseRecall, queries: QueryBatch, args: argparse.Namespace) -> dict[str, Contender]:
    """Search among given vectors: our index, implicit's top-k, a product and ``torch.topk``."""
    assert isinstance(channel, EmbeddingRecall)
    items = channel.index.vectors
    users, exclude = channel.index_queries(channel.encode_queries(queries), Exclusions.of_history(queries))
    known = exclude.item_idx >= 0
    row = row_of_each(exclude.offsets)[known]
    seen = sparse.csr_matrix((np.ones(len(row), np.float32), (row, exclude.item_idx[known])), (len(users), len(items)))

    def ours() -> Candidates:
        return channel.index.search(users, args.k, exclude)

    def implicit_topk() -> np.ndarray:
        return np.asarray(topk(items, users, args.k, filter_query_items=seen, num_threads=args.threads)[0])

    def torch_topk() -> np.ndarray:
        found = []
        for start in range(0, len(users), BATCH):
            part = exclude.rows(start, min(start + BATCH, len(users)))
            scores = torch.from_numpy(users[start : start + BATCH]) @ torch.from_numpy(items).T
            part.mask_scores(scores.numpy())
            found.append(scores.topk(min(args.k, len(items)))[1].numpy())
        return np.concatenate(found)

    return {
        "vectors": (len(users), ours, None),
        "vectors, implicit's topk": (len(users), implicit_topk, ours()),
        "vectors, torch": (len(users), torch_topk, ours()),
    }


def item_cosine_group(data: TrainingData, queries: QueryBatch, args: argparse.Namespace) -> dict[str, Contender]:
    """Item-based filtering by cosine: our channel and implicit's recommender with as many neighbours."""
    channel = ItemCF(cosine_config(args)).fit(data, options=RunOptions(progress=False))
    model = implicit_cosine(data, args)
    seen = sparse.csr_matrix(
        (np.ones(len(queries.history_idx)), queries.history_idx, queries.history_offsets),
        shape=(len(queries), data.items.n_items),
    )
    everyone = np.arange(len(queries))
    ours = channel.retrieve(queries, args.k)
    return {
        "item cosine": (len(queries), retrieval(channel, queries, args.k), None),
        "item cosine, implicit": (
            len(queries),
            lambda: np.where(
                (found := model.recommend(everyone, seen, N=args.k, filter_already_liked_items=True))[1] > 0,
                found[0],
                -1,
            ),
            ours,
        ),
    }


def item_cosine_fit(data: TrainingData, args: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a fit, ours and implicit's in turns."""
    runs: dict[str, Callable[[], object]] = {
        "item cosine": lambda: ItemCF(cosine_config(args)).fit(data, options=RunOptions(progress=False)),
        "item cosine, implicit": lambda: implicit_cosine(data, args),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, run in runs.items():
            started = args.clock()
            run()
            seconds[name].append(args.clock() - started)
    return {name: round(statistics.median(taken), 3) for name, taken in seconds.items()}


def cosine_config(args: argparse.Namespace) -> dict[str, Any]:
    """Options of ``ItemCF`` with which it is the plain cosine."""
    return {
        "neighbours": args.neighbours,
        "pair_half_life": None,
        "user_damping": 0.0,
        "half_life": None,
        "history_cap": 10**6,
    }


def implicit_cosine(data: TrainingData, args: argparse.Namespace) -> CosineRecommender:
    """implicit's recommender on the same events."""
    model = CosineRecommender(K=args.neighbours + 1, num_threads=args.threads)
    model.fit(data.interactions.to_csr().astype(np.float64), show_progress=False)
    return model


def fitted_channels(data: TrainingData) -> dict[str, BaseRecall]:
    """The four channels; the two-tower is trained on the latest ``TRAINED_ON`` events of each user."""
    options = RunOptions(progress=False)
    few = TrainingData(data.interactions.latest(TRAINED_ON), data.items, data.users, data.vocabulary)
    return {
        name: CHANNELS[name](config).fit(few if name == "two_tower" else data, options=options)
        for name, config in CONFIGS.items()
    }


def retrieval(channel: BaseRecall, queries: QueryBatch, k: int) -> Callable[[], Candidates]:
    """A call that retrieves for all queries."""
    return lambda: channel.retrieve(queries, k)


def encode(channel: BaseRecall, queries: QueryBatch) -> np.ndarray:
    """Query vectors of an embedding channel."""
    assert isinstance(channel, EmbeddingRecall)
    return channel.encode_queries(queries)


def merged(lists: Mapping[str, Candidates], k: int) -> Candidates:
    """The lists merged by reciprocal-rank fusion."""
    return merge(RRFConfig(), lists, k)


def synthetic_training_data(size: SyntheticSize) -> TrainingData:
    """Events by taste and popularity, two genres an item."""
    rng = np.random.default_rng(0)
    world = make_world(size.movies, rng)
    counts = np.minimum(event_counts(size, rng), size.movies // 2)
    events = draw_events(counts, 1, world, rng)
    user, movie, when = (events[name].to_numpy() for name in ("userId", "movieId", "timestamp"))
    vocabulary = Vocabulary(IdMap(np.arange(1, size.users + 1)), IdMap(np.sort(world.movie_id)))
    interactions = Interactions.from_events(
        vocabulary.users.encode(user),
        vocabulary.items.encode(movie),
        n_users=size.users,
        n_items=size.movies,
        rating=events["rating"].to_numpy().astype(np.float32),
        timestamp=when,
    )
    items = ItemTable(
        size.movies,
        genre_names=tuple(f"genre {number}" for number in range(19)),
        genre_offsets=2 * np.arange(size.movies + 1, dtype=np.int64),
        genre_idx=rng.integers(0, 19, 2 * size.movies),
    )
    return TrainingData(interactions, items, UserTable(size.users), vocabulary)


def table(report: dict[str, Any]) -> str:
    """The report as lines for a terminal."""
    clock = "CPU" if report["cpu_time"] else "clock"
    lines = [f"{report['queries']} queries, k {report['k']}, {report['threads']} threads, {clock} time"]
    for found in report["catalogues"]:
        fits = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found["fit_seconds"].items())
        lines.append(
            f"\n{found['items']:,} items, {found['users']:,} users, {found['events']:,} events, histories of "
            f"{found['mean_history']} on average; fit: {fits}"
        )
        lines.append(f"{'':32}{'queries/s':>12}{'same':>10}")
        for row in found["rows"]:
            same = f"{row['same']:>10.3%}" if "same" in row else ""
            lines.append(f"{row['name']:32}{row['queries_per_second']:>12,.0f}{same}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
