"""A service on the small trained pipeline, and clients of it."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from loguru import logger

from reccore import Workspace
from serving.app import create_app
from serving.service import Service
from serving.settings import Settings
from serving.store import EventStore
from tests.pipeline.conftest import own, pipeline, trained

__all__ = ["own", "pipeline", "trained"]

URL = "http://localhost"


def settings_of(trained: Workspace, folder: Path, **options: Any) -> Settings:
    """Settings for tests: no limit of the rate, a store in a folder of the test."""
    given = {"rate": 0.0, "pipeline": str(trained.model("pipeline")), "store": f"sqlite:///{folder}/events.sqlite"}
    return Settings(**{**given, **options})


Start = Callable[..., TestClient]


@pytest.fixture
def start(trained: Workspace, tmp_path: Path) -> Iterator[Start]:
    """Start a service with a store, a key and options of ``Settings``."""
    clients: list[TestClient] = []

    def go(*, store: EventStore | None = None, key: str | None = None, **options: Any) -> TestClient:
        service = Service(settings_of(trained, tmp_path, **options), store)
        client = TestClient(create_app(service, key=key), base_url=URL, raise_server_exceptions=False)
        clients.append(client.__enter__())
        return client

    yield go
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(start: Start) -> TestClient:
    return start()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Everything that is logged during a test."""
    messages: list[str] = []
    handler = logger.add(messages.append, level="DEBUG")
    yield messages
    logger.remove(handler)


def service_of(client: TestClient) -> Service:
    """The service behind a client."""
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    return service


def error_of(answer: Any, status: int, code: str) -> dict[str, str]:
    """Field → message of an error, which must have this status and code."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["error"]["code"] == code
    assert body["trace_id"] == answer.headers["x-trace-id"]
    return {one["field"]: one["message"] for one in body["error"]["fields"]}


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def copied(pipeline: Path, folder: Path) -> Path:
    """A copy of a pipeline that a test may change."""
    return Path(shutil.copytree(pipeline, folder))
