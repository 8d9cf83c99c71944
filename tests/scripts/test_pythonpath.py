"""A command that is started without PYTHONPATH says how to start it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.scripts.test_help import REPOSITORY, SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS)
def test_one_sentence_names_the_way_to_start(script: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [sys.executable, script], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: run it from the repository's root, as PYTHONPATH=. python {script}\n"
