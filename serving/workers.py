"""Threads in which requests are computed, so that the event loop never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from reccore.threads import limit_threads
from serving.errors import not_ready

T = TypeVar("T")


class Workers:
    """A few threads with a bounded queue.

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

    async def run(self, call: Callable[[], T]) -> T:
        """The value of a call in one of the threads.

        Raises:
            ApiError: too many calls wait, or it took too long.
        """
        if self._busy >= self._max:
            raise not_ready("too many requests wait; try again in a second")
        self._busy += 1
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.get_running_loop().run_in_executor(self._pool, call)
        except TimeoutError:
            raise not_ready(f"no answer within {self._seconds:g} seconds; try again later") from None
        finally:
            self._busy -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
