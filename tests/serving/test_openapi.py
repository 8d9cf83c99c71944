"""The description of the service, and requests made from it and by chance: no answer may be a 5xx."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from reccore import Workspace
from serving.app import create_app
from serving.service import Service
from tests.serving.conftest import settings_of

EXCLUDED = [positive_data_acceptance]
"""Whether a user or a film exists, and which genres and ratings there are, is not part of the description."""
ROUTES = {
    ("/v1/recommendations", "post"),
    ("/v1/trade-offs", "post"),
    ("/v1/explain", "post"),
    ("/v1/events", "post"),
    ("/v1/events/{event_id}", "delete"),
    ("/v1/users", "get"),
    ("/v1/users/{user_id}/history", "get"),
    ("/v1/movies", "get"),
    ("/v1/movies/{movie_id}", "get"),
    ("/v1/movies/{movie_id}/similar", "get"),
    ("/v1/info", "get"),
    ("/healthz", "get"),
    ("/readyz", "get"),
    ("/metrics", "get"),
}
WITHOUT_INPUT = {"/v1/info", "/healthz", "/readyz", "/metrics"}
CASES = [
    (route, mode)
    for route in sorted(ROUTES)
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode is GenerationMode.POSITIVE or route[0] not in WITHOUT_INPUT
]


@pytest.fixture(scope="module")
def shared(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of one real server for all requests of this file."""
    # Schemathesis does not expect a 413 where a list is too long, so the body may be of any size here.
    service = Service(settings_of(trained, tmp_path_factory.mktemp("fuzz"), max_body=2**26))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(service), log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=60) as client:
        yield client
    server.should_exit = True
    thread.join()


def test_every_route_is_described(shared: httpx.Client) -> None:
    described = shared.get("/openapi.json").json()
    paths = described["paths"]
    assert {(path, method) for path, methods in paths.items() for method in methods} == ROUTES
    for methods in paths.values():
        for operation in methods.values():
            assert operation["description"]
            assert operation["tags"]
    for name in ("RecommendationRequest", "EventRequest", "ExplainRequest", "TradeOffsRequest"):
        assert described["components"]["schemas"][name]["examples"]


def test_the_examples_are_requests(shared: httpx.Client) -> None:
    schemas = shared.get("/openapi.json").json()["components"]["schemas"]
    for name, path in (("RecommendationRequest", "/v1/recommendations"), ("EventRequest", "/v1/events")):
        for example in schemas[name]["examples"]:
            answer = shared.post(path, json=example)
            assert answer.status_code in (200, 201, 404), answer.text  # 404: user 1 is no user of the test's data


def send_cases(client: httpx.Client, route: tuple[str, str], mode: GenerationMode, n: int) -> None:
    """Requests to one route by its description: valid ones, or such that break it somewhere."""
    path, method = route
    described = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    cases = described[path][method.upper()].as_strategy(generation_mode=mode)

    @seed(0)
    @settings(max_examples=n, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def send(case: Any) -> None:
        case.call_and_validate(base_url=str(client.base_url), excluded_checks=EXCLUDED)

    send()


@pytest.mark.parametrize(("route", "mode"), CASES, ids=str)
def test_no_described_request_breaks_the_service(
    shared: httpx.Client, route: tuple[str, str], mode: GenerationMode
) -> None:
    send_cases(shared, route, mode, 10)


@pytest.mark.slow
@pytest.mark.parametrize(("route", "mode"), CASES, ids=str)
def test_no_described_request_breaks_the_service_at_length(
    shared: httpx.Client, route: tuple[str, str], mode: GenerationMode
) -> None:
    send_cases(shared, route, mode, 300)
