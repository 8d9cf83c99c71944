"""What is left to do: fresh jobs, and failed ones that wait their time."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K")

_LOOK_SECONDS = 0.5


@dataclass
class Job(Generic[K]):
    """One thing to fetch, and how many attempts were made."""

    key: K
    attempts: int = 0


class Jobs(Generic[K]):
    """Jobs for many threads. A job that waits for its next attempt holds no thread up."""

    def __init__(self, keys: Iterable[K], halt: threading.Event) -> None:
        self._fresh = deque(Job(key) for key in keys)
        self._waiting: list[tuple[float, int, Job[K]]] = []  # heap by due time
        self._numbers = count()
        self._left = len(self._fresh)
        self._halt = halt
        self._changed = threading.Condition()

    @property
    def left(self) -> int:
        """Jobs that are not finished."""
        return self._left

    def take(self) -> Job[K] | None:
        """The next job, waited for where there is none yet; None when all are finished or the crawl is ending."""
        with self._changed:
            while self._left and not self._halt.is_set():
                pause = self._waiting[0][0] - time.monotonic() if self._waiting else _LOOK_SECONDS
                if pause <= 0:
                    return heapq.heappop(self._waiting)[2]
                if self._fresh:
                    return self._fresh.popleft()
                self._changed.wait(min(pause, _LOOK_SECONDS))
            return None

    def put_back(self, job: Job[K], seconds: float) -> None:
        """Offer a job again after so many seconds."""
        with self._changed:
            heapq.heappush(self._waiting, (time.monotonic() + seconds, next(self._numbers), job))
            self._changed.notify()

    def finish(self) -> None:
        """One job that was taken is finished."""
        with self._changed:
            self._left -= 1
            if not self._left:
                self._changed.notify_all()
