"""Live events over HTTP: they change the next list, survive a kill, and are applied once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from pipeline.encodings import Encodings
from reccore import Workspace
from tests.pipeline.small import N_RATINGS, movie_id, user_id
from tests.serving.conftest import Start, error_of, free_port, service_of
from tests.serving.test_lists import listed

EVENTS = "/v1/events"
REPOSITORY = Path(__file__).resolve().parents[2]


def add(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post(EVENTS, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert found["applied"] is True
    return found


def history(client: TestClient, user: int, **params: Any) -> dict[str, Any]:
    answer = client.get(f"/v1/users/{user}/history", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(answer: dict[str, Any], name: str = "items") -> list[int]:
    return [one["movie_id"] for one in answer[name]]


def test_an_event_changes_the_next_list_and_undo_restores_it(client: TestClient) -> None:
    user = user_id(5)
    before = listed(client, user_id=user)
    first = before["items"][0]["movie_id"]
    event = add(client, user_id=user, movie_id=first, rating=4.5)
    after = listed(client, user_id=user)
    assert first not in ids(after)
    assert after["history_length"] == N_RATINGS + 1
    undone = client.delete(f"{EVENTS}/{event['event_id']}")
    assert undone.json() == {"event_id": event["event_id"], "undone": True}
    assert client.delete(f"{EVENTS}/{event['event_id']}").status_code == 200
    assert ids(listed(client, user_id=user)) == ids(before)


def test_a_new_user_is_made_by_events(client: TestClient) -> None:
    error_of(client.get("/v1/users/4/history"), 404, "not_found")
    for number in (1, 9, 17):
        add(client, user_id=4, movie_id=movie_id(number), rating=5)
    found = listed(client, user_id=4, k=5)
    same = listed(client, history=[{"movie_id": movie_id(n), "rating": 5} for n in (1, 9, 17)], k=5)
    assert found["history_length"] == 3
    assert set(ids(found)).isdisjoint({movie_id(n) for n in (1, 9, 17)})
    assert len(set(ids(found)) & set(ids(same))) >= 3  # the same but for the times
    assert history(client, 4)["total"] == 3


def test_the_same_key_is_applied_once(client: TestClient) -> None:
    body = {"user_id": user_id(5), "movie_id": movie_id(3), "rating": 4.0, "idempotency_key": "k1"}
    first = add(client, **body)
    again = client.post(EVENTS, json=body)
    assert (again.status_code, again.json()) == (200, first | {"applied": False})
    assert first["undone"] is False
    other = client.post(EVENTS, json={**body, "rating": 2.0})
    assert error_of(other, 422, "invalid_request") == {"idempotency_key": "was used for another event"}
    live = [one for one in history(client, user_id(5))["events"] if one["event_id"]]
    assert [one["rating"] for one in live] == [4.0]


def test_the_key_of_an_event_that_was_taken_back_is_used_up(client: TestClient) -> None:
    body = {"user_id": user_id(5), "movie_id": movie_id(3), "rating": 4.0, "idempotency_key": "k1"}
    first = add(client, **body)
    client.delete(f"{EVENTS}/{first['event_id']}")
    again = client.post(EVENTS, json=body)
    assert (again.status_code, again.json()) == (200, first | {"applied": False, "undone": True})
    assert history(client, user_id(5))["total"] == N_RATINGS
    assert add(client, **body | {"idempotency_key": "k2"})["undone"] is False
    assert history(client, user_id(5))["total"] == N_RATINGS + 1


def test_a_watched_film_has_no_rating(client: TestClient) -> None:
    add(client, user_id=user_id(5), movie_id=movie_id(3), kind="watch")
    latest = history(client, user_id(5), limit=1)["events"][0]
    assert (latest["movie_id"], latest["rating"]) == (movie_id(3), None)
    assert abs(latest["time"] - time.time()) < 60


@pytest.mark.parametrize(
    ("body", "status", "fields"),
    [
        ({"movie_id": 1}, 404, set()),
        ({"movie_id": "x"}, 422, {"movie_id"}),
        ({"user_id": "x"}, 422, {"user_id"}),
        ({"rating": None}, 422, {"rating"}),
        ({"kind": "watch"}, 422, {"rating"}),
        ({"kind": "like"}, 422, {"kind"}),
        ({"rating": 99}, 422, {"rating"}),
        ({"time": -1}, 422, {"time"}),
        ({"time": 2**53}, 422, {"time"}),
        ({"time": int(time.time()) + 90_000}, 422, {"time"}),
        ({"time": int(time.time()) * 1_000}, 422, {"time"}),
        ({"idempotency_key": ""}, 422, {"idempotency_key"}),
        ({"idempotency_key": "x" * 201}, 422, {"idempotency_key"}),
        ({"other": 1}, 422, {"other"}),
    ],
)
def test_a_wrong_event_is_refused(client: TestClient, body: dict[str, Any], status: int, fields: set[str]) -> None:
    given = {"user_id": user_id(5), "movie_id": movie_id(3), "rating": 4.0, **body}
    code = "not_found" if status == 404 else "invalid_request"
    assert error_of(client.post(EVENTS, json=given), status, code).keys() == fields
    assert history(client, user_id(5))["total"] == N_RATINGS


def test_a_clock_that_is_a_little_ahead_is_accepted(client: TestClient) -> None:
    soon = int(time.time()) + 3_600
    add(client, user_id=user_id(5), movie_id=movie_id(3), rating=4.0, time=soon)
    assert history(client, user_id(5), limit=1)["events"][0]["time"] == soon
    assert listed(client, history=[{"movie_id": movie_id(3), "time": soon}])["history_length"] == 1


def test_an_unknown_event_cannot_be_undone(client: TestClient) -> None:
    error_of(client.delete(f"{EVENTS}/0123"), 404, "not_found")


def test_the_history_is_shown_in_parts_with_the_ids_of_live_events(client: TestClient) -> None:
    event = add(client, user_id=user_id(5), movie_id=movie_id(3), rating=2.0)
    whole = history(client, user_id(5), limit=200)
    assert (whole["total"], len(whole["events"])) == (N_RATINGS + 1, N_RATINGS + 1)
    assert whole["events"][0]["event_id"] == event["event_id"]
    assert {one["event_id"] for one in whole["events"][1:]} == {None}
    times = [one["time"] for one in whole["events"]]
    assert times == sorted(times, reverse=True)
    assert history(client, user_id(5), limit=3, offset=2)["events"] == whole["events"][2:5]
    assert history(client, user_id(5), offset=500)["events"] == []


def test_events_of_one_process_count_in_another(start: Start) -> None:
    one, other = start(), start()
    assert service_of(one) is not service_of(other)
    add(one, user_id=user_id(5), movie_id=movie_id(3), rating=4.0)
    assert history(other, user_id(5))["total"] == N_RATINGS + 1


def test_an_acknowledged_event_survives_kill_9(trained: Workspace, tmp_path: Path) -> None:
    port = free_port()
    url, store = f"http://127.0.0.1:{port}", f"sqlite:///{tmp_path}/events.sqlite"
    user, found = user_id(5), []
    for movie in (1, 2):
        command = [sys.executable, "scripts/serve.py", "--data_dir", str(trained.root)]
        process = subprocess.Popen(
            [*command, "--store", store, "--port", str(port)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
        )
        try:
            _wait_until_ready(url, process)
            body = {"user_id": user, "movie_id": movie_id(movie), "rating": 4.0}
            event = httpx.post(f"{url}{EVENTS}", json=body)
            assert event.status_code == 201
            found.append(event.json()["event_id"])
            stored = httpx.get(f"{url}/v1/users/{user}/history").json()
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert [one["event_id"] for one in stored["events"][:2]] == found[::-1]


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError(url)


def test_events_and_their_undo_reach_what_is_kept_of_a_user(client: TestClient, start: Start) -> None:
    """Lists of a service that has answered the user before equal those of one that has not, after every event."""
    user = user_id(2)
    other = start()  # on the same store

    def films(service: TestClient) -> list[Any]:
        answer = service.post("/v1/recommendations", json={"user_id": user, "k": 10}).json()
        return [(item["movie_id"], item["scores"]) for item in answer["items"]]

    def fresh() -> list[Any]:
        service_of(other).model.pipeline.encodings = Encodings()
        return films(other)

    lists = [films(client)]
    sent = [
        client.post("/v1/events", json={"user_id": user, "movie_id": lists[0][at][0], "rating": 1.0}).json()
        for at in (0, 3)
    ]
    lists.append(films(client))
    assert lists[1] == fresh() != lists[0]
    client.delete(f"/v1/events/{sent[1]['event_id']}")
    lists.append(films(client))
    assert lists[2] == fresh() != lists[1]
    client.delete(f"/v1/events/{sent[0]['event_id']}")
    assert films(client) == fresh() == lists[0]
