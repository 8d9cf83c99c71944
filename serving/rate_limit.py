"""A token bucket for every client, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MAX_CLIENTS = 10_000


class RateLimit:
    """At most ``burst`` requests at once and ``rate`` per second in the long run, for every client.

    Only the ``clients`` seen last are remembered; one that was forgotten starts with a full bucket.

    Args:
        rate: tokens per second; 0 = no limit.
        burst: size of a bucket.
        clients: number of buckets kept.
        clock: seconds.
    """

    def __init__(
        self, rate: float, burst: int, clients: int = MAX_CLIENTS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate, self.burst, self._clients, self._clock = rate, burst, clients, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, client: str) -> float:
        """Take a token; 0.0 if there was one, else the seconds until the next."""
        if self.rate == 0:
            return 0.0
        now = self._clock()
        tokens, since = self._buckets.pop(client, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - since) * self.rate)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self.rate
