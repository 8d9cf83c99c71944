"""Every benchmark runs at its smallest size and prints a report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BENCHMARKS = sorted(path.name for path in (REPOSITORY / "benchmarks").glob("[!_]*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_smoke(name: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(REPOSITORY / "benchmarks" / name), "--smoke"],
        capture_output=True,
        text=True,
        cwd=tmp_path,  # nothing may depend on the folder it starts in, or write to the repository
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()
