"""The service under load: answer times at fixed rates, the highest rate it holds, memory, and where the time goes.

    PYTHONPATH=. python benchmarks/serving.py --data_dir /tmp/serving
    PYTHONPATH=. python benchmarks/serving.py --pipeline data/models/pipeline --rates 50,100,200
    PYTHONPATH=. python benchmarks/serving.py --data_dir /tmp/serving --rates 100 --seconds 600 --events 100
    PYTHONPATH=. python benchmarks/serving.py --data_dir /tmp/serving --rates 50 --highest

The service is ``scripts/serve.py`` in processes of its own, this process is the client, both on one machine over
loopback. Without --pipeline the chain has the catalogue and the users of ML-32M, made up, and three channels
(popularity, mf, two_tower) trained little, 500 candidates, the demo's ranker with its features, and MMR; it is trained
once per --data_dir. A request asks ten films for a random user of the model by POST /v1/recommendations.

Requests are due at random times of the given mean rate, and an answer's time counts from then (see _load.py). --events
sends ratings beside them. CPU time is that of the service's processes per list; it hardly depends on what else the
machine does. Memory is theirs too, after the first rate and at the end, and every --memory_every seconds on stderr.
--highest looks for the highest rate whose p99 is at most 50 ms, above the highest of --rates that is, to a tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

if sys.path[0] == str(Path(__file__).parent):
    sys.path.remove(sys.path[0])  # Python puts it first, and this file would hide the package of its name

import numpy as np
import uvloop
from loguru import logger

from benchmarks._chains import trained_chain
from benchmarks._load import LoadResult, load
from dataprep.synthetic import SyntheticSize
from pipeline import load as load_pipeline
from reccore import Workspace

ROOT = Path(__file__).resolve().parents[1]
CHAIN: dict[str, Any] = {
    "channels": ["popularity", "mf", "two_tower"],
    "per_channel": 500,
    "merge": {"weights": {"mf": 1.0, "two_tower": 3.0}},
    "candidates": 500,
    "rerank": {"trade_off": 0.7},
}
HIGHEST_P99 = 50.0
RISE, FALL, PRECISION, MOST_RUNS = 2.0, 4.0, 1.1, 8
"""Of the search for the highest rate: factors to a higher and a lower one, factor to stop at, and loads at most."""
HOST = "127.0.0.1"


def main() -> None:
    """Parse the options, measure, print a table or JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipeline", type=Path, help="folder of a pipeline to serve")
    parser.add_argument("--data_dir", type=Path, help="where the made-up data and models are kept for the next run")
    parser.add_argument("--items", type=int, default=87_585)
    parser.add_argument("--users", type=int, default=200_948)
    parser.add_argument("--ratings", type=int, default=4_000_000)
    parser.add_argument("--rates", default="50,100,200,300", help="requests per second, separated by commas")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each rate")
    parser.add_argument("--events", type=float, default=0.0, help="ratings per second beside the requests")
    parser.add_argument("--workers", type=int, default=2, help="processes of the service")
    parser.add_argument("--highest", action="store_true", help="search the highest rate with p99 up to 50 ms")
    parser.add_argument("--memory_every", type=float, default=60.0, help="seconds between two looks at the memory")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--smoke", action="store_true", help="a size that takes seconds, to test that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.items, args.users, args.ratings, args.rates, args.seconds, args.workers = 300, 80, 2_000, "20", 2.0, 1
        args.events = 5.0
    logger.remove()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.pipeline
        if folder is None:
            size = SyntheticSize(users=args.users, movies=args.items, ratings=args.ratings)
            space = Workspace(args.data_dir or Path(temporary))
            folder = trained_chain(space, size, "serving", CHAIN, CHAIN["channels"])
        report = measure(folder, args, Path(temporary))
    print(json.dumps(report) if args.json else table(report))


