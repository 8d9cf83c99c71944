"""A look inside by commands: films by title, new events, lists of one channel, similar films, the merged order."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reccore import Workspace
from tests.pipeline.small import N_RATINGS, movie_id, user_id
from tests.scripts.conftest import Command


def test_films_by_a_part_of_their_title(command: Command, trained: Workspace) -> None:
    root = ("--data_dir", trained.root, "--json")
    by_id = command("recommend", *root, "--history", f"{movie_id(33)}:4,{movie_id(57)}:2", "--k", 3).json
    named = command("recommend", *root, "--history", "the film 33:4,Film 57 (2007):2", "--k", 3).json
    assert named == {**by_id, "trace": named["trace"]}
    several = command("recommend", *root, "--history", "film 3").json
    assert several["history"] == [movie_id(3)]  # the whole title, not that of film 33
    sentence = command("recommend", *root, "--history", "Film 15,film 1 ,ilm 15").sentence
    assert "11 films have 'ilm 15' in their title; give the id of one: " in sentence
    assert "The Film 15" in sentence
    found = command("explain", *root, "--user", user_id(4), "--movie", "film 33").json
    assert (found["movie_id"], found["title"]) == (movie_id(33), "The Film 33 (1983)")


def test_new_events_of_a_known_user(command: Command, trained: Workspace) -> None:
    root = ("--data_dir", trained.root, "--user", user_id(4), "--json")
    before = command("recommend", *root, "--k", 2).json
    new = [film["movie_id"] for film in before["recommendations"]]
    after = command("recommend", *root, "--history", f"+{new[0]}:5,{new[1]}:4").json
    assert after["history"] == [*before["history"], *new]
    assert len(after["history"]) == N_RATINGS + 2
    assert not set(new) & {film["movie_id"] for film in after["recommendations"]}
    replaced = command("recommend", *root, "--history", f"{new[0]}:5").json
    assert replaced["history"] == new[:1]
    assert command("recommend", *root, "--history", "+").json["history"] == before["history"]
    alone = ("--data_dir", trained.root, "--history", "+5")
    assert "--history +… follows the history of a user; give --user ID" in command("recommend", *alone).sentence


def test_the_list_of_one_channel(command: Command, trained: Workspace) -> None:
    root = ("--data_dir", trained.root, "--user", user_id(4))
    text = command("recommend", *root, "--channel", "mf", "--k", 4).out
    assert "The list of mf alone" in text
    assert "final" not in text
    films = command("recommend", *root, "--channel", "mf", "--k", 4, "--json").json["recommendations"]
    assert [film["channels"] for film in films] == [{"mf": rank} for rank in range(1, 5)]
    assert all(f"{film['scores']['recall.mf']:.4f}" in text for film in films)
    assert "has a score for no more" in command("recommend", *root, "--channel", "mf", "--k", 500).out
    assert "recall channel 'svd' is not trained" in command("recommend", *root, "--channel", "svd").sentence
    here = ("--pipeline", trained.model("pipeline"))
    assert "the pipeline has no channel 'svd'" in command("recommend", *root, *here, "--channel", "svd").sentence


def test_a_channel_beside_the_pipeline_is_shown_too(command: Command, own: Workspace) -> None:
    root = ("--data_dir", own.root)
    assert command("train_recall", *root, "--model", "itemcf", "--name", "mine", "--set", "half_life=1").code == 0
    shutil.rmtree(own.model("pipeline"))
    user = ("--user", user_id(4), "--json")
    listed = command("recommend", *root, *user, "--channel", "mine").json
    assert len(listed["history"]) == N_RATINGS
    assert {*listed["recommendations"][0]["channels"]} == {"mine"}
    found = command("similar", *root, "--movie", "film 3", "--channel", "mine").out
    assert found.startswith(f"Similar to The Film 3 (1983), movie {movie_id(3)}\n\nmine\n    1 The Film ")


def test_similar_films(command: Command, trained: Workspace) -> None:
    root = ("--data_dir", trained.root)
    every = command("similar", *root, "--movie", movie_id(3), "--k", 3, "--json").json
    assert set(every["similar"]) == {"itemcf", "mf", "two_tower"}
    one = command("similar", *root, "--movie", "film 3", "--k", 3, "--channel", "two_tower", "--json").json
    assert one["similar"] == {"two_tower": every["similar"]["two_tower"]}
    assert len(one["similar"]["two_tower"]) == 3
    assert "give --movie, the id of a film or a part of its title" in command("similar", *root).sentence
    assert "compares users or counts" in command("similar", *root, "--movie", 5, "--channel", "popularity").sentence
    assert "movie 6 is not in the catalogue" in command("similar", *root, "--movie", 6).sentence


def test_a_pipeline_without_a_ranker(command: Command, own: Workspace) -> None:
    """For data too small to learn a ranking from: every command that reads a pipeline takes it."""
    root = ("--data_dir", own.root)
    shutil.rmtree(own.model("pipeline"))
    built = command("build_pipeline", *root, "--channels", "itemcf,mf", "--set", "pipeline.merge.weights.mf=3")
    assert built.code == 0, built.err
    assert "channels: itemcf, mf" in built.out
    answer = command("recommend", *root, "--user", user_id(4), "--json").json
    assert [stage["name"] for stage in answer["trace"]["stages"]] == ["itemcf", "mf", "rrf", "seen", "top"]
    first = answer["recommendations"][0]
    points = {"itemcf": 1.0, "mf": 3.0}
    merged = sum(points[name] / (60 + rank) for name, rank in first["channels"].items())
    assert first["scores"]["final"] == first["scores"]["merge"] == pytest.approx(merged)
    assert "final the merge score" in command("recommend", *root, "--user", user_id(4)).out
    assert "after recall" in command("evaluate_pipeline", *root).out
    assert command("refit_pipeline", *root).code == 0
    assert command("recommend", *root, "--pipeline", own.model("serving"), "--user", user_id(4)).code == 0
    filled = command("build_pipeline", *root, "--channels", "popularity,itemcf", "--set", "pipeline.rerank.pool=5")
    assert "similarity" in filled.sentence or "needs channel 'two_tower'" in filled.sentence
    ranked = command("build_pipeline", *root, "--set", "pipeline.ranker=deepfm").sentence
    assert "'deepfm' has to be trained for its pipeline: PYTHONPATH=. python scripts/train_ranking.py" in ranked


def test_five_users_are_enough_for_a_merged_list(command: Command, tmp_path: Path) -> None:
    """A ranker has nothing to learn from there; two channels and their merge have."""
    root, events = ("--data_dir", tmp_path / "data"), tmp_path / "events.csv"
    rows = [f"{user},{item},{100 * user + item}" for user in range(1, 6) for item in range(user, user + 4)]
    events.write_text("\n".join(["userId,itemId,timestamp", *rows, ""]))
    assert command("run_preprocessing", *root, "--interactions", events).code == 0
    assert command("prepare_two_tower_data", *root).code == 0
    for model in ("popularity", "itemcf"):
        assert command("train_recall", *root, "--model", model).code == 0
    settings = ("--set", 'pipeline.channels=["popularity", "itemcf"]', "--set", "pipeline.rerank=null")
    assert "recall offers none" in command("train_ranking", *root, *settings).sentence
    assert command("build_pipeline", *root, "--channels", "popularity,itemcf").code == 0
    answer = command("recommend", *root, "--user", 1, "--json").json
    assert answer["history"] == [1, 2, 3, 4]
    assert {film["movie_id"] for film in answer["recommendations"]} == {5, 6, 7, 8}
