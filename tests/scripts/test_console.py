"""Consoles and pipes of an older encoding, and disks that fail under any command."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reccore import Workspace
from scripts._cli import parse_command, run
from scripts.recommend import RecommendSettings

REPOSITORY = Path(__file__).resolve().parents[2]
TITLE = "霸王别姬 → Farewell – My Concubine"


def printed(monkeypatch: pytest.MonkeyPatch, encoding: str, *argv: str) -> str:
    """What a command prints to a console of that encoding."""
    console = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(console, encoding=encoding))

    def main(argv: list[str] | None) -> None:
        parse_command(argv, __doc__, RecommendSettings).emit({"title": TITLE}, TITLE)

    run(main, list(argv))
    sys.stdout.flush()
    return console.getvalue().decode(encoding)


def test_what_a_console_lacks_is_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, "cp1252") == "???? ? Farewell – My Concubine\n"
    assert printed(monkeypatch, "utf-8") == f"{TITLE}\n"


def test_json_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(printed(monkeypatch, "cp1252", "--json")) == {"title": TITLE}
    assert TITLE in printed(monkeypatch, "utf-8", "--json")


def test_a_report_in_a_pipe_of_cp1252(own: Workspace) -> None:
    """Differences are written with U+2212, which cp1252 lacks."""
    ended = subprocess.run(
        [sys.executable, "scripts/evaluate_recall.py", "--data_dir", str(own.root), "--models", "mf,popularity"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode("cp1252")
    assert b"| mf ? popularity" in ended.stdout or b"| popularity ? mf" in ended.stdout


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EFBIG])
def test_a_disk_that_fails_is_one_sentence(capsys: pytest.CaptureFixture[str], number: int) -> None:
    def main(argv: list[str] | None) -> None:
        raise OSError(number, os.strerror(number), "reports/x.md")

    with pytest.raises(SystemExit) as ended:
        run(main, [])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: reports/x.md cannot be written or read: {os.strerror(number)}; "
        "free space, or give a folder of your own by --data_dir\n"
    )


def test_other_failures_of_the_system_stay_visible() -> None:
    def main(argv: list[str] | None) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    with pytest.raises(OSError, match="Bad file descriptor"):
        run(main, [])
