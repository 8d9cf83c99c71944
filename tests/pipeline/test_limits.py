"""Threads that leave slow calls behind. Whatever hangs waits for an event that the test sets."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from pipeline.limits import OverLimit, StageLimits, StillBusy, Workers
from reccore import DataError

SOON, LONG = 0.02, 60.0


class Component:
    """Hangs until it is released."""

    def __init__(self) -> None:
        self.released, self.entered, self.calls = Event(), Event(), 0

    def hang(self) -> str:
        self.calls += 1
        self.entered.set()
        assert self.released.wait(LONG)
        return "late"


@pytest.fixture
def component() -> Iterator[Component]:
    one = Component()
    yield one
    one.released.set()


def until(condition: Any) -> None:
    """Wait for what another thread is about to do."""
    tick = Event()
    for _ in range(int(LONG / 0.01)):
        if condition():
            return
        tick.wait(0.01)
    pytest.fail("it did not happen")


def test_without_a_limit_the_caller_s_thread_works(component: Component) -> None:
    assert Workers().call(component, threading.current_thread, None) is threading.current_thread()


def test_under_a_limit_one_thread_of_its_own_works(component: Component) -> None:
    workers = Workers()
    idents = {workers.call(component, threading.get_ident, LONG) for _ in range(5)}
    assert len(idents) == 1
    assert threading.get_ident() not in idents
    assert workers.call(Component(), threading.get_ident, LONG) not in idents


def test_results_and_exceptions_come_back(component: Component) -> None:
    workers = Workers()
    assert workers.call(component, lambda: [1, 2], LONG) == [1, 2]
    with pytest.raises(ZeroDivisionError):
        workers.call(component, lambda: 1 // 0, LONG)
    with pytest.raises(SystemExit):
        workers.call(component, lambda: exec("raise SystemExit(3)"), LONG)
    assert workers.call(component, lambda: "goes on", LONG) == "goes on"


def test_a_call_over_its_limit_is_abandoned_and_its_result_dropped(component: Component) -> None:
    workers = Workers()
    with pytest.raises(OverLimit, match=r"^took longer than 20 ms$"):
        workers.call(component, component.hang, SOON)
    # While it hangs, further calls fail at once: even those with all the time in the world.
    for _ in range(3):
        with pytest.raises(StillBusy, match="still busy with an earlier call, for"):
            workers.call(component, component.hang, LONG)
    assert component.calls == 1
    # Others are not held up.
    assert workers.call(Component(), lambda: "free", LONG) == "free"
    component.released.set()
    until(lambda: not _is_busy(workers, component))
    assert workers.call(component, lambda: "fresh", LONG) == "fresh"


def _is_busy(workers: Workers, component: Component) -> bool:
    try:
        workers.call(component, lambda: None, LONG)
    except StillBusy:
        return True
    return False


def test_an_abandoned_call_may_fail_late(component: Component) -> None:
    workers = Workers()

    def fail() -> None:
        component.hang()
        raise RuntimeError("too late to matter")

    with pytest.raises(OverLimit):
        workers.call(component, fail, SOON)
    component.released.set()
    until(lambda: not _is_busy(workers, component))


def test_a_call_that_waits_too_long_for_its_turn_never_runs(component: Component) -> None:
    """The first caller may take its time; the second one's call is dropped before it starts."""
    workers, ran = Workers(), []
    with ThreadPoolExecutor(1) as callers:
        first = callers.submit(workers.call, component, component.hang, LONG)
        assert component.entered.wait(LONG)
        with pytest.raises(OverLimit, match="took longer than 20 ms"):
            workers.call(component, lambda: ran.append(1), SOON)
        component.released.set()
        assert first.result(LONG) == "late"
    assert workers.call(component, lambda: "next", LONG) == "next"
    assert ran == []


def test_many_callers_lose_nothing(component: Component) -> None:
    workers = Workers()
    with ThreadPoolExecutor(8) as callers:
        found = list(callers.map(lambda n: workers.call(component, lambda: n * n, LONG), range(200)))
    assert found == [n * n for n in range(200)]


def test_the_threads_end_with_the_workers(component: Component) -> None:
    workers, others = Workers(), [Component() for _ in range(3)]
    threads = [workers.call(one, threading.current_thread, LONG) for one in others]
    assert len(set(threads)) == 3
    assert all(thread.is_alive() for thread in threads)
    del workers
    gc.collect()
    until(lambda: not any(thread.is_alive() for thread in threads))


def test_limits_by_role() -> None:
    limits = StageLimits(source=0.05, score=0.2)
    assert [limits.of(role) for role in ("source", "merge", "hydrate", "score")] == [0.05, None, None, 0.2]
    assert limits.times(10) == StageLimits(source=0.5, score=2.0)
    assert StageLimits().of("source") is None


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_limits_that_no_stage_can_keep(limit: float) -> None:
    with pytest.raises(DataError, match="the limit of stage hydrate must be above 0 seconds, got"):
        StageLimits(hydrate=limit)
