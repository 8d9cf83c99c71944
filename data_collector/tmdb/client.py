"""Send single requests to TMDb over a pooled session. No error message contains the key."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, responses
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from urllib3.exceptions import HTTPError

from data_collector.tmdb.deadline import DeadlineAdapter
from data_collector.tmdb.key import SETTINGS_PAGE, VARIABLE, Key, hide_from_logs
from data_collector.tmdb.limiter import RateLimiter
from data_collector.transfer import error_cause
from reccore.errors import ConfigError, DataError

CONNECT_SECONDS = 10.0
READ_SECONDS = 20.0  # without a byte
ANSWER_SECONDS = 60.0  # for the whole answer, however slowly its bytes come
MAX_WAIT_SECONDS = 900.0
DEFAULT_WAIT_SECONDS = 1.0  # after a 429 without Retry-After
_CHUNK_BYTES = 1 << 16
_RETRIED_REFUSALS = frozenset({403, 408, 425, 429})  # content delivery networks send 403 under load


class Fault(Exception):
    """An attempt failed; the message gives the reason as a clause.

    Attributes:
        of_service: the fault suggests that the service is down, rather than a problem with one document.
        final: another attempt would fail the same way.
        wait: seconds that the server asks to wait before the next attempt; None if it names none.
    """

    def __init__(self, reason: str, *, of_service: bool = True, final: bool = False, wait: float | None = None) -> None:
        super().__init__(reason)
        self.of_service = of_service
        self.final = final
        self.wait = wait


@dataclass(frozen=True)
class HttpResponse:
    """A usable answer: status 200, 304 or 404, the headers and the decoded body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """Sends requests to one server from many threads, over connections that are kept open.

    Args:
        base_url: address that all paths are relative to, checked by ``checked_address``.
        limiter: shared by all clients with a common rate.
        connections: number of threads.
        key: sent with every request; None for no key. Redirects are not followed, so no other server receives it.
        parameters: query parameters of every request.
        option: command-line option of the address, for messages.
    """

    def __init__(
        self,
        base_url: str,
        limiter: RateLimiter,
        *,
        connections: int,
        key: Key | None = None,
        parameters: Mapping[str, str] | None = None,
        option: str = "--base_url",
    ) -> None:
        self.base_url = base_url
        self._limiter = limiter
        self._key = key
        self._option = option
        self._query = urlencode({**(parameters or {}), **(key.parameters if key else {})})
        self._closed = threading.Event()
        session = requests.Session()
        session.mount(base_url, DeadlineAdapter(connections, READ_SECONDS, ANSWER_SECONDS, self._closed))
        headers = {"User-Agent": "movielens-rec", "Accept-Encoding": "gzip", **(key.headers if key else {})}
        self._request = requests.Request("GET", base_url, headers=headers).prepare()
        # Read the environment once, not for every request. A proxy for loopback would only see the key.
        self._settings: dict[str, Any] = {**session.merge_environment_settings(base_url, {}, True, True, None)}
        if is_loopback(urlsplit(base_url).hostname or ""):
            self._settings["proxies"] = {}
        self._session = session
        if key:
            hide_from_logs(key)

    def close(self) -> None:
        """Close all connections; requests of other threads end with a ``Fault``."""
        self._closed.set()
        self._session.close()

    def get(self, path: str, *, etag: str | None = None, limit: int) -> HttpResponse:
        """Send one request.

        Args:
            path: relative to the base address.
            etag: request the document only if its ETag has changed.
            limit: maximum size of the decoded body in bytes.

        Raises:
            Fault: no usable answer.
            ConfigError: the server refused the key or redirects; every other request would fail too.
            DataError: the server asks for a pause of more than ``MAX_WAIT_SECONDS``.
            Stopped: the crawl stopped before the request was sent.
        """
        answer = self._send(path, etag, limit)
        if isinstance(answer, Fault):  # raised here, outside the handler: the library's error contains the whole URL
            raise answer
        return answer

    def alive(self, path: str) -> bool:
        """Whether the server answers this path without a fault of the service."""
        try:
            self.get(path, limit=1 << 20)
        except Fault as fault:
            return not fault.of_service
        return True

    def _send(self, path: str, etag: str | None, limit: int) -> HttpResponse | Fault:
        request = self._request.copy()
        request.url = f"{self.base_url}{path}" + (f"?{self._query}" if self._query else "")
        if etag is not None:
            request.headers["If-None-Match"] = etag
        adapter = self._session.get_adapter(request.url)
        # Waiting for the limiter is not part of the answer's time.
        with contextlib.ExitStack() as slot:
            slot.enter_context(self._limiter.request())
            started = time.monotonic()
            try:
                response = adapter.send(request, timeout=(CONNECT_SECONDS, READ_SECONDS), **self._settings)
                slot.close()
                with response:
                    return self._check_status(response) or _read_body(response, limit)
            except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
                if time.monotonic() - started >= ANSWER_SECONDS:
                    return Fault(f"no whole answer within {ANSWER_SECONDS:g} s")
                cause = error_cause(error, (CONNECT_SECONDS, READ_SECONDS))
                return Fault(self._key.redact(cause) if self._key else cause)

    def _check_status(self, response: requests.Response) -> Fault | None:
        """The fault that a status means; None if the body is to be read."""
        status = response.status_code
        if status in (200, 304, 404):
            return None
        if status == 401 and self._key is not None:
            raise ConfigError(f"TMDb does not accept the key in {VARIABLE} (401); compare it with {SETTINGS_PAGE}")
        if 300 <= status < 400:
            host = urlsplit(response.headers.get("Location", "")).hostname or "elsewhere"
            raise ConfigError(
                f"{self.base_url} redirects to {host} ({status}), which is not followed; give the right address with "
                f"{self._option}"
            )
        wait = _retry_after(response.headers) if status in (429, 503) else None
        if wait is None and status == 429:
            wait = DEFAULT_WAIT_SECONDS
        if wait is not None:
            if wait > MAX_WAIT_SECONDS:
                raise DataError(
                    f"the server asks to wait for {wait / 60:,.0f} minutes; run the same command again then"
                )
            self._limiter.pause(wait)
        reason = f"the server answered {status} {responses.get(status, '')}".strip()
        of_request = 400 <= status < 500 and status not in _RETRIED_REFUSALS
        return Fault(reason, of_service=not of_request, final=of_request, wait=wait)


def _read_body(response: requests.Response, limit: int) -> HttpResponse | Fault:
    """Read the whole answer, in chunks, so that memory holds at most ``limit`` bytes and one chunk."""
    chunks, size = [], 0
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            return Fault(f"the answer has more than {limit:,} bytes", of_service=False)
    return HttpResponse(response.status_code, response.headers, b"".join(chunks))


def checked_address(url: str, option: str) -> str:
    """Check an address for requests, and remove slashes at its end.

    Raises:
        ConfigError: it is not an HTTP address, contains a password or a query, or is an unencrypted address of
            another machine.
    """
    if any(mark in url for mark in "@?#"):  # first, and not shown: it may contain a key
        raise ConfigError(
            f"{option} must be an address without user, password, ? and #, such as https://api.themoviedb.org/3"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or parts.scheme not in ("http", "https") or port == 0:
        raise ConfigError(f"{option} must be an address that begins with https://, got {url!r}")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(f"{option} must begin with https:// where it is not this machine, got {url!r}")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of ``Retry-After``: a number, or a date by the server's clock (RFC 9110, 10.2.3)."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
        now = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
        return max((until - now).total_seconds(), 0.0)
    except (TypeError, ValueError):  # not a date, or a date without a time zone
        return None
