"""Recommendations: what they hold, whose they are, and what is wrong with a request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from pipeline import load
from pipeline.explain import explain
from reccore import Workspace
from tests.pipeline.small import N_MOVIES, N_RATINGS, movie_id, user_id
from tests.serving.conftest import error_of, service_of

ROUTE = "/v1/recommendations"


def listed(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post(ROUTE, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_list_is_that_of_the_pipeline(client: TestClient, trained: Workspace) -> None:
    pipeline = load(trained.model("pipeline"))
    for body in ({"user": user_id(7)}, {"history": [(movie_id(1), 5.0), (movie_id(9), 3.0)]}, {"history": []}):
        expected = pipeline.recommend(k=6, **body)
        given = (
            {"user_id": body["user"]}
            if "user" in body
            else {"history": [{"movie_id": movie, "rating": rating} for movie, rating in body["history"]]}
        )
        found = listed(client, k=6, **given)
        assert [item["movie_id"] for item in found["items"]] == [item.movie_id for item in expected.items]
        for item, want in zip(found["items"], expected.items, strict=True):
            assert item["scores"] == {s: want.scores[s] for s in ("merge", "rank", "final")}
            assert {one["name"]: one["rank"] for one in item["channels"]} == want.channels
            assert item["genres"] == list(want.genres)
        assert found["history_length"] == len(expected.history)


def test_an_answer_describes_its_films_and_the_way_to_it(client: TestClient) -> None:
    found = listed(client, user_id=user_id(3), k=4)
    assert found["degraded"] is False
    assert found["model_version"] == service_of(client).model.version
    assert found["history_length"] == N_RATINGS
    first = found["items"][0]
    assert (first["title"][:9], first["label"]) == ("The Film ", f"{first['title']} ({first['year']})")
    assert [item["place"] for item in found["items"]] == [1, 2, 3, 4]
    assert first["places"]["final"] == 1
    assert 0 < found["genre_diversity"] < 1
    stages = found["trace"]["stages"]
    assert (stages[0]["name"], stages[-1]["items_out"]) == ("popularity", 4)
    assert found["trace"]["milliseconds"] >= max(stage["milliseconds"] for stage in stages)


def test_unknown_films_of_a_history_are_reported(client: TestClient) -> None:
    found = listed(client, history=[{"movie_id": 1}, {"movie_id": movie_id(2)}])
    assert (found["unknown"], found["history_length"]) == ([1], 1)


def test_the_list_can_be_as_long_as_the_pipeline_makes_it(client: TestClient) -> None:
    shown = [item["movie_id"] for item in listed(client, user_id=user_id(0), k=200)["items"]]
    assert len(shown) == len(set(shown)) == 25


def test_excluded_films_are_not_offered(client: TestClient) -> None:
    first = [item["movie_id"] for item in listed(client, user_id=user_id(0), k=5)["items"]]
    again = [item["movie_id"] for item in listed(client, user_id=user_id(0), k=5, exclude=first[:2])["items"]]
    assert not set(first[:2]) & set(again)


def test_filters_leave_full_lists_of_admitted_films(client: TestClient) -> None:
    filters = {"genres": ["Drama", "Horror"], "not_genres": ["Comedy"], "year_from": 1985, "year_to": 2000}
    found = listed(client, user_id=user_id(0), k=10, filters={**filters, "min_ratings": 2})["items"]
    assert len(found) == 10
    for film in found:
        assert {"Drama", "Horror"} & set(film["genres"])
        assert 1985 <= film["year"] <= 2000
        assert film["ratings"] >= 2


def test_a_film_that_must_be_included_is_shown(client: TestClient) -> None:
    plain = [item["movie_id"] for item in listed(client, user_id=user_id(0), k=5)["items"]]
    last = next(movie_id(m) for m in range(N_MOVIES - 1, 0, -1) if movie_id(m) not in plain)
    with_it = listed(client, user_id=user_id(0), k=5, must_include=[last])["items"]
    assert with_it[-1]["movie_id"] == last
    assert len(with_it) == 5
    wrong = client.post(ROUTE, json={"user_id": user_id(0), "must_include": [1]})
    error_of(wrong, 422, "invalid_request")


def test_diversity_changes_the_list(client: TestClient) -> None:
    none, most = (listed(client, user_id=user_id(0), k=10, diversity=value) for value in (0, 1))
    assert [item["places"]["rank"] for item in none["items"]] == list(range(1, 11))
    assert [item["movie_id"] for item in none["items"]] != [item["movie_id"] for item in most["items"]]


def test_reasons_are_films_of_the_history(client: TestClient) -> None:
    seen = [movie_id(m) for m in (0, 4, 8, 3)]
    body = {"history": [{"movie_id": movie, "rating": 5} for movie in seen], "k": 6}
    assert all(item["reasons"] == [] for item in listed(client, **body)["items"])
    found = [reason for item in listed(client, **body, explain=True)["items"] for reason in item["reasons"]]
    assert found
    for reason in found:
        assert reason["movie_id"] in seen
        assert reason["title"].startswith("The Film ")
        assert reason["lift"] > 0


def test_trade_offs_are_shown_for_every_diversity(client: TestClient) -> None:
    answer = client.post("/v1/trade-offs", json={"user_id": user_id(0), "k": 6})
    assert answer.status_code == 200, answer.text
    points = answer.json()["points"]
    assert [point["diversity"] for point in points] == [step / 10 for step in range(11)]
    assert points[0]["relevance"] == 1.0
    assert all(point["relevance"] <= 1.0 for point in points)
    configured = points[3]["movie_ids"]
    assert configured == [item["movie_id"] for item in listed(client, user_id=user_id(0), k=6)["items"]]
    assert points[0]["movie_ids"] != points[10]["movie_ids"]
    error_of(client.post("/v1/trade-offs", json={"user_id": 4}), 404, "not_found")
    wrong = client.post("/v1/trade-offs", json={"user_id": user_id(0), "diversity": 0.5})
    assert error_of(wrong, 422, "invalid_request").keys() == {"diversity"}


def test_an_explanation_says_where_a_film_went(client: TestClient, trained: Workspace) -> None:
    shown = listed(client, user_id=user_id(0), k=5)["items"]
    seen = client.get(f"/v1/users/{user_id(0)}/history").json()["events"][0]["movie_id"]
    expected = [(shown[1]["movie_id"], "recommended", "recommended", 2), (seen, "excluded", "seen or excluded", None)]
    for movie, fate, label, place in expected:
        answer = client.post("/v1/explain", json={"user_id": user_id(0), "movie_id": movie, "k": 5})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["fate"], found["fate_label"], found["place"], found["k"]) == (fate, label, place, 5)
        own = explain(load(trained.model("pipeline")), movie, user=user_id(0), k=5).to_dict()
        assert found.keys() == own.keys() | {"fate_label"}
        assert found["why"] == own["why"]
        assert found["facts"] == json.loads(json.dumps(own["facts"]))
        assert len(found["channels"]) == len(own["channels"])
    error_of(client.post("/v1/explain", json={"user_id": user_id(0), "movie_id": 1}), 404, "not_found")
    wrong = client.post("/v1/explain", json={"user_id": user_id(0)})
    assert error_of(wrong, 422, "invalid_request").keys() == {"movie_id"}


WRONG: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({}, {"user_id": "give user_id, history, or both"}),
    ({"user_id": True}, {"user_id": "must be a whole number of 64 bits"}),
    ({"user_id": 2**63}, {"user_id": "must be a whole number of 64 bits"}),
    ({"user_id": 1.0}, {"user_id": "must be a whole number of 64 bits"}),
    ({"user_id": "\ud800"}, {"user_id": "must be a whole number of 64 bits"}),
    ({"user_id": ""}, {"user_id": "must be a whole number of 64 bits"}),
    ({"user_id": "Ann"}, {"user_id": "must be a whole number, as ids here are"}),
    ({"user_id": 3, "k": 0}, {"k": "greater than or equal to 1"}),
    ({"user_id": 3, "k": 201}, {"k": "less than or equal to 200"}),
    ({"user_id": 3, "k": "5"}, {"k": "valid integer"}),
    ({"user_id": 3, "colour": 1}, {"colour": "no such field"}),
    ({"user_id": 3, "filters": {"genre": []}}, {"filters.genre": "no such field"}),
    ({"user_id": 3, "filters": {"year_from": -1}}, {"filters.year_from": "greater than or equal to 0"}),
    ({"user_id": 3, "filters": {"genres": ["Opera"]}}, {"filters.genres": "no film has the genre 'Opera'; known:"}),
    ({"user_id": 3, "filters": {"year_from": 1990, "year_to": 1980}}, {"filters.year_from": "is after year_to"}),
    ({"user_id": 3, "diversity": 1.5}, {"diversity": "less than or equal to 1"}),
    ({"user_id": 3, "exclude": ["x"]}, {"exclude.0": "must be a whole number, as ids here are"}),
    ({"history": [{"rating": 4}]}, {"history.0.movie_id": "required"}),
    ({"history": [{"movie_id": 5, "rating": 99}]}, {"history.0.rating": "must be from 1 to 5, as ratings here are"}),
    (
        {"history": [{"movie_id": 5, "time": 1}, {"movie_id": 12, "time": 10**12}]},
        {"history.1.time": "must be in Unix seconds, which are 1"},
    ),
    ({"history": [{"movie_id": 5, "like": 1}]}, {"history.0.like": "no such field"}),
    (
        {"history": [{"movie_id": 5, "time": 1}, {"movie_id": 12}]},
        {"history.1.time": "1 of 2 events of the"},
    ),
    ({"history": [], "must_include": [12, 1]}, {"must_include.1": "movie 1 of must_include is not in the catalogue"}),
    (
        {"history": [], "must_include": [12], "exclude": [12]},
        {"must_include.0": "movie 12 is in must_include and in exclude"},
    ),
    ({"history": [], "must_include": [5, 12], "k": 1}, {"must_include": "has 2 films and the list only 1"}),
    ({"history": [{"movie_id": movie_id(m)} for m in range(N_MOVIES)] * 13}, {"history": "at most 2000"}),
    ({"user_id": 3, "exclude": list(range(2001))}, {"exclude": "at most 2000"}),
]


@pytest.mark.parametrize(("body", "fields"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_request_names_its_fields(client: TestClient, body: dict[str, Any], fields: dict[str, str]) -> None:
    answer = client.post(ROUTE, content=json.dumps(body), headers={"content-type": "application/json"})
    found = error_of(answer, 422, "invalid_request")
    assert found.keys() == fields.keys()
    assert all(message in found[field] for field, message in fields.items())


def test_every_wrong_field_is_named_at_once(client: TestClient) -> None:
    found = error_of(client.post(ROUTE, json={"user_id": None, "k": 0, "explain": 1}), 422, "invalid_request")
    assert found.keys() == {"k", "explain"}


@pytest.mark.parametrize("text", ['{"user_id": 3, "diversity": NaN}', '{"user_id": 3, "diversity": Infinity}'])
def test_numbers_that_are_not_finite_are_refused(client: TestClient, text: str) -> None:
    answer = client.post(ROUTE, content=text, headers={"content-type": "application/json"})
    assert error_of(answer, 422, "invalid_request").keys() == {"diversity"}


def test_an_unknown_user_without_a_history_is_not_found(client: TestClient) -> None:
    error_of(client.post(ROUTE, json={"user_id": 4}), 404, "not_found")
    assert listed(client, user_id=4, history=[{"movie_id": movie_id(1)}])["user_id"] == 4


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b"1" * 6_000])
def test_what_is_no_json_object_is_refused(client: TestClient, content: bytes) -> None:
    answer = client.post(ROUTE, content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    error_of(answer, answer.status_code, "invalid_request")


@pytest.mark.parametrize(
    "headers", [{"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}, {}]
)
def test_a_body_of_another_type_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    """Forms, plain text and bodies without a type can be sent by any web page without asking; curl -d sends a form."""
    answer = client.post(ROUTE, content=b'{"user_id": 3}', headers=headers)
    found = error_of(answer, 422, "invalid_request")
    assert found == {"body": "must be JSON, sent with the header content-type: application/json"}
