"""A pool of threads that fetches many items: it retries failures later, waits out an outage, and stops on Ctrl-C."""

from __future__ import annotations

import heapq
import operator
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from loguru import logger
from tenacity import (
    RetryError,
    Retrying,
    retry_if_result,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_exponential,
)

from data_collector.tmdb.client import Fault
from data_collector.tmdb.limiter import Stopped
from reccore.errors import DataError, RecommenderError
from reccore.progress import progress

ATTEMPTS = 10  # per item and run
BACKOFF_SECONDS = 0.5  # before the second attempt; doubles with each further one
LONGEST_BACKOFF_SECONDS = 30.0
FEWEST_FAULTS = 10  # in a row, before the service counts as down; at least one per thread
# About five minutes of outage together; then a person should look.
PROBES = 11
PROBE_SECONDS = 1.0
LONGEST_PROBE_SECONDS = 60.0
_POLL_SECONDS = 0.1

K = TypeVar("K")
K_contra = TypeVar("K_contra", contravariant=True)


class ServiceDownError(DataError):
    """The service did not come back in time."""


class Fetcher(Protocol[K_contra]):
    """How to fetch one kind of item.

    Attributes:
        label: for the progress bar.
        unit: name of one item.
    """

    label: str
    unit: str

    def fetch(self, key: K_contra, attempt: int, /) -> None:
        """Fetch an item and store it; ``attempt`` counts from 1.

        Raises:
            Fault: the attempt failed.
        """

    def give_up(self, key: K_contra, attempts: int, reason: str, /) -> None:
        """Record that all attempts failed, with the last reason."""


@dataclass
class _Job:
    """An item to fetch, and the number of attempts so far."""

    key: Any
    attempts: int = 0


