"""Processes of the service: started again when they end, ended with their parent, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = r"""
import os, signal
from serving.processes import Processes

def serve(place):
    os.write(1, f"{os.getpid()} {os.getppid()} {place}\n".encode())  # in one piece, whatever the other process writes
    signal.pause()

Processes(serve, 2).run()
print("ended", flush=True)
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": "."},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def next_child(parent: subprocess.Popen[str], places: list[int] | None = None) -> int:
    """The process that says next that it runs; its place is added to ``places``."""
    assert parent.stdout is not None
    child, its_parent, place = (int(number) for number in parent.stdout.readline().split())
    assert its_parent == parent.pid
    if places is not None:
        places.append(place)
    return child


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_of_them(parent: subprocess.Popen[str], number: int) -> None:
    children = [next_child(parent) for _ in range(2)]
    parent.send_signal(number)
    out, _ = parent.communicate(timeout=30)
    assert (parent.returncode, out) == (0, "ended\n")
    assert not any(map(is_running, children))


def test_one_that_ends_is_started_again(parent: subprocess.Popen[str]) -> None:
    places: list[int] = []
    first, second = next_child(parent, places), next_child(parent, places)
    assert sorted(places) == [0, 1]
    os.kill(first, signal.SIGKILL)
    third = next_child(parent, places)
    assert places[2] == places[0]
    assert third not in (first, second)
    assert is_running(second)
    parent.send_signal(signal.SIGTERM)
    _, log = parent.communicate(timeout=30)
    assert f"process {first} has ended with -9" in log
    assert not any(map(is_running, (second, third)))


def test_they_end_when_their_parent_is_killed(parent: subprocess.Popen[str]) -> None:
    children = [next_child(parent) for _ in range(2)]
    parent.kill()
    wait_until(lambda: not any(map(is_running, children)))
