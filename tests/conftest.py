"""Fixtures for every room."""

from __future__ import annotations

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