class WorkerPool:
    """Fetches items with many threads. All bookkeeping runs in the thread that calls ``run``.

    A circuit breaker stops requests while the service is down: after many faults in a row, over all threads, only
    ``is_alive`` is called, with growing pauses, until it returns true. It is a separate request because a document
    that the service cannot deliver says nothing about the service. (pybreaker does not fit: it holds a lock during
    each call, so that calls run one at a time, and it probes with the failed call itself.)

    Args:
        workers: number of threads.
        is_alive: whether the service answers.
        stop: set it to finish the requests in flight and start no others. The pool sets it on Ctrl-C and on errors.

    Attributes:
        given_up: items for which all attempts failed.
        example: key and error of one of them.
        faults: failed attempts.
        left: items that are not settled yet.
    """

    def __init__(self, workers: int, is_alive: Callable[[], bool], stop: threading.Event) -> None:
        self._workers = workers
        self._is_alive = is_alive
        self._stop = stop
        self._threshold = max(FEWEST_FAULTS, workers)
        self._faults_in_a_row = 0
        self._is_down = False
        self._end_probe = threading.Event()
        self._reason = ""
        self._fresh: deque[_Job] = deque()
        self._retries: list[tuple[float, int, _Job]] = []  # heap by due time
        self._running: dict[Future[None], _Job | None] = {}  # None: the probe of a service that is down
        self._finished: queue.SimpleQueue[Future[None]] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self.given_up = 0
        self.example = ""
        self.faults = 0
        self.left = 0

    def run(
        self, keys: Sequence[K], fetcher: Fetcher[K], interrupted: Callable[[], bool], *, show_progress: bool
    ) -> None:
        """Fetch all items. Afterwards ``left`` is 0, unless Ctrl-C or an error stopped the pool.

        Args:
            keys: keys of the items, each once.
            fetcher: how to fetch an item.
            interrupted: whether Ctrl-C was pressed.
            show_progress: show a bar with rate, errors and time left.

        Raises:
            ServiceDownError: the service was down for too long.
            RecommenderError: an error that would stop every other request too. Requests in flight have ended.
        """
        self._fresh = deque(_Job(key) for key in keys)
        self.left = len(keys)
        executor = ThreadPoolExecutor(self._workers, thread_name_prefix="tmdb")
        try:
            with progress(fetcher.label, len(keys), unit=f"{fetcher.unit}s", enabled=show_progress) as advance:
                while self._running or (self.left and not self._stop.is_set()):
                    self._submit(executor, fetcher)
                    advance(self._collect(fetcher), errors=self.faults)
                    if interrupted() and not self._stop.is_set():
                        self._stop_all()
                        logger.info("finishing the requests in flight; press Ctrl-C again to stop at once")
        finally:
            if self._running:  # a second Ctrl-C: do not wait for the requests in flight
                self._stop_all()
            executor.shutdown(wait=not self._running, cancel_futures=True)
        if self.given_up:
            logger.warning(
                "{:,} of {:,} {}s failed, such as {}; the same command tries them again",
                self.given_up,
                len(keys),
                fetcher.unit,
                self.example,
            )
        if self._error is not None:
            raise self._error

    def _can_start(self) -> bool:
        return len(self._running) < self._workers and not self._is_down and not self._stop.is_set()

    def _submit(self, executor: ThreadPoolExecutor, fetcher: Fetcher[Any]) -> None:
        """Give every idle thread a job that is due."""
        while self._can_start():
            if self._retries and self._retries[0][0] <= time.monotonic():
                job = heapq.heappop(self._retries)[2]
            elif self._fresh:
                job = self._fresh.popleft()
            else:
                return
            job.attempts += 1
            self._start(executor.submit(fetcher.fetch, job.key, job.attempts), job)
        if self._is_down and not self._stop.is_set() and None not in self._running.values():
            self._start(executor.submit(self._probe), None)

    def _start(self, future: Future[None], job: _Job | None) -> None:
        self._running[future] = job
        future.add_done_callback(self._finished.put)

    def _collect(self, fetcher: Fetcher[Any]) -> int:
        """Wait a short time for a result; returns the number of items settled by it."""
        wait = _POLL_SECONDS
        if self._retries and self._can_start():
            wait = min(max(self._retries[0][0] - time.monotonic(), 0.0), _POLL_SECONDS)
        try:
            future = self._finished.get(timeout=wait)
        except queue.Empty:
            return 0
        job, error = self._running.pop(future), future.exception()
        before = self.left
        if isinstance(error, Fault) and job is not None:
            self._handle_fault(job, error, fetcher)
        elif error is None:
            self._faults_in_a_row = 0
            self._set_down(False)
            self.left -= job is not None
        elif not isinstance(error, Stopped):
            self._fail(error)
        return before - self.left

    def _handle_fault(self, job: _Job, fault: Fault, fetcher: Fetcher[Any]) -> None:
        """Retry the item later, or give it up."""
        self.faults += 1
        was_down = self._is_down
        if fault.of_service:
            self._faults_in_a_row += 1
            self._reason = str(fault)
            if self._faults_in_a_row >= self._threshold:
                self._set_down(True)
            if was_down:  # the fault says nothing about the item
                job.attempts -= 1
        if (fault.final or job.attempts >= ATTEMPTS) and not (was_down and fault.of_service):
            try:
                fetcher.give_up(job.key, job.attempts, str(fault))
            except RecommenderError as error:
                self._fail(error)
                return
            self.left -= 1
            self.given_up += 1
            self.example = f"{job.key} ({fault})"
            return
        longest = min(BACKOFF_SECONDS * 2.0 ** max(job.attempts - 1, 0), LONGEST_BACKOFF_SECONDS)
        wait = longest * random.uniform(0.5, 1.0) if fault.wait is None else fault.wait
        heapq.heappush(self._retries, (time.monotonic() + wait, self.faults, job))

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._stop_all()

    def _stop_all(self) -> None:
        self._stop.set()
        self._end_probe.set()

    def _set_down(self, is_down: bool) -> None:
        if is_down == self._is_down:
            return
        self._is_down = is_down
        if is_down:
            self._end_probe.clear()
            n = self._faults_in_a_row
            logger.warning("{} requests in a row failed ({}); waiting for the service to come back", n, self._reason)
        else:
            self._end_probe.set()
            logger.info("the service answers again")

    def _probe(self) -> None:
        """Return when the service answers; a late answer to an earlier request counts too.

        Raises:
            ServiceDownError: it did not answer any probe.
        """
        self._end_probe.wait(PROBE_SECONDS)
        retrying = Retrying(
            retry=retry_if_result(operator.not_),
            wait=wait_exponential(multiplier=PROBE_SECONDS, max=LONGEST_PROBE_SECONDS),
            stop=stop_after_attempt(PROBES) | stop_when_event_set(self._end_probe),
            sleep=sleep_using_event(self._end_probe),
        )
        try:
            retrying(lambda: not self._is_down or self._is_alive())
        except RetryError:
            if self._end_probe.is_set():
                raise Stopped from None
            raise ServiceDownError(self._reason) from None