def measure(folder: Path, args: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """Serve the pipeline and load it at every rate."""
    chain = load_pipeline(folder)
    users, items = chain.vocabulary.users.ids.tolist(), chain.vocabulary.items.ids.tolist()
    report: dict[str, Any] = {"items": len(items), "users": len(users), "workers": args.workers, "rates": []}
    del chain
    with served(folder, args.workers, temporary) as (port, process, ready):
        report["ready_seconds"] = round(ready, 2)
        loads = Loads(port, process.pid, users, items, args)
        loads.run(20.0, min(10.0, args.seconds / 4))  # what is loaded or compiled at the first requests
        with memory_watched(process.pid, args.memory_every):
            for rate in [float(rate) for rate in args.rates.split(",")]:
                report["rates"].append(loads.run(rate, args.seconds))
                report.setdefault("memory_mb_first", memory_mb(process.pid))
            if args.highest:
                report["searched"] = loads.search(report["rates"], args.seconds)
                report["highest"] = highest_held([*report["rates"], *report["searched"]])
        report["memory_mb_last"] = memory_mb(process.pid)
        report["stages"] = loads.stages()
    return report


class Loads:
    """Loads of one server.

    Args:
        port: of the server.
        pid: of its first process.
        users, items: raw ids that requests name.
        args: of the command.
    """

    def __init__(self, port: int, pid: int, users: list[Any], items: list[Any], args: argparse.Namespace) -> None:
        self.port, self.pid, self.users, self.items, self.events = port, pid, users, items, args.events
        self.draws = np.random.default_rng(1)
        self.sent = 0

    def run(self, rate: float, seconds: float) -> dict[str, Any]:
        """Figures of one rate."""
        before = cpu_seconds(self.pid)
        asked, rated = uvloop.run(self._run(rate, seconds))
        used = [seconds - before.get(pid, 0.0) for pid, seconds in cpu_seconds(self.pid).items()]
        figures = {
            "rate": rate,
            **_figures(asked),
            "client_behind_ms": round(asked.behind * 1e3, 1),
            "cpu_ms": round(sum(used) * 1e3 / max(len(asked.seconds), 1), 2),
            "busiest": round(max(used) / max(sum(used), 1e-9), 2),
        }
        return figures if rated is None else {**figures, "events": _figures(rated)}

    async def _run(self, rate: float, seconds: float) -> tuple[LoadResult, LoadResult | None]:
        asked = load(HOST, self.port, self._recommend, rate, seconds)
        if not self.events:
            return await asked, None
        both = asyncio.gather(asked, load(HOST, self.port, self._rate, self.events, seconds, seed=1))
        lists, ratings = await both
        return lists, ratings

    def search(self, known: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
        """Figures of further rates until the highest one held is known to a tenth, in at most ``MOST_RUNS`` loads."""
        found: list[dict[str, Any]] = []
        while len(found) < MOST_RUNS:
            rate = next_rate([*known, *found])
            if rate is None:
                break
            found.append(self.run(rate, seconds))
            print(f"{rate:.0f}/s: p99 {found[-1]['p99_ms']} ms, {found[-1]['failed']} failed", file=sys.stderr)
        return found

    def stages(self) -> dict[str, float]:
        """Mean milliseconds of every stage since the start, as the service counts them."""
        text = urlopen(f"http://{HOST}:{self.port}/metrics", timeout=10).read().decode()
        found = re.findall(r'recommender_stage_seconds_(sum|count)\{name="([^"]*)",stage="([^"]*)"\} (\S+)', text)
        values = {(kind, f"{stage} {name}"): float(value) for kind, name, stage, value in found}
        names = dict.fromkeys(name for _, name in values)
        return {name: round(1e3 * values["sum", name] / max(values["count", name], 1.0), 3) for name in names}

    def _recommend(self, number: int) -> bytes:
        return self._post("/v1/recommendations", {"user_id": self._one_of(self.users), "k": 10})

    def _rate(self, number: int) -> bytes:
        self.sent += 1
        key = f"load-{os.getpid()}-{self.sent}"
        body = {"kind": "rating", "rating": 4.0, "idempotency_key": key}
        ids = {"user_id": self._one_of(self.users), "movie_id": self._one_of(self.items)}
        return self._post("/v1/events", {**ids, **body})

    def _one_of(self, ids: list[Any]) -> Any:
        return ids[int(self.draws.integers(len(ids)))]

    def _post(self, path: str, body: dict[str, Any]) -> bytes:
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


def is_held(figures: dict[str, Any]) -> bool:
    """Whether a rate is held: every request is answered, and p99 is at most ``HIGHEST_P99``."""
    return bool(figures["p99_ms"] <= HIGHEST_P99 and not figures["failed"])


def highest_held(known: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Of the rates below the lowest one that is not held the highest; None if there is none."""
    limit = min((entry["rate"] for entry in known if not is_held(entry)), default=float("inf"))
    return max((entry for entry in known if entry["rate"] < limit), key=lambda entry: entry["rate"], default=None)


def next_rate(known: list[dict[str, Any]]) -> float | None:
    """The rate to try next: above all that are held, or between them and those that are not; None if it is known."""
    held = highest_held(known)
    low = 0.0 if held is None else held["rate"]
    high = min((entry["rate"] for entry in known if not is_held(entry)), default=None)
    if high is None:
        return float(low * RISE)
    if low == 0.0:
        return high / FALL if high > 1.0 else None
    return float((low * high) ** 0.5) if high > low * PRECISION else None


def _figures(result: LoadResult) -> dict[str, Any]:
    quantiles = {f"{name}_ms": round(result.quantile(q), 2) for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}
    return {"answers": len(result.seconds), **quantiles, "failed": result.failed}


@contextmanager
def served(folder: Path, workers: int, temporary: Path) -> Iterator[tuple[int, subprocess.Popen[bytes], float]]:
    """A running service: its port, its process, and the seconds until it was ready."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    options = ["--pipeline", folder, "--port", port, "--workers", workers, "--rate_limit", 0, "--data_dir", temporary]
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), *map(str, options)]
    log = (temporary / "serve.log").open("wb")
    started = perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        while not _is_ready(port):
            if process.poll() is not None or perf_counter() - started > 300:
                raise RuntimeError(f"the service did not start:\n{(temporary / 'serve.log').read_text()}")
            sleep(0.05)
        yield port, process, perf_counter() - started
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()


def _is_ready(port: int) -> bool:
    try:
        return bool(urlopen(f"http://{HOST}:{port}/readyz", timeout=10).status == 200)
    except (URLError, OSError):
        return False


def processes(pid: int) -> list[int]:
    """A process and all that it started."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += [int(child) for child in Path(f"/proc/{found[-1]}/task/{found[-1]}/children").read_text().split()]
    return found


def memory_mb(pid: int) -> int:
    """Memory of a process and of all that it started; pages that they share count once."""
    shares = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in processes(pid)]
    sizes = [re.search(r"^Pss:\s+(\d+)", share, re.MULTILINE) for share in shares]
    return round(sum(int(size[1]) for size in sizes if size is not None) / 1024)


def cpu_seconds(pid: int) -> dict[int, float]:
    """Seconds of the processor that a process, and each one that it started, has taken so far."""
    fields = {one: Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in processes(pid)}
    return {one: (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK") for one, values in fields.items()}


@contextmanager
def memory_watched(pid: int, every: float) -> Iterator[None]:
    """Print the memory on stderr at intervals while the block runs."""
    ended, started = threading.Event(), perf_counter()

    def watch() -> None:
        while not ended.wait(every):
            print(f"{perf_counter() - started:6.0f} s: {memory_mb(pid):,} MB", file=sys.stderr, flush=True)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()


def table(report: dict[str, Any]) -> str:
    """The report as lines for a terminal."""
    lines = [
        f"{report['items']:,} films, {report['users']:,} users, {report['workers']} processes, "
        f"ready after {report['ready_seconds']} s",
        f"{'requests/s':>10} {'answers':>9} {'failed':>7} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'CPU ms':>8} "
        f"{'busiest':>8}  client behind",
    ]
    entries = [*report["rates"], *report.get("searched", [])]
    for entry in entries:
        lines.append(
            f"{entry['rate']:>10.0f} {entry['answers']:>9,} {entry['failed']:>7,} {entry['p50_ms']:>8.2f} "
            f"{entry['p99_ms']:>8.2f} {entry['max_ms']:>8.2f} {entry['cpu_ms']:>8.2f} "
            f"{entry['busiest']:>8.0%}  {entry['client_behind_ms']:.1f} ms"
        )
        if "events" in entry:
            rated = entry["events"]
            lines.append(
                f"{'ratings':>10} {rated['answers']:>9,} {rated['failed']:>7,} {rated['p50_ms']:>8.2f} "
                f"{rated['p99_ms']:>8.2f} {rated['max_ms']:>8.2f}"
            )
    if "highest" in report:
        held = report["highest"]
        lines.append(f"highest rate with p99 up to {HIGHEST_P99:.0f} ms: {held['rate']:.0f}/s" if held else "none held")
    lines.append(
        f"memory {report['memory_mb_first']:,} MB after the first rate, {report['memory_mb_last']:,} MB at the end"
    )
    lines.append("mean milliseconds of the stages, in one of the processes:")
    lines += [f"  {name:<24} {value:8.3f}" for name, value in report["stages"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
