"""A trained data root, its pipeline, and the answers expected of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataprep.prepare import Prepared
from pipeline import Pipeline, load
from reccore import Workspace
from tests.pipeline import small


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Shared between tests, which must not write into it."""
    return Workspace(small.trained_root(tmp_path_factory))


@pytest.fixture(scope="session")
def pipeline(trained: Workspace) -> Pipeline:
    return load(trained.model("pipeline"))


@pytest.fixture(scope="session")
def prepared(trained: Workspace) -> Prepared:
    return Prepared.load(trained.prepared)


@pytest.fixture
def own(trained: Workspace, tmp_path: Path) -> Workspace:
    """A copy that the test may change."""
    return small.copy_of(trained.root, tmp_path)
