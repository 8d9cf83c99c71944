"""An end to answers that trickle, in their head or their body, however little they pause between two bytes.

The timeouts of the HTTP library are for one read each. So a thread looks after the sockets of answers that are under
way, and shuts down those that take too long, on which the read that waits there fails.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_LOOK_SECONDS = 0.25


@dataclass
class Awaited:
    """An answer under way; ``cut`` once it has taken too long."""

    until: float
    socket: Any = None
    cut: bool = False


class Deadline:
    """Gives every answer so many seconds from its request to its last byte."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._awaited: dict[int, Awaited] = {}  # by thread
        threading.Thread(target=self._run, name="tmdb-deadline", daemon=True).start()

    def adapter(self, connections: int) -> HTTPAdapter:
        """An adapter for sessions, whose connections say which socket a thread reads from."""
        deadline = self

        class Plain(HTTPConnection):
            def getresponse(self):  # type: ignore[no-untyped-def]
                deadline._reads_from(self.sock)
                return super().getresponse()

        class Encrypted(HTTPSConnection):
            def getresponse(self):  # type: ignore[no-untyped-def]
                deadline._reads_from(self.sock)
                return super().getresponse()

        pools = {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": Plain}),
            "https": type("EncryptedPool", (HTTPSConnectionPool,), {"ConnectionCls": Encrypted}),
        }

        class Adapter(HTTPAdapter):
            def init_poolmanager(self, *args: Any, **options: Any) -> None:
                super().init_poolmanager(*args, **options)
                self.poolmanager.pool_classes_by_scheme = pools

            def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
                manager = super().proxy_manager_for(*args, **options)
                manager.pool_classes_by_scheme = pools
                return manager

        return Adapter(pool_connections=1, pool_maxsize=connections)

    @contextlib.contextmanager
    def answer(self) -> Iterator[Awaited]:
        """Within the block the current thread awaits one answer."""
        awaited = Awaited(time.monotonic() + self.seconds)
        with self._lock:
            self._awaited[threading.get_ident()] = awaited
        try:
            yield awaited
        finally:
            with self._lock:
                del self._awaited[threading.get_ident()]

    def close(self) -> None:
        """Look no longer."""
        self._closed.set()

    def _reads_from(self, connected: Any) -> None:
        with self._lock:
            if (awaited := self._awaited.get(threading.get_ident())) is not None:
                awaited.socket = connected

    def _run(self) -> None:
        while not self._closed.wait(min(_LOOK_SECONDS, self.seconds / 4)):
            now = time.monotonic()
            with self._lock:
                for awaited in self._awaited.values():
                    if now > awaited.until and isinstance(awaited.socket, socket.socket):
                        awaited.cut = True
                        with contextlib.suppress(OSError):  # the other side has closed it meanwhile
                            # Not the method of an encrypted socket, which takes away what the reading thread uses.
                            socket.socket.shutdown(awaited.socket, socket.SHUT_RDWR)
