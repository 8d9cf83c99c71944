"""Chains of work whose slow components are left behind. Whatever hangs waits for an event that the test sets."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from pipeline.limits import Chain, OverLimit, StageLimits, StillBusy, Work, Workers, run_here
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


def chain_of(*works: Work) -> Chain[list[Any]]:
    """The results of all works; in place of a result the exception."""
    found: list[Any] = []
    for work in works:
        try:
            found.append((yield work))
        except Exception as error:
            found.append(error)
    return found


def one(component: object, function: Callable[[], Any], limit: float | None = LONG) -> Chain[Any]:
    return (yield Work(component, function, limit))


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    tick = Event()
    for _ in range(int(LONG / 0.01)):
        if condition():
            return
        tick.wait(0.01)
    pytest.fail("it did not happen")


def is_busy(workers: Workers, component: Component) -> bool:
    return isinstance(workers.run(chain_of(Work(component, int)))[0], StillBusy)


def test_without_limits_the_caller_s_thread_works(component: Component) -> None:
    works = [Work(component, threading.current_thread), Work(component, lambda: 1 // 0, LONG), Work(component, int)]
    thread, error, number = run_here(chain_of(*works))
    assert thread is threading.current_thread()
    assert isinstance(error, ZeroDivisionError)
    assert number == 0
    with pytest.raises(ZeroDivisionError):
        run_here(one(component, lambda: 1 // 0))


def test_one_thread_does_a_whole_chain_and_then_the_next(component: Component) -> None:
    workers = Workers()
    threads = [workers.run(chain_of(*[Work(Component(), threading.current_thread, LONG)] * 4)) for _ in range(3)]
    assert len({thread for of_chain in threads for thread in of_chain}) == 1
    assert threads[0][0] is not threading.current_thread()


def test_results_and_exceptions_come_back(component: Component) -> None:
    workers = Workers()
    assert workers.run(one(component, lambda: [1, 2])) == [1, 2]
    with pytest.raises(ZeroDivisionError):
        workers.run(one(component, lambda: 1 // 0))
    with pytest.raises(SystemExit):
        workers.run(one(component, lambda: exec("raise SystemExit(3)")))
    assert workers.run(one(component, lambda: "goes on")) == "goes on"


def test_a_component_over_its_limit_is_left_behind_and_the_chain_goes_on(component: Component) -> None:
    workers, other = Workers(), Component()
    works = [Work(other, lambda: "before", LONG), Work(component, component.hang, SOON), Work(other, lambda: "after")]
    before, error, after = workers.run(chain_of(*works))
    assert (before, str(error), after) == ("before", "took longer than 20 ms", "after")
    # While it hangs, further calls fail at once: even those with all the time in the world.
    for limit in (LONG, None):
        (busy,) = workers.run(chain_of(Work(component, component.hang, limit)))
        assert isinstance(busy, StillBusy)
        assert str(busy).startswith("still busy with an earlier call, for")
    assert component.calls == 1
    component.released.set()
    until(lambda: not is_busy(workers, component))
    assert workers.run(one(component, lambda: "fresh")) == "fresh"


def test_a_chain_that_does_not_expect_it_ends_with_the_error(component: Component) -> None:
    with pytest.raises(OverLimit, match=r"^took longer than 20 ms$"):
        Workers().run(one(component, component.hang, SOON))


def test_several_components_of_one_chain_may_hang(component: Component) -> None:
    workers, others = Workers(), [Component() for _ in range(3)]
    found = workers.run(chain_of(*(Work(other, other.hang, SOON) for other in others), Work(component, lambda: "end")))
    assert [isinstance(error, OverLimit) for error in found] == [True, True, True, False]
    for other in others:
        other.released.set()
    until(lambda: not any(is_busy(workers, other) for other in others))


def test_two_callers_may_hang_in_one_component(component: Component) -> None:
    """It is free once both calls have returned."""
    workers, both = Workers(), threading.Barrier(3)
    first, second = Component(), Component()

    def hang(inner: Component) -> str:
        both.wait(LONG)
        return inner.hang()

    with ThreadPoolExecutor(2) as callers:
        chains = [chain_of(Work(component, lambda inner=inner: hang(inner), 0.5)) for inner in (first, second)]
        found = [callers.submit(workers.run, chain) for chain in chains]
        both.wait(LONG)
        assert all(isinstance(one.result(LONG)[0], OverLimit) for one in found)
    first.released.set()
    tick = Event()
    tick.wait(0.05)
    assert is_busy(workers, component)
    second.released.set()
    until(lambda: not is_busy(workers, component))


def test_an_abandoned_call_may_fail_late(component: Component) -> None:
    workers = Workers()

    def fail() -> None:
        component.hang()
        raise RuntimeError("too late to matter")

    with pytest.raises(OverLimit):
        workers.run(one(component, fail, SOON))
    component.released.set()
    until(lambda: not is_busy(workers, component))


def test_many_callers_lose_nothing(component: Component) -> None:
    workers = Workers()

    def squares(n: int) -> Chain[list[int]]:
        return (yield from chain_of(*(Work(component, lambda: n * n, LONG) for _ in range(3))))

    with ThreadPoolExecutor(8) as callers:
        found = list(callers.map(lambda n: workers.run(squares(n)), range(200)))
    assert found == [[n * n] * 3 for n in range(200)]


def test_the_threads_end_with_the_workers(component: Component) -> None:
    workers, both = Workers(), threading.Barrier(3)

    def meet() -> threading.Thread:
        both.wait(LONG)
        return threading.current_thread()

    with ThreadPoolExecutor(2) as callers:
        found = [callers.submit(workers.run, one(Component(), meet)) for _ in range(2)]
        both.wait(LONG)
        threads = [future.result(LONG) for future in found]
    assert len(set(threads)) == 2
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
