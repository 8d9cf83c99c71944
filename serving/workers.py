"""Threads in which requests are computed, so that the event loop never waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

from reccore.threads import limit_threads
from serving.errors import not_ready

T = TypeVar("T")
Q = TypeVar("Q")
A = TypeVar("A")


class _Threads:
    """A few threads, and a limit on the calls that wait for them.

    Args:
        name: for the threads.
        threads: number of them.
        max_waiting: calls that may wait; further ones are refused.
        seconds: after which the caller is sent away; a call that runs cannot be stopped, one that waits is dropped.
    """

    def __init__(self, name: str, threads: int, max_waiting: int, seconds: float) -> None:
        # OpenMP and Numba keep their number of threads per thread, so each one is told.
        self._pool = ThreadPoolExecutor(threads, name, initializer=limit_threads, initargs=(1,))
        self._max, self._busy, self._seconds = max_waiting + threads, 0, seconds

    @contextmanager
    def _place(self) -> Iterator[asyncio.Timeout]:
        """A place in the queue, with the time within which the caller is answered.

        Raises:
            ApiError: too many calls wait.
        """
        if self._busy >= self._max:
            raise not_ready("too many requests wait; try again in a second")
        self._busy += 1
        try:
            yield asyncio.timeout(self._seconds)
        except TimeoutError:
            raise not_ready(f"no answer within {self._seconds:g} seconds; try again later") from None
        finally:
            self._busy -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class Workers(_Threads):
    """Threads that do one call each."""

    async def run(self, call: Callable[[], T]) -> T:
        """The value of a call in one of the threads.

        Raises:
            ApiError: too many calls wait, or it took too long.
        """
        with self._place() as timeout:
            async with timeout:
                return await asyncio.get_running_loop().run_in_executor(self._pool, call)


class BatchWorkers(_Threads, Generic[Q, A]):
    """Threads that answer together what waits at the moment: the more there is to do, the less each question takes.

    A question that finds a free thread is answered at once and alone.

    Args:
        name, threads, max_waiting, seconds: of ``Workers``.
        answer: one answer or exception for each of several questions, in a thread.
        most: questions that are answered together.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        max_waiting: int,
        seconds: float,
        answer: Callable[[Sequence[Q]], Sequence[A | Exception]],
        most: int,
    ) -> None:
        super().__init__(name, threads, max_waiting, seconds)
        self._answer, self._most, self._free = answer, most, threads
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()

    async def run(self, question: Q) -> A:
        """The answer to a question.

        Raises:
            ApiError: too many questions wait, or it took too long.
            Exception: given in place of the answer.
        """
        with self._place() as timeout:
            future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
            self._waiting.append((question, future))
            self._start()
            async with timeout:
                return await future

    def _start(self) -> None:
        """Give the questions that wait to the free threads."""
        while self._free and self._waiting:
            batch: list[tuple[Q, asyncio.Future[A]]] = []
            while self._waiting and len(batch) < self._most:
                question, future = self._waiting.popleft()
                if not future.done():  # else its caller has gone
                    batch.append((question, future))
            if batch:
                self._free -= 1
                questions = [question for question, _ in batch]
                running = asyncio.get_running_loop().run_in_executor(self._pool, self._answer, questions)
                running.add_done_callback(partial(self._end, [future for _, future in batch]))

    def _end(self, futures: Sequence[asyncio.Future[A]], running: asyncio.Future[Sequence[A | Exception]]) -> None:
        self._free += 1
        if running.cancelled():  # the threads have been closed
            for future in futures:
                future.cancel()
            return
        error = running.exception()
        answers = running.result() if error is None else [error] * len(futures)
        for future, answer in zip(futures, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        self._start()
