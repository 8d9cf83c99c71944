"""Time limits of the stages of a request, and the threads that make it possible to leave a slow component behind."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, fields
from queue import SimpleQueue
from threading import Event, Lock, Thread
from time import perf_counter
from typing import Any, Generic, TypeVar

from reccore import DataError
from reccore.threads import limit_threads, thread_limit

T = TypeVar("T")


@dataclass(frozen=True)
class StageLimits:
    """Seconds that one component may take in one request, by the role of its stage; None = any time.

    Raises:
        DataError: a limit that is not above 0.
    """

    source: float | None = None
    hydrate: float | None = None
    filter: float | None = None
    score: float | None = None
    select: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            limit = getattr(self, field.name)
            if limit is not None and not limit > 0:
                raise DataError(f"the limit of stage {field.name} must be above 0 seconds, got {limit}")

    def of(self, role: str) -> float | None:
        """The limit of a role; None for the merge, which has none."""
        limit: float | None = getattr(self, role, None)
        return limit

    def times(self, factor: float) -> StageLimits:
        """Limits for a batch that may take ``factor`` times as long."""
        limits = {field.name: getattr(self, field.name) for field in fields(self)}
        return StageLimits(**{name: None if limit is None else factor * limit for name, limit in limits.items()})


class OverLimit(Exception):
    """A component took longer than its limit; the message says how long."""


class StillBusy(OverLimit):
    """A component has not yet returned from an earlier call that was over its limit."""


class Workers:
    """A thread for each component that has been called under a limit; the threads end when this object does.

    A call waits for its result until its limit is over. Then the call is abandoned: its result is dropped whenever it
    comes, and until then every further call of the component fails at once, so that one that hangs costs one request
    its limit, and keeps one thread. A thread cannot be stopped from outside, so a component that never returns keeps
    its thread until the process ends. Handing a call over takes about 0.05 ms.

    One component is not called by two threads at a time: requests of several callers wait for each other there, and
    waiting counts. Calls without a limit run in the caller's thread.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._workers: dict[int, _Worker] = {}

    def call(self, component: object, function: Callable[[], T], limit: float | None) -> T:
        """The function's result, or its exception.

        Args:
            component: does the work; lives at least as long as this object.
            function: to call.
            limit: seconds; None = any time.

        Raises:
            OverLimit: it took longer, or an earlier call still hangs.
        """
        if limit is None:
            return function()
        with self._lock:
            worker = self._workers.get(id(component))
            if worker is None:
                worker = self._workers[id(component)] = _Worker()
                weakref.finalize(self, worker.calls.put, None)
        return worker.call(function, limit)


class _Call(Generic[T]):
    """One call on its way through a worker's thread."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function: Callable[[], T] | None = function
        self._lock = Lock()
        self._outcome: Callable[[], T] | None = None
        self.started = False
        self.done = Event()

    def run(self) -> None:
        """In the worker's thread; does nothing if the caller no longer waits."""
        with self._lock:
            function, self._function = self._function, None
            self.started = function is not None
        if function is not None:
            outcome = _outcome(function)
            with self._lock:
                self._outcome = outcome
            self.done.set()

    def result(self, limit: float) -> T:
        """In the caller's thread: the result, or the exception, once it is there."""
        self.done.wait(limit)
        with self._lock:
            outcome, self._function = self._outcome, None
        if outcome is None:
            raise OverLimit(f"took longer than {_milliseconds(limit)}")
        return outcome()


def _outcome(function: Callable[[], T]) -> Callable[[], T]:
    """A function that returns the result, or raises the exception, of one that is called now."""
    try:
        result = function()
    except BaseException as caught:  # raised again in the caller's thread
        error = caught

        def fail() -> T:
            raise error

        return fail
    return lambda: result


class _Worker:
    """One thread that runs calls in the order of their arrival."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[_Call[Any] | None] = SimpleQueue()
        self._abandoned: _Call[Any] | None = None
        self._since = 0.0
        # A daemon, so that a component that hangs does not keep the process alive.
        Thread(target=_serve, args=(self.calls,), daemon=True).start()

    def call(self, function: Callable[[], T], limit: float) -> T:
        abandoned = self._abandoned
        if abandoned is not None and not abandoned.done.is_set():
            raise StillBusy(f"still busy with an earlier call, for {_milliseconds(perf_counter() - self._since)} now")
        call, started = _Call(function), perf_counter()
        self.calls.put(call)
        try:
            return call.result(limit)
        except OverLimit:
            if call.started:
                self._abandoned, self._since = call, started
            raise


def _serve(calls: SimpleQueue[_Call[Any] | None]) -> None:
    threads = thread_limit()
    if threads is not None:  # OpenMP and Numba keep their number per thread
        limit_threads(threads)
    while (call := calls.get()) is not None:
        call.run()
        del call  # keeps a request alive


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.4g} ms"
