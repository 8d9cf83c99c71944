"""A time limit for a whole answer, for ``requests``.

The timeouts of requests and urllib3 apply to single reads: a server that sends one byte every few seconds can hold a
connection forever. Here each read of a connection's headers and body also checks the time left for the answer.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

_POLL_SECONDS = 0.5


class DeadlineAdapter(HTTPAdapter):
    """Transport adapter that limits the time of every answer.

    Args:
        connections: connections to keep open.
        idle_seconds: longest wait for the next byte.
        answer_seconds: longest time from the request to the last byte.
        closed: event that ends all reads.

    A read that takes too long raises ``TimeoutError``, which requests and urllib3 wrap in their own timeouts.
    """

    def __init__(self, connections: int, idle_seconds: float, answer_seconds: float, closed: threading.Event) -> None:
        super().__init__(pool_connections=1, pool_maxsize=connections)

        class Response(HTTPResponse):
            def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
                super().__init__(sock, *args, **options)
                deadline = time.monotonic() + answer_seconds
                self.fp = io.BufferedReader(_DeadlineReader(sock, idle_seconds, deadline, closed))

        class PlainConnection(HTTPConnection):
            response_class = Response

        class EncryptedConnection(HTTPSConnection):
            response_class = Response

        self._connection_classes = {"http": PlainConnection, "https": EncryptedConnection}

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """As in the base class, with connections that apply the time limit."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = self._connection_classes[pool.scheme]
        return pool


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until a deadline, and no longer than ``idle_seconds`` for one byte."""

    def __init__(self, sock: socket.socket, idle_seconds: float, deadline: float, closed: threading.Event) -> None:
        self._socket = sock
        self._file = sock.makefile("rb", buffering=0)  # keeps the socket open until this reader is closed
        self._idle_seconds = idle_seconds
        self._deadline = deadline
        self._closed_event = closed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        until = min(time.monotonic() + self._idle_seconds, self._deadline)
        while (left := until - time.monotonic()) > 0 and not self._closed_event.is_set():
            self._socket.settimeout(min(left, _POLL_SECONDS))
            try:
                return self._socket.recv_into(buffer)
            except TimeoutError:
                continue
        raise TimeoutError("timed out")

    def close(self) -> None:
        self._file.close()
        super().close()
