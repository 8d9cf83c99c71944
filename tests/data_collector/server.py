"""A file server on loopback that can fail like real servers, and tiny archives for it."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file and how the server treats it.

    Attributes:
        body: its content.
        drops: the first answers are cut off after so many bytes of their body.
        ranges: answer ``Range`` with 206; otherwise always with the whole file.
        validators: send an ETag (and honour ``If-Range``).
        statuses: the first answers are these errors instead.
        stall: hold the connection open after a drop instead of closing it.
    """

    body: bytes
    drops: list[int] = field(default_factory=list)
    ranges: bool = True
    validators: bool = True
    statuses: list[int] = field(default_factory=list)
    stall: threading.Event | None = None

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:16]}"'


@dataclass
class FileServer:
    """Files by name, and the requests that came: (name, Range header or None)."""

    url: str
    files: dict[str, Served] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0

    def ranges_of(self, name: str) -> list[str | None]:
        return [asked for file, asked in self.requests if file == name]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FileServer

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        asked = self.headers.get("Range")
        self.state.requests.append((name, asked))
        self.close_connection = True
        served = self.state.files.get(name)
        if served is None or served.statuses:
            self.send_error(404 if served is None else served.statuses.pop(0))
            return
        size, start = len(served.body), 0
        unchanged = self.headers.get("If-Range") in (None, served.etag)
        if asked and served.ranges and unchanged:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            self.send_response(200)
        if served.validators:
            self.send_header("ETag", served.etag)
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        body = served.body[start:]
        if served.drops:
            body = body[: served.drops.pop(0)]
        self.state.sent += len(body)  # before the write, because the client may continue before it returns
        self.wfile.write(body)
        self.wfile.flush()
        if served.stall is not None:
            served.stall.wait(30)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Serve on a free port of the loopback interface until the block ends."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    handler.state = FileServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield handler.state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress, so that the archive is as large as its content."""
    return hashlib.shake_256(seed.to_bytes(4, "little")).digest(size)


def ml_1m_files(size: int = 200_000) -> dict[str, bytes]:
    """Files named as in ml-1m; what is in them does not matter here."""
    return {"ratings.dat": noise(size), "movies.dat": noise(3_000, 1), "users.dat": noise(2_000, 2), "README": b"terms"}


def zip_of(members: dict[str, bytes], folder: str = "ml-1m/") -> bytes:
    """A zip with the members under ``folder``: the same bytes whenever it is made, as names of tests have its md5."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(folder + name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
