"""A compilation is announced once, and only when there is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = """
import {module}
from numba import njit

@njit
def double(x):
    return 2 * x

@njit
def triple(x):
    return 3 * x

print("before", flush=True)
print(double(2), double(3.0), triple(2), flush=True)
"""


@pytest.mark.parametrize("module", ["recall.topk_kernels", "dataprep.features", "training.kernels.masking"])
def test_the_first_compilation_is_announced_once(module: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    before, announced, after = ended.stdout.splitlines()
    assert (before, after) == ("before", "4 6.0 6")
    assert "compiling loops for this machine; the first run takes up to half a minute longer" in announced
