"""A limit of CPU threads reaches every library that computes, in whichever order they are imported."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from reccore import ConfigError, RunOptions
from reccore import threads as threads_module
from reccore.threads import n_threads, run_parts

IMPORTS = "import faiss, implicit, numba, scipy.linalg, torch"
LIMIT = "from reccore import RunOptions; RunOptions(threads={n}).apply_threads()"
THREADS = """
from recall.mf import MF
from reccore.threads import thread_limit
from threadpoolctl import threadpool_info
print(
    torch.get_num_threads(),
    faiss.omp_get_max_threads(),
    numba.get_num_threads(),
    MF()._solver(0, 1).num_threads,
    thread_limit(),
    *{pool["num_threads"] for pool in threadpool_info()},
)
"""


def threads_after(*lines: str) -> set[int]:
    """The numbers of threads of all libraries in a process that runs ``lines``."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    found = subprocess.run(
        [sys.executable, "-c", "\n".join([*lines, THREADS])],
        env={**environment, "PYTHONPATH": ".", "NUMBA_NUM_THREADS": "8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return set(map(int, found.stdout.split()))


@pytest.mark.parametrize("lines", [(IMPORTS, LIMIT), (LIMIT, IMPORTS)], ids=["imported before", "imported after"])
def test_reaches_every_library(lines: tuple[str, str]) -> None:
    assert threads_after(*(line.format(n=1) for line in lines)) == {1}
    assert threads_after(*(line.format(n=2) for line in lines)) == {2}


def test_reaches_torch_that_has_computed_before_numba() -> None:
    assert threads_after(IMPORTS, "torch.get_num_threads()", LIMIT.format(n=1)) == {1}


def test_can_be_raised_again() -> None:
    assert threads_after(IMPORTS, LIMIT.format(n=1), LIMIT.format(n=2)) == {2}


def test_overlapping_callers_of_one_blas_thread_leave_the_number_that_they_found() -> None:
    code = """
import numpy
from threadpoolctl import threadpool_info
from reccore.threads import limit_threads, one_blas_thread
def blas():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
limit_threads(2)
first, second = one_blas_thread(), one_blas_thread()
first.__enter__()
second.__enter__()
first.__exit__(None, None, None)
assert blas() == {1}, blas()
second.__exit__(None, None, None)
assert blas() == {2}, blas()
"""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment["PYTHONPATH"] = "."
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_without_a_limit_nothing_is_set() -> None:
    code = "from reccore import RunOptions; import reccore.threads as t; RunOptions().apply_threads(); "
    code += "assert t.thread_limit() is None"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": "."}, check=True)


def test_limits_without_importing_what_it_limits() -> None:
    code = "import sys; from reccore.threads import limit_threads; before = set(sys.modules); limit_threads(1); "
    code += "print(sorted({'faiss', 'implicit', 'numba'} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_one_blas_thread_is_for_its_block_alone() -> None:
    code = """
import numpy
from reccore.threads import limit_threads, one_blas_thread
from threadpoolctl import threadpool_info
def blas():
    return sorted(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
limit_threads(2)
with one_blas_thread():
    print(*blas())
print(*blas())
"""
    environment = {**os.environ, "PYTHONPATH": ".", "OPENBLAS_NUM_THREADS": "2"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["1 1", "2 2"]  # of NumPy and of SciPy


def test_needs_a_thread() -> None:
    with pytest.raises(ConfigError, match="threads must be at least 1, got 0"):
        RunOptions(threads=0).apply_threads()


@pytest.mark.parametrize(
    ("limit", "variable", "expected"),
    [(3, "2", 3), (None, "2", 2), (None, "4,2", 4), (None, "", None), (None, "no number", None)],
)
def test_threads_of_compiled_loops(
    limit: int | None, variable: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads_module, "_limit", limit)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert n_threads() == (len(os.sched_getaffinity(0)) if expected is None else expected)


@pytest.mark.parametrize("n_parts", [1, 3])
def test_every_part_runs_and_an_error_reaches_the_caller(n_parts: int) -> None:
    done: list[tuple[str, int, int]] = []
    run_parts(lambda word, part, n: done.append((word, part, n)), n_parts, "a")
    assert sorted(done) == [("a", part, n_parts) for part in range(n_parts)]
    with pytest.raises(ZeroDivisionError):
        run_parts(lambda part, n: print(1 / (n - 1 - part)), n_parts)


def test_an_error_in_the_first_part_waits_for_the_others() -> None:
    ended = threading.Event()

    def part_of(part: int, n: int) -> None:
        if part == 0:
            raise ValueError(part)
        time.sleep(0.2)
        ended.set()

    with pytest.raises(ValueError, match="0"):
        run_parts(part_of, 2)
    assert ended.is_set()


def test_more_parts_than_cores_and_several_callers_at_once_all_end() -> None:
    done: list[int] = []
    callers = [threading.Thread(target=run_parts, args=(lambda part, n: done.append(part), 50)) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=30)
    assert sorted(done) == sorted([*range(50)] * 4)


def test_parts_of_a_part_are_done_in_its_thread() -> None:
    """Otherwise parts would wait for threads that wait for them."""
    done: list[tuple[int, int, bool]] = []

    def outer(part: int, n: int) -> None:
        here = threading.get_ident()
        run_parts(lambda inner, n: done.append((part, inner, threading.get_ident() == here)), 3)

    caller = threading.Thread(target=run_parts, args=(outer, 8))
    caller.start()
    caller.join(timeout=30)
    assert sorted(done) == [(part, inner, True) for part in range(8) for inner in range(3)]
    threads: set[int] = set()
    both = threading.Barrier(2)
    run_parts(lambda part, n: (both.wait(30), threads.add(threading.get_ident())), 2)
    assert len(threads) == 2, "after a part, its caller's thread no longer is inside one"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_forked_process_and_its_parent_go_on() -> None:
    """A child has none of its parent's threads, so parts that were left to them would never be done."""
    code = """
import os
from reccore.threads import run_parts
run_parts(lambda part, n: None, 3)
child = os.fork()
done = []
run_parts(lambda part, n: done.append(part), 3)
assert sorted(done) == [0, 1, 2]
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    os._exit(0)
print("both went on")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout == "both went on\n", ran.stderr
