"""New models without downtime: what is swapped in, what is refused, and what a swap during loading does."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import serving.model
from pipeline import Pipeline
from pipeline.stages import Request
from reccore import ArtefactError, NotReadyError, Workspace
from reccore.bundle import MANIFEST, replace_folder
from serving.model import load_model
from serving.search import FilmSearch
from serving.sqlite_store import SqliteStore
from serving.watcher import ModelWatcher
from tests.pipeline.small import user_id
from tests.serving.conftest import Start, copied, service_of
from tests.serving.test_lists import listed

NEVER = 1e9


def with_candidates(pipeline: Path, folder: Path, n: int) -> Path:
    """A copy of a pipeline that merges to ``n`` candidates: another version of it."""
    made = copied(pipeline, folder)
    manifest = json.loads((made / MANIFEST).read_text())
    next(stage for stage in manifest["config"]["stages"] if stage["kind"] == "merge")["k"] = n
    (made / MANIFEST).unlink()  # it may be a link to another bundle's
    (made / MANIFEST).write_text(json.dumps(manifest))
    return made


def put(source: Path, folder: Path) -> None:
    """Replace a bundle as every command does: whole, by renaming."""
    with replace_folder(folder) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)


def n_candidates(client: TestClient) -> int:
    stages = listed(client, user_id=user_id(1), k=200)["trace"]["stages"]
    return next(int(stage["items_out"]) for stage in stages if stage["stage"] == "merge")


@pytest.fixture
def client(start: Start, own: Workspace) -> TestClient:
    """A service on a copy of the pipeline, which does not look by itself."""
    return start(pipeline=str(own.model("pipeline")), watch_seconds=NEVER)


@pytest.fixture
def watcher(client: TestClient) -> ModelWatcher:
    found = ModelWatcher(service_of(client))
    found.start()
    return found


def ready(client: TestClient) -> dict[str, Any]:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_a_new_pipeline_answers_without_a_restart(
    client: TestClient, watcher: ModelWatcher, own: Workspace, tmp_path: Path
) -> None:
    before = ready(client)["model_version"]
    watcher.look()
    assert ready(client)["model_version"] == before
    put(with_candidates(own.model("pipeline"), tmp_path / "next", 12), own.model("pipeline"))
    assert n_candidates(client) == 25
    watcher.look()
    assert n_candidates(client) == 12
    assert ready(client) == {"ready": True, "model_version": client.get("/v1/info").json()["model_version"],
                             "store": "ready", "refused": None}  # fmt: skip
    assert ready(client)["model_version"] != before


def test_the_old_model_is_freed(client: TestClient, watcher: ModelWatcher, own: Workspace, tmp_path: Path) -> None:
    listed(client, user_id=user_id(1))
    old = weakref.ref(service_of(client).model.pipeline)
    put(with_candidates(own.model("pipeline"), tmp_path / "next", 12), own.model("pipeline"))
    watcher.look()
    assert listed(client, user_id=user_id(1))["items"]
    assert old() is None
    assert gc.get_freeze_count() > 100_000  # a full search for garbage passes over the model


def test_lists_do_not_wait_for_the_index_of_titles(
    start: Start, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """The first model answers lists while titles are indexed; searches wait, and then find."""
    released = threading.Event()
    indexed = FilmSearch.__init__

    def slow(self: FilmSearch, *args: Any) -> None:
        assert released.wait(60)
        indexed(self, *args)

    monkeypatch.setattr(FilmSearch, "__init__", slow)
    client = start()
    assert ready(client)["ready"] is True
    assert listed(client, user_id=user_id(1))["items"]
    with ThreadPoolExecutor(1) as waiting:
        found = waiting.submit(client.get, "/v1/movies", params={"query": "film"})
        assert listed(client, user_id=user_id(1))["items"]
        assert not found.done()
        released.set()
        assert found.result().json()["movies"]


def test_an_index_of_titles_that_fails_leaves_the_lists(
    start: Start, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    def fail(self: FilmSearch, *_: Any) -> None:
        raise RuntimeError("no titles")

    monkeypatch.setattr(FilmSearch, "__init__", fail)
    client = start()
    assert listed(client, user_id=user_id(1))["items"]
    assert client.get("/v1/movies", params={"query": "film"}).status_code == 500
    assert any("the titles cannot be indexed" in message for message in logged)


def test_a_new_model_whose_titles_cannot_be_indexed_is_refused(
    client: TestClient, watcher: ModelWatcher, own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ready(client)["model_version"]

    def fail(self: FilmSearch, *_: Any) -> None:
        raise RuntimeError("no titles")

    monkeypatch.setattr(FilmSearch, "__init__", fail)
    put(with_candidates(own.model("pipeline"), tmp_path / "next", 12), own.model("pipeline"))
    watcher.look()
    assert ready(client)["model_version"] == before
    assert ready(client)["refused"] == "it fails with RuntimeError; the log has more"


def test_the_folder_is_watched(start: Start, own: Workspace, tmp_path: Path) -> None:
    client = start(pipeline=str(own.model("pipeline")), watch_seconds=0.05)
    put(with_candidates(own.model("pipeline"), tmp_path / "next", 12), own.model("pipeline"))
    for _ in range(200):
        if n_candidates(client) == 12:
            return
        time.sleep(0.1)
    raise AssertionError("the new pipeline was not taken")


def truncate_index(pipeline: Path) -> None:
    """Cut the file of the two-tower's index."""
    file = next(pipeline.glob("parts/two_tower/**/*.faiss"))
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])


