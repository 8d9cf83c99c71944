"""Requests that are valid but for a few changes: each is answered, and none with a 5xx, a trace or a path."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.pipeline.small import movie_id, user_id

POSTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/recommendations", {"user_id": user_id(3), "k": 3, "exclude": [movie_id(1)], "diversity": 0.4}),
    (
        "/v1/recommendations",
        {
            "history": [{"movie_id": movie_id(4), "rating": 4.5, "time": 9}, {"movie_id": 1, "rating": 1, "time": 7}],
            "filters": {"genres": ["Drama"], "not_genres": [], "year_from": 1981, "year_to": None, "min_ratings": 1},
            "must_include": [movie_id(9)],
        },
    ),
    ("/v1/events", {"user_id": 77, "movie_id": movie_id(4), "kind": "rating", "rating": 4, "idempotency_key": "k"}),
]
GETS = ["/v1/movies", "/v1/users", "/v1/movies/12", "/v1/movies/12/similar", "/v1/users/13/history", "/static/x.js"]
STRANGE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e308, 1e-320),
    *("", " ", "x", "1", "0x10", "NaN", "\0", "\ud800", "Ж" * 300, "a" * 5_000, "../../etc/passwd", "'; --", "${x}"),
    *([], {}, [[]], [None], {"movie_id": 5}, [0] * 3_000, {"": ""}, {"__class__": "x"}),
]
LITERALS = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"01",
    b"+1",
    b"'x'",
    b"undefined",
    b"\xff",
    b"/*x*/",
    b"1" * 5_000,
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in a body."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def changed(body: Any, draw: random.Random) -> Any:
    """The body with a strange value, a missing one or one too many at some place."""
    copy = json.loads(json.dumps(body))
    *path, last = draw.choice(places(copy)[1:])
    parent = copy
    for key in path:
        parent = parent[key]
    kind = draw.randrange(4)
    if kind == 0:
        del parent[last]
    elif kind == 1 and isinstance(parent, dict):
        parent[draw.choice(["extra", "", last + "s", "Ж"])] = draw.choice(STRANGE)
    else:
        parent[last] = draw.choice(STRANGE)
    return copy


def broken(text: bytes, draw: random.Random) -> bytes:
    """The text with bytes changed, cut, doubled or replaced."""
    at = draw.randrange(len(text))
    until = min(len(text), at + draw.randrange(1, 9))
    return draw.choice(
        [
            text[:at],
            text[:at] + text[until:],
            text[:at] + bytes([draw.randrange(256)]) + text[at + 1 :],
            text[:until] + text[at:],
            text[:at] + draw.choice(LITERALS) + text[until:],
            text * 2,
            b"[" * draw.randrange(1, 3_000) + text,
        ]
    )


def posted(client: TestClient, draw: random.Random) -> Any:
    path, body = draw.choice(POSTS)
    for _ in range(draw.randrange(3)):
        body = changed(body, draw) if places(body)[1:] else body
    text = json.dumps(body).encode()
    if draw.random() < 0.4:
        text = broken(text, draw)
    kind = draw.choice(["application/json"] * 9 + ["text/plain", "application/json; charset=utf-16", "", "a" * 2_000])
    method = draw.choice(["POST"] * 9 + ["PUT", "DELETE", "PATCH", "BREW"])
    return client.request(method, path, content=text, headers={"content-type": kind})


def got(client: TestClient, draw: random.Random) -> Any:
    path = draw.choice(GETS)
    if draw.random() < 0.4:
        path = "/".join(
            [*path.split("/")[:-1], draw.choice(["%00", "..", "%2e%2e%2f", "-1", "9" * 30, "%D0%96", "%ff"])]
        )
    values = [value if isinstance(value, str) and "\ud800" not in value else repr(value)[:300] for value in STRANGE]
    params = {draw.choice(["query", "limit", "offset", "k", "channel", "x"]): draw.choice(values) for _ in range(2)}
    headers = {
        draw.choice(
            ["accept", "host", "x-api-key", "range", "if-range", "cookie", "content-length", "expect"]
        ): "localhost"
    }
    return client.request(draw.choice(["GET"] * 9 + ["HEAD", "OPTIONS"]), path, params=params, headers=headers)


def send(client: TestClient, n: int, seed: int) -> dict[int, int]:
    """Send n requests; the number of answers by status."""
    draw, found = random.Random(seed), dict[int, int]()
    makers: list[Callable[[TestClient, random.Random], Any]] = [posted, posted, posted, got]
    for number in range(n):
        answer = draw.choice(makers)(client, draw)
        assert answer.status_code < 500, (number, answer.request, answer.text)
        assert "Traceback" not in answer.text
        assert "/tmp/" not in answer.text
        if answer.status_code >= 400 and answer.request.method != "HEAD":
            assert answer.json()["error"]["message"], (number, answer.request)
        found[answer.status_code] = found.get(answer.status_code, 0) + 1
    return found


def test_mutated_requests_are_answered(client: TestClient) -> None:
    found = send(client, 400, seed=0)
    assert {200, 404, 422} <= found.keys()


@pytest.mark.slow
def test_ten_thousand_mutated_requests_are_answered(client: TestClient) -> None:
    found = send(client, 10_000, seed=1)
    assert {200, 201, 404, 405, 422} <= found.keys()
