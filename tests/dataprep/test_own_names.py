"""Names of the columns of own files: the usual spellings, ``--columns``, and files without a header."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataprep.preprocess import preprocess_own
from dataprep.readers.own import EventFile, SideFile
from reccore import ConfigError, DataError
from tests.dataprep.miniatures import QUIET, rows


def written(folder: Path, text: str, name: str = "e.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def ratings(folder: Path, text: str, *columns: str) -> list[tuple]:
    preprocess_own(EventFile(written(folder, text), columns), None, None, folder / "out", options=QUIET)
    return rows(folder / "out" / "ratings.parquet")


@pytest.mark.parametrize(
    "header",
    [
        "userId,movieId,rating,timestamp",
        "user_id,item_id,stars,ts",
        "UserID,ITEM_ID,Rating,TimeStamp",
        "user,product id,score,time",
        "customer-id,SKU,rating,date",
        " user_id , movie_id ,stars,created_at",
    ],
)
def test_usual_spellings(tmp_path: Path, header: str) -> None:
    assert ratings(tmp_path, f"{header}\n7,8,4.5,60\n") == [(7, 8, 4.5, 60)]


def test_named_columns_come_before_spellings(tmp_path: Path) -> None:
    text = "user_id,buyer,item_id,what,rating,score,time,at\n1,2,3,4,5,6,70,80\n"
    named = ("user=buyer", "item=what", "rating=score", "time=at")
    assert ratings(tmp_path, text, *named) == [(2, 4, 6, 80)]


def test_a_named_column_has_no_other_role(tmp_path: Path) -> None:
    assert ratings(tmp_path, "user_id,item_id,product\n1,3,4\n", "item=product", "position=item_id") == [(1, 4)]


def test_position_is_named(tmp_path: Path) -> None:
    assert ratings(tmp_path, "user,item,n\n1,3,2\n1,4,1\n", "position=n") == [(1, 4), (1, 3)]


@pytest.mark.parametrize(
    ("header", "columns", "message"),
    [
        ("user_id,uid,item_id", (), "several columns for the user: user_id, uid; choose one with --columns user=NAME"),
        ("user,item,time,date", (), "several columns for the time: time, date; choose one with --columns time=NAME"),
        ("user,item,rating,stars", (), "several columns for the rating: rating, stars"),
        (
            "a,item",
            (),
            r"no column for the user, such as userId; its columns are a, item. Name it with --columns user=",
        ),
        ("1,2,3", (), r"no column for the user.*; in a file without a header, by its number: --columns user=1,…"),
        ("user,item", ("item=thing",), r"no column thing \(--columns item=thing\); it has user, item"),
        ("5,6", ("user=1", "item=9"), r"no column 9 \(--columns item=9\); it has 1, 2"),
    ],
)
def test_missing_and_ambiguous_columns(tmp_path: Path, header: str, columns: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ratings(tmp_path, f"{header}\n" + ",".join("1" * (header.count(",") + 1)) + "\n", *columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("item",), "--columns is written user=NAME,…, got 'item'"),
        (("film=x",), "--columns knows user, item, rating, time, position, not 'film'"),
        (("user=a", "user=b"), "--columns names user twice"),
        (("user=a", "item=a"), "--columns names a twice"),
    ],
)
def test_columns_that_are_not_written_so(tmp_path: Path, columns: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ratings(tmp_path, "a,b\n1,2\n", *columns)


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_a_file_without_a_header(tmp_path: Path, separator: str) -> None:
    text = "\n".join(separator.join(row) for row in (["5", "x", "80", "u1"], ["4", "y", "70", "u1"])) + "\n"
    assert ratings(tmp_path, text, "user=4", "item=2", "rating=1", "time=3") == [("u1", "y", 4, 70), ("u1", "x", 5, 80)]


def test_rejected_rows_of_a_file_without_a_header(tmp_path: Path) -> None:
    path = written(tmp_path, "1,7\n" * 200 + "1,\n")
    report = preprocess_own(EventFile(path, ("user=1", "item=2")), None, None, tmp_path / "out", options=QUIET)
    assert report.rejects == {"e.csv": {"column 2 is empty": 1}}
    assert rows(tmp_path / "out" / "rejects.parquet") == [("e.csv", 201, "column 2 is empty", "1,")]


def test_a_header_that_is_read_by_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the first line of .* is a header: user_id, item_id; name its columns"):
        ratings(tmp_path, "user_id,item_id\nu1,x\n", "user=1", "item=2")


def test_numbers_that_are_names_of_the_header(tmp_path: Path) -> None:
    assert ratings(tmp_path, "2,1\n7,8\n", "user=1", "item=2") == [(8, 7)]


def test_names_of_items_and_users(tmp_path: Path) -> None:
    items = written(tmp_path, "sku,name,category,price\nx,Mug,Kitchen,3\n", "i.csv")
    users = written(tmp_path, "id,years\nu1,30\n", "u.csv")
    events = EventFile(written(tmp_path, "user,item\nu1,x\n"))
    sides = SideFile(items, ("title=name", "genres=category")), SideFile(users, ("age=years",))
    report = preprocess_own(events, *sides, tmp_path / "out", options=QUIET)
    assert rows(tmp_path / "out" / "movies.parquet") == [("x", "Mug", None, ["Kitchen"])]
    assert [row[:2] for row in rows(tmp_path / "out" / "users.parquet")] == [("u1", 30)]
    assert list(report.item_columns) == ["price"]
    with pytest.raises(ConfigError, match="--item_columns knows item, title, year, genres, not 'user'"):
        preprocess_own(events, SideFile(items, ("user=sku",)), None, tmp_path / "out", options=QUIET)
