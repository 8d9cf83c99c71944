"""``--help`` of every command imports no library that takes long to load."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    str(path.relative_to(REPOSITORY))
    for path in (REPOSITORY / "scripts").rglob("*.py")
    if not path.name.startswith("_")
)
EXPECTED = {
    "scripts/train_recall.py",
    "scripts/compare_recall.py",
    "scripts/demo.py",
    "scripts/data_collector/run_batch_crawl.py",
}
SLOW = ("torch", "pandas", "pyarrow", "scipy", "faiss", "numba", "implicit", "sklearn", "matplotlib")
PROGRAM = f"""
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("slow modules:", *sorted({{*{SLOW!r}}} & set(sys.modules)), file=sys.stderr)
"""


def test_every_command_is_covered() -> None:
    assert set(SCRIPTS) > EXPECTED


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_imports_no_slow_library(script: str) -> None:
    started = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    print(f"{script} --help: {time.perf_counter() - started:.2f} s")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("usage:")
    assert ended.stderr == "slow modules:\n"
