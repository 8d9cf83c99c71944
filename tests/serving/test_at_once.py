"""Requests at the same time: each gets its own answer, and the event loop waits for none."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.pipeline.small import N_RATINGS, N_USERS, movie_id, user_id
from tests.serving.conftest import Start, service_of
from tests.serving.test_lists import listed


def films(answer: dict[str, Any]) -> list[int]:
    return [item["movie_id"] for item in answer["items"]]


@pytest.mark.parametrize("threads", [1, 2])
def test_each_request_gets_its_own_answer(start: Start, threads: int) -> None:
    client = start(threads=threads)
    alone = [films(listed(client, user_id=user_id(user), k=8)) for user in range(N_USERS)]
    with ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(listed, client, user_id=user_id(user), k=8) for user in range(N_USERS)]
        assert [films(one.result()) for one in asked] == alone


def test_events_and_lists_at_once_lose_nothing(client: TestClient) -> None:
    def add(number: int) -> int:
        body = {"user_id": user_id(5), "movie_id": movie_id(number), "rating": 4, "idempotency_key": f"{number % 40}"}
        return client.post("/v1/events", json={**body, "movie_id": movie_id(number % 40)}).status_code

    with ThreadPoolExecutor(8) as clients:
        lists = [clients.submit(listed, client, user_id=user_id(5)) for _ in range(20)]
        statuses = list(clients.map(add, range(80)))
        assert all(one.result()["items"] for one in lists)
    assert sorted(statuses) == [200] * 40 + [201] * 40
    events = client.get(f"/v1/users/{user_id(5)}/history?limit=200").json()["events"]
    live = [event["movie_id"] for event in events if event["event_id"]]
    assert sorted(live) == [movie_id(number) for number in range(40)]
    assert N_RATINGS <= len(events) <= N_RATINGS + 40


def test_other_routes_answer_while_a_list_is_made(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, released = threading.Event(), threading.Event()
    pipeline = service_of(client).model.pipeline
    original = pipeline.run_request

    def wait(*args: Any) -> Any:
        entered.set()
        assert released.wait(60)
        return original(*args)

    monkeypatch.setattr(pipeline, "run_request", wait)
    with ThreadPoolExecutor(1) as clients:
        listing = clients.submit(listed, client, history=[])
        assert entered.wait(60)
        assert client.get("/v1/movies").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert not listing.done()
        released.set()
        assert listing.result()["items"]
