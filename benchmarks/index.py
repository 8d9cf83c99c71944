"""Approximate indexes against the exact one: build time, recall, queries per second, memory.

    PYTHONPATH=. python benchmarks/index.py --items 1000000 --kinds ivf,pq
    PYTHONPATH=. python benchmarks/index.py --items 100000 --dim 64 --kinds hnsw,qdrant --threads 1

Items and queries are unit vectors from one mixture around random centres; some neighbours belong to other centres than
the query. Each index is tuned on one sample of queries and measured on another, in alternation with the exact index,
with the same queries, threads and batch size. ``raw FAISS`` is ``faiss.IndexFlatIP`` itself, without the exact ties and
the exclusions of the flat index.
"""

from __future__ import annotations

import argparse
import json
import sys
from time import perf_counter
from typing import Any

import numpy as np
import torch
from loguru import logger

from recall.index import INDEXES
from recall.index.exact import faiss
from recall.index.flat import FlatIndex
from recall.index.tuning import BATCH_SIZE, IndexMeasurement, QuerySample, RecallTooLow, interleaved_qps, tune
from reccore.arrays import FloatArray
from reccore.threads import limit_threads, thread_limit

NOISE = 0.5


def mixture(n: int, centres: FloatArray, noise: float, seed: int) -> FloatArray:
    """(n, D) unit vectors: a centre drawn at random plus Gaussian noise of length ``noise``, then normalised."""
    rng = np.random.default_rng(seed)
    dimension = centres.shape[1]
    vectors = rng.standard_normal((n, dimension), dtype=np.float32)
    vectors *= np.float32(noise / np.sqrt(dimension))
    vectors += centres[rng.integers(0, len(centres), n)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def unit_centres(n: int, dimension: int, seed: int) -> FloatArray:
    """(n, D) random directions."""
    vectors = np.random.default_rng(seed).standard_normal((n, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Build, tune and time each kind."""
    centres = unit_centres(args.centres, args.dim, args.seed)
    items = mixture(args.items, centres, args.noise, args.seed + 1)
    tuning, testing = (mixture(args.queries, centres, args.noise, args.seed + n) for n in (2, 3))
    started = perf_counter()
    flat = FlatIndex().build(items)
    seconds = perf_counter() - started
    choice, test = (QuerySample.of(flat, queries, args.k) for queries in (tuning, testing))
    rows = [IndexMeasurement.of(flat, seconds, test, interleaved_qps([flat], test)[0]).to_dict()]
    missed = []
    for kind in args.kinds.split(","):
        started = perf_counter()
        index = INDEXES[kind]().build(items, args.seed)
        seconds = perf_counter() - started
        logger.info("{} built in {:.1f} s", kind, seconds)
        try:
            tune(index, choice, args.min_recall)
        except RecallTooLow as error:
            missed.append(str(error))
            continue
        exact_rate, rate = interleaved_qps([flat, index], test)
        rows.append(IndexMeasurement.of(index, seconds, test, rate, exact_rate).to_dict())
    return {
        "shape": {name: getattr(args, name) for name in ("items", "centres", "dim", "noise", "queries", "k", "seed")},
        "batch_size": BATCH_SIZE,
        "threads": thread_limit(),
        "raw_faiss_queries_per_second": round(raw_rate(items, testing, args.k), 1),
        "results": rows,
        "missed": missed,
    }


def raw_rate(items: FloatArray, queries: FloatArray, k: int) -> float:
    """Queries per second of ``faiss.IndexFlatIP``."""
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    index.search(queries[:8], k)
    started = perf_counter()
    for start in range(0, len(queries), BATCH_SIZE):
        index.search(queries[start : start + BATCH_SIZE], k)
    return len(queries) / (perf_counter() - started)


def table(report: dict[str, Any]) -> str:
    """The report as lines for a terminal."""
    shape = ", ".join(f"{name} {value:,}" for name, value in report["shape"].items())
    lines = [
        f"{shape}; {report['threads']} threads, batches of {report['batch_size']}",
        f"{'':8}{'build s':>9}{'recall':>9}{'≥ (95%)':>9}{'queries/s':>11}{'exact':>9}{'ratio':>8}{'MB':>8}  options",
    ]
    for row in report["results"]:
        options = ", ".join(f"{name} {value}" for name, value in row["options"].items() if value is not None)
        lines.append(
            f"{row['kind']:8}{row['build_seconds']:>9.1f}{row['recall']:>9.4f}{row['recall_at_least']:>9.4f}"
            f"{row['queries_per_second']:>11,.0f}{row['exact_queries_per_second']:>9,.0f}{row['speedup']:>8.1f}"
            f"{row['n_bytes'] / 1e6:>8,.0f}  {options}"
        )
    lines.append(f"raw FAISS, exact: {report['raw_faiss_queries_per_second']:,.0f} queries/s")
    return "\n".join([*lines, *report["missed"]])


def main() -> None:
    """Parse the options, measure, print a table or JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--centres", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--noise", type=float, default=NOISE, help="length of the noise; a centre has length 1")
    parser.add_argument("--queries", type=int, default=512, help="queries in each of the two samples")
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--kinds", default="ivf,pq,hnsw", help="kinds of index, separated by commas")
    parser.add_argument("--min_recall", type=float, default=0.99)
    parser.add_argument("--threads", type=int, default=None, help="default: torch's choice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--smoke", action="store_true", help="a small size that takes seconds, as a test")
    args = parser.parse_args()
    if args.smoke:
        args.items, args.centres, args.dim, args.queries = 5_000, 50, 32, 64
    limit_threads(args.threads or torch.get_num_threads())
    report = measure(args)
    sys.stdout.write((json.dumps(report) if args.json else table(report)) + "\n")


if __name__ == "__main__":
    main()
