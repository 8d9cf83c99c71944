from collections.abc import Iterator

import pytest
from loguru import logger

from data_collector import transfer
from reccore import Workspace
from tests.data_collector.server import FileServer, file_server


@pytest.fixture(autouse=True)
def _quick_and_local(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(transfer, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("MOVIELENS_BASE_URL", raising=False)
    yield
    logger.remove()  # commands log to the stderr of their test, which is gone after it


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


@pytest.fixture
def space(tmp_path) -> Workspace:
    return Workspace(tmp_path / "data")
