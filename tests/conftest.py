"""Fixtures for every room."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from reccore import RunOptions, TrainingData
from tests.helpers import checkerboard


@pytest.fixture(scope="session")
def board() -> TrainingData:
    """The checkerboard; shared, so tests must not write into it."""
    return checkerboard()


@pytest.fixture
def options() -> RunOptions:
    """One thread, CPU, quiet."""
    return RunOptions(seed=0, device="cpu", progress=False, threads=1)


@pytest.fixture(autouse=True, scope="session")
def default_sigint() -> Iterator[None]:
    """Python's own handler of Ctrl-C: tests in a background job inherit one that ignores it."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)
