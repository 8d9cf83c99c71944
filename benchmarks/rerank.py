"""Milliseconds to rerank the candidates of one user.

    PYTHONPATH=. python benchmarks/rerank.py
    PYTHONPATH=. python benchmarks/rerank.py --candidates 500 --k 20 --repeats 200 --json

Every registered reranker chooses k of the candidates, all of which are in its pool. Candidates carry 40 features, as
those of a pipeline with six channels do. The catalogue is synthetic: 64-dimensional vectors, 18 genres, a history of
100 events. Processor time of one thread; the median and the 99th percentile over the repeats, which alternate between
the rerankers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

if sys.path[0] == str(Path(__file__).parent):
    sys.path.remove(sys.path[0])  # Python puts it first, and this file would hide the package of its name

import numpy as np

from reccore import Candidates, IdMap, ItemTable, QueryBatch, RunOptions, Vocabulary
from rerank import RERANKERS
from rerank.base import BaseReranker

N_GENRES, HISTORY, N_FEATURES = 18, 100, 40


def rerankers(pool: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Label → method and options."""
    genres, steps = {"similarity": {"kind": "genres"}}, [{"method": "calibrated", "pool": pool}, {"method": "mmr"}]
    return {
        "mmr, vectors": ("mmr", {"pool": pool}),
        "mmr, genres": ("mmr", {"pool": pool, **genres}),
        "dpp, vectors": ("dpp", {"pool": pool}),
        "dpp, genres": ("dpp", {"pool": pool, **genres}),
        "calibrated": ("calibrated", {"pool": pool}),
        "rules": (
            "rules",
            {
                "max_per_genre": 4,
                "max_per_decade": 5,
                "max_per_franchise": 2,
                "no_adjacent_sequels": True,
                "min_new_share": 0.2,
            },
        ),
        "explore, epsilon": ("explore", {"pool": pool}),
        "explore, thompson": ("explore", {"pool": pool, "policy": {"kind": "thompson"}}),
        "calibrated → mmr of 100": ("chain", {"steps": steps}),
    }


def catalogue(n_items: int, rng: np.random.Generator) -> ItemTable:
    """Items with titles, years, one to four genres and numbers of events."""
    lengths = rng.integers(1, 5, size=n_items)
    genres = np.concatenate([np.sort(rng.permutation(N_GENRES)[:length]) for length in lengths])
    return ItemTable(
        n_items,
        title=np.array([f"Film {i // 3} Part {'I' * (i % 3 + 1)}" for i in range(n_items)], dtype=object),
        year=rng.integers(1930, 2020, size=n_items),
        genre_names=tuple(f"genre {g}" for g in range(N_GENRES)),
        genre_offsets=np.concatenate([[0], np.cumsum(lengths)]),
        genre_idx=genres,
        statistics={"count": rng.zipf(1.5, size=n_items).clip(max=10_000).astype(np.float32)},
    )


def request(n_items: int, k: int, rng: np.random.Generator) -> tuple[QueryBatch, Candidates]:
    """One user with a history, and candidates with features."""
    query = QueryBatch.from_histories([rng.integers(0, n_items, size=HISTORY).tolist()])
    item_idx = rng.permutation(n_items)[None, :k].astype(np.int64)
    score = -np.sort(-rng.normal(size=(1, k))).astype(np.float32)
    features = {f"feature {i}": rng.random((1, k)).astype(np.float32) for i in range(N_FEATURES)}
    return query, Candidates(item_idx, score, features)


def milliseconds(
    fitted: dict[str, BaseReranker], query: QueryBatch, candidates: Candidates, k: int, repeats: int
) -> dict[str, list[float]]:
    """Label → milliseconds of every repeat, after an untimed one that compiles."""
    found: dict[str, list[float]] = {label: [] for label in fitted}
    for repeat in range(repeats + 1):
        for label, reranker in fitted.items():
            started = time.process_time_ns()
            reranker.rerank(query, candidates, k)
            if repeat:
                found[label].append((time.process_time_ns() - started) / 1e6)
    return found


def main() -> None:
    """Parse the options, measure, print a table or JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--k", type=int, default=20, help="length of the list")
    parser.add_argument("--items", type=int, default=20_000, help="of the catalogue")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--smoke", action="store_true", help="a size that takes seconds, to test that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.candidates, args.k, args.items, args.repeats = 30, 5, 200, 2
    RunOptions(threads=1).apply_threads()
    rng = np.random.default_rng(0)
    items, vectors = catalogue(args.items, rng), rng.normal(size=(args.items, 64)).astype(np.float32)
    vocabulary = Vocabulary(IdMap.of(np.array([1])), IdMap.of(np.arange(args.items)))
    fitted = {
        label: RERANKERS[method](options).fit(items, vectors, vocabulary)
        for label, (method, options) in rerankers(args.candidates).items()
    }
    query, candidates = request(args.items, args.candidates, rng)
    times = milliseconds(fitted, query, candidates, args.k, args.repeats)
    figures = {
        label: {"median": round(float(np.median(taken)), 3), "p99": round(float(np.quantile(taken, 0.99)), 3)}
        for label, taken in times.items()
    }
    report = {"candidates": args.candidates, "k": args.k, "items": args.items, "milliseconds": figures}
    print(json.dumps(report) if args.json else table(report))


def table(report: dict[str, Any]) -> str:
    """The report as lines for a terminal."""
    lines = [f"{report['candidates']} candidates to {report['k']}, milliseconds of processor time of one thread"]
    lines.append(f"{'':26}{'median':>10}{'p99':>10}")
    for label, taken in report["milliseconds"].items():
        lines.append(f"{label:26}{taken['median']:>10.3f}{taken['p99']:>10.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
