"""Calls in their own process: results, crashes, and the end of the parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.own_process import ProcessEnded, in_own_process


def test_the_result_comes_from_another_process() -> None:
    assert in_own_process(os.getpid) != os.getpid()


@pytest.mark.parametrize(
    ("function", "argument", "message"),
    [
        (signal.raise_signal, signal.SIGKILL, r"SIGKILL \(out of memory\?\)"),
        (int, "no number", "exit code 1; its last lines on stderr say why"),
    ],
)
def test_a_crash_is_an_error_that_says_how(function: Any, argument: Any, message: str) -> None:
    with pytest.raises(ProcessEnded, match=f"its process ended with {message}"):
        in_own_process(function, argument)


def test_a_killed_parent_ends_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    inner = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    main = tmp_path / "main.py"
    main.write_text(
        "from experiments.own_process import in_own_process\n"
        f"if __name__ == '__main__': in_own_process(exec, {inner!r})\n"
    )
    parent = subprocess.Popen([sys.executable, str(main)], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    try:
        wait_until(lambda: note.exists() and note.read_text() != "")
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not is_running(int(note.read_text())))


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")
