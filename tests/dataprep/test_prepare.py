"""From processed tables to split and aligned data, and the data of every combination of options."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprep.prepare import Prepared, load_for_training, prepare, read_holdout
from dataprep.preprocess import preprocess, preprocess_own
from dataprep.protocols import GlobalTime, LeaveLastN, NoSplit
from dataprep.readers.own import EventFile
from dataprep.side_tables import item_table, user_table
from dataprep.table_hashes import table_hashes
from evaluation.metrics import per_query_metrics
from pipeline.train_channel import train_channel
from recall import CHANNELS
from reccore import (
    Bundle,
    ConfigError,
    DataError,
    IdMap,
    Interactions,
    NotReadyError,
    RunOptions,
    Vocabulary,
    Workspace,
)
from tests.contracts.test_recall_contract import CONFIGS
from tests.dataprep.miniatures import ML_1M, put
from tests.helpers import checkerboard, rows_of

QUIET = RunOptions(seed=3, device="cpu", progress=False, threads=1)


def movies_of(rows: list[tuple[int, Any, Any, Any]]) -> pa.Table:
    ids, titles, years, genres = zip(*rows, strict=True)
    return pa.table(
        {
            "movieId": pa.array(ids, pa.int64()),
            "title": pa.array(titles, pa.string()),
            "year": pa.array(years, pa.int16()),
            "genres": pa.array(genres, pa.list_(pa.string())),
        }
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """The checkerboard as processed tables, with one film that nobody has rated."""
    board = checkerboard()
    events, vocabulary = board.interactions, board.vocabulary
    space = Workspace(tmp_path / "data")
    space.processed.mkdir(parents=True)
    ratings = {
        "userId": vocabulary.users.decode(events.user_idx),
        "movieId": vocabulary.items.decode(events.item_idx),
        "rating": events.rating,
        "timestamp": events.timestamp,
    }
    pq.write_table(pa.table(ratings), space.processed / "ratings.parquet")
    colour = ("Even", "Odd")
    listed = [(int(raw), f"Film {i}", 1990, [colour[i % 2]]) for i, raw in enumerate(vocabulary.items.ids)]
    pq.write_table(movies_of([*listed, (1000, "Unseen", None, ["Rare"])]), space.processed / "movies.parquet")
    people = {"userId": vocabulary.users.ids, "gender": ["F", "M"] * 30, "age": pa.nulls(60, pa.string())}
    pq.write_table(pa.table(people), space.processed / "users.parquet")
    manifest = {"dataset": "board", "tie_order": "file", "fingerprint": "f00d"}
    (space.processed / "processed.json").write_text(json.dumps(manifest))
    return space


def prepared_in(workspace: Workspace, protocol: LeaveLastN | GlobalTime | NoSplit | None = None) -> Prepared:
    prepared = prepare(workspace, protocol)
    prepared.save(workspace.prepared)
    return prepared


def raw_rows(prepared: Prepared, events: Interactions) -> list[tuple[int, int, int]]:
    vocabulary = prepared.vocabulary
    users, items = vocabulary.users.decode(events.user_idx), vocabulary.items.decode(events.item_idx)
    return list(zip(users.tolist(), items.tolist(), events.timestamp.tolist(), strict=True))


def read_rows(path: Path) -> list[tuple[int, int, int]]:
    return [(row["userId"], row["movieId"], row["timestamp"]) for row in pq.read_table(path).to_pylist()]


def test_prepared_data_is_the_processed_data_with_cuts(workspace: Workspace) -> None:
    prepared = prepare(workspace)
    split = prepared.split
    assert split.protocol == "leave_one_out"
    assert raw_rows(prepared, split.interactions) == read_rows(workspace.processed / "ratings.parquet")
    assert (split.fit_stop == 6).all()
    assert (split.valid_stop == 7).all()
    assert len(prepared.vocabulary.items) == 25  # includes a movie that is listed but not rated
    assert prepared.items.label(24) == "Unseen"
    assert prepared.items.genres_of(24) == ["Rare"]
    assert prepared.users.codes("gender", np.array([0, 1, -1])).tolist() == [0, 1, -1]
    assert set(prepared.users.categories) == {"gender"}  # a column without values is dropped


def test_item_statistics_are_of_the_fit_split(workspace: Workspace) -> None:
    data = prepare(workspace).training_data()
    assert data.interactions.n_events == 60 * 6
    counts = np.bincount(data.interactions.item_idx, minlength=25)
    np.testing.assert_array_equal(data.items.statistics["count"], counts)
    part = data.interactions.first(np.full(60, 2))
    assert prepare(workspace).training_data(part).items.statistics["count"].sum() == 120


def test_save_and_load_round_trip(workspace: Workspace) -> None:
    prepared = prepared_in(workspace, LeaveLastN(2))
    again = Prepared.load(workspace.prepared)
    assert again.split.protocol == "leave_last_2"
    assert (
        again.source
        == prepared.source
        == {
            "dataset": "board",
            "tie_order": "file",
            "fingerprint": "f00d",
            "input": None,
            "tables": table_hashes(workspace.processed),
        }
    )
    assert again.vocabulary.fingerprint == prepared.vocabulary.fingerprint
    for name in ("user_offsets", "item_idx", "rating", "timestamp"):
        np.testing.assert_array_equal(
            getattr(again.split.interactions, name), getattr(prepared.split.interactions, name)
        )
    np.testing.assert_array_equal(again.split.fit_stop, prepared.split.fit_stop)
    np.testing.assert_array_equal(again.split.valid_stop, prepared.split.valid_stop)
    for left, right in ((again.items, prepared.items), (again.users, prepared.users)):
        assert left.to_arrays().keys() == right.to_arrays().keys()
        for name, values in right.to_arrays().items():
            np.testing.assert_array_equal(left.to_arrays()[name], values)


def test_the_bundle_contains_the_parts_with_raw_ids(workspace: Workspace) -> None:
    split = (prepared := prepared_in(workspace)).split
    files = {name: read_rows(workspace.prepared / f"{name}.parquet") for name in ("train", "valid", "test")}
    assert files["train"] == raw_rows(prepared, split.fit())
    assert [len(rows) for rows in files.values()] == [360, 60, 60]
    assert sorted(chain(*files.values())) == sorted(raw_rows(prepared, split.interactions))
    for name in ("valid", "test"):
        assert [row[0] for row in files[name]] == prepared.vocabulary.users.ids.tolist()


def test_own_events_without_other_tables(tmp_path: Path) -> None:
    """A bare event log without titles, genres, users and times."""
    given = tmp_path / "log.parquet"
    pq.write_table(pa.table({"userId": [1, 1, 1, 2], "itemId": [7, 8, 9, 7]}), given)
    space = Workspace(tmp_path / "data")
    preprocess_own(EventFile(given), None, None, space.processed, max_reject_share=0.0, options=QUIET)
    prepared = prepare(space)
    assert prepared.items.n_genres == 0
    assert rows_of(prepared.split.fit().queries()) == [[0], [0]]
    prepared.save(space.prepared)
    assert Prepared.load(space.prepared).items.genre_matrix().shape == (3, 0)


def test_wrong_order_of_commands(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    with pytest.raises(NotReadyError, match=r"run_preprocessing\.py"):
        prepare(space)
    with pytest.raises(NotReadyError, match=r"prepare_two_tower_data\.py"):
        load_for_training(space, None, None)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("processed.json", b"{", "is damaged"),
        ("processed.json", b'{"dataset": "x"}', "is damaged .*tie_order"),
        ("processed.json", b"[]", "is damaged"),
        ("ratings.parquet", b"no", "not a readable Parquet file"),
        ("movies.parquet", b"no", "not a readable Parquet file"),
        ("users.parquet", b"", "not a readable Parquet file"),
    ],
)
def test_damaged_tables_are_named(workspace: Workspace, file: str, content: bytes, message: str) -> None:
    (workspace.processed / file).write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        prepare(workspace)
    assert file in str(raised.value)


def test_tables_without_their_columns_are_named(workspace: Workspace) -> None:
    pq.write_table(pa.table({"movieId": [5], "name": ["x"]}), workspace.processed / "movies.parquet")
    with pytest.raises(DataError, match=r"movies\.parquet has no column title, year, genres; it has movieId, name"):
        prepare(workspace)


# Aligning tables -----------------------------------------------------------------------------------------


def test_items_are_aligned_by_id() -> None:
    movies = movies_of([(30, "C", 1999, ["B", "A"]), (10, "A", None, []), (99, "Z", 2000, ["Q"]), (20, None, 5, None)])
    table = item_table(movies, IdMap(np.array([10, 20, 25, 30])))
    assert table.title.tolist() == ["A", "", "", "C"]
    assert table.year.tolist() == [0, 5, 0, 1999]
    assert table.genre_names == ("A", "B")  # of the catalogue only
    assert [table.genres_of(i) for i in range(4)] == [[], [], [], ["B", "A"]]


def test_repeated_genres_count_once_and_empty_ones_never() -> None:
    rows = [(1, "a", 1, ["X", None, "X", "", "W"]), (2, "b", 1, ["", "W"]), (3, "c", 1, ["W", "W"])]
    table = item_table(movies_of(rows), IdMap(np.array([1, 2, 3])))
    assert [table.genres_of(i) for i in range(3)] == [["X", "W"], ["W"], ["W"]]
    assert table.genre_matrix().tolist() == [[1, 1], [1, 0], [1, 0]]


def test_catalogues_without_genres_or_films() -> None:
    ids = IdMap(np.array([1, 2]))
    assert item_table(movies_of([(1, "a", 1, []), (2, "b", 1, [""])]), ids).genre_names == ()
    assert item_table(movies_of([(9, "a", 1, ["X"])]), ids).genre_names == ()
    assert item_table(movies_of([(9, "a", 1, ["X"])]).slice(1), ids).n_items == 2
    assert item_table(None, ids).title is None


def test_users_are_aligned_by_id() -> None:
    people = pa.table({"userId": [7, 5, 1], "gender": ["M", None, "F"], "age": [30, 4, 30], "zip": ["a", "b", "c"]})
    table = user_table(people, IdMap(np.array([1, 3, 5])))
    assert set(table.categories) == {"gender", "age"}
    assert table.category_names["age"] == ("30", "4")
    assert table.categories["age"].tolist() == [0, -1, 1]
    assert table.categories["gender"].tolist() == [0, -1, -1]
    assert user_table(None, IdMap(np.array([1]))).categories == {}


# What a training command works on --------------------------------------------------------------------------


def test_without_input_the_prepared_data_under_its_own_protocol(workspace: Workspace) -> None:
    prepared_in(workspace, LeaveLastN(2))
    for protocol in (None, "leave_last_2"):
        found = load_for_training(workspace, None, protocol)
        assert found.split.protocol == "leave_last_2"
        assert (found.split.fit_stop == 4).all()


def test_without_input_another_protocol_splits_again(workspace: Workspace) -> None:
    whole = prepared_in(workspace).split.interactions
    assert (load_for_training(workspace, None, "leave_last_3").split.fit_stop == 2).all()
    assert load_for_training(workspace, None, "none").split.fit().n_events == whole.n_events
    cut = int(whole.timestamp[400])
    assert load_for_training(workspace, None, f"global_time:{cut}").split.history().n_events == 400
    with pytest.raises(ConfigError, match="unknown protocol"):
        load_for_training(workspace, None, "random")


def test_the_prepared_train_file_means_the_prepared_data(workspace: Workspace) -> None:
    prepared = prepared_in(workspace)
    found = load_for_training(workspace, EventFile(workspace.prepared / "train.parquet"), None)
    assert found.source == prepared.source
    assert len(found.split.valid()) == 60  # validation events, for early stopping
    with pytest.raises(ConfigError, match=r"is the fit split of leave_one_out; leave out --input to split the data"):
        load_for_training(workspace, EventFile(workspace.prepared / "train.parquet"), "leave_last_2")
    assert (load_for_training(workspace, None, "leave_last_2").split.fit_stop == 4).all()


def test_the_whole_prepared_train_file_is_the_fit_split(workspace: Workspace) -> None:
    prepared = prepared_in(workspace)
    found = load_for_training(workspace, EventFile(workspace.prepared / "train.parquet"), "none")
    assert raw_rows(found, found.split.fit()) == raw_rows(prepared, prepared.split.fit())
    assert len(found.split.valid()) == len(found.split.test()) == 0
    assert found.source["input"] == str(workspace.prepared / "train.parquet")


@pytest.mark.parametrize(
    ("protocol", "fit", "valid", "test"),
    [
        (None, [[0, 1], [3]], 1, 1),
        ("leave_one_out", [[0, 1], [3]], 1, 1),
        ("leave_last_2", [[0, 1, 2, 4], [3]], 0, 0),
        ("none", [[0, 1, 2, 4], [3]], 0, 0),
        ("global_time:40", [[0, 1], [3]], 1, 1),
    ],
)
def test_another_file_under_each_protocol(
    tmp_path: Path, protocol: str | None, fit: list[list[int]], valid: int, test: int
) -> None:
    path = tmp_path / "mine.parquet"
    columns = {"userId": [4, 2, 2, 2, 2], "itemId": [13, 10, 11, 12, 14], "timestamp": [5, 10, 20, 30, 40]}
    pq.write_table(pa.table(columns), path)
    found = load_for_training(Workspace(tmp_path / "nothing_there"), EventFile(path), protocol)
    assert rows_of(found.split.fit().queries()) == fit
    assert (len(found.split.valid().target_idx), len(found.split.test().target_idx)) == (valid, test)
    assert found.source["dataset"] == "mine"
    assert found.items.title is None


def test_another_file_takes_its_titles_from_the_data_root(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"userId": [13], "movieId": [5]}), path)
    found = load_for_training(workspace, EventFile(path), "none")
    assert found.items.label(0) == "Film 0 (1990)"
    assert found.users.codes("gender", np.array([0])).tolist() == [1]
    assert len(found.vocabulary.items) == 25


def test_another_file_named_train_is_not_the_prepared_one(workspace: Workspace, tmp_path: Path) -> None:
    prepared_in(workspace)
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"userId": [1, 1, 1], "movieId": [1, 2, 3]}), path)
    assert load_for_training(workspace, EventFile(path), None).split.interactions.n_events == 3


def test_a_missing_input(workspace: Workspace, tmp_path: Path) -> None:
    for path in (tmp_path / "no.parquet", workspace.prepared / "train.parquet"):
        with pytest.raises(DataError, match="no such file"):
            load_for_training(workspace, EventFile(path), None)


@pytest.mark.parametrize("name", ["popularity", "itemcf", "mf", "two_tower"])
def test_fitting_through_the_train_file_is_fitting_on_the_prepared_data(workspace: Workspace, name: str) -> None:
    prepared_in(workspace)
    settings = {**CONFIGS[name], **({"epochs": 3} if name == "two_tower" else {})}
    train = workspace.prepared / "train.parquet"
    runs = {"bare": None, "given": EventFile(train)}
    results = {
        run: train_channel(workspace, name, settings, name=run, input_file=given, options=QUIET)
        for run, given in runs.items()
    }
    assert results["bare"]["validation"] == results["given"]["validation"] is not None
    bundles = [Bundle.open(workspace.model(run)) for run in runs]
    for bundle in bundles:
        CHANNELS.load(bundle.path)
    files = [{k: v for k, v in b.manifest["files"].items() if not k.endswith("manifest.json")} for b in bundles]
    assert files[0] == files[1]
    assert bundles[0].manifest["data"] == bundles[1].manifest["data"]


# A held-out file -------------------------------------------------------------------------------------------


def holdout_file(folder: Path, rows: list[tuple[int, int]]) -> Path:
    path = folder / "held.parquet"
    users, movies = zip(*rows, strict=True)
    pq.write_table(pa.table({"userId": users, "movieId": movies}), path)
    return path


def test_held_out_rows_are_grouped_and_none_is_dropped(workspace: Workspace, tmp_path: Path) -> None:
    prepared = prepare(workspace, NoSplit())
    # Users have raw ids 10·u + 3, items 7·i + 5; user 4 and film 6 are unknown.
    path = holdout_file(tmp_path, [(33, 12), (4, 5), (13, 6), (33, 6), (33, 5), (13, 19)])
    found = read_holdout(EventFile(path), prepared)
    assert found.queries.user_idx.tolist() == [-1, 1, 3]
    targets = np.split(found.target_idx, found.target_offsets[1:-1])
    assert [row.tolist() for row in targets] == [[0], [-1, 2], [1, -1, 0]]  # in the order of the file
    events = prepared.split.interactions
    assert rows_of(found.queries) == [[], events.history(1).tolist(), events.history(3).tolist()]
    assert found.target_rating is None
    rated = pq.read_table(path).append_column("rating", pa.array([1.0, 2.0, 3.0, 4.0, 5.0, 0.5]))
    pq.write_table(rated, path)
    ratings = read_holdout(EventFile(path), prepared).target_rating
    assert ratings is not None
    assert ratings.tolist() == [2, 3, 0.5, 1, 4, 5]
    assert found.queries.as_of.tolist() == [-1, int(events.timestamp[15]), int(events.timestamp[31])]
    np.testing.assert_array_equal(
        found.queries.history_rating, np.concatenate([events.rating[8:16], events.rating[24:32]])
    )


def test_held_out_queries_have_their_time_only_with_query_time(workspace: Workspace, tmp_path: Path) -> None:
    prepared = prepare(workspace, NoSplit())
    path = tmp_path / "held.parquet"
    columns = {"userId": [33, 4, 13, 33], "movieId": [12, 5, 6, 6], "timestamp": [90, 50, 70, 80]}
    pq.write_table(pa.table(columns), path)
    assert read_holdout(EventFile(path), prepared, query_time=True).queries.as_of.tolist() == [
        50,
        70,
        80,
    ]  # users 4, 13, 33
    without = holdout_file(tmp_path, [(33, 12), (4, 5), (13, 6), (33, 6)])
    untimed = read_holdout(EventFile(without), prepared)
    pq.write_table(pa.table(columns), path)
    np.testing.assert_array_equal(read_holdout(EventFile(path), prepared).queries.as_of, untimed.queries.as_of)
    pq.write_table(pa.table(columns).drop_columns(["timestamp"]), path)
    with pytest.raises(DataError, match=r"--query_time needs a column for the time, and .* has none"):
        read_holdout(EventFile(path), prepared, query_time=True)


def test_unknown_users_and_films_of_a_held_out_file_are_misses(workspace: Workspace, tmp_path: Path) -> None:
    prepared = prepare(workspace, NoSplit())
    found = read_holdout(EventFile(holdout_file(tmp_path, [(3, 6), (4, 6), (13, 6)])), prepared)
    channel = CHANNELS["popularity"]().fit(prepared.training_data(), options=QUIET)
    metrics = per_query_metrics(channel.retrieve(found.queries, 25), found, (25,))
    assert metrics["hit_rate@25"].tolist() == [0.0, 0.0, 0.0]


def test_held_out_histories_exclude_the_test_split(workspace: Workspace, tmp_path: Path) -> None:
    prepared = prepare(workspace, LeaveLastN(1))
    found = read_holdout(EventFile(holdout_file(tmp_path, [(13, 5)])), prepared)
    assert rows_of(found.queries) == [prepared.split.interactions.history(1)[:7].tolist()]


def test_a_held_out_file_of_unknown_users_only(workspace: Workspace, tmp_path: Path) -> None:
    found = read_holdout(EventFile(holdout_file(tmp_path, [(4, 5), (1, 5)])), prepare(workspace, NoSplit()))
    assert found.queries.user_idx.tolist() == [-1, -1]
    assert rows_of(found.queries) == [[], []]


def test_a_bad_held_out_file_is_named(workspace: Workspace, tmp_path: Path) -> None:
    prepared = prepare(workspace, NoSplit())
    path = tmp_path / "held.parquet"
    pq.write_table(pa.table({"userId": [1]}), path)
    with pytest.raises(DataError, match=r"held\.parquet has no column for the item"):
        read_holdout(EventFile(path), prepared)


def test_known_users_and_movies_keep_their_indices(tmp_path: Path) -> None:
    """All facts of a user and a movie move with the index; held to the same data in its own order."""
    space = Workspace(tmp_path)
    preprocess(put(tmp_path / "raw" / "mini", ML_1M), space.processed, options=QUIET)
    plain = prepare(space, NoSplit())
    grown = prepare(space, NoSplit(), known=Vocabulary(IdMap(np.array([2])), IdMap(np.array([20, 99]))))
    assert grown.vocabulary.users.ids.tolist() == [2, 1]
    assert grown.vocabulary.items.ids.tolist() == [20, 99, 10]
    assert (grown.items.title is None, plain.items.title is None) == (False, False)
    for movie in (10, 20):
        old, new = (int(each.vocabulary.items.encode(movie)) for each in (plain, grown))
        assert grown.items.label(new) == plain.items.label(old)
        assert grown.items.genres_of(new) == plain.items.genres_of(old)
    for user in (1, 2):
        of_user = [int(each.vocabulary.users.encode(user)) for each in (plain, grown)]
        for name in plain.users.categories:
            assert plain.users.codes(name, np.array(of_user[:1])) == grown.users.codes(name, np.array(of_user[1:]))
        histories = [
            each.vocabulary.items.decode(each.split.interactions.history(at)).tolist()
            for each, at in zip((plain, grown), of_user, strict=True)
        ]
        assert histories[0] == histories[1]
