"""What every request passes before a route, and every answer after it: checks, limits, headers, metrics."""

from __future__ import annotations

import asyncio
import hmac
import math
import secrets
from collections.abc import Callable
from time import perf_counter
from typing import Any

from loguru import logger
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import ApiError, ErrorAnswer, of_exception
from serving.metrics import Metrics
from serving.rate_limit import RateLimit
from serving.responses import encode
from serving.settings import Settings

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
OTHER_HOST = "this service does not answer under that host name; its operator can add the name with --allowed_hosts"
NEEDS_KEY = ("/v1", "/metrics", "/openapi.json")
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Gate:
    """ASGI middleware around the whole application.

    Args:
        app: the application.
        settings: limits and names of hosts.
        metrics: where requests are counted.
        key: API key that clients must send; None = none is needed.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, key: str | None) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self._key = None if key is None else key.encode()
        self._limit = RateLimit(settings.rate, settings.burst)
        self._hosts = {*LOOPBACK, *map(_in_header, (settings.host, *settings.allowed_hosts))}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, trace_id, method = perf_counter(), secrets.token_hex(8), _method(scope)
        scope.setdefault("state", {})["trace_id"] = trace_id
        sender = _Sender(send, trace_id, with_body=method != "HEAD")
        if method == "HEAD":  # answered as GET is, without the body
            scope = {**scope, "method": "GET"}
        try:
            headers = dict(scope["headers"])
            self._check(scope, headers)
            await self.app(scope, await self._whole_body(headers, receive), sender)
        except Exception as error:
            found = of_exception(error)
            if found.status == 500:
                logger.exception("request {} {} failed, trace {}", scope["method"], scope["path"], trace_id)
            if sender.status is not None:
                raise
            await answer_error(found, trace_id, sender)
        finally:
            route = getattr(scope.get("route"), "path_format", "unmatched")
            self.metrics.latency.labels(route).observe(perf_counter() - started)
            self.metrics.requests.labels(route, method, sender.status or 500).inc()

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raise ``ApiError`` unless host, rate and key of a request are right."""
        host = headers.get(b"host", b"").decode("latin-1").rpartition(":")
        name = host[0] if host[1] and host[2].isdigit() else "".join(host)
        if name.lower() not in self._hosts:
            raise ApiError(400, "invalid_request", OTHER_HOST)
        client = scope.get("client")
        seconds = self._limit.wait(client[0] if client else "")
        if seconds > 0:
            raise ApiError(429, "rate_limited", "too many requests from this client", retry_after=math.ceil(seconds))
        if self._key is not None and scope["path"].startswith(NEEDS_KEY):
            given = headers.get(b"x-api-key", b"")
            if not hmac.compare_digest(given, self._key):
                raise ApiError(401, "unauthorised", "send the API key in the header X-API-Key")

    async def _whole_body(self, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """Read the body up to its limit and hand it on in one message."""
        limit = self.settings.max_body
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > limit:
            raise _too_large(limit)
        if length == b"0" and b"transfer-encoding" not in headers:
            return receive
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return _replay(message, receive)
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise _too_large(limit)
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise ApiError(408, "invalid_request", "the body did not arrive in time") from None
        return _replay({"type": "http.request", "body": b"".join(parts), "more_body": False}, receive)


class _Sender:
    """Sends with the headers that every answer has, and notes the status."""

    def __init__(self, send: Send, trace_id: str, *, with_body: bool) -> None:
        self._send, self._trace_id, self._with_body, self.status = send, trace_id, with_body, None

    status: int | None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [*_RAW_HEADERS, (b"x-trace-id", self._trace_id.encode())]
            given = message.get("headers", [])
            if not any(name == b"cache-control" for name, _ in given):
                own.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*given, *own]}
        elif not self._with_body:
            message = {**message, "body": b""}
        await self._send(message)


async def answer_error(error: ApiError, trace_id: str, send: Callable[[Message], Any]) -> None:
    """Send an error as JSON."""
    body = encode(ErrorAnswer(error.body, trace_id))
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _in_header(host: str) -> str:
    """A name or an address as clients write it into the Host header."""
    return (f"[{host}]" if ":" in host and not host.startswith("[") else host).lower()


def _too_large(limit: int) -> ApiError:
    return ApiError(413, "too_large", f"a body may have at most {limit:,} bytes")


def _replay(message: Message, receive: Receive) -> Receive:
    """A receive function that gives the message first."""
    pending = [message]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again


def _method(scope: Scope) -> str:
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return scope["method"] if scope["method"] in known else "other"
