"""The trained data root of the pipeline's tests, and a way to run a command as a user would."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from scripts._cli import run
from tests.pipeline.conftest import own, prepared, trained

__all__ = ["command", "own", "prepared", "trained"]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout, which holds nothing else."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    @property
    def sentence(self) -> str:
        """The one line a failed command leaves on stderr, beside its logs."""
        assert self.code == 2
        assert self.out == ""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0]
        assert "Traceback" not in self.err
        return lines[0]


Command = Callable[..., Ended]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run ``scripts/NAME.py`` in this process; file descriptors are captured, so libraries are heard too."""

    def go(name: str, *argv: object) -> Ended:
        capfd.readouterr()
        code = 0
        try:
            run(importlib.import_module(f"scripts.{name}").main, [str(arg) for arg in argv])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        return Ended(code, *capfd.readouterr())

    return go
