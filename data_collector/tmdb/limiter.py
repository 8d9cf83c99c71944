"""No more than so many requests in any second, whichever thread sends them, and as the server sees it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

WINDOW_SECONDS = 1.0
_LOOK_SECONDS = 0.5


class Halted(Exception):
    """The crawl is ending; nothing new is begun."""


class RateLimiter:
    """Shares ``rate`` requests a second among threads.

    Requests begin evenly spaced. That alone bounds when they leave, not when they arrive: a delayed one may arrive
    together with those behind it. So there are ``rate`` places, a request holds one until its answer begins, and one
    second later the place is given to another. A server sees a request between those two moments, hence never more
    than ``rate`` in any second. The price is the share of a second that an answer takes: with 0.1 s to the first byte
    91% of the rate is reached.
    """

    def __init__(self, rate: int, halt: threading.Event) -> None:
        self._spacing = WINDOW_SECONDS / rate
        self._halt = halt
        self._changed = threading.Condition()
        self._free = deque([float("-inf")] * rate)  # when each place was given back
        self._next = float("-inf")
        self._not_before = float("-inf")

    @contextmanager
    def request(self) -> Iterator[None]:
        """Wait for a place, and hold it within the block, which should end when the answer begins.

        Raises:
            Halted: the crawl ended while waiting.
        """
        self._wait()
        try:
            yield
        finally:
            with self._changed:
                self._free.append(time.monotonic())
                self._changed.notify()

    def pause(self, seconds: float) -> None:
        """Nobody sends anything for so long. A longer pause that is under way stays."""
        with self._changed:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def _wait(self) -> None:
        start = self._reserve()
        while (left := start - time.monotonic()) > 0:
            if self._halt.wait(min(left, _LOOK_SECONDS)):
                raise Halted
            with self._changed:
                if start < self._not_before:  # a pause began meanwhile; all who wait for its end leave spaced again
                    start = max(self._not_before, self._next)
                    self._next = start + self._spacing

    def _reserve(self) -> float:
        """Take a place; returns when the request may begin."""
        with self._changed:
            while not self._free and not self._halt.is_set():
                self._changed.wait(_LOOK_SECONDS)
            if self._halt.is_set():
                raise Halted
            start = max(time.monotonic(), self._next, self._not_before, self._free.popleft() + WINDOW_SECONDS)
            self._next = start + self._spacing
            return start
