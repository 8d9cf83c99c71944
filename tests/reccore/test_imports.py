"""Imports of reccore and of the registries load no slow library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SLOW = ("torch", "pandas", "pyarrow", "scipy", "matplotlib", "faiss", "numba", "implicit", "sklearn")


@pytest.mark.parametrize(
    "program",
    [
        "import reccore",
        "from recall import CHANNELS; assert 'two_tower' in CHANNELS and list(CHANNELS)",
        "from ranking import RANKERS; assert 'din' in RANKERS and list(RANKERS)",
        "from rerank import RERANKERS; assert 'mmr' in RERANKERS and list(RERANKERS)",
        "from recall.index import INDEXES; assert 'hnsw' in INDEXES and list(INDEXES)",
    ],
)
def test_slow_libraries_are_not_imported(program: str) -> None:
    report = f"import sys; print(*sorted({set(SLOW)} & set(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", f"{program}; {report}"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (ended.stdout, ended.stderr) == ("\n", "")


def test_a_trained_channel_does_without_the_library_that_fits_it() -> None:
    program = "import sys, recall.mf; print('implicit' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
