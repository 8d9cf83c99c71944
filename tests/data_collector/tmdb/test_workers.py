"""The worker pool alone: retries, outages, errors and Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from data_collector.tmdb import workers
from data_collector.tmdb.client import Fault
from data_collector.tmdb.workers import ServiceDownError, WorkerPool
from reccore import DataError


class Scripted:
    """Fetches strings; ``script`` holds the outcomes of each key's next attempts, then it succeeds."""

    label = "strings"
    unit = "string"

    def __init__(self, **script: list[Exception]) -> None:
        self.script = script
        self.calls: list[tuple[str, int]] = []
        self.given_up: list[tuple[str, int, str]] = []
        self.times: list[float] = []

    def fetch(self, key: str, attempt: int) -> None:
        self.calls.append((key, attempt))
        self.times.append(time.monotonic())
        if self.script.get(key):
            raise self.script[key].pop(0)

    def calls_of(self, key: str) -> list[int]:
        return [attempt for called, attempt in self.calls if called == key]

    def give_up(self, key: str, attempts: int, reason: str) -> None:
        self.given_up.append((key, attempts, reason))


def run(
    keys: Sequence[str],
    fetcher: Scripted,
    *,
    workers: int = 1,
    is_alive: Callable[[], bool] = lambda: True,
    interrupted: Callable[[], bool] = lambda: False,
) -> WorkerPool:
    pool = WorkerPool(workers, is_alive, threading.Event())
    pool.run(keys, fetcher, interrupted, show_progress=False)
    return pool


def down(times: int) -> list[Exception]:
    return [Fault("the server answered 503") for _ in range(times)]


def test_an_item_that_waits_for_its_retry_does_not_delay_others() -> None:
    fetcher = Scripted(a=[Fault("later", wait=0.2)])
    pool = run(["a", "b"], fetcher)
    assert fetcher.calls == [("a", 1), ("b", 1), ("a", 2)]
    assert fetcher.times[2] - fetcher.times[0] >= 0.2
    assert (pool.left, pool.faults) == (0, 1)


def test_an_item_is_given_up_after_ten_attempts_or_a_final_fault() -> None:
    wrong = [Fault(f"wrong {n}", of_service=False) for n in range(20)]
    fetcher = Scripted(a=list(wrong), b=[Fault("refused", of_service=False, final=True)])
    pool = run(["a", "b", "c"], fetcher)
    assert sorted(fetcher.given_up) == [("a", 10, "wrong 9"), ("b", 1, "refused")]
    assert (pool.left, pool.faults) == (0, 11)


def test_the_service_counts_as_down_after_faults_in_a_row_only() -> None:
    looks: list[int] = []
    fetcher = Scripted(**{f"k{n}": down(1) for n in range(30) if n % 10 != 9})  # nine faults, a success, and so on
    run([f"k{n}" for n in range(30)], fetcher, is_alive=lambda: bool(looks.append(1)))
    assert looks == []


class Outage(Scripted):
    """Every attempt fails until the third probe."""

    def __init__(self) -> None:
        super().__init__()
        self.probes: list[tuple[int, int]] = []  # thread, attempts so far

    def is_alive(self) -> bool:
        self.probes.append((threading.get_ident(), len(self.calls)))
        return len(self.probes) >= 3

    def fetch(self, key: str, attempt: int) -> None:
        super().fetch(key, attempt)
        if len(self.probes) < 3:
            raise Fault("the server answered 503")


def test_one_thread_probes_a_service_that_is_down_and_the_others_wait() -> None:
    fetcher = Outage()
    pool = run([f"k{n}" for n in range(50)], fetcher, workers=6, is_alive=fetcher.is_alive)
    assert len(fetcher.probes) == 3
    assert len({thread for thread, _ in fetcher.probes}) == 1
    (attempts,) = {attempts for _, attempts in fetcher.probes}  # no item is fetched between the probes
    assert 10 <= attempts < 10 + 6  # those in flight when the tenth fault came
    assert pool.left == 0
    assert fetcher.given_up == []


def test_a_fault_during_an_outage_does_not_count_as_an_attempt_of_the_item() -> None:
    down, failed = threading.Event(), threading.Event()

    class Late(Outage):
        def is_alive(self) -> bool:
            down.set()
            failed.wait(10)
            return super().is_alive()

        def fetch(self, key: str, attempt: int) -> None:
            if key == "late" and not self.calls_of("late"):
                down.wait(10)
                self.calls.append((key, attempt))
                failed.set()
                raise Fault("the server answered 503")
            super().fetch(key, attempt)

    fetcher = Late()
    run(["late", *(f"k{n}" for n in range(20))], fetcher, workers=3, is_alive=fetcher.is_alive)
    assert fetcher.calls_of("late") == [1, 1]


def test_a_service_that_does_not_come_back_ends_the_run_with_the_last_reason() -> None:
    fetcher = Scripted(**{f"k{n}": down(20) for n in range(20)})
    with pytest.raises(ServiceDownError, match="the server answered 503"):
        run([f"k{n}" for n in range(20)], fetcher, is_alive=lambda: False)


@pytest.mark.parametrize("raised_by", ["fetch", "give_up"])
def test_an_error_ends_the_run_after_the_items_in_flight(raised_by: str) -> None:
    class Broken(Scripted):
        slow_ended = False

        def fetch(self, key: str, attempt: int) -> None:
            super().fetch(key, attempt)
            if key == "slow":
                time.sleep(0.3)
                self.slow_ended = True
            elif raised_by == "fetch":
                raise DataError("the disk is full")
            else:
                raise Fault("refused", final=True)

        def give_up(self, key: str, attempts: int, reason: str) -> None:
            raise DataError("the disk is full")

    fetcher = Broken()
    with pytest.raises(DataError, match="the disk is full"):
        run(["slow", "bad", "never", "never 2"], fetcher, workers=2)
    assert fetcher.slow_ended
    assert [key for key, _ in fetcher.calls] == ["slow", "bad"]


def test_an_interrupt_starts_nothing_new_and_counts_what_is_left() -> None:
    fetcher = Scripted(a=[Fault("later", wait=60.0)])
    pool = run(list("abcdef"), fetcher, interrupted=lambda: len(fetcher.calls) >= 3)
    assert pool.left in (3, 4)  # a waits for its retry; one more may have started before the interrupt was seen
    assert len(fetcher.calls) == 6 - pool.left + 1


def test_an_interrupt_ends_the_wait_for_a_service_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LONGEST_PROBE_SECONDS", 60.0)
    monkeypatch.setattr(workers, "PROBE_SECONDS", 30.0)
    fetcher = Scripted(a=down(20))
    began = time.monotonic()
    run(["a"] * 1, fetcher, is_alive=lambda: False, interrupted=lambda: time.monotonic() - began > 0.5)
    assert time.monotonic() - began < 5
