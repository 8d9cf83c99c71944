"""One limit of CPU threads for all numerical libraries of the process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import import_module
from threading import Lock, local
from typing import Any

from threadpoolctl import ThreadpoolController, threadpool_limits

from reccore.errors import ConfigError

# OpenMP, BLAS and Numba read these once, when they are imported.
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

_limit: int | None = None


def limit_threads(n: int) -> None:
    """Let torch, FAISS, Numba, BLAS and ``implicit`` compute on ``n`` threads each, whenever they are imported.

    Imported libraries are set at once; environment variables set those imported later and child processes. OpenMP
    (and so FAISS) and Numba keep their number per thread: in a thread that is already running, call this again.
    Numba cannot exceed the number it was imported with.

    Raises:
        ConfigError: ``n`` below 1.
    """
    global _limit
    if n < 1:
        raise ConfigError(f"threads must be at least 1, got {n}")
    _limit = n
    numba = sys.modules.get("numba")
    if numba is not None:  # first, because its threads, which start here, set OpenMP's number to their own
        numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))
    threadpool_limits(n)  # BLAS and OpenMP: NumPy, SciPy, FAISS, implicit
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n)
    for variable in VARIABLES:
        if variable != "NUMBA_NUM_THREADS" or numba is None:  # Numba refuses a change once its threads run
            os.environ[variable] = str(n)


def thread_limit() -> int | None:
    """The number given to ``limit_threads``, for solvers that take one; None if it was never called."""
    return _limit


def n_threads() -> int:
    """Threads that a compiled loop may use: the limit, else ``OMP_NUM_THREADS``, else one per CPU of the process."""
    if _limit is not None:
        return _limit
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_blas_thread() -> AbstractContextManager[Any]:
    """A context in which NumPy's, SciPy's and Numba's products of matrices take one thread, for loops with their own.

    Of overlapping contexts of several threads the last one to end restores the number that the first one found.
    Entering it costs microseconds; ``threadpool_limits`` looks for the libraries each time, which takes milliseconds.
    """
    return nullcontext() if n_threads() == 1 else _one_blas_thread


class _OneBlasThread:
    """Limits BLAS for as long as anyone is inside."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._limited: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._limited = _blas().limit(limits=1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limited.restore_original_limits()


_one_blas_thread = _OneBlasThread()


@cache
def _blas() -> ThreadpoolController:
    import_module("scipy.linalg")  # has a BLAS of its own, which is Numba's too
    return ThreadpoolController().select(user_api="blas")


def run_parts(function: Callable[..., None], n_parts: int, *arguments: Any) -> None:
    """Call ``function(*arguments, part, n_parts)`` for each part, the first in this thread; ends when all have ended.

    For functions that release Python's lock. Within a part a call of this does all its parts in the same thread: the
    others are busy. Plain threads bring no second OpenMP runtime. They wait for the next call, since starting one takes
    longer than many a part, and end before the process forks.
    """
    if n_parts == 1 or getattr(_inside, "a_part", False):
        for part in range(n_parts):
            function(*arguments, part, n_parts)
        return
    others = _helpers.submit(function, n_parts, arguments)
    try:
        _run_inside(function, *arguments, 0, n_parts)
    finally:
        wait(others)  # what they write to may be gone when this returns
    for done in others:
        done.result()


_inside = local()


def _run_inside(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function as a part."""
    _inside.a_part = True
    try:
        function(*arguments)
    finally:
        _inside.a_part = False


class _Helpers:
    """Threads for all parts but the first of any caller."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._threads: ThreadPoolExecutor | None = None

    def submit(self, function: Callable[..., None], n_parts: int, arguments: tuple[Any, ...]) -> list[Future[None]]:
        """Start the parts from 1 on; they wait for one another where there are more than cores."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1), "part")
            run = self._threads.submit
            return [run(_run_inside, function, *arguments, part, n_parts) for part in range(1, n_parts)]

    def before_fork(self) -> None:
        """End the threads, which a child would not have, and let none start until the fork."""
        self._lock.acquire()
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None

    def after_fork(self) -> None:
        """Let threads start again."""
        self._lock.release()


_helpers = _Helpers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_helpers.before_fork, after_in_parent=_helpers.after_fork, after_in_child=_helpers.after_fork
    )
