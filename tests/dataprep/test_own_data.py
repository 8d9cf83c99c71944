"""Own interactions, items and users, as Parquet and CSV."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprep.preprocess import preprocess_own, read_report
from dataprep.readers.own import EventFile, SideFile
from reccore.errors import DataError
from scripts.run_preprocessing import describe
from tests.dataprep.miniatures import QUIET, rows

EVENTS = {"userId": [2, 1, 1, 1, 2], "itemId": [7, 7, 5, 7, 9]}


def _put(folder, name, columns):
    path = folder / name
    if path.suffix == ".csv":
        pd.DataFrame(columns).to_csv(path, index=False)
    else:
        pq.write_table(pa.table(columns), path)
    return path


def _run(folder, events, items=None, users=None, share=0.01, **reading):
    out = folder / "processed"
    sides = [path if path is None else SideFile(path) for path in (items, users)]
    return out, preprocess_own(EventFile(events, **reading), *sides, out, max_reject_share=share, options=QUIET)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_without_times_events_are_in_file_order(tmp_path, suffix):
    out, report = _run(tmp_path, _put(tmp_path, f"shop.{suffix}", EVENTS))
    assert rows(out / "ratings.parquet") == [(1, 7), (1, 5), (1, 7), (2, 7), (2, 9)]  # repeats stay
    assert rows(out / "movies.parquet") == [(5, "", None, []), (7, "", None, []), (9, "", None, [])]
    assert (report.dataset, report.layout, report.tie_order) == ("shop", "own", "file")
    assert (report.has_rating, report.has_time, report.movies_without_record) == (False, False, 0)
    assert pq.read_schema(out / "ratings.parquet").metadata[b"has_time"] == b"false"
    assert "order of events: the file's order\n" in describe(report)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_position_sorts_and_is_not_stored(tmp_path, suffix):
    out, report = _run(tmp_path, _put(tmp_path, f"e.{suffix}", {**EVENTS, "position": [0, 3, 1, 2, -1]}))
    assert rows(out / "ratings.parquet") == [(1, 5), (1, 7), (1, 7), (2, 9), (2, 7)]
    assert "order of events: position, then the file's order\n" in describe(report)
    assert read_report(out) == report


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_time_sorts_first_then_position_then_the_file(tmp_path, suffix):
    events = {
        "movieId": [1, 2, 3, 4, 5],
        "userId": [8] * 5,
        "timestamp": [50, 20, 20, 20, 10],
        "position": [0, 2, 1, 1, 9],
        "rating": [1.5, -2, 3, 100, 5],
    }
    out, report = _run(tmp_path, _put(tmp_path, f"e.{suffix}", events))
    assert rows(out / "ratings.parquet") == [
        (8, 5, 5, 10),
        (8, 3, 3, 20),
        (8, 4, 100, 20),
        (8, 2, -2, 20),
        (8, 1, 1.5, 50),
    ]
    assert report.has_rating
    assert report.has_time
    assert "order of events: time, then position, then the file's order\n" in describe(report)


@pytest.mark.parametrize(
    "times",
    [
        pa.array([dt.datetime(2001, 9, 9, 1, 46, 40), dt.datetime(1970, 1, 2)], pa.timestamp("ns")),
        pa.array([1000000000.25, 86400.0]),
        pa.array([1000000000, 86400], pa.int32()),
    ],
)
def test_times_of_every_type_become_seconds(tmp_path, times):
    events = {"userId": pa.array([1, 1], pa.uint32()), "movieId": pa.array([3.0, 4.0]), "timestamp": times}
    out, _ = _run(tmp_path, _put(tmp_path, "e.parquet", events))
    assert rows(out / "ratings.parquet") == [(1, 4, 86400), (1, 3, 1000000000)]


@pytest.mark.parametrize("times", [["2001-09-09 01:46:40", "1970-01-02"], [1000000000.5, 86400]])
def test_times_in_csv(tmp_path, times):
    events = {"userId": [1, 1], "movieId": [3, 4], "timestamp": times}
    out, _ = _run(tmp_path, _put(tmp_path, "e.csv", events))
    assert rows(out / "ratings.parquet") == [(1, 4, 86400), (1, 3, 1000000000)]


@pytest.mark.parametrize("separator", ["\t", ";", "|"])
def test_other_separators(tmp_path, separator):
    path = tmp_path / "e.csv"
    path.write_text(separator.join(["userId", "movieId", "x"]) + "\n" + separator.join(["1", "2", "a,b"]) + "\n")
    assert rows(_run(tmp_path, path)[0] / "ratings.parquet") == [(1, 2)]


@pytest.mark.parametrize(
    ("suffix", "genres"),
    [
        ("csv", ["Drama|War", "", None]),
        ("parquet", ["Drama|War", "", None]),
        ("parquet", [["Drama", "War"], [], None]),
    ],
)
def test_items(tmp_path, genres, suffix):
    items = {
        "itemId": [9, 5, 6],
        "title": ["Heat (1995)", "Windows (2000)", None],
        "year": [1995, 1999, None],
        "genres": genres,
        "price": [1, 2, 3],
    }
    events, items = _put(tmp_path, "e.parquet", EVENTS), _put(tmp_path, f"i.{suffix}", items)
    out, report = _run(tmp_path, events, items)
    assert rows(out / "movies.parquet") == [
        (5, "Windows (2000)", 1999, []),
        (6, "", None, []),
        (7, "", None, []),
        (9, "Heat", 1995, ["Drama", "War"]),
    ]
    assert report.movies_without_record == 1


def test_items_with_ids_only_and_titles_with_years(tmp_path):
    events = _put(tmp_path, "e.parquet", EVENTS)
    out, _ = _run(tmp_path, events, _put(tmp_path, "i.csv", {"movieId": [5, 7], "title": ["A (1990)", "B"]}))
    assert rows(out / "movies.parquet")[:2] == [(5, "A", 1990, []), (7, "B", None, [])]
    out, _ = _run(tmp_path, events, _put(tmp_path, "i.csv", {"movieId": [5]}))
    assert rows(out / "movies.parquet")[0] == (5, "", None, [])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_users(tmp_path, suffix):
    users = {"userId": [1, 2], "age": [30, None], "occupation": ["writer", None]}
    events, users = _put(tmp_path, "e.parquet", EVENTS), _put(tmp_path, f"u.{suffix}", users)
    out, _ = _run(tmp_path, events, users=users)
    assert rows(out / "users.parquet") == [(1, 30, "25-34", None, "writer", None), (2, None, None, None, None, None)]


def test_users_of_an_impossible_age(tmp_path):
    users = _put(tmp_path, "u.csv", {"userId": [1, 2], "age": [151, 30], "occupation": ["writer", "artist"]})
    out, report = _run(tmp_path, _put(tmp_path, "e.parquet", EVENTS), users=users, share=0.5)
    assert rows(out / "users.parquet") == [(2, 30, "25-34", None, "artist", None)]
    assert report.rejects == {"u.csv": {"age is over 150": 1}}


def test_items_and_users_of_movielens_1m(tmp_path):
    events = _put(tmp_path, "e.parquet", EVENTS)
    movies, users = tmp_path / "movies.dat", tmp_path / "users.dat"
    movies.write_bytes("5::Amélie (2001)::Comedy|Romance\n7::Heat (1995)::Crime\n".encode("latin-1"))
    users.write_text("1::F::25::6::10001\n2::M::1::10::48067\n")
    out, _ = _run(tmp_path, events, movies, users)
    assert rows(out / "movies.parquet")[:2] == [
        (5, "Amélie", 2001, ["Comedy", "Romance"]),
        (7, "Heat", 1995, ["Crime"]),
    ]
    assert [row[3:5] for row in rows(out / "users.parquet")] == [("F", "doctor/health care"), ("M", "K-12 student")]
    with pytest.raises(DataError, match="no such file"):
        _run(tmp_path, events, tmp_path / "none.dat")


def test_bad_rows_of_parquet_are_found_by_number(tmp_path):
    events = {
        "userId": pa.array([1.0, 1.5, None, -2.0, 3.0, 4.0, float("nan")]),
        "movieId": pa.array([1, 1, 1, 1, 2**63, 1, 1], pa.uint64()),
        "rating": [1.0, 1.0, 1.0, 1.0, 1.0, float("inf"), 1.0],
    }
    out, report = _run(tmp_path, _put(tmp_path, "e.parquet", events), share=0.9)
    assert [row[:3] for row in rows(out / "rejects.parquet")] == [
        ("e.parquet", 2, "userId is not a whole number"),
        ("e.parquet", 3, "userId is empty"),
        ("e.parquet", 4, "userId is negative"),
        ("e.parquet", 5, "movieId is outside 64 bits"),
        ("e.parquet", 6, "rating is not a number"),
        ("e.parquet", 7, "userId is empty"),
    ]
    assert "1.5" in rows(out / "rejects.parquet")[0][3]
    assert report.rows["ratings"] == 1


def test_reasons_name_the_column_of_the_file(tmp_path):
    path = _put(tmp_path, "e.csv", {**EVENTS, "itemId": [7, 7, -5, 7, 9]})
    assert _run(tmp_path, path, share=0.5)[1].rejects == {"e.csv": {"itemId is negative": 1}}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"whom": [1], "movieId": [1]}, "no column for the user, such as userId; its columns are whom, movieId"),
        ({"userId": [1], "thing": [1]}, "no column for the item, such as movieId; .*--columns item=NAME"),
        ({"userId": [1], "movieId": [1], "itemId": [1]}, "several columns for the item: movieId, itemId"),
        ({"userId": [], "movieId": []}, "is empty: no rows"),
    ],
)
def test_columns_of_the_wrong_type(tmp_path, suffix, columns, message):
    columns = (
        {name: pa.array(values, pa.int64()) for name, values in columns.items()} if suffix == "parquet" else columns
    )
    with pytest.raises(DataError, match=message):
        _run(tmp_path, _put(tmp_path, f"e.{suffix}", columns))
    assert not (tmp_path / "processed").exists()


@pytest.mark.parametrize(
    ("name", "content"), [("e.csv", b""), ("e.parquet", b""), ("e.parquet", b"PAR1xxxx"), ("e.parquet", b"a,b")]
)
def test_damaged_and_empty_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        _run(tmp_path, tmp_path / name)


def test_missing_files(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        _run(tmp_path, tmp_path / "none.parquet")
    with pytest.raises(DataError, match="folder"):
        _run(tmp_path, tmp_path)