def no_manifest(pipeline: Path) -> None:
    (pipeline / MANIFEST).write_text("{")


def no_ranker(pipeline: Path) -> None:
    shutil.rmtree(pipeline / "parts" / "deepfm")


@pytest.mark.parametrize("damage", [truncate_index, no_manifest, no_ranker])
def test_a_damaged_pipeline_is_refused_and_the_old_one_goes_on(
    client: TestClient, watcher: ModelWatcher, own: Workspace, tmp_path: Path, damage: Any, logged: list[str]
) -> None:
    version, good = ready(client)["model_version"], with_candidates(own.model("pipeline"), tmp_path / "good", 12)
    bad = copied(good, tmp_path / "bad")
    damage(bad)
    put(bad, own.model("pipeline"))
    watcher.look()
    found = ready(client)
    assert (found["model_version"], n_candidates(client)) == (version, 25)
    assert "the pipeline" in found["refused"]
    assert str(tmp_path) not in found["refused"]
    assert any("is refused" in text for text in logged)
    metrics = client.get("/metrics").text.splitlines()
    assert "recommender_model_refused 1.0" in metrics
    assert 'recommender_model_loads_total{outcome="refused"} 1.0' in metrics
    watcher.look()  # the same one is not tried again
    assert 'recommender_model_loads_total{outcome="refused"} 1.0' in client.get("/metrics").text
    put(good, own.model("pipeline"))
    watcher.look()
    assert (ready(client)["refused"], n_candidates(client)) == (None, 12)


def test_a_pipeline_that_does_not_answer_is_refused(
    client: TestClient, watcher: ModelWatcher, own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = ready(client)["model_version"]
    put(with_candidates(own.model("pipeline"), tmp_path / "next", 12), own.model("pipeline"))
    original = serving.model.pipeline_of

    def broken(*args: Any, **options: Any) -> Any:
        pipeline = original(*args, **options)
        pipeline.stages[-2].score = lambda *_: 1 / 0
        return pipeline

    monkeypatch.setattr(serving.model, "pipeline_of", broken)
    watcher.look()
    found = ready(client)
    assert found["model_version"] == version
    assert found["refused"] == "it fails with ZeroDivisionError; the log has more"


def test_a_bundle_swapped_while_it_is_loaded_is_loaded_whole(
    own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own.model("pipeline")
    other = with_candidates(folder, tmp_path / "next", 12)
    original, calls = serving.model.pipeline_of, []

    def swap_first(*args: Any, **options: Any) -> Any:
        if not calls:
            put(other, folder)
        calls.append(args)
        return original(*args, **options)

    monkeypatch.setattr(serving.model, "pipeline_of", swap_first)
    model = load_model(folder, SqliteStore(tmp_path / "events.sqlite"))
    assert len(calls) == 2
    assert model.pipeline.merger.k == 12
    assert model.version == load_model(other, SqliteStore(tmp_path / "events.sqlite")).version


def test_a_bundle_that_vanishes_while_it_is_loaded_is_loaded_when_it_is_there_again(
    own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own.model("pipeline")
    other = with_candidates(folder, tmp_path / "next", 12)
    original, calls = serving.model.pipeline_of, []

    def swap_first(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            put(other, folder)
            raise ArtefactError("a file has gone")
        return original(*args, **options)

    monkeypatch.setattr(serving.model, "pipeline_of", swap_first)
    assert load_model(folder, SqliteStore(tmp_path / "events.sqlite")).pipeline.merger.k == 12


def test_a_bundle_that_keeps_changing_is_refused(
    own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own.model("pipeline")
    other = with_candidates(folder, tmp_path / "next", 12)
    original = serving.model.pipeline_of

    def swap(*args: Any, **options: Any) -> Any:
        put(other, folder)
        return original(*args, **options)

    monkeypatch.setattr(serving.model, "pipeline_of", swap)
    with pytest.raises(ArtefactError, match="is being replaced again and again"):
        load_model(folder, SqliteStore(tmp_path / "events.sqlite"))


def test_without_a_pipeline_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match=r"scripts/train_ranking.py"):
        load_model(tmp_path / "nothing", SqliteStore(tmp_path / "events.sqlite"))


def test_a_request_keeps_the_model_that_it_began_with(
    client: TestClient, watcher: ModelWatcher, own: Workspace, tmp_path: Path
) -> None:
    service = service_of(client)
    model = service.model
    put(with_candidates(own.model("pipeline"), tmp_path / "next", 12), own.model("pipeline"))
    watcher.look()
    assert service.model is not model
    # The old model's files are gone, and it still reads what it needs.
    assert model.histories.of(user_id(1)).query.history_idx.sum() > 0
    assert len(model.pipeline.recommend(user=user_id(1), k=25).items) == 25


def test_a_model_that_cannot_answer_requests_together_is_refused(
    trained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Pipeline.run_request

    def alone(pipeline: Pipeline, request: Request) -> Any:
        if len(request.queries) > 1:
            raise RuntimeError("one at a time")
        return original(pipeline, request)

    folder, store = trained.model("pipeline"), SqliteStore(tmp_path / "events.sqlite")
    load_model(folder, store)
    monkeypatch.setattr(Pipeline, "run_request", alone)
    with pytest.raises(RuntimeError, match="one at a time"):
        load_model(folder, store)
    store.close()
