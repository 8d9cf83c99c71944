"""The rate limiter alone."""

from __future__ import annotations

import statistics
import threading
import time

import pytest

from data_collector.tmdb.limiter import RateLimiter, Stopped


def requests_of(limiter: RateLimiter, threads: int, each: int, seconds: float) -> list[tuple[float, float]]:
    """Start and end of the requests of several threads, each taking ``seconds``."""
    made: list[tuple[float, float]] = []

    def work() -> None:
        for _ in range(each):
            with limiter.request():
                began = time.monotonic()
                time.sleep(seconds)
                made.append((began, time.monotonic()))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    return sorted(made)


@pytest.mark.parametrize("seconds", [0.0, 0.2])
def test_no_second_has_more_arrivals_than_the_rate(seconds: float) -> None:
    rate = 20
    made = requests_of(RateLimiter(rate, threading.Event()), threads=15, each=3, seconds=seconds)
    # A request may arrive at any moment between its begin and its end, so the worst case is a late one (its end)
    # followed by an early one (its begin).
    ends = sorted(end for _, end in made)
    begins = [begin for begin, _ in made]
    assert all(begins[n + rate] - ends[n] >= 1.0 for n in range(len(made) - rate))


def test_requests_start_evenly_spaced() -> None:
    made = requests_of(RateLimiter(100, threading.Event()), threads=10, each=25, seconds=0.0)
    gaps = [later[0] - earlier[0] for earlier, later in zip(made, made[10:], strict=False)]
    assert statistics.median(gaps) > 0.05  # spaced, not in bursts: ten of them take about a tenth of a second


def test_a_pause_holds_all_threads_and_a_shorter_one_does_not_end_it() -> None:
    limiter = RateLimiter(1000, threading.Event())
    limiter.pause(0.4)
    limiter.pause(0.1)
    asked = time.monotonic()
    made = requests_of(limiter, threads=5, each=1, seconds=0.0)
    assert made[0][0] - asked >= 0.39


def test_waiting_ends_when_the_crawl_stops() -> None:
    stop = threading.Event()
    limiter = RateLimiter(1, stop)
    limiter.pause(60)
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped), limiter.request():
        pass
    assert time.monotonic() - began < 5
