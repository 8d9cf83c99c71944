"""From own files with own columns to towers and a ranker that learn taste from them, by the commands.

A user's segment decides the colour of all items of the user. Every item has one event, so ids say nothing, and there
is nothing else to learn from. New items have no event at all: only their colour can bring them to the right users.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprep.prepare import Prepared
from pipeline import load
from recall.two_tower import TwoTower
from reccore import ConfigError, Exclusions, Workspace
from scripts import prepare_two_tower_data, run_preprocessing, train_ranking, train_recall

COLOURS = ("red", "green", "blue", "grey")
N_USERS, PER_USER, N_NEW, TOP = 24, 20, 20, 3
N_ITEMS = N_USERS * PER_USER
TOWER: dict[str, Any] = {
    "embedding_size": 8,
    "epochs": 10,
    "batch_size": 64,
    "learning_rate": 0.02,
    "item.hidden_size": 8,
    "item.id_dropout": 0.5,
    "encoder.hidden_size": 8,
    "negatives.uniform": 64,
}
RANKER: dict[str, Any] = {
    "epochs": 15,
    "patience": 15,
    "batch_size": 8,
    "learning_rate": 0.03,
    "embedding_size": 4,
    "hidden": [8],
}
PIPELINE: dict[str, Any] = {
    "pipeline.channels": ["popularity"],
    "pipeline.per_channel": N_ITEMS + N_NEW,
    "pipeline.candidates": N_ITEMS + N_NEW,
    "pipeline.rerank": None,
}


def colour_of(item: int) -> str:
    """Items are numbered from 1; those of user u are u·PER_USER + 1 …, and the last N_NEW are new."""
    at = item - 1
    return COLOURS[(at // PER_USER if at < N_ITEMS else at) % len(COLOURS)]


def write_files(folder: Path) -> list[str]:
    items, users = np.arange(1, N_ITEMS + N_NEW + 1), np.arange(N_USERS)
    colours = [colour_of(item) for item in items]
    cover = np.eye(len(COLOURS))[[COLOURS.index(colour) for colour in colours]]
    rng = np.random.default_rng(0)
    events = {
        "userId": np.repeat(users, PER_USER),
        "itemId": rng.permuted(items[:N_ITEMS].reshape(N_USERS, -1), axis=1).ravel(),
    }
    pq.write_table(pa.table(events), folder / "events.parquet")
    of_items = {"itemId": items, "colour": pa.array(colours).dictionary_encode(), "noise": rng.normal(size=len(items))}
    pq.write_table(pa.table(of_items), folder / "items.parquet")
    segment = [f"likes {COLOURS[user % len(COLOURS)]}" for user in users]
    pq.write_table(pa.table({"userId": users, "segment": segment}), folder / "users.parquet")
    np.save(folder / "cover.npy", cover)
    (folder / "cover.csv").write_text("\n".join(["itemId", *map(str, items), ""]))
    names = {"--interactions": "events", "--items": "items", "--users": "users"}
    files = [part for flag, name in names.items() for part in (flag, str(folder / f"{name}.parquet"))]
    return [*files, "--item_vectors", f"cover={folder / 'cover.npy'}:{folder / 'cover.csv'}"]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("own")
    space = Workspace(folder / "root")
    run_preprocessing.main([*write_files(folder), "--data_dir", str(space.root)])
    # No validation: held-out items have no event either, and no epoch would be better than another.
    prepare_two_tower_data.main(["--protocol", "none", "--data_dir", str(space.root)])
    train_recall.main(["--model", "popularity", "--data_dir", str(space.root)])
    return space


def train(command: Any, space: Workspace, name: str, settings: dict[str, Any], *flags: str) -> None:
    pairs = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    common = ["--name", name, "--data_dir", str(space.root), "--device", "cpu"]
    command.main([*common, *(part for pair in pairs for part in ("--set", pair)), *flags])


def share_of_own_colour(recommended: list[list[int]]) -> float:
    """Share of the users' items, given per user, that have the colour of the user's segment."""
    hits = [colour_of(item) == COLOURS[user % len(COLOURS)] for user, items in enumerate(recommended) for item in items]
    assert len(hits) == TOP * N_USERS
    return float(np.mean(hits))


def new_items_by_tower(space: Workspace, name: str) -> list[list[int]]:
    """Of each user, the best few of the new items."""
    tower, events = TwoTower.load(space.model(name)), Prepared.load(space.prepared).split.history()
    old = np.tile(np.flatnonzero(tower.vocabulary.items.ids <= N_ITEMS), N_USERS)
    exclude = Exclusions(np.arange(N_USERS + 1) * N_ITEMS, old)
    found = tower.retrieve(events.queries(), TOP, exclude=exclude).item_idx
    return tower.vocabulary.items.decode(found).tolist()


@pytest.mark.parametrize("column", ["colour", "cover"])
def test_a_tower_learns_from_own_columns(space: Workspace, column: str) -> None:
    flags = ["--model", "two_tower", "--item_features", column, "--user_features", "segment"]
    train(train_recall, space, column, TOWER, *flags)
    assert share_of_own_colour(new_items_by_tower(space, column)) > 0.9


def test_a_tower_without_them_knows_nothing(space: Workspace) -> None:
    train(train_recall, space, "plain", TOWER, "--model", "two_tower")
    assert share_of_own_colour(new_items_by_tower(space, "plain")) < 0.5


@pytest.mark.parametrize(
    ("features", "least", "most"),
    [("item.log_count,item.colour,user.segment", 0.9, 1.0), ("item.log_count", 0.0, 0.5)],
)
def test_a_ranker_learns_from_own_columns(space: Workspace, features: str, least: float, most: float) -> None:
    # Without ids, which would be learnt by heart, and without ranks in recall, which shift when old items are excluded.
    # Without users who play new ones: with so few users they would be most of the samples.
    settings = {**RANKER, **PIPELINE, "short_histories": 0}
    train(train_ranking, space, "deepfm", settings, "--features", features)
    pipeline = load(space.model("pipeline"))
    old = list(range(1, N_ITEMS + 1))
    answers = [pipeline.recommend(user=user, k=TOP, exclude=old).items for user in range(N_USERS)]
    assert least <= share_of_own_colour([[item.movie_id for item in items] for items in answers]) <= most


def test_an_unknown_column_says_what_there_is(space: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"item.features: no own column price of items.*: colour, cover, noise\. "):
        train(train_recall, space, "x", TOWER, "--model", "two_tower", "--item_features", "price")
    with pytest.raises(ConfigError, match=r"'item.price' matches no feature of this data; it has .*item.noise"):
        train(train_ranking, space, "x", PIPELINE, "--features", "item.price")
