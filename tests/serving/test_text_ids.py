"""A model with ids of text, without a ranker, a reranker, ratings and times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient

from pipeline import PipelineConfig, assemble
from pipeline.builder import save
from pipeline.history import FrozenHistoryStore
from recall import CHANNELS
from reccore import Bundle, IdMap, Interactions, RunOptions, TrainingData, Vocabulary
from tests.serving.conftest import Start, error_of
from tests.serving.test_lists import listed

CONFIG = {"channels": ["popularity", "itemcf"], "ranker": None, "rerank": None, "candidates": 12, "latest": []}


def film(item: int) -> str:
    """Ids with what is special in addresses."""
    return f"film/{item:02}?#é"


@pytest.fixture
def shop(board: TrainingData, options: RunOptions, tmp_path: Path) -> Path:
    """A pipeline of two channels on the checkerboard."""
    users = IdMap(np.array([f"u/{u:02}" for u in range(60)], dtype=object))
    items = IdMap(np.array([film(item) for item in range(24)], dtype=object))
    events = board.interactions
    bare = Interactions(events.user_offsets, events.item_idx, events.n_items)
    data = replace(board, vocabulary=Vocabulary(users, items), interactions=bare)
    channels = {name: CHANNELS[name]({}).fit(data, options=options) for name in CONFIG["channels"]}
    parts = {name: Bundle.open(channel.save(tmp_path / name) or tmp_path / name) for name, channel in channels.items()}
    pipeline = assemble(
        PipelineConfig.parse(CONFIG),
        channels=channels,
        ranker=None,
        items=data.items,
        histories=FrozenHistoryStore(bare, data.vocabulary),
    )
    return save(pipeline, tmp_path / "pipeline", parts, data={})


@pytest.fixture
def client(start: Start, shop: Path) -> TestClient:
    return start(pipeline=str(shop))


def test_ids_of_text_work_everywhere(client: TestClient) -> None:
    found = listed(client, user_id="u/03", k=4)
    assert (found["user_id"], found["history_length"]) == ("u/03", 8)
    first = found["items"][0]["movie_id"]
    assert client.get(f"/v1/movies/{quote(first, safe='')}").json()["movie_id"] == first
    near = client.get(f"/v1/movies/{quote(first, safe='')}/similar?k=2").json()
    assert (near["movie_id"], len(near["movies"])) == (first, 2)
    event = client.post("/v1/events", json={"user_id": "u/03", "movie_id": first, "kind": "watch"})
    assert event.status_code == 201
    history = client.get(f"/v1/users/{quote('u/03', safe='')}/history").json()
    assert (history["total"], history["events"][0]["movie_id"]) == (9, first)
    assert history["events"][0]["event_id"] == event.json()["event_id"]
    assert first not in [item["movie_id"] for item in listed(client, user_id="u/03", k=12)["items"]]
    assert [user["user_id"] for user in client.get("/v1/users?query=u/0&limit=2").json()["users"]] == ["u/00", "u/01"]
    unknown = listed(client, history=[{"movie_id": film(1)}, {"movie_id": "other"}, {"movie_id": 5}])
    assert (unknown["unknown"], unknown["history_length"]) == (["other", 5], 1)
    explained = client.post("/v1/explain", json={"user_id": "u/04", "movie_id": film(2)})
    assert explained.status_code == 200
    error_of(client.get("/v1/movies/nothing"), 404, "not_found")


def test_a_new_user_of_text(client: TestClient) -> None:
    error_of(client.post("/v1/recommendations", json={"user_id": "Ann"}), 404, "not_found")
    body = {"user_id": "Ann", "movie_id": film(3), "kind": "watch"}
    assert client.post("/v1/events", json=body).status_code == 201
    found = listed(client, user_id="Ann", k=5)
    assert found["history_length"] == 1
    # Odd users know odd films.
    assert all(int(item["movie_id"][5:7]) % 2 for item in found["items"][:3])


def test_what_the_model_does_not_have_is_said(client: TestClient) -> None:
    info = client.get("/v1/info").json()
    assert (info["ranker"], info["reranker"], info["rating_scale"], info["rating_step"]) == (None, None, None, None)
    assert (info["has_diversity"], info["default_diversity"]) == (False, None)
    wrong = client.post("/v1/recommendations", json={"user_id": "u/03", "diversity": 0.5})
    assert error_of(wrong, 422, "invalid_request").keys() == {"diversity"}
    wrong = client.post("/v1/trade-offs", json={"user_id": "u/03"})
    assert error_of(wrong, 422, "invalid_request").keys() == {"diversity"}
    places = listed(client, user_id="u/03", k=2)["items"][1]["places"]
    assert places == {"merge": 2, "final": 2}
    assert "rank" not in listed(client, user_id="u/03", k=2)["items"][1]["scores"]
