"""Single requests: answers, faults with their messages, and Retry-After."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from data_collector.tmdb import client as client_module
from data_collector.tmdb.client import Client, Fault, checked_address
from data_collector.tmdb.crawl import api_address
from data_collector.tmdb.key import Key
from data_collector.tmdb.limiter import RateLimiter
from data_collector.tmdb.movies import APPENDED
from reccore import ConfigError
from tests.data_collector.tmdb.server import V3_KEY, TmdbServer

LIMIT = 1 << 20


def make_client(url: str) -> Client:
    parameters = {"language": "en-US", "append_to_response": APPENDED}
    limiter = RateLimiter(1000, threading.Event())
    return Client(url, limiter, connections=4, key=Key(V3_KEY), parameters=parameters)


@pytest.fixture
def client(tmdb: TmdbServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 3.0)
    monkeypatch.setattr(client_module, "READ_SECONDS", 2.0)
    made = make_client(tmdb.url)
    yield made
    made.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_unreachable_server_gives_the_system_s_error(scheme: str) -> None:
    client = make_client(f"{scheme}://127.0.0.1:1/3")
    with pytest.raises(Fault, match=r"^Failed to establish a new connection: \[Errno \d+\] Connection refused$"):
        client.get("/movie/1", limit=LIMIT)
    client.close()


@pytest.mark.parametrize(
    ("kind", "reason", "of_service", "final"),
    [
        ("500", "the server answered 500 Internal Server Error", True, False),
        ("403", "the server answered 403 Forbidden", True, False),
        ("422", "the server answered 422 Unprocessable Entity", False, True),
        ("599", "the server answered 599", True, False),
        ("silent", "Remote end closed connection without response", True, False),
        ("hang", "no answer within 2 s", True, False),
        ("trickle", "no whole answer within 3 s", True, False),
        ("trickling head", "no whole answer within 3 s", True, False),
        ("trickling tail", "no whole answer within 3 s", True, False),
        ("huge", "the answer has more than 1,048,576 bytes", False, False),
    ],
)
def test_a_fault_has_its_reason_and_kind(
    tmdb: TmdbServer, client: Client, kind: str, reason: str, of_service: bool, final: bool
) -> None:
    tmdb.scripts["/3/movie/1"] = [kind]
    with pytest.raises(Fault) as raised:
        client.get("/movie/1", limit=LIMIT)
    fault = raised.value
    assert reason in str(fault)
    assert (fault.of_service, fault.final) == (of_service, final)
    assert fault.__cause__ is None
    assert fault.__context__ is None  # without the library's error, which contains the URL
    assert client.get("/movie/1", limit=LIMIT).status == 200


def test_an_incomplete_answer_is_a_fault(tmdb: TmdbServer, client: Client) -> None:
    tmdb.scripts["/3/movie/1"] = ["cut"]
    with pytest.raises(Fault, match=r"IncompleteRead|bytes read"):
        client.get("/movie/1", limit=LIMIT)


def test_requests_to_this_machine_ignore_proxies(tmdb: TmdbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert make_client(tmdb.url).get("/movie/1", limit=LIMIT).status == 200


def test_a_netrc_file_does_not_replace_the_key(
    tmdb: TmdbServer, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")  # type: ignore[operator]
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))  # type: ignore[operator]
    assert make_client(tmdb.url).get("/movie/1", limit=LIMIT).status == 200
    assert "authorization" not in tmdb.seen[0].headers


def test_connections_are_kept_open(tmdb: TmdbServer, client: Client) -> None:
    for _ in range(3):
        client.get("/movie/1", limit=LIMIT)
    pools = client._session.get_adapter(tmdb.url).poolmanager.pools  # type: ignore[attr-defined]
    (key,) = pools.keys()
    assert pools[key].num_connections == 1
    assert pools[key].num_requests == 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        (None, client_module.DEFAULT_WAIT_SECONDS),
        ("soon", client_module.DEFAULT_WAIT_SECONDS),
        ("-3", client_module.DEFAULT_WAIT_SECONDS),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_the_wait_after_a_429(tmdb: TmdbServer, client: Client, value: str | None, expected: float) -> None:
    tmdb.plan.retry_after = value
    tmdb.scripts["/3/movie/1"] = ["429"]
    with pytest.raises(Fault) as raised:
        client.get("/movie/1", limit=LIMIT)
    assert raised.value.wait == expected


def test_a_retry_date_uses_the_server_s_clock() -> None:
    server_now = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    until = format_datetime(server_now + timedelta(seconds=42), usegmt=True)
    headers = {"Retry-After": until, "Date": format_datetime(server_now, usegmt=True)}
    assert client_module._retry_after(headers) == 42.0
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=42), usegmt=True)
    told = client_module._retry_after({"Retry-After": soon})
    assert told is not None
    assert 40.0 < told <= 42.0


def test_the_deadline_does_not_include_waiting_for_the_limiter(tmdb: TmdbServer, client: Client) -> None:
    client._limiter.pause(3.5)  # longer than an answer may take
    began = time.monotonic()
    assert client.get("/movie/1", limit=LIMIT).status == 200
    assert time.monotonic() - began >= 3.49


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("https://api.themoviedb.org/3", "https://api.themoviedb.org/3"),
        ("https://api.themoviedb.org/3/", "https://api.themoviedb.org/3"),
        ("https://mirror.example.org", "https://mirror.example.org/3"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/3"),
        ("http://localhost:8000/tmdb/3", "http://localhost:8000/tmdb/3"),
        ("http://[::1]:8000", "http://[::1]:8000/3"),
    ],
)
def test_valid_addresses(given: str, address: str) -> None:
    assert api_address(given) == address


@pytest.mark.parametrize(
    "given",
    [
        "",
        "ftp://example.org",
        "https://",
        "https://example.org:port",
        "http://example.org",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
        "https://user@example.org",
        "https://example.org/3?x=1",
        "https://example.org/3#x",
    ],
)
def test_invalid_addresses(given: str) -> None:
    with pytest.raises(ConfigError, match="--base_url"):
        checked_address(given, "--base_url")
