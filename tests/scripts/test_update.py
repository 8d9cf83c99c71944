"""The command that takes in later events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from dataprep.append import stored_report
from dataprep.prepare import prepare
from dataprep.preprocess import preprocess
from dataprep.protocols import NoSplit
from pipeline import Pipeline, assemble, load
from pipeline.builder import open_pipeline, parts_of, save
from pipeline.history import FrozenHistoryStore
from pipeline.refitting import refit_for_serving
from reccore import Workspace
from tests.pipeline import small
from tests.pipeline.small import N_MOVIES, N_RATINGS, N_USERS, QUIET, movie_id, user_id
from tests.scripts.conftest import Command

EVERYTHING = N_USERS * N_RATINGS
LATER = 1_100_000_000
NEW_FILM, NEW_USER = 99_999, 77_777


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a serving pipeline; shared by the tests of this file, which must not write into it."""
    space = small.copy_of(small.trained_root(tmp_path_factory), tmp_path_factory.mktemp("serving"))
    refit_for_serving(space, options=QUIET)
    return space.root


@pytest.fixture
def space(serving: Path, tmp_path: Path) -> Workspace:
    return small.copy_of(serving, tmp_path)


def write_events(path: Path) -> Path:
    """All users of the first taste, and a new one, watch a new film, and one old film each."""
    fans = [user_id(user) for user in range(0, N_USERS, 4)]
    rows = [(user, NEW_FILM, 5.0, LATER + at) for at, user in enumerate(fans)]
    rows += [(NEW_USER, film, 4.0, LATER + film) for film in (movie_id(0), movie_id(4), NEW_FILM)]
    pd.DataFrame(rows, columns=["userId", "movieId", "rating", "timestamp"]).to_csv(path, index=False)
    return path


N_NEW = N_USERS // 4 + 3


def write_films(path: Path) -> Path:
    path.write_text(f'movieId,title,genres\n{NEW_FILM},"Newest, The (2005)",Action|Short\n')
    return path


def answers(pipeline: Pipeline, user: int) -> list[tuple[Any, float]]:
    return [(item.movie_id, item.scores) for item in pipeline.recommend(user=user, k=10).items]


def test_new_films_and_users_are_known_after_the_update(command: Command, space: Workspace, tmp_path: Path) -> None:
    old, trained = load(space.model("serving")), open_pipeline(space.model("pipeline")).fingerprint
    new, films = write_events(tmp_path / "new.csv"), write_films(tmp_path / "films.csv")
    ended = command("update", "--data_dir", space.root, "--interactions", new, "--items", films)
    assert ended.code == 0, ended.err
    assert f"new events: {N_NEW}\n" in ended.out
    served = load(space.model("serving"))
    assert (len(served.vocabulary.users), len(served.vocabulary.items)) == (N_USERS + 1, N_MOVIES + 1)
    for known, grown in (
        (old.vocabulary.users, served.vocabulary.users), (old.vocabulary.items, served.vocabulary.items)
    ):  # fmt: skip
        assert grown.ids[: len(known)].tolist() == known.ids.tolist()
    assert served.recommend(user=NEW_USER, k=3).history == (movie_id(0), movie_id(4), NEW_FILM)
    found = served.recommend(history=[movie_id(0), movie_id(4), movie_id(8)], k=10).items
    assert NEW_FILM in [item.movie_id for item in found]
    assert "The Newest (2005)" in [item.title for item in found]
    data = open_pipeline(space.model("serving")).manifest["data"]
    assert (data["events"], data["ranker_events"], data["protocol"]) == (EVERYTHING + N_NEW, EVERYTHING, "none")
    assert open_pipeline(space.model("pipeline")).fingerprint == trained
    # what evaluations measure says that the tables have grown
    sentence = command("evaluate_recall", "--data_dir", space.root, "--models", "itemcf").sentence
    assert "changed after the data was prepared" in sentence
    assert "prepare_two_tower_data.py" in sentence


