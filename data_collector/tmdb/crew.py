"""Many threads that fetch things: faults are tried again later, an outage is waited out, Ctrl-C ends in order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from loguru import logger

from data_collector.tmdb.breaker import Breaker
from data_collector.tmdb.client import Fault
from data_collector.tmdb.jobs import Job, Jobs
from data_collector.tmdb.limiter import Halted
from reccore.progress import progress

ATTEMPTS = 10  # after so many faults a thing is given up for this run
BACKOFF_SECONDS = 0.5  # before the second attempt, twice that before the third and so on, less up to half by chance
LONGEST_BACKOFF_SECONDS = 30.0
_LOOK_SECONDS = 0.1

K = TypeVar("K")


@dataclass(frozen=True)
class Work(Generic[K]):
    """One kind of thing to fetch.

    Attributes:
        label: for the progress bar.
        unit: of one thing.
        fetch: get one and keep it, given its key and the number of this attempt, from 1; raises ``Fault``.
        give_up: keep down that no attempt brought it, given key, attempts and the last reason.
    """

    label: str
    unit: str
    fetch: Callable[[K, int], None]
    give_up: Callable[[K, int, str], None]


class Crew:
    """Threads over a list of keys.

    Args:
        workers: number of threads.
        breaker: asked before and told after each attempt.
        halt: set by whoever wants the crawl to end: what is in flight is finished, nothing is begun.
    """

    def __init__(self, workers: int, breaker: Breaker, halt: threading.Event) -> None:
        self._workers = workers
        self._breaker = breaker
        self._halt = halt
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._given_up = 0
        self._example = ""
        self.faults = 0
        self.left = 0

    def run(self, keys: Sequence[K], work: Work[K], asked: Callable[[], bool], *, show_progress: bool) -> None:
        """Fetch all; how many are ``left`` is seen afterwards, which is none unless Ctrl-C or an error ended it.

        Args:
            keys: what to fetch, each once.
            work: how.
            asked: whether Ctrl-C was pressed.
            show_progress: show a bar with rate, errors and time left.

        Raises:
            RecommenderError: what made going on senseless, after the requests in flight have ended.
        """
        jobs = Jobs(keys, self._halt)
        total = len(keys)
        threads = [
            threading.Thread(target=self._work, args=(jobs, work), name=f"tmdb-{n}", daemon=True)
            for n in range(min(self._workers, total))
        ]
        with progress(work.label, total, unit=f"{work.unit}s", enabled=show_progress) as advance:
            for thread in threads:
                thread.start()
            shown, told = 0, False
            while any(thread.is_alive() for thread in threads):
                time.sleep(_LOOK_SECONDS)
                done = total - jobs.left
                advance(done - shown, errors=self.faults)
                shown = done
                if asked() and not told:
                    told = True
                    self._halt.set()
                    logger.info("finishing the requests in flight; press Ctrl-C again to stop at once")
        self.left = jobs.left
        if self._given_up:
            logger.warning(
                "{:,} of {:,} {}s failed, such as {}; the same command tries them again",
                self._given_up,
                total,
                work.unit,
                self._example,
            )
        if self._error is not None:
            raise self._error

    def _work(self, jobs: Jobs[K], work: Work[K]) -> None:
        """What a thread does."""
        try:
            while (job := jobs.take()) is not None:
                self._breaker.wait()
                self._attempt(jobs, job, work)
        except Halted:
            return
        except BaseException as error:
            with self._lock:
                self._error = self._error or error
            self._halt.set()

    def _attempt(self, jobs: Jobs[K], job: Job[K], work: Work[K]) -> None:
        job.attempts += 1
        try:
            work.fetch(job.key, job.attempts)
        except Fault as fault:
            with self._lock:
                self.faults += 1
            counts = self._breaker.fault(str(fault)) if fault.of_service else True
            if not counts:
                job.attempts -= 1
            if counts and (fault.final or job.attempts >= ATTEMPTS):
                work.give_up(job.key, job.attempts, str(fault))
                with self._lock:
                    self._given_up += 1
                    self._example = f"{job.key} ({fault})"
                jobs.finish()
                return
            jobs.put_back(job, self._pause(job.attempts) if fault.wait is None else fault.wait)
        else:
            self._breaker.success()
            jobs.finish()

    def _pause(self, attempts: int) -> float:
        longest = min(BACKOFF_SECONDS * 2.0 ** max(attempts - 1, 0), LONGEST_BACKOFF_SECONDS)
        return longest * random.uniform(0.5, 1.0)
