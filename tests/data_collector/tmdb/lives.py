"""Crawls in separate processes, which can be killed, and checks of the disk afterwards."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import random
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from loguru import logger

from data_collector.tmdb import workers
from data_collector.tmdb.crawl import CrawlConfig, CrawlReport, crawl
from data_collector.tmdb.journal import FILE, committed_documents
from data_collector.tmdb.key import Key
from data_collector.tmdb.shards import read_documents
from data_collector.tmdb.star import write_star
from reccore import RunOptions, Workspace
from tests.data_collector.tmdb.server import V3_KEY, Remote

RATE = 1000
WORKERS = 50


def live(root: Path, url: str) -> CrawlReport:
    """Run one crawl to its end, unless it is killed."""
    logger.remove()
    workers.BACKOFF_SECONDS = 0.05
    workers.PROBE_SECONDS = workers.LONGEST_PROBE_SECONDS = 0.1
    workers.PROBES = 20
    config = CrawlConfig(base_url=url, rate=RATE, workers=WORKERS)
    return crawl(Workspace(root), Key(V3_KEY), config, RunOptions(progress=False))


def live_and_die(root: Path, server: Remote, kills: int, most_requests: int) -> list[tuple[float, set[int]]]:
    """Crawl and kill the process repeatedly, each time after at most ``most_requests`` requests.

    Returns:
        After each kill the time of the monotonic clock and the ids that the journal has by then.
    """
    context = multiprocessing.get_context("forkserver")  # so that a process does not import everything again
    context.set_forkserver_preload([__name__])
    draw = random.Random(kills)
    moments = []
    while len(moments) < kills:
        last = server.count() + draw.randint(0, most_requests)
        process = context.Process(target=live, args=(root, server.url))
        process.start()
        while server.count() < last:
            assert process.exitcode is None, "the crawl ended before it was killed"
            process.join(0.005)
        process.join(draw.uniform(0.0, 0.02))  # during a write or during a request
        process.kill()
        process.join()
        folder = root / "raw" / "tmdb"
        there = {tmdb_id for _, tmdb_id, *_ in committed_documents(folder)} if (folder / FILE).exists() else set()
        moments.append((time.monotonic(), there))
    return moments


def documents_of(root: Path) -> dict[int, bytes]:
    """The document of each movie as JSON, after a check of all shards."""
    folder = root / "raw" / "tmdb"
    for shard in folder.glob("movies-*"):
        with gzip.open(shard) as lines:
            assert all(json.loads(line)["document"]["id"] > 0 for line in lines)
    found: dict[int, bytes] = {}
    for document in read_documents(folder):
        assert document.tmdb_id not in found
        found[document.tmdb_id] = document.body.split(b'"document": ', 1)[1]
    return found


def tables_of(root: Path) -> dict[str, pa.Table]:
    """The tables with sorted rows and without the fetch times."""
    out = root / "processed" / "tmdb"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_star(read_documents(root / "raw" / "tmdb"), out, show_progress=False)
    tables = {}
    for path in sorted(out.glob("*.parquet")):
        table = pq.read_table(path)
        table = pa.table({name: _plain(table[name]) for name in table.column_names if name != "fetched"})
        sortable = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
        tables[path.name] = table.sort_by([(name, "ascending") for name in sortable])
    return tables


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a dictionary column, because its numbers cannot be sorted."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def check_rate(server: Remote) -> None:
    """No second has more requests than the rate."""
    times = sorted(seen.time for seen in server.seen())
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[RATE:], strict=False))