def test_count_based_channels_equal_a_full_run(command: Command, space: Workspace, tmp_path: Path) -> None:
    """Two updates, and a run of all commands over the raw files with the new rows; joined by raw ids."""
    new, again = write_events(tmp_path / "new.csv"), tmp_path / "again.csv"
    rows = pd.DataFrame(
        {"userId": user_id(1), "movieId": [movie_id(m) for m in range(150, 154)], "rating": 3.0, "timestamp": LATER}
    )
    known = pd.read_csv(space.raw / "ml-tiny" / "ratings.csv")
    rows = rows[~rows.movieId.isin(known[known.userId == user_id(1)].movieId)]
    rows.assign(timestamp=small.FIRST_SECOND).to_csv(again, index=False)  # older than what is stored
    for path in (new, again):
        assert command("update", "--data_dir", space.root, "--interactions", path).code == 0
    served = load(space.model("serving"))
    whole = Workspace(tmp_path / "whole")
    folder = whole.raw / "ml-tiny"
    folder.mkdir(parents=True)
    pd.concat([known, *(pd.read_csv(path) for path in (new, again))]).to_csv(folder / "ratings.csv", index=False)
    (folder / "movies.csv").write_bytes((space.raw / "ml-tiny" / "movies.csv").read_bytes())
    preprocess(folder, whole.processed, options=QUIET)
    prepared = prepare(whole, NoSplit())
    everyone = prepared.vocabulary.users.ids.tolist()
    got, want = served.histories.history(everyone), prepared.split.interactions.queries()
    np.testing.assert_array_equal(
        served.vocabulary.items.decode(got.history_idx), prepared.vocabulary.items.decode(want.history_idx)
    )
    np.testing.assert_array_equal(got.history_time, want.history_time)
    for source in served.sources[:2]:
        assert source.name in ("popularity", "itemcf")
        fitted = type(source.channel)(source.channel.config).fit(prepared.training_data(), options=QUIET)
        found, expected = source.channel.retrieve(got, 30), fitted.retrieve(want, 30)
        np.testing.assert_allclose(found.score, expected.score, atol=1e-6)
        every = np.tile(np.arange(len(prepared.vocabulary.items)), (len(want), 1))
        ours = served.vocabulary.items.encode(prepared.vocabulary.items.decode(every))
        np.testing.assert_allclose(
            source.channel.score(got, found.__class__(ours, np.zeros(ours.shape, dtype=np.float32))),
            fitted.score(want, found.__class__(every, np.zeros(every.shape, dtype=np.float32))),
            atol=1e-6,
        )
    statistics = prepared.training_data().items.statistics["count"]
    back = served.vocabulary.items.encode(prepared.vocabulary.items.ids)
    np.testing.assert_array_equal(served.items.statistics["count"][back], statistics)


def test_the_same_file_changes_nothing(command: Command, space: Workspace, tmp_path: Path) -> None:
    new = write_events(tmp_path / "new.csv")
    assert command("update", "--data_dir", space.root, "--interactions", new).code == 0
    stamp = (space.model("serving") / "manifest.json").read_bytes()
    tables = (space.processed / "ratings.parquet").read_bytes()
    result = command("update", "--data_dir", space.root, "--interactions", new, "--json").json
    assert (result["up_to_date"], result["new_events"], result["events"]) == (True, 0, EVERYTHING + N_NEW)
    assert (space.model("serving") / "manifest.json").read_bytes() == stamp
    assert (space.processed / "ratings.parquet").read_bytes() == tables


def test_the_ranker_is_fitted_again_on_request(command: Command, space: Workspace, tmp_path: Path) -> None:
    new = write_events(tmp_path / "new.csv")
    result = command("update", "--data_dir", space.root, "--interactions", new, "--retrain_ranker", "--json").json
    assert result["ranker_fitted_on_events"] == EVERYTHING + N_NEW
    served = load(space.model("serving"))
    assert served.recommend(user=NEW_USER, k=3).items
    assert served.ranker is not None
    assert served.ranker.vocabulary.fingerprint == served.vocabulary.fingerprint


def test_an_old_ranker_is_warned_of(command: Command, space: Workspace, tmp_path: Path) -> None:
    rows = [(NEW_USER + u, movie_id(m), 4.0, LATER + m) for u in range(10) for m in range(15)]
    pd.DataFrame(rows, columns=["userId", "movieId", "rating", "timestamp"]).to_csv(tmp_path / "many.csv", index=False)
    ended = command("update", "--data_dir", space.root, "--interactions", tmp_path / "many.csv")
    assert ended.code == 0
    assert "the ranker was fitted on 1,200 of 1,350 events" in ended.err


