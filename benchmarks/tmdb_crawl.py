"""Speed of the TMDb crawl without limits of network and service: movies per second on loopback.

    PYTHONPATH=. python benchmarks/tmdb_crawl.py --movies 10000 --rate 1000
    PYTHONPATH=. python benchmarks/tmdb_crawl.py --smoke

The test server runs in its own process and sends documents of about 20 kB that are created in advance. The time runs
from the first request to the last and includes requests, checks, compression, shards and journal on the disk. The CPU
time of the crawl is shown too, because the elapsed time depends on other processes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from loguru import logger

from data_collector.tmdb.crawl import CrawlConfig, crawl
from data_collector.tmdb.key import Key
from reccore import RunOptions, Workspace
from tests.data_collector.tmdb.server import V3_KEY, Plan, tmdb_process

DISTINCT = 500


def measure(args: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Crawl into a new folder."""
    space = Workspace(root)
    space.processed.mkdir(parents=True)
    ids = pa.array(range(1, args.movies + 1), pa.int64())
    pq.write_table(pa.table({"movieId": ids, "tmdbId": ids}), space.processed / "links.parquet")
    with tmdb_process(
        Plan(distinct=min(DISTINCT, args.movies), faults=args.faults, compressed=args.compressed)
    ) as server:
        config = CrawlConfig(base_url=server.url, rate=args.rate, workers=args.workers)
        cpu = time.process_time()
        report = crawl(space, Key(V3_KEY), config, RunOptions(progress=sys.stderr.isatty()))
        cpu = time.process_time() - cpu
        times = sorted(seen.time for seen in server.seen())
    spans = [later - earlier for earlier, later in zip(times, times[args.rate :], strict=False)]
    return {
        "movies": report.documents,
        "rate": args.rate,
        "workers": args.workers,
        "requests": len(times),
        "seconds": times[-1] - times[0],
        "movies_per_second": report.documents / (times[-1] - times[0]),
        "cpu_ms_per_movie": 1e3 * cpu / report.documents,
        "rate_kept": min(spans, default=1.0) >= 1.0,
        "bytes": sum(path.stat().st_size for path in report.folder.glob("movies-*")),
    }


def describe(result: dict[str, Any]) -> str:
    """Format the measurement as text."""
    kept = "never more" if result["rate_kept"] else "MORE"
    return "\n".join(
        [
            f"{result['movies']:,} movies in {result['seconds']:.1f} s: {result['movies_per_second']:,.0f} movies/s "
            f"with {result['workers']} workers, {result['requests']:,} requests",
            f"CPU time of the crawl {result['cpu_ms_per_movie']:.2f} ms per movie",
            f"{kept} than {result['rate']:,} requests in any second, as counted by the server",
            f"{result['bytes'] / result['movies'] / 1e3:.1f} kB per movie on the disk",
        ]
    )


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--movies", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=50)
    parser.add_argument(
        "--faults", type=float, default=0.0, help="share of requests that the server answers with a fault"
    )
    parser.add_argument("--compressed", action="store_true", help="send documents gzipped")
    parser.add_argument("--smoke", action="store_true", help="200 movies, a test that it runs")
    parser.add_argument("--folder", type=Path, help="folder for the documents (default: temporary)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.smoke:
        args.movies = 200
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        result = measure(args, Path(folder))
    print(json.dumps(result) if args.json else describe(result))


if __name__ == "__main__":
    main()
