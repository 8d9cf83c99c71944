"""Checks and limits in front of every route, and the headers of every answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from serving.gate import CONTENT_POLICY
from serving.rate_limit import RateLimit
from serving.settings import API_KEY, api_key
from tests.serving.conftest import Start, error_of, service_of

KEY = "a-long-secret"
PUBLIC = ("/", "/healthz", "/readyz")
CLOSED = ("/v1/info", "/v1/movies", "/metrics", "/openapi.json", "/v1/nothing")


@pytest.mark.parametrize("path", ["/", "/v1/info", "/v1/movies/4", "/nothing", "/metrics", "/healthz"])
def test_every_answer_has_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["content-security-policy"] == CONTENT_POLICY
    assert "unsafe" not in CONTENT_POLICY
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert len(headers["x-trace-id"]) == 16
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


def test_errors_of_the_router_are_json(client: TestClient) -> None:
    error_of(client.get("/nothing"), 404, "not_found")
    answer = client.put("/v1/info")
    error_of(answer, 405, "invalid_request")
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/healthz", "/v1/info", "/v1/movies/4", "/nothing"])
def test_head_is_answered_as_get_is_without_a_body(client: TestClient, path: str) -> None:
    answer, whole = client.head(path), client.get(path)
    assert (answer.status_code, answer.content) == (whole.status_code, b"")
    for name in ("content-type", "content-length", "content-security-policy"):
        assert answer.headers[name] == whole.headers[name]
    assert len(whole.content) > 0


def test_head_of_what_is_only_posted_is_refused(client: TestClient) -> None:
    answer = client.head("/v1/recommendations")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_head_is_counted_by_its_own_name(client: TestClient) -> None:
    client.head("/v1/info")
    counted = 'recommender_requests_total{method="HEAD",route="/v1/info",status="200"} 1.0'
    assert counted in client.get("/metrics").text


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "[::2]"])
def test_another_host_name_is_refused(client: TestClient, host: str) -> None:
    """A page of another site that lets its name point to this machine sends its own name."""
    error_of(client.get("/v1/info", headers={"host": host}), 400, "invalid_request")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "LOCALHOST:80", "[::1]", "[::1]:8000"])
def test_loopback_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/v1/info", headers={"host": host}).status_code == 200


def test_further_host_names_can_be_allowed(start: Start) -> None:
    client = start(host="0.0.0.0", allowed_hosts=("Films.example", "192.0.2.7", "2001:db8::7"))
    for host in ("films.example:8000", "192.0.2.7", "[2001:db8::7]:8000"):
        assert client.get("/v1/info", headers={"host": host}).status_code == 200
    answer = client.get("/v1/info", headers={"host": "192.0.2.8:8000"})
    error_of(answer, 400, "invalid_request")
    assert "with --allowed_hosts" in answer.json()["error"]["message"]
    assert "192.0.2.7" not in answer.text


def test_without_the_key_only_page_and_probes_answer(start: Start) -> None:
    client = start(key=KEY)
    for path in PUBLIC:
        assert client.get(path).status_code == 200
    for path in CLOSED:
        for headers in ({}, {"x-api-key": ""}, {"x-api-key": KEY + "x"}, {"x-api-key": KEY[:-1]}):
            error_of(client.get(path, headers=headers), 401, "unauthorised")
    assert client.get("/v1/info", headers={"x-api-key": KEY}).status_code == 200
    schema = client.get("/openapi.json", headers={"x-api-key": KEY}).json()
    assert schema["security"] == [{"key": []}]


def test_the_key_is_in_no_log_and_no_answer(start: Start, logged: list[str]) -> None:
    client = start(key=KEY)
    texts = [client.get("/v1/info", headers={"x-api-key": key}).text for key in ("wrong-secret", KEY)]
    assert logged
    assert not any(word in text for word in ("wrong-secret", KEY) for text in (*texts, *logged))


def test_the_key_comes_from_the_environment() -> None:
    assert api_key({API_KEY: f" {KEY}\n"}) == KEY
    assert api_key({API_KEY: " "}) is None
    assert api_key({}) is None


def test_a_body_beyond_the_limit_is_refused(start: Start) -> None:
    client = start(max_body=1_000)
    route, headers = "/v1/recommendations", {"content-type": "application/json"}
    error_of(client.post(route, content=b" " * 1_001, headers=headers), 413, "too_large")

    def in_parts() -> Iterator[bytes]:
        for _ in range(11):
            yield b" " * 100

    error_of(client.post(route, content=in_parts(), headers=headers), 413, "too_large")
    exactly = b'{"history": []}'.ljust(1_000)
    assert client.post(route, content=exactly, headers=headers).status_code == 200
    assert client.post(route, content=iter([exactly[:500], exactly[500:]]), headers=headers).status_code == 200


def test_a_client_with_too_many_requests_waits(start: Start) -> None:
    client = start(rate=0.001, burst=3)
    assert [client.get("/healthz").status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = client.get("/v1/info")
    error_of(answer, 429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 1_000


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_buckets_fill_up_again() -> None:
    clock = Clock()
    limit = RateLimit(2.0, 3, clock=clock)
    assert [limit.wait("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert limit.wait("b") == 0.0
    clock.now += 0.5
    assert [limit.wait("a"), limit.wait("a")] == [0.0, 0.5]
    clock.now += 1_000
    assert [limit.wait("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_the_clients_seen_last_are_remembered() -> None:
    limit = RateLimit(1.0, 1, clients=3, clock=Clock())
    for client in ("a", "b", "c", "a", "d"):
        limit.wait(client)
    assert len(limit) == 3
    assert limit.wait("a") > 0
    assert limit.wait("b") == 0.0  # forgotten


def test_no_rate_is_no_limit() -> None:
    limit = RateLimit(0.0, 1)
    assert {limit.wait("a") for _ in range(100)} == {0.0}
    assert len(limit) == 0


def test_an_internal_error_says_nothing_of_the_inside(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError(f"secret at {Path.cwd()}")

    monkeypatch.setattr(service_of(client).model.search, "find", fail)
    answer = client.get("/v1/movies")
    error_of(answer, 500, "internal")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["content-security-policy"] == CONTENT_POLICY
    assert any("secret" in text and answer.headers["x-trace-id"] in text for text in logged)


def test_requests_beyond_the_queue_are_refused(start: Start) -> None:
    client = start(max_waiting=-1)  # one thread, and so no place at all
    answer = client.post("/v1/recommendations", json={"history": []})
    error_of(answer, 503, "not_ready")
    assert answer.headers["retry-after"] == "1"


def test_requests_are_counted_by_route_and_status(client: TestClient) -> None:
    client.get("/v1/movies/4")
    client.get("/v1/movies/5")
    client.get("/some/other")
    client.request("BREW", "/v1/info")
    client.post("/v1/recommendations", json={"history": []})
    text = client.get("/metrics").text
    for line in (
        'recommender_requests_total{method="GET",route="/v1/movies/{movie_id}",status="404"} 1.0',
        'recommender_requests_total{method="GET",route="/v1/movies/{movie_id}",status="200"} 1.0',
        'recommender_requests_total{method="GET",route="unmatched",status="404"} 1.0',
        'recommender_requests_total{method="other",route="/v1/info",status="405"} 1.0',
        'recommender_stage_seconds_count{name="deepfm",stage="score"} 1.0',
        'recommender_request_seconds_count{route="/v1/recommendations"} 1.0',
        f'recommender_model_info{{version="{service_of(client).model.version}"}} 1.0',
    ):
        assert line in text.splitlines()


def test_every_service_has_metrics_of_its_own(start: Start) -> None:
    one, other = start(), start()
    one.get("/healthz")
    assert 'route="/healthz"' not in other.get("/metrics").text
