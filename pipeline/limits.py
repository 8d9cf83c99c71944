"""Time limits of the stages of a request, and the threads that make it possible to leave a slow component behind."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass, fields
from functools import partial
from queue import SimpleQueue
from threading import Event, Lock, Thread
from time import perf_counter
from typing import Any, Generic, TypeAlias, TypeVar

from reccore import DataError
from reccore.threads import limit_threads, thread_limit

T = TypeVar("T")
TICK = 0.005
"""Seconds between two looks at the component that works; a limit is kept to this precision."""


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


@dataclass(frozen=True, eq=False)
class Work:
    """A call of one component.

    Attributes:
        component: that works; a component that hangs is recognised by it.
        function: to call.
        limit: seconds; None = any time.
    """

    component: object
    function: Callable[[], Any]
    limit: float | None = None


Chain: TypeAlias = Generator[Work, Any, T]
"""Work to do, one after another: each result is sent to the generator, each exception thrown into it."""


def run_here(chain: Chain[T]) -> T:
    """Do the work of a chain in this thread, without limits; returns what the chain returns."""
    resume: Callable[[], Work] = partial(next, chain)
    while True:
        try:
            work = resume()
        except StopIteration as end:
            result: T = end.value
            return result
        resume = _done(chain, work)


def _done(chain: Chain[Any], work: Work) -> Callable[[], Work]:
    """How the chain goes on after the work, which is done now."""
    try:
        return partial(chain.send, work.function())
    except BaseException as error:  # for the chain to handle
        return partial(chain.throw, error)


class Workers:
    """Threads that do the work of chains under limits; they end when this object does.

    A chain runs in one thread, while its caller waits and watches the time. When a component is over its limit, the
    thread is left behind with it: the result is dropped whenever it comes, ``OverLimit`` is thrown into the chain, and
    another thread goes on with it. Until the component returns, every further call of it fails at once with
    ``StillBusy``. So a component that hangs costs each request under way its limit and a thread, and later requests
    nothing. A thread cannot be stopped from outside: one whose component never returns stays until the process ends.

    Handing a chain over takes some 0.03 ms on an idle machine, whatever its length.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[SimpleQueue[_Job]] = []
        self._hanging: dict[int, list[float]] = {}  # component → since when each abandoned call of it has been running
        weakref.finalize(self, _end, self._idle)

    def run(self, chain: Chain[T]) -> T:
        """Do the work of a chain; returns what the chain returns, and raises what it raises."""
        return _Watched(self, chain).result()

    def start(self, job: _Job) -> SimpleQueue[_Job]:
        """Do a job in an idle thread, or a new one; the thread is given back by ``give_back``."""
        with self._lock:
            thread = self._idle.pop() if self._idle else None
        if thread is None:
            thread = SimpleQueue()
            # A daemon, so that a component that hangs does not keep the process alive.
            Thread(target=_serve, args=(thread,), daemon=True).start()
        thread.put(job)
        return thread

    def give_back(self, thread: SimpleQueue[_Job]) -> None:
        """Take a thread whose job is done for the next one."""
        with self._lock:
            self._idle.append(thread)

    def hangs(self, component: object) -> float | None:
        """Since when the component hangs; None if it does not."""
        with self._lock:
            return min(self._hanging.get(id(component), ()), default=None)

    def set_hanging(self, component: object, since: float) -> None:
        """Remember an abandoned call of the component."""
        with self._lock:
            self._hanging.setdefault(id(component), []).append(since)

    def set_returned(self, component: object, since: float) -> None:
        """Forget an abandoned call of the component."""
        with self._lock:
            self._hanging[id(component)].remove(since)


_Job: TypeAlias = Callable[[], bool] | None
"""Returns whether its thread can take another; None ends the thread."""


class _Watched(Generic[T]):
    """A chain that a thread works on and its caller watches."""

    def __init__(self, workers: Workers, chain: Chain[T]) -> None:
        self._workers, self._chain = workers, chain
        self._lock, self._ended = Lock(), Event()
        self._turn = 0  # number of the thread that may go on with the chain
        self._work: Work | None = None  # what the thread is doing, and since when
        self._since = 0.0
        self._outcome: Callable[[], T] | None = None

    def result(self) -> T:
        """In the caller's thread."""
        thread = self._go_on(partial(next, self._chain))
        while not self._ended.wait(TICK):
            with self._lock:
                work, since = self._work, self._since
                if work is None or work.limit is None or perf_counter() - since < work.limit:
                    continue
                self._turn += 1
                self._work = None
                self._workers.set_hanging(work.component, since)
            error = OverLimit(f"took longer than {_milliseconds(work.limit)}")
            thread = self._go_on(partial(self._chain.throw, error))
        self._workers.give_back(thread)
        assert self._outcome is not None
        return self._outcome()

    def _go_on(self, resume: Callable[[], Work]) -> SimpleQueue[_Job]:
        return self._workers.start(partial(self._advance, resume, self._turn))

    def _advance(self, resume: Callable[[], Work], turn: int) -> bool:
        """In a thread: work until the chain ends. Returns False if the caller went on with another thread."""
        while True:
            try:
                work = resume()
            except StopIteration as end:
                return self._end(partial(_value, end.value))
            except BaseException as error:  # raised again in the caller's thread
                return self._end(partial(_raise, error))
            hung = self._workers.hangs(work.component)
            if hung is not None:
                busy = StillBusy(f"still busy with an earlier call, for {_milliseconds(perf_counter() - hung)} now")
                resume = partial(self._chain.throw, busy)
                continue
            since = perf_counter()
            with self._lock:
                self._work, self._since = work, since
            resume = _done(self._chain, work)
            with self._lock:
                if self._turn != turn:
                    self._workers.set_returned(work.component, since)
                    return False
                self._work = None

    def _end(self, outcome: Callable[[], T]) -> bool:
        self._outcome = outcome
        self._ended.set()
        return True


def _value(value: T) -> T:
    return value


def _raise(error: BaseException) -> Any:
    raise error


def _serve(jobs: SimpleQueue[_Job]) -> None:
    threads = thread_limit()
    if threads is not None:  # OpenMP and Numba keep their number per thread
        limit_threads(threads)
    while (job := jobs.get()) is not None:
        goes_on = job()
        del job  # keeps a request alive
        if not goes_on:
            return


def _end(idle: list[SimpleQueue[_Job]]) -> None:
    for thread in idle:
        thread.put(None)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.4g} ms"
