"""A server on loopback that answers like TMDb, injects faults, and records all requests with their times.

In a thread of the test, or as a process of its own: ``python -m tests.data_collector.tmdb.server '{"faults": 0.2}'``
prints its address and serves until its standard input ends.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from tests.data_collector.tmdb.documents import movie_document

V3_KEY = "0123456789abcdef0123456789abcdef"
V4_KEY = "eyJhbGciOiJIUzI1NiJ9.eyJhdWQiOiJ0ZXN0In0.c2lnbmF0dXJlLW9mLXRoZS10ZXN0"
# A fault and its weight. A 429 pauses all requests for a second, so it is rare.
FAULTS = {"500": 3, "502": 1, "503": 1, "cut": 3, "silent": 2, "slow": 3, "not json": 2, "other id": 2, "429": 0.2}
SLOW_SECONDS = 0.2
IMAGE = b"\xff\xd8\xff\xe0" + b"not really a picture " * 50


@dataclass
class Plan:
    """How the server behaves.

    Attributes:
        faults: share of requests for movies that are answered by a fault.
        kinds: which faults, by weight.
        most_faults: of one movie in a row; the next request for it succeeds.
        absent: ids without a movie.
        retry_after: seconds of the header of a 429, or any other text; None leaves the header out.
        retry_as_date: send the seconds as a date, beside the server's own.
        compressed: send documents gzipped.
        seed: of faults; ``version`` of documents.
        distinct: make only so many documents, before the first request, and send them as other movies too.
    """

    faults: float = 0.0
    kinds: dict[str, float] = field(default_factory=lambda: dict(FAULTS))
    most_faults: int = 4
    absent: Sequence[int] = ()
    retry_after: str | None = "1"
    retry_as_date: bool = False
    compressed: bool = False
    seed: int = 0
    version: int = 0
    distinct: int = 0


@dataclass(frozen=True)
class Seen:
    """One request: seconds of the monotonic clock at its arrival, path, and how it was answered."""

    time: float
    path: str
    answer: str
    headers: dict[str, str]

    @property
    def tmdb_id(self) -> int | None:
        found = re.fullmatch(r"/3/movie/(\d+)", self.path)
        return int(found[1]) if found else None


class TmdbServer:
    """The server. What tests set: ``plan``, ``scripts``, ``down``; what they read: ``seen``."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan or Plan()
        self.scripts: dict[str, list[str]] = {}  # path → its next answers, used before the plan
        self.down = False
        self.seen: list[Seen] = []
        self._asked: Counter[str] = Counter()
        self._faulted: Counter[int] = Counter()
        self._documents: dict[tuple[int, str, int], tuple[bytes, str]] = {}
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"server_state": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.origin}/3"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Forget all requests, so that the sequence of faults starts again."""
        with self._lock:
            self.seen.clear()
            self._asked.clear()
            self._faulted.clear()

    def movies(self) -> list[Seen]:
        """Requests for movies."""
        return [seen for seen in self.seen if seen.tmdb_id is not None]

    def served(self) -> Counter[int]:
        """How often each movie's complete document was sent."""
        return Counter(seen.tmdb_id for seen in self.movies() if seen.answer in ("ok", "slow"))  # type: ignore[misc]

    def answer_for(self, path: str) -> str:
        """``ok`` or the fault that this request gets."""
        with self._lock:
            if self.down:
                return "503"
            if self.scripts.get(path):
                return self.scripts[path].pop(0)
            self._asked[path] += 1
            number = self._asked[path]
            found = re.fullmatch(r"/3/movie/(\d+)", path)
            if found is None:
                return "ok"
            tmdb_id, plan = int(found[1]), self.plan
            draw = random.Random(f"{plan.seed}/{tmdb_id}/{number}")
            if draw.random() >= plan.faults or self._faulted[tmdb_id] >= plan.most_faults:
                self._faulted[tmdb_id] = 0
                return "ok"
            self._faulted[tmdb_id] += 1
            return draw.choices(list(plan.kinds), list(plan.kinds.values()))[0]

    def document(self, tmdb_id: int, language: str) -> tuple[bytes, str]:
        """Body and ETag, created once."""
        key = (tmdb_id, language, self.plan.version)
        if key not in self._documents:
            distinct = self.plan.distinct
            if distinct and tmdb_id > distinct:
                body, etag = self.document((tmdb_id - 1) % distinct + 1, language)
                own, other = (b'"id": %d, "imdb_id"' % number for number in ((tmdb_id - 1) % distinct + 1, tmdb_id))
                return body.replace(own, other, 1), etag
            document = movie_document(tmdb_id, language=language) | {"popularity": 1.0 + self.plan.version}
            body = json.dumps(document, ensure_ascii=False).encode()
            etag = f'W/"{hashlib.sha256(body).hexdigest()[:16]}"'
            self._documents[key] = (gzip.compress(body, 1) if self.plan.compressed else body, etag)
        return self._documents[key]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(socketserver.StreamRequestHandler):
    """The part of HTTP/1.1 that a client with persistent connections needs; fast."""

    server_state: TmdbServer
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while line := self.rfile.readline(1 << 16):
            headers = {}
            while (header := self.rfile.readline(1 << 16)) not in (b"\r\n", b""):
                name, _, value = header.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            arrived = time.monotonic()
            target = line.split()[1].decode("latin-1")
            if not self._answer(arrived, urlsplit(target), headers):
                return

    def _answer(self, arrived: float, target: Any, headers: dict[str, str]) -> bool:
        """Answer one request; returns whether the connection stays."""
        state, query = self.server_state, parse_qs(target.query)
        if target.path.startswith("/control/"):
            return self._control(target.path)
        kind = state.answer_for(target.path)
        secret = (query.get("api_key") or [""])[0] or headers.get("authorization", "").removeprefix("Bearer ")
        if target.path.startswith("/3/") and secret not in (V3_KEY, V4_KEY):
            kind = "401"
        found = re.fullmatch(r"/3/movie/(\d+)", target.path)
        if kind in ("ok", "slow") and found and int(found[1]) in self.server_state.plan.absent:
            kind = "404"
        status, head, body = (
            self._content(target.path, query, headers) if kind in ("ok", "slow", "cut", "trickle") else (0, {}, b"")
        )
        if kind == "ok" and status == 304:
            kind = "304"
        state.seen.append(Seen(arrived, target.path, kind, headers))
        return self._send(kind, status, head, body, found)

    def _content(
        self, path: str, query: dict[str, list[str]], headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer without a fault."""
        state = self.server_state
        if found := re.fullmatch(r"/3/movie/(\d+)", path):
            if query.get("append_to_response") != ["credits,keywords,translations"]:
                return 400, {}, b'{"success": false, "status_code": 27}'
            body, etag = state.document(int(found[1]), query.get("language", ["en-US"])[0])
            if headers.get("if-none-match") == etag:
                return 304, {"ETag": etag}, b""
            coding = {"Content-Encoding": "gzip"} if state.plan.compressed else {}
            return 200, {"ETag": etag, "Content-Type": "application/json;charset=utf-8", **coding}, body
        if path == "/3/configuration":
            images = {"secure_base_url": f"{state.origin}/t/p/", "poster_sizes": ["w92", "w342", "original"]}
            return 200, {"Content-Type": "application/json;charset=utf-8"}, json.dumps({"images": images}).encode()
        if path.startswith("/t/p/"):
            return 200, {"Content-Type": "image/jpeg"}, IMAGE + path.encode()
        return 404, {"Content-Type": "text/html"}, b"<html>nothing here</html>"

    def _send(self, kind: str, status: int, head: dict[str, str], body: bytes, found: re.Match[str] | None) -> bool:
        """Send the answer, or its fault."""
        match kind:
            case "silent":  # the connection ends without a byte
                return False
            case "cut":
                self._write(status, head, body[: len(body) // 2], length=len(body))
                return False
            case "trickle":
                self._write(status, head, b"", length=len(body))
                for byte in body:
                    time.sleep(0.05)
                    self.request.sendall(bytes([byte]))
                return False
            case "trickling head":
                for byte in b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Padding: " + b"x" * 10_000:
                    time.sleep(0.05)
                    self.request.sendall(bytes([byte]))
                return False
            case "trickling tail":  # a complete document in an answer without a length that does not end
                self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b'{"id": %d}' % int(found[1] if found else 0))
                for _ in range(1000):
                    time.sleep(0.05)
                    self.request.sendall(b" ")
                return False
            case "hang":
                time.sleep(30)
                return False
            case "malformed header":  # makes the client's library log the URL
                self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nbroken header line\r\n\r\n{}")
                return False
            case "not json":
                return self._write(200, {}, b'{"id": 603, "title": "The Ma')
            case "nan":
                return self._write(200, {}, b'{"id": %d, "popularity": NaN}' % int(found[1] if found else 0))
            case "not utf-8":
                return self._write(200, {}, b'{"id": %d, "title": "\xe9"}' % int(found[1] if found else 0))
            case "other id":
                return self._write(200, {}, b'{"id": 1234567890, "title": "Another"}')
            case "huge":
                return self._write(
                    200, {"Content-Encoding": "gzip"}, gzip.compress(b'{"id": 1, "x": "' + b"x" * (2 << 20))
                )
            case "bare":  # a document with almost no fields
                return self._write(200, {}, b'{"id": %d, "new_field": {"a": 1}}' % int(found[1] if found else 0))
            case "text":
                return self._write(200, {"Content-Type": "text/html"}, b"<html>an error page</html>")
            case "bare 404":
                return self._write(404, {"Content-Type": "text/html"}, b"<html>nothing here</html>")
            case "429":
                return self._write(429, self._retry_headers(), b'{"success": false, "status_code": 25}')
            case "401":
                return self._write(
                    401, {}, b'{"success": false, "status_code": 7, "status_message": "Invalid API key"}'
                )
            case "404":
                return self._write(404, {}, b'{"success": false, "status_code": 34, "status_message": "not found"}')
            case _ if kind.startswith("redirect "):
                return self._write(302, {"Location": kind.removeprefix("redirect ")}, b"")
            case _ if kind.isdigit() and kind != "304":
                return self._write(int(kind), {}, b"<html>sorry</html>")
        if kind == "slow":
            time.sleep(SLOW_SECONDS)
        return self._write(status, head, body)

    def _retry_headers(self) -> dict[str, str]:
        plan = self.server_state.plan
        if plan.retry_after is None:
            return {}
        if not plan.retry_as_date:
            return {"Retry-After": plan.retry_after}
        now = int(time.time())
        until = now + int(plan.retry_after)
        return {"Date": formatdate(now, usegmt=True), "Retry-After": formatdate(until, usegmt=True)}

    def _write(self, status: int, head: dict[str, str], body: bytes, *, length: int | None = None) -> bool:
        lines = [f"HTTP/1.1 {status} whatever", *(f"{name}: {value}" for name, value in head.items())]
        lines.append(f"Content-Length: {len(body) if length is None else length}")
        self.request.sendall("\r\n".join([*lines, "\r\n"]).encode("latin-1") + body)
        return True

    def _control(self, path: str) -> bool:
        state = self.server_state
        result: Any = None
        if path == "/control/seen":
            result = [asdict(seen) for seen in state.seen]
        elif path == "/control/count":
            result = len(state.seen)
        else:
            state.reset()
        return self._write(200, {}, json.dumps(result).encode())

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            self.connection.close()


@contextmanager
def tmdb_server(plan: Plan | None = None) -> Iterator[TmdbServer]:
    """Serve from a thread of this process until the block ends."""
    server = TmdbServer(plan)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@dataclass(frozen=True)
class Remote:
    """A server in its own process."""

    origin: str

    @property
    def url(self) -> str:
        return f"{self.origin}/3"

    def seen(self) -> list[Seen]:
        with urlopen(f"{self.origin}/control/seen") as answer:
            return [Seen(**row) for row in json.load(answer)]

    def count(self) -> int:
        """Number of requests so far."""
        with urlopen(f"{self.origin}/control/count") as answer:
            return json.load(answer)

    def reset(self) -> None:
        with urlopen(f"{self.origin}/control/reset") as answer:
            answer.read()


@contextmanager
def tmdb_process(plan: Plan) -> Iterator[Remote]:
    """Serve from another process, which ends with the block."""
    command = [sys.executable, "-m", "tests.data_collector.tmdb.server", json.dumps(asdict(plan))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Remote(process.stdout.readline().strip())
        finally:
            process.kill()


def main() -> None:
    """Serve until standard input ends."""
    with tmdb_server(Plan(**json.loads(sys.argv[1]))) as server:
        for tmdb_id in range(1, server.plan.distinct + 1):
            server.document(tmdb_id, "en-US")
        print(server.origin, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
