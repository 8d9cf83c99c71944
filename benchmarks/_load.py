"""An open-loop load of HTTP requests: they are sent at fixed times, whether or not earlier ones are answered.

The time of a request counts from the moment at which it was due. A server that stalls therefore shows the waiting of
all requests that were due meanwhile, which a client that waits for each answer would not see (coordinated omission).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

LONGEST_IDLE = 5.0
"""Seconds: well below the time after which the service closes an idle connection, which would lose a request."""
CONNECTIONS = 32
"""Kept open and used in turn, as by many clients. Few would be those of one process while the others are idle."""
Requests = Callable[[int], bytes]
"""Number of the request → its bytes: request line, headers and body."""


@dataclass
class LoadResult:
    """What a load measured.

    Attributes:
        seconds: answer times from the moment a request was due.
        statuses: HTTP status → answers; 0 = the connection broke.
        behind: greatest delay of the client itself in sending, in seconds.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    behind: float = 0.0

    @property
    def failed(self) -> int:
        """Answers that are no success."""
        return sum(n for status, n in self.statuses.items() if not 200 <= status < 300)

    def quantile(self, q: float) -> float:
        """Milliseconds."""
        return float(np.quantile(self.seconds, q)) * 1e3 if self.seconds else float("nan")


class Connections:
    """Connections to one server that are kept open and used again, the one that is free for longest first."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._free: deque[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = deque()  # since when each is free

    async def open(self, number: int) -> None:
        """Open connections ahead of the load."""
        for _ in range(number):
            self._free.append((perf_counter(), *await asyncio.open_connection(self.host, self.port)))

    async def ask(self, request: bytes) -> int:
        """Send a request and read the answer whole; returns its status."""
        reader, writer = await self._connection()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), 0)
        await reader.readexactly(length)
        if b"connection: close" in lines:
            writer.close()
        else:
            self._free.append((perf_counter(), reader, writer))
        return int(head.split(b" ", 2)[1])

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection that is free for longest, or a new one."""
        while self._free:
            since, reader, writer = self._free.popleft()
            if perf_counter() - since < LONGEST_IDLE:
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self.host, self.port)

    def close(self) -> None:
        """Close the connections that no request uses."""
        for _, _, writer in self._free:
            writer.close()


async def load(host: str, port: int, requests: Requests, rate: float, seconds: float, seed: int = 0) -> LoadResult:
    """Send requests at ``rate`` per second for ``seconds``, at times drawn from a Poisson process."""
    gaps = np.random.default_rng(seed).exponential(1.0 / rate, size=int(rate * seconds))
    connections, result = Connections(host, port), LoadResult()
    await connections.open(CONNECTIONS)
    started = perf_counter()

    async def one(number: int, due: float) -> None:
        try:
            status = await connections.ask(requests(number))
        except (OSError, asyncio.IncompleteReadError):
            status = 0
        result.statuses[status] += 1
        result.seconds.append(perf_counter() - due)

    async with asyncio.TaskGroup() as group:
        for number, due in enumerate(started + np.cumsum(gaps)):
            await asyncio.sleep(max(due - perf_counter(), 0.0))
            result.behind = max(result.behind, perf_counter() - due)
            group.create_task(one(number, float(due)))
    connections.close()
    return result
