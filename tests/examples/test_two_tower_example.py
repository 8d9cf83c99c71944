"""The example program: its pages, its mark of the held-out film, and its errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataprep.prepare import Prepared
from examples import test_recall_two_tower as example
from pipeline.train_channel import train_channel
from recall.two_tower import TwoTower
from reccore import RunOptions, Workspace
from scripts._cli import run
from tests.notebooks.roots import N_EVENTS, N_ITEMS, titled_root

SMALL = {"embedding_size": 8, "negatives": {"uniform": 8}, "batch_size": 64, "epochs": 1}
OPTIONS = RunOptions(seed=0, device="cpu", progress=False, threads=1)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    space = titled_root(tmp_path_factory.mktemp("example"))
    train_channel(space, "two_tower", SMALL, options=OPTIONS)
    return space


def call(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    run(example.main, [str(part) for part in argv])
    return capsys.readouterr().out


def call_json(capsys: pytest.CaptureFixture[str], space: Workspace, *argv: object) -> Any:
    return json.loads(call(capsys, "--data_dir", space.root, "--json", *argv))


def test_pages_fit_the_terminal_and_agree_with_the_json(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    text = call(capsys, "--data_dir", space.root)
    assert max(map(len, text.splitlines())) <= 120
    users = call_json(capsys, space)["users"]
    assert [f"User {user['user']}, {N_EVENTS - 1} films seen" in text for user in users] == [True] * 3
    for user, page in zip(users, text.split("User ")[1:], strict=True):
        assert (len(user["latest"]), len(user["recommendations"])) == (8, 10)
        rows = [line.split(" │ ") for line in page.splitlines() if " │ " in line][1:]
        for place, film in enumerate(user["recommendations"], start=1):
            assert rows[place - 1][1].split("Comedy")[0].replace("★", " ").split()[0] == str(place)
            assert film["title"][:20] in rows[place - 1][1]
        for row, film in zip(rows, user["latest"], strict=False):
            assert film["title"][:20] in row[0]


def test_the_films_are_those_of_the_split_and_of_the_channel(
    space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = Prepared.load(space.prepared)
    events, ids = prepared.split.interactions, prepared.vocabulary.items.ids
    channel = TwoTower.load(space.model("two_tower"))
    for user in call_json(capsys, space, "--seed", 3)["users"]:
        row = int(prepared.vocabulary.users.encode([user["user"]])[0])
        history = events.history(row)
        assert [film["movieId"] for film in user["latest"]] == ids[history[:-1][::-1][:8]].tolist()
        assert [film["movieId"] for film in user["held_out"]] == [ids[history[-1]]]
        query = events.queries(np.array([row]), np.array([N_EVENTS - 1]))
        scores = (channel.encode_queries(query) @ channel.encode_items().T)[0]
        scores[history[:-1]] = -np.inf
        order = np.argsort(-scores, kind="stable")
        assert [film["movieId"] for film in user["recommendations"]] == ids[order[:10]].tolist()
        assert user["held_out"][0]["place"] == order.tolist().index(history[-1]) + 1


def test_the_held_out_film_is_marked_where_it_stands(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    # With room for everything that was not seen, the held-out film is always on the list.
    whole = ("--set", f"k={N_ITEMS}", "--set", "users=5")
    text = call(capsys, "--data_dir", space.root, *whole)
    marked = [line for line in text.splitlines() if "★" in line and "│" in line]
    places = [user["held_out"][0]["place"] for user in call_json(capsys, space, *whole)["users"]]
    assert [int(line.split("│")[1].split("★")[0]) for line in marked] == places
    assert call(capsys, "--data_dir", space.root, "--set", "k=1").count("★") - 3 == sum(
        user["held_out"][0]["place"] == 1 for user in call_json(capsys, space)["users"]
    )


def test_the_seed_picks_the_users(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    def users(*argv: object) -> list[int]:
        return [user["user"] for user in call_json(capsys, space, *argv)["users"]]

    assert users() == users("--seed", 0)
    assert len({tuple(users("--seed", seed)) for seed in range(5)}) > 1
    assert len(users("--set", "users=1000")) == 60


def test_a_model_for_production_has_nothing_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = titled_root(tmp_path)
    train_channel(space, "two_tower", SMALL, protocol="none", options=OPTIONS)
    users = call_json(capsys, space)["users"]
    assert [(user["seen"], user["held_out"]) for user in users] == [(N_EVENTS, [])] * 3
    assert "★" not in call(capsys, "--data_dir", space.root)


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ((), "scripts/train_recall.py --data_dir"),
        (("--set", "films=3"), "films"),
        (("--set", "k=0"), "k: Input should be greater"),
    ],
)
def test_mistakes_are_one_sentence(
    argv: tuple[str, ...], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(example.main, ["--data_dir", str(tmp_path), *argv])
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert named in captured.err
    assert "Traceback" not in captured.err
