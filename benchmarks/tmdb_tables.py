"""From stored answers of TMDb to the four tables: seconds, documents per second, peak memory.

    PYTHONPATH=. python benchmarks/tmdb_tables.py --movies 100000
    PYTHONPATH=. python benchmarks/tmdb_tables.py --smoke

Some thousand documents are made by the tests' generator, about 20 kB of JSON each, and used again and again as other
movies: with other ids of the movie and its credits, and every round of the first rounds with other people. They go to
shards by the crawl's own writer. What is timed is the command, in a process of its own, with its start and its imports;
its peak of memory is that process's alone. Processor seconds are beside the seconds by the clock, which count what else
the machine does.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loguru import logger

from data_collector.tmdb.journal import Journal, Movie
from data_collector.tmdb.shards import ShardWriter, encode_record
from scripts.data_collector.process_tmdb_json import main as process
from tests.data_collector.tmdb.documents import N_PEOPLE, movie_document

DISTINCT = 2_000
PEOPLE_ROUNDS = 40  # so that there are up to 800,000 people, as in the credits of MovieLens's films
FETCHED = 1.7e9
_PERSON = re.compile(rb'"id":(\d+),"known_for_department"')


def relabelled(n_movies: int) -> Iterator[tuple[int, bytes]]:
    """Ids from 1 and documents as JSON, each a movie of its own."""
    originals = [
        json.dumps(movie_document(tmdb_id), separators=(",", ":"), ensure_ascii=False).encode()
        for tmdb_id in range(1, min(n_movies, DISTINCT) + 1)
    ]
    for place in range(n_movies):
        round_, of_round = divmod(place, DISTINCT)
        body, tmdb_id = originals[of_round], place + 1
        if round_:
            shift = N_PEOPLE * (round_ % PEOPLE_ROUNDS)
            body = _PERSON.sub(lambda found, by=shift: b'"id":%d,"known_for_department"' % (int(found[1]) + by), body)
            body = body.replace(b',"id":%d,"imdb_id"' % (of_round + 1), b',"id":%d,"imdb_id"' % tmdb_id)
            credit = re.search(rb'"credit_id":"([0-9a-f]{16})', body)
            if credit is not None:
                body = body.replace(credit[1], b"%016x" % (2**63 + tmdb_id))
        yield tmdb_id, body


def write_shards(folder: Path, n_movies: int) -> int:
    """Store the documents; returns their bytes as JSON."""
    folder.mkdir(parents=True)
    journal = Journal(folder)
    shards = ShardWriter(folder, journal)
    n_bytes, movies = 0, []
    for tmdb_id, body in relabelled(n_movies):
        place = shards.append(encode_record(tmdb_id, "en-US", FETCHED + tmdb_id, None, body))
        movies.append(Movie(tmdb_id, "en-US", "done", 1, FETCHED, FETCHED + tmdb_id, place))
        n_bytes += len(body)
        if tmdb_id % 10_000 == 0:
            logger.info("{:,} documents stored", tmdb_id)
    shards.sync()
    journal.commit(movies=movies, lengths=shards.take_lengths())
    shards.close()
    journal.close()
    return n_bytes


def peak_bytes() -> int:
    """Greatest resident memory of this process; without what its parent had when it started it."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    if found is None:
        raise RuntimeError(f"{status} has no VmHWM")
    return int(found[1]) * 1024


def run_command(root: Path) -> dict[str, Any]:
    """The command in a process of its own; its result with ``wall_seconds``, ``cpu_seconds`` and ``peak_bytes``."""
    started = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, __file__, "--measure", str(root)], stdout=subprocess.PIPE, text=True, check=True
    )
    result, facts = map(json.loads, ended.stdout.splitlines())
    return {**result, **facts, "wall_seconds": time.perf_counter() - started}


def describe(result: dict[str, Any], n_bytes: int) -> str:
    """The measurement for people."""
    n, wall, cpu = result["documents"], result["wall_seconds"], result["cpu_seconds"]
    rows = ", ".join(f"{count:,} {table}" for table, count in result["rows"].items())
    return "\n".join(
        [
            f"{n:,} documents, {n_bytes / n / 1e3:.1f} kB of JSON each → {rows}",
            f"{wall:.1f} s by the clock ({n / wall:,.0f} documents/s), {cpu:.1f} s of processor time",
            f"peak memory {result['peak_bytes'] / 1e6:,.0f} MB",
        ]
    )


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--movies", type=int, default=100_000)
    parser.add_argument("--smoke", action="store_true", help="3,000 movies")
    parser.add_argument("--folder", type=Path, help="where to put shards and tables for the time (default: temporary)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure is not None:
        process(["--data_dir", str(args.measure), "--json"])
        times = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps({"cpu_seconds": times.ru_utime + times.ru_stime, "peak_bytes": peak_bytes()}))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = Path(folder)
        n_bytes = write_shards(root / "raw" / "tmdb", 3_000 if args.smoke else args.movies)
        result = run_command(root)
    print(json.dumps(result) if args.json else describe(result, n_bytes))


if __name__ == "__main__":
    main()
