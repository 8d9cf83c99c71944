"""The rate limiter, the breaker and the queue of jobs on their own."""

from __future__ import annotations

import statistics
import threading
import time

import pytest

from data_collector.tmdb import breaker
from data_collector.tmdb.breaker import Breaker, ServiceDownError
from data_collector.tmdb.jobs import Jobs
from data_collector.tmdb.limiter import Halted, RateLimiter


def requests_of(limiter: RateLimiter, threads: int, each: int, seconds: float) -> list[tuple[float, float]]:
    """Begin and end of the requests that so many threads make, each taking so long."""
    made: list[tuple[float, float]] = []

    def work() -> None:
        for _ in range(each):
            with limiter.request():
                began = time.monotonic()
                time.sleep(seconds)
                made.append((began, time.monotonic()))

    crew = [threading.Thread(target=work) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return sorted(made)


@pytest.mark.parametrize("seconds", [0.0, 0.2])
def test_whenever_they_arrive_no_second_has_more_than_the_rate(seconds: float) -> None:
    rate = 20
    made = requests_of(RateLimiter(rate, threading.Event()), threads=15, each=3, seconds=seconds)
    # A request may arrive at any moment between its begin and its end, so the worst case is a late one (its end)
    # followed by an early one (its begin).
    ends = sorted(end for _, end in made)
    begins = [begin for begin, _ in made]
    assert all(begins[n + rate] - ends[n] >= 1.0 for n in range(len(made) - rate))


def test_requests_leave_evenly_spaced() -> None:
    made = requests_of(RateLimiter(100, threading.Event()), threads=10, each=25, seconds=0.0)
    gaps = [later[0] - earlier[0] for earlier, later in zip(made, made[10:], strict=False)]
    assert statistics.median(gaps) > 0.05  # spaced, not in bursts: ten of them take about a tenth of a second


def test_a_pause_holds_for_all_and_a_shorter_one_does_not_end_it() -> None:
    limiter = RateLimiter(1000, threading.Event())
    limiter.pause(0.4)
    limiter.pause(0.1)
    asked = time.monotonic()
    made = requests_of(limiter, threads=5, each=1, seconds=0.0)
    assert made[0][0] - asked >= 0.39


def test_waiting_ends_with_the_crawl() -> None:
    halt = threading.Event()
    limiter = RateLimiter(1, halt)
    limiter.pause(60)
    threading.Timer(0.05, halt.set).start()
    began = time.monotonic()
    with pytest.raises(Halted), limiter.request():
        pass
    assert time.monotonic() - began < 5


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PAUSES_SECONDS", (0.01,) * 5)


@pytest.mark.usefixtures("quick")
def test_the_breaker_opens_after_faults_in_a_row_only() -> None:
    looks: list[bool] = []

    def alive() -> bool:
        looks.append(len(looks) >= 2)
        return looks[-1]

    tested = Breaker(3, alive, threading.Event())
    for outcome in "ffsff":
        assert tested.fault("reason") if outcome == "f" else tested.success() is None
    tested.wait()
    assert looks == []  # it is closed, nobody looks
    assert tested.fault("third in a row")
    assert not tested.fault("one that was on its way")  # says nothing of the request
    tested.wait()
    assert looks == [False, False, True]
    tested.wait()
    assert len(looks) == 3
    assert tested.fault("anew")


@pytest.mark.usefixtures("quick")
def test_one_thread_looks_and_the_others_wait() -> None:
    looking, looks = threading.Event(), []

    def alive() -> bool:
        looks.append(threading.get_ident())
        looking.wait(0.05)
        return len(looks) >= 3

    tested = Breaker(1, alive, threading.Event())
    tested.fault("down")
    threads = [threading.Thread(target=tested.wait) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(looks) == 3
    assert len(set(looks)) == 1


@pytest.mark.usefixtures("quick")
def test_a_service_that_does_not_come_back_is_given_up_with_the_last_reason() -> None:
    tested = Breaker(1, lambda: False, threading.Event())
    tested.fault("the server answered 503")
    with pytest.raises(ServiceDownError, match="the server answered 503"):
        tested.wait()


def test_a_job_that_waits_holds_no_other_up() -> None:
    jobs = Jobs(["a", "b"], threading.Event())
    first = jobs.take()
    assert first is not None
    jobs.put_back(first, 0.2)
    second = jobs.take()
    assert second is not None
    assert second.key == "b"
    jobs.finish()
    began = time.monotonic()
    again = jobs.take()
    assert again is first
    assert time.monotonic() - began >= 0.15
    jobs.finish()
    assert jobs.left == 0
    assert jobs.take() is None


def test_a_thread_without_work_waits_for_what_may_come_back() -> None:
    jobs = Jobs(["only"], threading.Event())
    job = jobs.take()
    assert job is not None
    taken: list[object] = []
    thread = threading.Thread(target=lambda: taken.append(jobs.take()))
    thread.start()
    jobs.put_back(job, 0.0)
    thread.join(5)
    assert taken == [job]


def test_jobs_end_with_the_crawl() -> None:
    halt = threading.Event()
    jobs = Jobs([1, 2], halt)
    halt.set()
    assert jobs.take() is None
    assert jobs.left == 2
