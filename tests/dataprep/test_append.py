"""Tables with appended events equal those of preprocessing all files at once."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprep import append as subject
from dataprep import schema
from dataprep.append import AppendReport, NewFiles, append_events
from dataprep.preprocess import preprocess, preprocess_own, read_report
from dataprep.readers.own import EventFile, SideFile
from reccore import DataError, NotReadyError
from tests.dataprep.miniatures import ATOMIC, CSV, ML_1M, ML_10M, ML_100K, QUIET, put, rows

TABLES = (schema.RATINGS, schema.MOVIES, schema.USERS, schema.ITEM_FEATURES, schema.USER_FEATURES)
Columns = dict[str, list[Any]]
HEADER = "userId,movieId,rating,timestamp"


def write(path: Path, columns: Columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def joined(*parts: Columns) -> Columns:
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def whole_run(folder: Path, events: Columns, items: Columns | None = None, users: Columns | None = None) -> Path:
    """Own tables of a single run."""
    sides = [
        None if columns is None else SideFile(write(folder / f"{name}.parquet", columns))
        for name, columns in (("items", items), ("users", users))
    ]
    out = folder / "processed"
    preprocess_own(EventFile(write(folder / "shop.parquet", events)), *sides, out, options=QUIET)
    return out


def appended(out: Path, name: str, events: Columns, items: Columns | None = None, **options: Any) -> AppendReport:
    folder = out.parent / "new"
    side = None if items is None else SideFile(write(folder / f"{name}_items.parquet", items))
    return append_events(NewFiles(EventFile(write(folder / f"{name}.parquet", events)), side), out, **options)


def random_events(seed: int, n: int, first_time: int, *, text: bool, rated: bool) -> Columns:
    """Few users, films and seconds, so that ties, repeats and new ids are frequent."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 12, n) * (seed + 1), 3 * rng.integers(0, 12, n) + seed
    made: Columns = {
        "userId": [f"u{u}" for u in user] if text else user.tolist(),
        "itemId": [f"i{i}" for i in item] if text else item.tolist(),
        "timestamp": (first_time + rng.permutation(n) // 3).tolist(),
    }
    return made | ({"rating": (rng.integers(1, 11, n) / 2).tolist()} if rated else {})


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("rated", [False, True])
def test_own_events_in_three_files(tmp_path: Path, text: bool, rated: bool) -> None:
    """Later files have new ids, and events before, among and after the earlier ones, many of the same second."""
    parts = [random_events(seed, 90, start, text=text, rated=rated) for seed, start in enumerate((1_000, 985, 1_010))]
    out = whole_run(tmp_path / "old", parts[0])
    n_users = read_report(out).n_users  # type: ignore[union-attr]
    reports = [appended(out, f"part{number}", part) for number, part in enumerate(parts[1:])]
    assert [report.events for report in reports] == [90, 90]
    want = whole_run(tmp_path / "all", joined(*parts))
    for name in (schema.RATINGS, schema.MOVIES):
        assert rows(out / name) == rows(want / name)
    assert pq.read_schema(out / schema.RATINGS).names == pq.read_schema(want / schema.RATINGS).names
    got, wanted = read_report(out), read_report(want)
    assert got is not None
    assert wanted is not None
    assert (got.rows, got.n_users, got.n_items) == (wanted.rows, wanted.n_users, wanted.n_items)
    assert got.n_users == n_users + sum(report.new_users for report in reports)
    assert len(got.appended) == 2
    assert got.appended[1]["before"] == reports[0].fingerprint
    assert got.fingerprint == reports[1].fingerprint != reports[0].fingerprint


def test_films_and_users_with_their_columns(tmp_path: Path) -> None:
    old: Columns = {"userId": [1, 1], "itemId": [5, 6], "timestamp": [10, 20]}
    new: Columns = {"userId": [1, 9, 9], "itemId": [7, 6, 8], "timestamp": [15, 30, 40]}
    items: Columns = {"itemId": [5, 4], "title": ["A (1990)", "Unseen"], "genres": ["X|Y", "Y"], "price": [1.0, 2.0]}
    more: Columns = {
        "itemId": [6, 7, 5],
        "title": ["Late", "B (2001)", "Other A"],
        "genres": ["Z", "X", ""],
        "price": [3.5, 4, 9],
    }
    users: Columns = {"userId": [1], "gender": ["F"], "segment": ["s"]}
    out = whole_run(tmp_path / "old", old, items, users)
    folder = tmp_path / "new"
    people: Columns = {"userId": [9, 1], "gender": ["M", "M"], "segment": ["t", "t"]}
    report = append_events(
        NewFiles(
            EventFile(write(folder / "e.parquet", new)),
            SideFile(write(folder / "i.parquet", more)),
            SideFile(write(folder / "u.parquet", people)),
        ),
        out,
    )
    assert (report.events, report.new_users, report.new_items, report.without_record) == (3, 1, 2, 1)
    want = whole_run(
        tmp_path / "all",
        joined(old, new),
        {name: items[name] + more[name][:2] for name in items},
        {name: users[name] + people[name][:1] for name in users},
    )
    for name in TABLES:
        assert rows(out / name) == rows(want / name), name
    assert rows(out / schema.MOVIES)[1] == (5, "A", 1990, ["X", "Y"])  # the stored row stays
    assert read_report(out).item_columns == read_report(want).item_columns  # type: ignore[union-attr]


@pytest.mark.parametrize("layout", ["csv", "ml-1m"])
def test_a_movielens_release(tmp_path: Path, layout: str) -> None:
    """The order within a second is the file's in ml-1m and a hash in releases that are sorted by id."""
    files = dict(CSV if layout == "csv" else ML_1M)
    name, separator = ("ratings.csv", ",") if layout == "csv" else ("ratings.dat", "::")
    rng = np.random.default_rng(0)
    pairs = rng.permutation([(u, m) for u in range(1, 9) for m in range(1, 12)])
    lines = [
        separator.join(map(str, (u, m, r, t)))
        for (u, m), r, t in zip(pairs, rng.integers(1, 6, 88), rng.integers(100, 110, 88), strict=True)
    ]
    head = [HEADER] if layout == "csv" else []
    out, want = tmp_path / "old" / "processed", tmp_path / "all" / "processed"
    for folder, kept in ((out, lines[:60]), (want, lines)):
        files[name] = "\n".join([*head, *kept, ""]).encode()
        preprocess(put(folder.parent / "mini", files), folder, options=QUIET)
    new = tmp_path / "new.csv"
    with new.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows(
            [["userId", "movieId", "rating", "timestamp"], *(line.split(separator) for line in lines[60:])]
        )
    report = append_events(NewFiles(EventFile(new)), out)
    assert report.events == 28
    for table in (schema.RATINGS, schema.MOVIES):
        assert rows(out / table) == rows(want / table)
    # a second rating of a film is rejected, as in one run, and the same events are recognised
    new.write_text(f"{HEADER}\n{','.join(lines[0].split(separator))}\n{pairs[1][0]},{pairs[1][1]},1,999\n3,99,2,999\n")
    again = append_events(NewFiles(EventFile(new)), out, max_reject_share=0.6)
    assert (again.events, again.repeated) == (1, 1)
    assert again.rejects == {"new.csv": {"repeated (userId, movieId)": 1}}
    assert rows(out / schema.REJECTS)[-1][:3] == ("new.csv", 3, "repeated (userId, movieId)")


@pytest.mark.parametrize(
    ("files", "valid"),
    [(ML_100K, [1, 5]), (ML_1M, [1, 5]), (ATOMIC, [1, 5]), (ML_10M, [1, 4.5, 5]), (CSV, [1, 4.5, 5])],
    ids=["ml-100k", "ml-1m", "atomic", "ml-10m", "csv"],
)
def test_ratings_off_the_scale_of_the_data_set_are_rejected(
    tmp_path: Path, files: dict[str, bytes], valid: list[float]
) -> None:
    out = tmp_path / "processed"
    preprocess(put(tmp_path / "mini", files), out, options=QUIET)
    before = len(rows(out / schema.RATINGS))
    ratings = [1.0, -3.0, 0.0, 4.5, 4.75, 5.0, 7.0]
    new: Columns = {"userId": [1] * 7, "itemId": list(range(9001, 9008)), "rating": ratings, "timestamp": [10**10] * 7}
    report = appended(out, "off", new, max_reject_share=1.0)
    assert report.rejects == {"off.parquet": {"rating is outside the scale": 7 - len(valid)}}
    assert sorted(row[2] for row in rows(out / schema.RATINGS) if row[1] > 9000) == valid
    assert len(rows(out / schema.RATINGS)) == before + len(valid)
    with pytest.raises(DataError, match="rating is outside the scale"):
        appended(out, "strict", {name: values[1:2] for name, values in new.items()})


def test_own_ratings_have_no_scale(tmp_path: Path) -> None:
    out = whole_run(tmp_path, OLD)
    report = appended(out, "any", {"userId": [1], "itemId": [9], "rating": [-70.25], "timestamp": [30]})
    assert (report.events, report.rejects) == (1, {})


def test_without_times_new_events_come_last_and_a_file_counts_once(tmp_path: Path) -> None:
    out = whole_run(tmp_path, {"userId": [2, 1], "itemId": [5, 6]})
    new: Columns = {"userId": [1, 1, 2], "itemId": [6, 7, 4], "position": [2, 1, 1]}
    assert appended(out, "day1", new).events == 3
    assert rows(out / schema.RATINGS) == [(1, 6), (1, 7), (1, 6), (2, 5), (2, 4)]
    before = (out / schema.MANIFEST).read_bytes()
    assert appended(out, "day1", new).already
    assert (out / schema.MANIFEST).read_bytes() == before
    with_films = appended(out, "day1_again", new, {"itemId": [6, 7], "title": ["Six", "Seven"]})
    assert (with_films.already, with_films.events, with_films.repeated) == (False, 0, 3)
    assert rows(out / schema.RATINGS) == [(1, 6), (1, 7), (1, 6), (2, 5), (2, 4)]
    titles = pq.read_table(out / schema.MOVIES, columns=["movieId", "title"]).to_pylist()
    assert {"movieId": 7, "title": "Seven"} in titles
    first = appended(out, "shop", {"userId": [2, 1], "itemId": [5, 6]})  # what was preprocessed
    assert (first.already, first.repeated) == (True, 2)
    assert appended(out, "day2", {**new, "position": [1, 1, 1]}).events == 3  # another file with like rows


def test_files_that_overlap_add_each_event_once(tmp_path: Path) -> None:
    out = whole_run(tmp_path, {"userId": [1, 1], "itemId": [5, 6], "timestamp": [10, 20]})
    new: Columns = {"userId": [1, 1, 1, 1], "itemId": [6, 6, 7, 7], "timestamp": [20, 21, 30, 30]}
    report = appended(out, "overlap", new)
    assert (report.events, report.repeated) == (3, 1)
    assert rows(out / schema.RATINGS) == [(1, 5, 10), (1, 6, 20), (1, 6, 21), (1, 7, 30), (1, 7, 30)]
    stamp = (out / schema.RATINGS).stat().st_mtime_ns
    nothing = appended(out, "old_news", {"userId": [1], "itemId": [5], "timestamp": [10]})
    assert (nothing.already, nothing.repeated) == (True, 1)
    assert (out / schema.RATINGS).stat().st_mtime_ns == stamp


OLD: Columns = {"userId": [1, 2], "itemId": [5, 6], "timestamp": [10, 20], "rating": [4.0, 5.0]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestamp": None}, "has no column timestamp, which the stored events have; add it, or name it by --columns"),
        ({"userId": ["x", "y"]}, "column userId of .* holds text, such as 'x', and the stored ids are whole numbers"),
        ({"rating": [float("nan"), 3.0]}, "1 of 2 rows .* are invalid"),
        ({"itemId": None}, "needs a column for the item|has no column"),
    ],
)
def test_files_that_do_not_fit_change_nothing(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    out = whole_run(tmp_path, OLD)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    new: Columns = {name: values for name, values in {**OLD, **change}.items() if values is not None}
    with pytest.raises(DataError, match=message):
        appended(out, "bad", new)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_before_preprocessing_and_without_the_file(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match=r"run first: .*run_preprocessing\.py"):
        append_events(NewFiles(EventFile(tmp_path / "new.csv")), tmp_path / "processed")
    out = whole_run(tmp_path, OLD)
    with pytest.raises(DataError, match="no such file"):
        append_events(NewFiles(EventFile(tmp_path / "new.csv")), out)


KILLED = """
import os, signal, sys
from pathlib import Path
from dataprep import staging
from dataprep.append import NewFiles, append_events
from dataprep.readers.own import EventFile
out, new, moves = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
replace, rename, done = Path.replace, Path.rename, []
def kill_after(move):
    def counted(path, target):
        if len(done) == moves:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(path)
        return move(path, target)
    return counted
Path.replace, Path.rename = kill_after(replace), kill_after(rename)
append_events(NewFiles(EventFile(new)), out)
"""


@pytest.mark.parametrize("moves", range(5))
def test_a_killed_run_leaves_tables_that_can_be_read_and_the_next_one_finishes(tmp_path: Path, moves: int) -> None:
    """SIGKILL before each of the renames that put the tables in their place. Without times no row says it is there."""
    old: Columns = {"userId": [2, 1], "itemId": [5, 6]}
    new: Columns = {"userId": [1, 3], "itemId": [6, 7]}
    out = whole_run(tmp_path / "old", old)
    before = rows(out / schema.RATINGS)
    file = write(tmp_path / "new.parquet", new)
    ended = subprocess.run([sys.executable, "-c", KILLED, out, file, str(moves)], capture_output=True, check=False)
    assert ended.returncode == -9, ended.stderr
    want = whole_run(tmp_path / "all", joined(old, new))
    assert rows(out / schema.RATINGS) in (before, rows(want / schema.RATINGS))
    assert read_report(out) is not None
    append_events(NewFiles(EventFile(file)), out)
    for name in (schema.RATINGS, schema.MOVIES):
        assert rows(out / name) == rows(want / name)
    assert not list(out.glob(".*"))
    assert len(read_report(out).appended) == 1  # type: ignore[union-attr]


def test_preprocessing_again_drops_what_a_killed_run_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = whole_run(tmp_path, OLD)
    with monkeypatch.context() as patch:
        calls: list[Path] = []
        patch.setattr(subject, "finish_append", calls.append)
        appended(out, "new", {**OLD, "itemId": [8, 9]})
    assert list(out.glob(".*"))
    whole_run(tmp_path, OLD)
    assert not list(out.glob(".*"))
    assert append_events(NewFiles(EventFile(tmp_path / "new" / "new.parquet")), out).events == 2


def test_preprocessing_again_says_which_events_it_leaves_out(tmp_path: Path, log: list[str]) -> None:
    out = whole_run(tmp_path, OLD)
    appended(out, "day1", {**OLD, "itemId": [8, 9]})
    assert log == []
    whole_run(tmp_path, OLD)
    assert log == ["the tables held 2 events that update.py had added from day1.parquet; add them again\n"]
    assert read_report(out).appended == []  # type: ignore[union-attr]
