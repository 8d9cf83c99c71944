"""Download one file over HTTP, and resume after a dropped connection or a killed run.

Bytes go to a ``.part`` file. ``<part>.json`` stores the server's ETag, date and size of the file. A later attempt
requests the rest with ``Range`` and ``If-Range``, and starts over if the file on the server has changed or the server
does not support ranges.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests
from loguru import logger
from urllib3.exceptions import MaxRetryError

from reccore.errors import DataError
from reccore.progress import progress

# For connecting and for each read. Short, because a mirror may come next.
TIMEOUT_SECONDS = (5.0, 15.0)
BACKOFF_SECONDS = 0.5
FRUITLESS_ATTEMPTS = 4
# urllib3 discards an incomplete chunk when the connection drops, so small chunks lose little.
CHUNK_BYTES = 1 << 14
_CONNECTION = re.compile(r"^(<[^>]*>|\w+\(host=[^)]*\)): ")  # the library's object, before the error text
_TEMPORARY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
# With compressed transfer, lengths and ranges would not count bytes of the file.
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "movielens-rec"}


class SourceError(Exception):
    """This source failed; another one may work. The message is a clause without a full stop."""


class _DroppedError(Exception):
    """The server answered, but the file is incomplete; another attempt may work."""


class _UnreachableError(Exception):
    """The server did not answer at all."""


@dataclass(frozen=True)
class _RemoteFile:
    """Identifies a version of the file on the server; None for headers that the server does not send."""

    url: str
    etag: str | None
    modified: str | None
    size: int | None

    @classmethod
    def of(cls, url: str, response: requests.Response, size: int | None) -> _RemoteFile:
        return cls(url, response.headers.get("ETag"), response.headers.get("Last-Modified"), size)

    @property
    def validator(self) -> str | None:
        """Value for ``If-Range``, which does not allow weak ETags (RFC 9110, 13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def matches(self, other: _RemoteFile) -> bool:
        """Whether two responses can describe the same version: everything present in both is equal."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.size, other.size))
        return self.url == other.url and all(a == b for a, b in pairs if a is not None and b is not None)


def fetch(url: str, part: Path, *, show_progress: bool = True) -> None:
    """Download ``url`` into ``part``, and resume from the bytes that are already there.

    A failed attempt is repeated after a pause: without limit while attempts add bytes, otherwise a few times. If the
    server does not answer the first attempt, there is no other.

    Raises:
        SourceError: the server cannot be reached, refuses, or keeps dropping the connection. ``part`` is kept.
        DataError: writing failed, for instance because the disk is full. ``part`` is kept.
    """
    furthest, fruitless, answered = _size(part), 0, False
    with requests.Session() as session:
        session.headers.update(_HEADERS)
        while True:
            try:
                _attempt(session, url, part, show_progress)
                return
            except (_DroppedError, _UnreachableError) as error:
                answered = answered or isinstance(error, _DroppedError)
                if not answered:
                    raise SourceError(str(error)) from error
                reason = error
            fruitless = 0 if _size(part) > furthest else fruitless + 1
            furthest = max(furthest, _size(part))
            if fruitless == FRUITLESS_ATTEMPTS:
                raise SourceError(f"{reason} ({fruitless} attempts; {furthest:,} bytes are kept for the next run)")
            pause = BACKOFF_SECONDS * 2**fruitless
            logger.info("{}: {}; trying again in {:.1f} s", url, reason, pause)
            time.sleep(pause)


def fetch_text(url: str, *, limit: int = 4096) -> str | None:
    """Download the beginning of a small text, such as a checksum; None if it does not exist or all attempts fail."""
    for attempt in range(FRUITLESS_ATTEMPTS):
        if attempt:
            time.sleep(BACKOFF_SECONDS * 2**attempt)
        try:
            with requests.get(url, headers=_HEADERS, timeout=TIMEOUT_SECONDS, stream=True) as response:
                if response.ok:
                    return next(response.iter_content(limit), b"").decode("latin-1")
                failure = f"the server answered {response.status_code} {response.reason}"
                temporary = response.status_code in _TEMPORARY_STATUS
        except requests.RequestException as error:
            failure, temporary = error_cause(error, TIMEOUT_SECONDS), True
        logger.info("{}: {}", url, failure)
        if not temporary:
            break
    return None


def discard(part: Path) -> None:
    """Remove a partial file and its notes."""
    part.unlink(missing_ok=True)
    _notes_path(part).unlink(missing_ok=True)


def _attempt(session: requests.Session, url: str, part: Path, show_progress: bool) -> None:
    """Send one request and save the answer. Returns only when ``part`` is complete."""
    known = _read_notes(part)
    offset = _size(part) if known is not None and known.url == url else 0
    with _request(session, url, known, offset) as response:
        start, size = _content_range(response)
        remote = _RemoteFile.of(url, response, size)
        if response.status_code == 416 and offset and size == offset:
            return
        if response.status_code in (206, 416):
            if known is None or start != offset or not remote.matches(known):
                discard(part)
                raise _DroppedError("the file on the server has changed since the last run, starting over")
            size = size or known.size
        else:
            if offset:
                logger.info("{}: the server does not resume this file, starting over", url)
            offset, size = 0, _content_length(response)
            known = None
            remote = _RemoteFile.of(url, response, size)
        _save(response, part, offset, None if known else remote, size, show_progress)
    if size is not None and _size(part) != size:
        if _size(part) > size:
            discard(part)
        raise _DroppedError(f"the connection closed after {_size(part):,} of {size:,} bytes")


def _request(session: requests.Session, url: str, known: _RemoteFile | None, offset: int) -> requests.Response:
    """Send the request; the caller reads the body."""
    headers = {}
    if offset and known is not None:
        headers["Range"] = f"bytes={offset}-"
        if known.validator:
            headers["If-Range"] = known.validator
    try:
        response = session.get(url, headers=headers, timeout=TIMEOUT_SECONDS, stream=True)
    except requests.ConnectionError as error:
        unreachable = isinstance(error, requests.Timeout) or (error.args and isinstance(error.args[0], MaxRetryError))
        raise (_UnreachableError if unreachable else _DroppedError)(error_cause(error, TIMEOUT_SECONDS)) from error
    except requests.Timeout as error:
        raise _UnreachableError(error_cause(error, TIMEOUT_SECONDS)) from error
    except requests.RequestException as error:
        raise SourceError(error_cause(error, TIMEOUT_SECONDS)) from error
    if response.status_code in (200, 206, 416):
        return response
    response.close()
    answer = f"the server answered {response.status_code} {response.reason}"
    if response.status_code in _TEMPORARY_STATUS:
        raise _DroppedError(answer)
    raise SourceError(answer)


def _save(
    response: requests.Response,
    part: Path,
    offset: int,
    remote: _RemoteFile | None,
    size: int | None,
    show_progress: bool,
) -> None:
    """Write the body after the first ``offset`` bytes of ``part``; a new file also stores ``remote`` in the notes."""
    label = response.url.rpartition("/")[2] + (" (rest)" if offset else "")
    rest = None if size is None else size - offset
    try:
        # Unbuffered, so that every byte counted as kept is in the file.
        with part.open("ab" if offset else "wb", buffering=0) as file:
            if remote is not None:  # after the old bytes are gone: a kill in between must not mix two versions
                _notes_path(part).write_text(json.dumps(asdict(remote)), encoding="utf-8")
            with progress(label, rest, unit="B", enabled=show_progress) as advance:
                for chunk in _chunks(response):
                    left = memoryview(chunk)
                    while left:
                        left = left[file.write(left) :]
                    advance(len(chunk))
    except OSError as error:
        total = "an unknown number of" if size is None else f"{size:,}"
        raise DataError(
            f"cannot write {part}: {error.strerror or error}; {_size(part):,} of {total} bytes are kept there, "
            "make room and run the same command again to go on"
        ) from error


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The body in chunks. Network errors are converted, because OSError means a disk error to the caller."""
    try:
        yield from response.iter_content(CHUNK_BYTES)
    except requests.RequestException as error:
        raise _DroppedError(error_cause(error, TIMEOUT_SECONDS)) from error


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte and total size from ``Content-Range``; None for missing values."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if found is None:
        return None, None
    start, size = found.groups()
    return (None if start is None else int(start)), (None if size == "*" else int(size))


def _content_length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _notes_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_notes(part: Path) -> _RemoteFile | None:
    """The version noted when the first byte was written; None (download again) if the notes cannot be read."""
    try:
        return _RemoteFile(**json.loads(_notes_path(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def error_cause(error: Exception, timeout_seconds: tuple[float, float]) -> str:
    """The cause of a failed request, without the library's wrapper; the timeouts are for connecting and for a read."""
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {timeout_seconds[0]:g} s"
    if isinstance(error, requests.ReadTimeout):
        return f"no answer within {timeout_seconds[1]:g} s"
    cause: Any = error.args[0] if isinstance(error, requests.RequestException) and error.args else error
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    return _CONNECTION.sub("", str(cause)) or type(cause).__name__
