"""Ids of own data: text, whole numbers, and whole numbers written as floats, in CSV and Parquet alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprep.prepare import Prepared, load_for_training, prepare, read_holdout
from dataprep.preprocess import PreprocessReport, preprocess_own
from dataprep.readers import own_files
from dataprep.readers.own import EventFile, SideFile
from dataprep.readers.own_vectors import VectorSource
from reccore import ConfigError, DataError, Workspace
from tests.dataprep.miniatures import QUIET, rows

SUFFIXES = pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])


def put(folder: Path, name: str, columns: dict[str, Any]) -> Path:
    path = folder / name
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        pd.DataFrame(columns).to_csv(path, index=False)
    return path


def read(folder: Path, events: Path, share: float = 0.01, **more: Any) -> tuple[Path, PreprocessReport]:
    reading = {name: more.pop(name) for name in ("columns", "text_ids") if name in more}
    sides = [SideFile(more.pop(name)) if name in more else None for name in ("items", "users")]
    out = folder / "processed"
    file = EventFile(events, **reading)
    return out, preprocess_own(file, *sides, out, max_reject_share=share, options=QUIET, **more)


@SUFFIXES
def test_text_is_kept_and_sorted_by_user(tmp_path: Path, suffix: str) -> None:
    events = {"userId": ["éva", "bob", " bob", "anna"], "itemId": ["A/1", "b:2", "A/1", "x,y"], "rating": [1, 2, 3, 4]}
    out, report = read(tmp_path, put(tmp_path, f"e.{suffix}", events))
    assert rows(out / "ratings.parquet") == [
        ("anna", "x,y", 4),
        ("bob", "b:2", 2),
        ("bob", "A/1", 3),
        ("éva", "A/1", 1),
    ]
    assert [row[0] for row in rows(out / "movies.parquet")] == ["A/1", "b:2", "x,y"]
    assert (report.n_users, report.n_items, report.n_rejected) == (3, 3, 0)


def test_text_of_pandas_categories(tmp_path: Path) -> None:
    events = {"userId": [1, 2], "itemId": pa.array(["b", "a"]).dictionary_encode()}
    out, _ = read(tmp_path, put(tmp_path, "e.parquet", events))
    assert rows(out / "ratings.parquet") == [(1, "b"), (2, "a")]


@SUFFIXES
def test_floats_are_whole_numbers(tmp_path: Path, suffix: str) -> None:
    events = {"userId": [2.0, 1.0, 1.0, None], "itemId": [7.0, 12.0, 5.0, 1.0]}
    out, report = read(tmp_path, put(tmp_path, f"e.{suffix}", events), share=0.5)
    assert rows(out / "ratings.parquet") == [(1, 12), (1, 5), (2, 7)]
    assert report.rejects == {f"e.{suffix}": {"userId is empty": 1}}


@SUFFIXES
def test_other_numbers_are_no_ids(tmp_path: Path, suffix: str) -> None:
    events = put(tmp_path, f"e.{suffix}", {"userId": [1.0, 2.5, 2.0**53 + 4], "itemId": [1, 2, 3]})
    out, report = read(tmp_path, events, share=0.9)
    assert rows(out / "ratings.parquet") == [(1, 1)]
    assert report.n_rejected == 2


def test_floats_beyond_the_sample_are_whole_numbers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_files, "_SAMPLE_BYTES", 10)
    path = tmp_path / "e.csv"
    path.write_text("userId,itemId\n1,7\n1,8\n1,9.0\n2,10.5\n" + "3,4\n" * 200)
    out, report = read(tmp_path, path)
    assert rows(out / "ratings.parquet")[:3] == [(1, 7), (1, 8), (1, 9)]
    assert report.rejects == {"e.csv": {"itemId is not a whole number": 1}}


def test_text_beyond_the_sample_makes_all_ids_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_files, "_SAMPLE_BYTES", 10)
    path = tmp_path / "e.csv"
    path.write_text("userId,itemId\n" + "1,7\n" * 20 + "1,A7\n")
    out, report = read(tmp_path, path)
    assert rows(out / "ratings.parquet")[-2:] == [(1, "7"), (1, "A7")]
    assert report.n_rejected == 0


def test_leading_zeros_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("userId,itemId\n1,007\n1,7\n")
    assert rows(read(tmp_path, path)[0] / "ratings.parquet") == [(1, "007"), (1, "7")]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_text_ids_on_request(tmp_path: Path, suffix: str) -> None:
    path = put(tmp_path, f"e.{suffix}", {"userId": [10, 9], "itemId": [1, 2]})
    assert rows(read(tmp_path, path, text_ids=True)[0] / "ratings.parquet") == [("10", "1"), ("9", "2")]


@SUFFIXES
def test_missing_text_is_rejected(tmp_path: Path, suffix: str) -> None:
    events = {"userId": ["a", "", None, "NaN", "b"], "itemId": ["x"] * 5}
    out, report = read(tmp_path, put(tmp_path, f"e.{suffix}", events), share=0.7)
    assert rows(out / "ratings.parquet") == [("a", "x"), ("b", "x")]
    assert report.rejects == {f"e.{suffix}": {"userId is empty": 3}}
    assert [row[1] for row in rows(out / "rejects.parquet")] == ([3, 4, 5] if "csv" in suffix else [2, 3, 4])


def test_numbers_in_one_file_and_text_in_another_are_the_same_ids(tmp_path: Path) -> None:
    """The items have text ids, the events happen to have numbers only."""
    events = put(tmp_path, "e.csv", {"userId": [1, 1, 2], "itemId": [7, 10, 7]})
    items = put(tmp_path, "i.csv", {"id": ["7", "A1", "10"], "title": ["Seven", "Extra", "Ten"], "price": [7, 1, 10]})
    users = put(tmp_path, "u.csv", {"user_id": [1, 2], "age": [30, 40], "plan": ["x", "y"]})
    np.save(tmp_path / "v.npy", np.eye(3))
    vectors = VectorSource("look", tmp_path / "v.npy", put(tmp_path, "ids.csv", {"item": ["A1", "B2", "7"]}))
    out, _ = read(tmp_path, events, items=items, users=users, item_vectors=[vectors])
    assert rows(out / "ratings.parquet") == [(1, "7"), (1, "10"), (2, "7")]
    assert [row[:2] for row in rows(out / "movies.parquet")] == [("10", "Ten"), ("7", "Seven"), ("A1", "Extra")]
    assert [row[0] for row in rows(out / "users.parquet")] == [1, 2]
    found = {row[0]: row[1:] for row in rows(out / "item_features.parquet")}
    assert found == {"10": (10, None), "7": (7, [0, 0, 1]), "A1": (1, [1, 0, 0]), "B2": (None, [0, 1, 0])}


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Workspace, Prepared]:
    """Two users with text ids, in prepared data."""
    events = {"userId": ["b", "b", "b", "a", "a", "a"], "itemId": list("xyzzyw"), "timestamp": [1, 2, 3, 1, 2, 3]}
    items = put(tmp_path, "i.csv", {"itemId": ["w", "x", "y", "z", "10"], "genres": ["A", "B", "A|B", "", "B"]})
    space = Workspace(tmp_path / "root")
    file = EventFile(put(tmp_path, "e.csv", events))
    preprocess_own(file, SideFile(items), None, space.processed, options=QUIET)
    prepare(space).save(space.prepared)
    return space, Prepared.load(space.prepared)


def test_prepared_data_has_the_ids_as_given(shop: tuple[Workspace, Prepared]) -> None:
    space, prepared = shop
    users, items = prepared.vocabulary.users, prepared.vocabulary.items
    assert (users.ids.tolist(), items.ids.tolist()) == (["a", "b"], ["10", "w", "x", "y", "z"])
    assert items.decode(prepared.split.interactions.history(1)).tolist() == ["x", "y", "z"]
    assert prepared.items.genres_of(int(items.encode("y"))) == ["A", "B"]
    assert rows(space.prepared / "train.parquet") == [("a", "z", 1), ("b", "x", 1)]


def test_the_prepared_train_file_is_an_input(shop: tuple[Workspace, Prepared]) -> None:
    space, prepared = shop
    train = EventFile(space.prepared / "train.parquet")
    again = load_for_training(space, train, "none")
    assert again.vocabulary.fingerprint == prepared.vocabulary.fingerprint
    assert again.split.fit().n_events == 2
    with pytest.raises(ConfigError, match=r"train\.parquet has been read and prepared; leave out --columns"):
        load_for_training(space, EventFile(train.path, time_unit="ms"), None)


@SUFFIXES
def test_an_input_and_a_held_out_file(tmp_path: Path, suffix: str) -> None:
    space = Workspace(tmp_path / "none")
    given = {"userId": ["b", "a", "b"], "itemId": ["x", "y", "10"]}
    prepared = load_for_training(space, EventFile(put(tmp_path, f"e.{suffix}", given)), "none")
    held = EventFile(put(tmp_path, f"h.{suffix}", {"userId": ["c", "b", "b"], "itemId": ["x", "new", "10"]}))
    found = read_holdout(held, prepared)
    assert found.queries.user_idx.tolist() == [1, -1]
    assert prepared.vocabulary.items.decode(found.queries.history_idx).tolist() == ["x", "10"]
    assert found.target_idx.tolist() == [-1, 0, 1]
    numbers = EventFile(put(tmp_path, f"n.{suffix}", {"userId": ["b"], "itemId": [10]}))  # 10 is the text "10"
    assert read_holdout(numbers, prepared).target_idx.tolist() == [0]


def test_the_fingerprint_tells_how_a_file_was_read(tmp_path: Path) -> None:
    path = put(tmp_path, "e.csv", {"a": [1, 2], "b": [3, 4]})
    one, other = (
        load_for_training(Workspace(tmp_path), EventFile(path, columns), "none")
        for columns in (("user=a", "item=b"), ("user=b", "item=a"))
    )
    assert one.source["fingerprint"] != other.source["fingerprint"]
    assert EventFile.of_facts(one.source) == EventFile(path.resolve(), ("user=a", "item=b"))


def test_invalid_rows_of_an_input_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = put(tmp_path, "e.csv", {"userId": [1, None, 3], "itemId": [1, 2, 3]})
    with pytest.raises(DataError, match=r"row 3: userId is empty: ',2' \(1 invalid rows\); .*run_preprocessing"):
        load_for_training(Workspace(tmp_path), EventFile(path), None)
