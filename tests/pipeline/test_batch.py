"""Lists of many users as files: equal to single requests, whole files, and runs that go on where one was cut short."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import Pipeline, batch
from pipeline.batch import MANIFEST, Batch
from reccore import ConfigError, DataError, RawId, Vocabulary
from reccore.vocabulary import IdMap
from tests.pipeline.small import N_USERS, user_id


def batch_of(pipeline: Pipeline, users: list[RawId] | None = None, **options: Any) -> Batch:
    return Batch(pipeline, users, **{"fingerprint": "one", "k": 7, "users_per_file": 25, **options})


def written(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder).to_pylist()
    return rows


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "USERS_AT_ONCE", 10)


def test_lists_are_those_of_single_requests(pipeline: Pipeline, tmp_path: Path, small_chunks: None) -> None:
    lists = batch_of(pipeline, titles=True)
    assert (lists.write(tmp_path / "out", progress=False), lists.n_files) == (3, 3)
    rows = written(tmp_path / "out")
    assert list(rows[0]) == ["userId", "place", "movieId", "score", "title"]
    assert list(dict.fromkeys(row["userId"] for row in rows)) == pipeline.vocabulary.users.ids.tolist()
    for user in (user_id(0), user_id(24), user_id(25), user_id(N_USERS - 1)):
        own = [row for row in rows if row["userId"] == user]
        answer = pipeline.recommend(user=user, k=7)
        assert [row["place"] for row in own] == list(range(1, len(answer.items) + 1))
        assert [row["movieId"] for row in own] == [item.movie_id for item in answer.items]
        assert [row["title"] for row in own] == [item.title for item in answer.items]
        finals = [item.scores["final"] for item in answer.items]
        np.testing.assert_allclose([row["score"] for row in own], finals, rtol=1e-4, atol=1e-5)


def test_users_in_the_given_order_without_titles(pipeline: Pipeline, tmp_path: Path) -> None:
    batch_of(pipeline, [user_id(5), user_id(2)], k=3).write(tmp_path / "out", progress=False)
    rows = written(tmp_path / "out")
    assert [row["userId"] for row in rows] == [user_id(5)] * 3 + [user_id(2)] * 3
    assert "title" not in rows[0]


def test_places_beyond_the_pool_of_the_reranker_have_no_score(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pipeline.reranker is not None
    monkeypatch.setattr(pipeline.reranker, "config", pipeline.reranker.config.model_copy(update={"pool": 4}))
    batch_of(pipeline, [user_id(5)]).write(tmp_path / "out", progress=False)
    scores = [row["score"] for row in written(tmp_path / "out")]
    assert [score is None for score in scores] == [False] * 4 + [True] * 3


def test_ids_of_text(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = IdMap.of(np.array([f"u{user:03d}" for user in range(N_USERS)], dtype=object))
    vocabulary = Vocabulary(users, pipeline.vocabulary.items)
    monkeypatch.setattr(pipeline, "vocabulary", vocabulary)
    monkeypatch.setattr(pipeline.histories, "vocabulary", vocabulary)
    batch_of(pipeline, ["u003"]).write(tmp_path / "out", progress=False)
    assert {row["userId"] for row in written(tmp_path / "out")} == {"u003"}


def test_a_run_that_failed_goes_on_with_the_files_that_are_missing(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_chunks: None
) -> None:
    batch_of(pipeline).write(tmp_path / "whole", progress=False)
    run, answered = pipeline.run, []

    def counting(queries: Any, k: int) -> Any:
        answered.append(len(queries))
        if sum(answered) > 40:  # in the second file
            raise KeyboardInterrupt
        return run(queries, k)

    monkeypatch.setattr(pipeline, "run", counting)
    with pytest.raises(KeyboardInterrupt):
        batch_of(pipeline).write(tmp_path / "out", progress=False)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [MANIFEST, "part-00000.parquet"]
    (tmp_path / "out" / ".part-00001.parquet.tmp").write_bytes(b"cut off by a kill")
    answered.clear()
    monkeypatch.setattr(pipeline, "run", lambda queries, k: (answered.append(len(queries)), run(queries, k))[1])
    assert batch_of(pipeline).write(tmp_path / "out", resume=True, progress=False) == 2
    assert sum(answered) == N_USERS - 25
    assert written(tmp_path / "out") == written(tmp_path / "whole")
    assert batch_of(pipeline).write(tmp_path / "out", resume=True, progress=False) == 0
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"k": 8}, "k"),
        ({"titles": True}, "titles"),
        ({"users_per_file": 26}, "users_per_file"),
        ({"fingerprint": "two"}, "pipeline"),
        ({"users": [user_id(1)]}, "users, n_users"),
    ],
)
def test_only_the_same_run_is_resumed(pipeline: Pipeline, tmp_path: Path, change: dict[str, Any], differs: str) -> None:
    batch_of(pipeline).write(tmp_path / "out", progress=False)
    before = written(tmp_path / "out")
    with pytest.raises(ConfigError, match="holds recommendations already; continue them with --resume"):
        batch_of(pipeline).write(tmp_path / "out")
    with pytest.raises(ConfigError, match=f"recommendations that differ in {differs};"):
        batch_of(pipeline, **change).write(tmp_path / "out", resume=True)
    assert written(tmp_path / "out") == before


def make_file(folder: Path) -> None:
    folder.write_text("")


def make_other(folder: Path) -> None:
    folder.mkdir()
    (folder / "mine.txt").write_text("")


def make_damaged(folder: Path) -> None:
    folder.mkdir()
    (folder / MANIFEST).write_text("{")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (make_file, "exists and holds no recommendations"),
        (make_other, "exists and holds no recommendations"),
        (make_damaged, "is damaged; delete"),
    ],
)
def test_folders_that_hold_something_else(
    pipeline: Pipeline, tmp_path: Path, make: Callable[[Path], None], sentence: str
) -> None:
    make(tmp_path / "out")
    with pytest.raises(ConfigError, match=sentence):
        batch_of(pipeline).write(tmp_path / "out", resume=True)


def test_an_empty_folder_and_one_of_a_run_killed_at_its_start_are_taken(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".{MANIFEST}.tmp").write_text("{")
    assert batch_of(pipeline, [user_id(1)]).write(tmp_path / "out", resume=True, progress=False) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"users": [user_id(1), 4]}, "user 4 is not known here"),
        ({"users": [user_id(1), user_id(1)]}, "a user is given twice"),
        ({"users": []}, "no user is given"),
        ({"users": ["someone"]}, "users must hold whole numbers"),
        ({"as_of": 5}, "as_of 5 would change nothing"),
    ],
)
def test_wrong_requests(pipeline: Pipeline, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        batch_of(pipeline, **options)


def test_a_resumed_run_recommends_for_the_time_of_the_first(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "query_time", True, raising=False)
    run, times = pipeline.run, []
    monkeypatch.setattr(pipeline, "run", lambda queries, k: (times.extend(queries.as_of), run(queries, k))[1])
    monkeypatch.setattr("pipeline.batch.time.time", lambda: 1e9)
    batch_of(pipeline).write(tmp_path / "out", progress=False)
    (tmp_path / "out" / "part-00001.parquet").unlink()
    monkeypatch.setattr("pipeline.batch.time.time", lambda: 2e9)
    batch_of(pipeline).write(tmp_path / "out", resume=True, progress=False)
    assert (set(times), len(times)) == ({10**9}, N_USERS + 25)
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["as_of"] == 10**9
    with pytest.raises(ConfigError, match="differ in as_of"):
        batch_of(pipeline, as_of=3).write(tmp_path / "out", resume=True)
