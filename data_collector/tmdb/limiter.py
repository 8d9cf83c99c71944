"""A limit on the requests per second of all threads together, as the server counts them.

Rate-limit packages (pyrate-limiter, aiolimiter) limit when requests leave. A slow request then reaches the server
together with later ones, and the server counts more than the limit: with 20 requests/s and answers after 0.2 s,
pyrate-limiter 4.5 let 21 arrive within 0.85 s. This limiter also counts the time until the answer begins.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

WINDOW_SECONDS = 1.0
_POLL_SECONDS = 0.5


class Stopped(Exception):
    """The crawl is stopping: no new request starts."""


class RateLimiter:
    """Shares ``rate`` requests per second among threads.

    There are ``rate`` slots. A request occupies a slot until its answer begins, and the slot is reused one second
    after that. The server receives a request while it occupies its slot, so it never receives more than ``rate`` in
    any second. Requests also start evenly spaced. An answer that takes 0.1 s to begin lowers the throughput to 91% of
    the rate.

    Args:
        rate: most requests in any second.
        stop: event that ends all waiting.
    """

    def __init__(self, rate: int, stop: threading.Event) -> None:
        self._interval = WINDOW_SECONDS / rate
        self._stop = stop
        self._lock = threading.Lock()
        self._next_start = float("-inf")
        self._paused_until = float("-inf")
        self._slots: queue.SimpleQueue[float] = queue.SimpleQueue()  # when each free slot's last answer began
        for _ in range(rate):
            self._slots.put(float("-inf"))

    @contextmanager
    def request(self) -> Iterator[None]:
        """Wait for a slot and occupy it during the block, which should end when the answer begins.

        Raises:
            Stopped: the crawl stopped before the request could start.
        """
        self._wait(self._free_slot() + WINDOW_SECONDS)
        try:
            yield
        finally:
            self._slots.put(time.monotonic())

    def pause(self, seconds: float) -> None:
        """Start no request for this long. A pause that ends later stays in force."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _free_slot(self) -> float:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Empty):
                return self._slots.get(timeout=_POLL_SECONDS)
        raise Stopped

    def _wait(self, slot_ready: float) -> None:
        """Return when the request may start."""
        start = self._reserve(slot_ready)
        while (left := start - time.monotonic()) > 0:
            if self._stop.wait(min(left, _POLL_SECONDS)):
                raise Stopped
            if start < self._paused_until:  # a pause began meanwhile
                start = self._reserve(slot_ready)

    def _reserve(self, slot_ready: float) -> float:
        """The next start time, evenly spaced from the one before."""
        with self._lock:
            start = max(time.monotonic(), slot_ready, self._next_start, self._paused_until)
            self._next_start = start + self._interval
            return start