def test_wrong_use(
    command: Command, space: Workspace, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    new = write_events(tmp_path / "new.csv")
    root = ("--data_dir", space.root)
    assert "--interactions is missing" in command("update", *root).sentence
    assert "no such file" in command("update", *root, "--interactions", tmp_path / "none.csv").sentence
    sentence = command("update", *root, "--interactions", new, "--item_columns", "item=id").sentence
    assert "--items FILE" in sentence
    empty = Workspace(tmp_path / "empty")
    sentence = command("update", "--data_dir", empty.root, "--interactions", new).sentence
    assert sentence.endswith(f"scripts/run_preprocessing.py --data_dir {empty.root}")
    only_trained = small.copy_of(small.trained_root(tmp_path_factory), tmp_path / "trained")
    sentence = command("update", "--data_dir", only_trained.root, "--interactions", new).sentence
    assert sentence.endswith(f"scripts/refit_pipeline.py --data_dir {only_trained.root}")
    bad = tmp_path / "bad.csv"
    bad.write_text("userId,movieId,timestamp\n1,2,3\n")
    assert "has no column rating" in command("update", *root, "--interactions", bad).sentence
    small.write_raw(space.raw / "ml-other", seed=1)
    preprocess(space.raw / "ml-other", space.processed, options=QUIET)
    sentence = command("update", *root, "--interactions", new).sentence
    assert "was fitted on ml-tiny" in sentence
    assert "the tables hold ml-other" in sentence


def test_two_updates_of_one_root_do_not_run_at_the_same_time(
    command: Command, space: Workspace, tmp_path: Path
) -> None:
    new, tables = write_events(tmp_path / "new.csv"), (space.processed / "ratings.parquet").read_bytes()
    with FileLock(space.processed / ".update.lock"):
        sentence = command("update", "--data_dir", space.root, "--interactions", new).sentence
    assert "another update" in sentence
    assert (space.processed / "ratings.parquet").read_bytes() == tables
    assert command("update", "--data_dir", space.root, "--interactions", new).code == 0


def test_a_ranker_that_is_not_there_cannot_be_fitted_again(command: Command, space: Workspace, tmp_path: Path) -> None:
    new, path = write_events(tmp_path / "new.csv"), space.model("serving")
    bundle, served = open_pipeline(path), load(path)
    assert isinstance(served.histories, FrozenHistoryStore)
    merged = assemble(
        served.config.before_ranking(),
        channels={source.name: source.channel for source in served.sources},
        ranker=None,
        items=served.items,
        histories=served.histories,
    )
    parts = {name: part for name, part in parts_of(bundle).items() if name in merged.config.parts}
    save(merged, path, parts, data=bundle.manifest["data"])
    argv = ("update", "--data_dir", space.root, "--interactions", new)
    assert "has no ranker to fit again; leave out --retrain_ranker" in command(*argv, "--retrain_ranker").sentence
    result = command(*argv, "--json").json
    assert (result["new_events"], result["ranker"]) == (N_NEW, None)


KILLED = """
import os, signal, sys
from pathlib import Path
import pipeline.updating as updating
step = sys.argv[1]
def die(*given, **options):
    os.kill(os.getpid(), signal.SIGKILL)
if step == "after tables":
    updating.prepare = die
elif step == "after channels":
    updating._updated_ranker = die
else:
    updating.save = die
from scripts.update import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize("step", ["after tables", "after channels", "before the pipeline"])
def test_a_killed_update_leaves_the_old_pipeline_and_the_next_finishes(
    command: Command, space: Workspace, tmp_path: Path, step: str
) -> None:
    new = write_events(tmp_path / "new.csv")
    old = answers(load(space.model("serving")), user_id(4))
    argv = ["--data_dir", str(space.root), "--interactions", str(new)]
    environment = {**os.environ, "PYTHONPATH": "."}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, step, *argv], capture_output=True, check=False, env=environment
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert answers(load(space.model("serving")), user_id(4)) == old
    assert stored_report(space.processed).rows["ratings"] == EVERYTHING + N_NEW
    result = command("update", *argv, "--json").json
    assert (result["up_to_date"], result["events"], result["new_events"]) == (False, EVERYTHING + N_NEW, 0)
    assert load(space.model("serving")).recommend(user=NEW_USER, k=3).items
    manifest = json.loads((space.processed / "processed.json").read_text())
    assert [entry["events"] for entry in manifest["appended"]] == [N_NEW]
