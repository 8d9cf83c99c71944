"""Fetching one file over HTTP so that a dropped connection, or a killed run, costs only what was missing.

Bytes go to a ``.part`` file. Beside it lies ``<part>.json`` with what the server said of the file (ETag, date, size):
a later attempt asks for the rest with ``Range`` and ``If-Range``, and starts over where the server answers with
another version of the file or knows no ranges.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
from loguru import logger
from urllib3.exceptions import MaxRetryError

from reccore.errors import DataError
from reccore.progress import progress

# Connecting, and the first answer, must be quick: a mirror may be waiting its turn.
TIMEOUT_SECONDS = (5.0, 15.0)
BACKOFF_SECONDS = 0.5
FRUITLESS_ATTEMPTS = 4
# urllib3 gives up a chunk that the connection cut short, so small chunks lose little.
CHUNK_BYTES = 1 << 14
_TEMPORARY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
# Compressed transfer would make lengths and ranges count other bytes than those of the file.
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "movielens-rec"}


class SourceError(Exception):
    """This source cannot give the file; another one may. The message is a clause without a full stop."""


class _DroppedError(Exception):
    """The server answered, but not with all of the file; worth another attempt."""


class _UnreachableError(Exception):
    """The server did not answer at all."""


@dataclass(frozen=True)
class _Remote:
    """What tells one version of the file on the server from another; None where the server is silent."""

    url: str
    etag: str | None
    modified: str | None
    size: int | None

    @classmethod
    def of(cls, url: str, response: requests.Response, size: int | None) -> _Remote:
        return cls(url, response.headers.get("ETag"), response.headers.get("Last-Modified"), size)

    @property
    def validator(self) -> str | None:
        """Value for ``If-Range``, which takes no weak ETag (RFC 9110, 13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def agrees_with(self, other: _Remote) -> bool:
        """Whether two answers can be about one version: all that both name is equal."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.size, other.size))
        return self.url == other.url and all(a == b for a, b in pairs if a is not None and b is not None)


def fetch(url: str, part: Path, *, show_progress: bool = True) -> None:
    """Bring ``part`` to the whole content of ``url``, going on from what it already holds.

    An attempt that fails is repeated after a pause: without limit while attempts add bytes, a few times where they do
    not. A server that does not answer at all is given up at once.

    Raises:
        SourceError: the server cannot be reached, refuses, or keeps dropping the connection. ``part`` is kept.
        DataError: the disk does not take the bytes, because it is full for instance. ``part`` is kept.
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
    """The beginning of a small text, such as a checksum; None where the server has none, or fails repeatedly."""
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
            failure, temporary = _reason(error), True
        logger.info("{}: {}", url, failure)
        if not temporary:
            break
    return None


def discard(part: Path) -> None:
    """Remove a partial file and what is remembered of it."""
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _attempt(session: requests.Session, url: str, part: Path, show_progress: bool) -> None:
    """One request and what it brings. Returns only when ``part`` is whole."""
    known = _remembered(part)
    offset = _size(part) if known is not None and known.url == url else 0
    with _request(session, url, known, offset) as response:
        start, size = _content_range(response)
        remote = _Remote.of(url, response, size)
        if response.status_code == 416 and offset and size == offset:
            return
        if response.status_code in (206, 416):
            if known is None or start != offset or not remote.agrees_with(known):
                discard(part)
                raise _DroppedError("the file on the server has changed since the last run, starting over")
            size = size or known.size
        else:
            if offset:
                logger.info("{}: the server does not resume this file, starting over", url)
            offset, size = 0, _content_length(response)
            known = None
            remote = _Remote.of(url, response, size)
        _save(response, part, offset, None if known else remote, size, show_progress)
    if size is not None and _size(part) != size:
        if _size(part) > size:
            discard(part)
        raise _DroppedError(f"the connection closed after {_size(part):,} of {size:,} bytes")


def _request(session: requests.Session, url: str, known: _Remote | None, offset: int) -> requests.Response:
    """Send the request; the answer's body is still to be read."""
    headers = {}
    if offset and known is not None:
        headers["Range"] = f"bytes={offset}-"
        if known.validator:
            headers["If-Range"] = known.validator
    try:
        response = session.get(url, headers=headers, timeout=TIMEOUT_SECONDS, stream=True)
    except requests.ConnectionError as error:
        unreachable = isinstance(error, requests.Timeout) or (error.args and isinstance(error.args[0], MaxRetryError))
        raise (_UnreachableError if unreachable else _DroppedError)(_reason(error)) from error
    except requests.Timeout as error:
        raise _UnreachableError(_reason(error)) from error
    except requests.RequestException as error:
        raise SourceError(_reason(error)) from error
    if response.status_code in (200, 206, 416):
        return response
    response.close()
    answer = f"the server answered {response.status_code} {response.reason}"
    if response.status_code in _TEMPORARY_STATUS:
        raise _DroppedError(answer)
    raise SourceError(answer)


def _save(
    response: requests.Response, part: Path, offset: int, remote: _Remote | None, size: int | None, show_progress: bool
) -> None:
    """Write the body behind the first ``offset`` bytes of ``part``; ``remote`` is noted where the file starts anew."""
    label = response.url.rpartition("/")[2] + (" (rest)" if offset else "")
    rest = None if size is None else size - offset
    try:
        # Unbuffered, so that what is counted as kept is really in the file.
        with part.open("ab" if offset else "wb", buffering=0) as file:
            if remote is not None:  # only after the old bytes are gone, or a kill in between would join two versions
                _notes(part).write_text(json.dumps(asdict(remote)), encoding="utf-8")
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
    """The body piece by piece; network errors must not pass for disk errors, which are OSError too."""
    try:
        yield from response.iter_content(CHUNK_BYTES)
    except requests.RequestException as error:
        raise _DroppedError(_reason(error)) from error


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte and total size of a ``Content-Range``; None for what it does not name."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if found is None:
        return None, None
    start, size = found.groups()
    return (None if start is None else int(start)), (None if size == "*" else int(size))


def _content_length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _remembered(part: Path) -> _Remote | None:
    """What was noted of the file when its first byte was written; None starts it over."""
    try:
        return _Remote(**json.loads(_notes(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _reason(error: requests.RequestException) -> str:
    """The cause, without the library's wrapping."""
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {TIMEOUT_SECONDS[0]:g} s"
    if isinstance(error, requests.ReadTimeout):
        return f"no answer within {TIMEOUT_SECONDS[1]:g} s"
    cause = error.args[0] if error.args else error
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    text = str(cause)
    return text.partition(": ")[2] if text.startswith(("<", "HTTP")) and ": " in text else text
