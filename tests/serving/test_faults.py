"""Parts that fail: the answer comes without them, says so, and is counted."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.errors import StoreError
from serving.sqlite_store import SqliteStore
from tests.pipeline.small import N_RATINGS, movie_id, user_id
from tests.serving.conftest import Start, error_of, service_of
from tests.serving.test_events import add, history
from tests.serving.test_lists import listed


class Switch:
    """A store that can be turned off."""

    name = "switch"

    def __init__(self, path: Path) -> None:
        self._store, self.is_off = SqliteStore(path), False

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any) -> Any:
            if self.is_off and method != "close":
                raise StoreError(f"{method}: no route to host")
            return getattr(self._store, method)(*args)

        return call


@pytest.fixture
def switch(tmp_path: Path) -> Switch:
    return Switch(tmp_path / "events.sqlite")


@pytest.fixture
def client(start: Start, switch: Switch) -> TestClient:
    return start(store=switch, store_pause=0.0)


def metric(client: TestClient, line: str) -> float:
    text = client.get("/metrics").text
    return next((float(one.rpartition(" ")[2]) for one in text.splitlines() if one.startswith(line)), 0.0)


def test_without_the_store_lists_come_from_the_histories_of_the_model(client: TestClient, switch: Switch) -> None:
    plain = listed(client, user_id=user_id(5))
    first = plain["items"][0]["movie_id"]
    event = add(client, user_id=user_id(5), movie_id=first, rating=5)
    assert listed(client, user_id=user_id(5))["degraded"] is False
    switch.is_off = True
    found = listed(client, user_id=user_id(5))
    assert found["degraded"] is True
    assert [item["movie_id"] for item in found["items"]] == [item["movie_id"] for item in plain["items"]]
    assert metric(client, 'recommender_degraded_total{part="store"}') == 1.0
    assert history(client, user_id(5))["total"] == N_RATINGS
    assert client.get("/v1/users?limit=1").status_code == 200
    assert listed(client, history=[])["degraded"] is False  # needs no store
    for answer in (
        client.post("/v1/events", json={"user_id": user_id(5), "movie_id": movie_id(3), "rating": 5}),
        client.delete(f"/v1/events/{event['event_id']}"),
        client.post("/v1/recommendations", json={"user_id": 4}),
        client.get("/v1/users/4/history"),
    ):
        error_of(answer, 503, "not_ready")
        assert "route to host" not in answer.text
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"], answer.json()["store"]) == (503, False, "unreachable")
    assert client.get("/healthz").status_code == 200
    switch.is_off = False
    assert client.get("/readyz").status_code == 200
    assert first not in [item["movie_id"] for item in listed(client, user_id=user_id(5))["items"]]


@pytest.mark.parametrize(("stage", "name"), [("score", "deepfm"), ("select", "mmr"), ("source", "two_tower")])
def test_a_failing_stage_is_skipped_and_counted(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, stage: str, name: str
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("the disk is on fire")

    pipeline = service_of(client).model.pipeline
    parts = pipeline.sources if stage == "source" else pipeline.stages
    part = next(part for part in parts if part.role == stage and part.name == name)
    monkeypatch.setattr(part, "fetch" if stage == "source" else "apply", fail)
    found = listed(client, user_id=user_id(5), k=7)
    assert found["degraded"] is True
    assert len(found["items"]) == 7
    failed = [one for one in found["trace"]["stages"] if one["error"]]
    assert [(one["stage"], one["name"]) for one in failed] == [(stage, name)]
    assert failed[0]["error"] == "RuntimeError"
    assert metric(client, f'recommender_skipped_stages_total{{name="{name}",stage="{stage}"}}') == 1.0
    assert metric(client, 'recommender_degraded_total{part="pipeline"}') == 1.0


@pytest.mark.parametrize("part", ["ranker", "channel"])
def test_a_closer_look_goes_on_without_a_failing_part(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("the disk is on fire")

    pipeline = service_of(client).model.pipeline
    if part == "ranker":
        monkeypatch.setattr(pipeline.ranker, "_score", fail)
    else:
        for method in ("retrieve", "score"):
            monkeypatch.setattr(pipeline.source("itemcf").channel, method, fail)
    user = {"user_id": user_id(5)}
    assert client.post("/v1/trade-offs", json=user).status_code == 200
    explained = client.post("/v1/explain", json={**user, "movie_id": movie_id(3)})
    assert explained.status_code == 200, explained.text
    found = listed(client, **user, explain=True)
    assert found["degraded"] is True
    assert len(found["items"]) == 10


def test_a_hanging_channel_is_left_behind(
    start: Start, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    client = start(stage_seconds=0.2)
    channel = service_of(client).model.pipeline.source("itemcf").channel
    released = threading.Event()
    request.addfinalizer(released.set)

    def hang(*args: object, **options: object) -> None:
        released.wait()

    monkeypatch.setattr(channel, "retrieve", hang)
    first = listed(client, user_id=user_id(5), k=7)
    assert first["degraded"] is True
    assert len(first["items"]) == 7
    errors = {(one["stage"], one["name"]): one["error"] for one in first["trace"]["stages"] if one["error"]}
    assert errors["source", "itemcf"] == "took longer than 200 ms"
    started = time.perf_counter()
    again = listed(client, user_id=user_id(5), k=7)
    errors = {(one["stage"], one["name"]): one["error"] for one in again["trace"]["stages"] if one["error"]}
    assert errors["source", "itemcf"].startswith("still busy with an earlier call")
    assert metric(client, 'recommender_skipped_stages_total{name="itemcf",stage="source"}') == 2.0
    body = {"user_id": user_id(5), "k": 7}
    explained = client.post("/v1/explain", json={**body, "movie_id": again["items"][0]["movie_id"]}).json()
    assert explained["fate"] == "recommended"
    assert "source itemcf" in explained["skipped"]
    points = client.post("/v1/trade-offs", json=body).json()["points"]
    assert all(len(point["movie_ids"]) == 7 for point in points)
    released.set()
    monkeypatch.undo()
    while time.perf_counter() - started < 20 and listed(client, user_id=user_id(5), k=7)["degraded"]:
        time.sleep(0.02)
    assert listed(client, user_id=user_id(5), k=7)["degraded"] is False


def test_no_request_waits_for_a_thread_that_hangs(
    start: Start, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    client = start(answer_seconds=0.2)
    released = threading.Event()
    request.addfinalizer(released.set)
    monkeypatch.setattr(service_of(client).model.search, "find", lambda *_: released.wait())
    for _ in range(3):  # the third waits for one of two threads
        error_of(client.get("/v1/movies"), 503, "not_ready")
    assert client.get("/healthz").status_code == 200
    assert listed(client, history=[])["degraded"] is False


def test_the_default_store_failing_in_earnest(start: Start, tmp_path: Path) -> None:
    """A database that is no longer one."""
    client = start(store_pause=0.0)
    file = tmp_path / "events.sqlite"
    add(client, user_id=user_id(5), movie_id=movie_id(3), rating=5)
    service_of(client).store._store.close()  # type: ignore[attr-defined]
    for suffix in ("", "-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    file.write_bytes(b"garbage" * 1_000)
    assert listed(client, user_id=user_id(5))["degraded"] is True
    answer = client.post("/v1/events", json={"user_id": user_id(5), "movie_id": movie_id(3), "rating": 5})
    error_of(answer, 503, "not_ready")
    assert str(tmp_path) not in answer.text
