"""Convert stored TMDb documents into the four tables: seconds, documents per second, peak memory.

    PYTHONPATH=. python benchmarks/tmdb_tables.py --movies 100000
    PYTHONPATH=. python benchmarks/tmdb_tables.py --smoke

The tests' generator creates 2,000 documents of about 20 kB. They are reused as other movies, with new ids of movies,
credits and, in the first 40 rounds, people. The crawl's code writes the shards. The measured command runs in its own
process; start and imports count. CPU seconds are shown too, because the elapsed time depends on other processes.
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

from data_collector.tmdb.journal import Journal, MovieRecord
from data_collector.tmdb.shards import ShardWriter, encode_record
from reccore.memory import peak_memory_bytes
from scripts.data_collector.process_tmdb_json import main as process
from tests.data_collector.tmdb.documents import N_PEOPLE, movie_document

DISTINCT = 2_000
PEOPLE_ROUNDS = 40  # up to 800,000 people, as in the credits of MovieLens's films
FETCHED = 1.7e9
_PERSON = re.compile(rb'"id":(\d+),"known_for_department"')


def renumbered(n_movies: int) -> Iterator[tuple[int, bytes]]:
    """Ids from 1 and JSON documents, each a different movie."""
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
    """Store the documents; returns their total size as JSON in bytes."""
    folder.mkdir(parents=True)
    journal = Journal(folder)
    shards = ShardWriter(folder, journal)
    n_bytes, movies = 0, []
    for tmdb_id, body in renumbered(n_movies):
        place = shards.append(encode_record(tmdb_id, "en-US", FETCHED + tmdb_id, None, body))
        movies.append(MovieRecord(tmdb_id, "en-US", "done", 1, FETCHED, FETCHED + tmdb_id, place))
        n_bytes += len(body)
        if tmdb_id % 10_000 == 0:
            logger.info("{:,} documents stored", tmdb_id)
    shards.sync()
    journal.commit(movies=movies, lengths=shards.take_lengths())
    shards.close()
    journal.close()
    return n_bytes


def run_command(root: Path) -> dict[str, Any]:
    """Run the command in its own process; returns its result with ``wall_seconds``, ``cpu_seconds``, ``peak_bytes``."""
    started = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, __file__, "--measure", str(root)], stdout=subprocess.PIPE, text=True, check=True
    )
    result, facts = map(json.loads, ended.stdout.splitlines())
    return {**result, **facts, "wall_seconds": time.perf_counter() - started}


def describe(result: dict[str, Any], n_bytes: int) -> str:
    """Format the measurement as text."""
    n, wall, cpu = result["documents"], result["wall_seconds"], result["cpu_seconds"]
    rows = ", ".join(f"{count:,} {table}" for table, count in result["rows"].items())
    return "\n".join(
        [
            f"{n:,} documents, {n_bytes / n / 1e3:.1f} kB of JSON each → {rows}",
            f"{wall:.1f} s elapsed ({n / wall:,.0f} documents/s), {cpu:.1f} s of CPU time",
            f"peak memory {result['peak_bytes'] / 1e6:,.0f} MB",
        ]
    )


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--movies", type=int, default=100_000)
    parser.add_argument("--smoke", action="store_true", help="3,000 movies")
    parser.add_argument("--folder", type=Path, help="folder for shards and tables (default: temporary)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure is not None:
        process(["--data_dir", str(args.measure), "--json"])
        times = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps({"cpu_seconds": times.ru_utime + times.ru_stime, "peak_bytes": peak_memory_bytes()}))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = Path(folder)
        n_bytes = write_shards(root / "raw" / "tmdb", 3_000 if args.smoke else args.movies)
        result = run_command(root)
    print(json.dumps(result) if args.json else describe(result, n_bytes))


if __name__ == "__main__":
    main()
