"""Own columns of items and users: each kind and each bad input, in Parquet, CSV and .npy."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprep.preprocess import PreprocessReport, preprocess, preprocess_own, read_report
from dataprep.readers.own import EventFile, SideFile
from dataprep.readers.own_vectors import VectorSource
from reccore.errors import ConfigError, DataError
from scripts.run_preprocessing import describe
from tests.dataprep.miniatures import CSV, QUIET

EVENTS = {"userId": [1, 1, 2, 2], "itemId": [5, 7, 5, 9]}


def put(path: Path, columns: Any) -> Path:
    if path.suffix == ".csv":
        pd.DataFrame(columns).to_csv(path, index=False)
    else:
        pq.write_table(pa.table(columns), path)
    return path


def run(folder: Path, **options: Any) -> PreprocessReport:
    files = {name: SideFile(options[name]) if name in options else None for name in ("items", "users")}
    options = {name: value for name, value in options.items() if name not in files}
    options.setdefault("max_reject_share", 0.9)
    return preprocess_own(
        EventFile(put(folder / "e.csv", EVENTS)), **files, out=folder / "out", options=QUIET, **options
    )


def features(folder: Path, what: str = "item") -> pa.Table:
    return pq.read_table(folder / "out" / f"{what}_features.parquet")


def test_each_kind_of_parquet(tmp_path: Path) -> None:
    items = {
        "itemId": [9, 5, 7],
        "price": [1.5, None, float("nan")],
        "pages": pa.array([3, 4, 5], pa.uint64()),
        "cost": [Decimal("1.25"), None, Decimal("2")],
        "brand": ["x", "", None],
        "sold": [True, False, None],
        "colour": pa.array(["red", "blue", "red"]).dictionary_encode(),
        "parts": pa.array([["a", "b"], [], None], pa.large_list(pa.string())),
        "codes": [[3, 1], [1], [2, 2]],
        "plot": [[1.0, 2.0], None, []],
        "cover": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2)),
    }
    report = run(tmp_path, items=put(tmp_path / "i.parquet", items))
    table = features(tmp_path)
    vector = pa.list_(pa.float32(), 2)
    assert dict(zip(table.column_names, table.schema.types, strict=True)) == {
        "movieId": pa.int64(),
        **dict.fromkeys(("price", "pages", "cost"), pa.float64()),
        **dict.fromkeys(("brand", "sold", "colour"), pa.string()),
        **dict.fromkeys(("parts", "codes"), pa.list_(pa.string())),
        **dict.fromkeys(("plot", "cover"), vector),
    }
    assert table.to_pydict() == {
        "movieId": [9, 5, 7],
        "price": [1.5, None, None],
        "pages": [3, 4, 5],
        "cost": [1.25, None, 2],
        "brand": ["x", None, None],
        "sold": ["true", "false", None],
        "colour": ["red", "blue", "red"],
        "parts": [["a", "b"], [], None],
        "codes": [["3", "1"], ["1"], ["2", "2"]],
        "plot": [[1, 2], None, None],
        "cover": [[1, 2], None, [3, 4]],
    }
    assert report.rows["item_features"] == 3
    assert report.item_columns["price"] == "number, 67% missing"
    assert report.item_columns["cover"] == "vector of 2, 33% missing"
    assert "own column of items: parts (labels, 33% missing)\n" in describe(report)
    assert read_report(tmp_path / "out") == report


def test_csv_is_numbers_or_text(tmp_path: Path, log: list[str]) -> None:
    path = tmp_path / "u.csv"
    path.write_text(
        'userId,income,segment,code,city,note\n1,+1e3,a,1," Rom, Lazio ",NaN\n2,n/a,NULL,2,Oslo,\n3,-.5,b,x,Oslo,NA\n'
    )
    report = run(tmp_path, users=path)
    assert features(tmp_path, "user").to_pydict() == {
        "userId": [1, 2, 3],
        "income": [1000, None, -0.5],
        "segment": ["a", None, "b"],
        "code": ["1", "2", "x"],
        "city": ["Rom, Lazio", "Oslo", "Oslo"],
    }
    assert report.user_columns["income"] == "number, 33% missing"
    assert "column code is read as text, although 2 of 3 values are numbers: line 4 has 'x'" in log[0]
    assert "column note is not used: it is empty" in log[1]


def test_a_file_without_own_columns_has_no_table_of_them(tmp_path: Path) -> None:
    items = {"itemId": [5], "title": ["A"], "year": [1999], "genres": ["Drama"]}
    users = {"userId": [1], "age": [30], "gender": ["F"], "occupation": ["writer"], "zip": ["1"]}
    with_own = put(tmp_path / "i.csv", {**items, "price": [1]})
    run(tmp_path, items=with_own)
    assert (tmp_path / "out" / "item_features.parquet").exists()
    report = run(tmp_path, items=put(tmp_path / "i.csv", items), users=put(tmp_path / "u.csv", users))
    assert not list((tmp_path / "out").glob("*_features.parquet"))  # that of the run before is gone
    assert (report.item_columns, report.user_columns) == ({}, {})


def test_rejected_and_repeated_rows_have_no_own_values(tmp_path: Path) -> None:
    items = {"itemId": [5, 7, 5, 9], "year": [1990, 1991, 1992, 10_000], "price": [1, 2, 3, 4]}
    users = {"userId": [1, 2, 2], "age": [200, 30, 31], "score": [1.5, 2.5, 3.5]}
    report = run(tmp_path, items=put(tmp_path / "i.parquet", items), users=put(tmp_path / "u.csv", users))
    assert features(tmp_path).to_pydict() == {"movieId": [5, 7], "price": [1, 2]}
    assert features(tmp_path, "user").to_pydict() == {"userId": [2], "score": [2.5]}
    assert report.rejects == {
        "i.parquet": {"year is over 9999": 1, "repeated movieId": 1},
        "u.csv": {"age is over 150": 1, "repeated userId": 1},
    }


@pytest.mark.parametrize(
    ("plot", "message"),
    [
        ([[1.0, 2.0], [1.0], [3.0, 4.0]], r"column plot of .*different lengths: 1 numbers in row 2, 2 in most others"),
        ([[1.0, 2.0], None, [3.0, float("nan")]], r"1 vectors with missing or infinite numbers, the first in row 3"),
        ([[1.0, float("inf")], None, [3.0, 4.0]], r"the first in row 1; make such a row null"),
        ([[1.0, None], None, [3.0, 4.0]], r"the first in row 1"),
    ],
)
def test_bad_vectors(tmp_path: Path, plot: Any, message: str) -> None:
    items = put(tmp_path / "i.parquet", {"itemId": [5, 7, 9], "plot": plot})
    with pytest.raises(DataError, match=message):
        run(tmp_path, items=items)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["tag", "mean_rating", "userId"])
def test_names_of_other_features(tmp_path: Path, name: str, ending: str) -> None:
    with pytest.raises(DataError, match=f"column {name} of .*has the name of an id or of another feature; rename"):
        run(tmp_path, items=put(tmp_path / f"i.{ending}", {"itemId": [5], name: [1]}))


def test_the_id_of_an_item_is_no_column_of_users(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column movieId of .*has the name of an id"):
        run(tmp_path, users=put(tmp_path / "u.csv", {"userId": [1], "movieId": [5]}))


def test_columns_that_cannot_be_used_are_left_out_with_the_reason(tmp_path: Path, log: list[str]) -> None:
    items = {
        "itemId": [5, 7],
        "Unnamed: 0": [0, 1],
        "when": pa.array([0, 1], pa.timestamp("s")),
        "nested": [[[1.0]], [[2.0]]],
        "same": ["x", "x"],
        "price": [1, 2],
    }
    run(tmp_path, items=put(tmp_path / "i.parquet", items))
    assert features(tmp_path).column_names == ["movieId", "same", "price"]
    assert "'Unnamed: 0' is not used: rename it" in log[0]
    assert "when is not used: its type is timestamp" in log[1]
    assert "nested is not used: its type is list" in log[2]
    assert "same has the same value in every row" in log[3]


def matrix(folder: Path, rows: Any, ids: Any, key: str = "itemId", name: str = "cover") -> VectorSource:
    np.save(folder / f"{name}.npy", np.asarray(rows), allow_pickle=True)
    put(folder / f"{name}_ids.csv", {key: ids})
    return VectorSource.parse(f"{name}={folder / f'{name}.npy'}:{folder / f'{name}_ids.csv'}")


def test_matrices_join_the_own_columns_by_id(tmp_path: Path) -> None:
    items = put(tmp_path / "i.parquet", {"itemId": [9, 5], "price": [1.5, 2.5], "parts": [["a"], None]})
    cover = matrix(tmp_path, [[1, 2], [3, 4], [5, 6]], [7, 9, 100])
    taste = matrix(tmp_path, [[0.5], [1.5]], [2, 1], "userId", "taste")
    report = run(tmp_path, items=items, item_vectors=[cover], user_vectors=[taste])
    assert features(tmp_path).to_pydict() == {
        "movieId": [5, 7, 9, 100],
        "price": [2.5, None, 1.5, None],
        "parts": [None, None, ["a"], None],
        "cover": [None, [1, 2], [3, 4], [5, 6]],
    }
    assert features(tmp_path, "user").to_pydict() == {"userId": [1, 2], "taste": [[1.5], [0.5]]}
    np.save(cover.matrix, np.zeros((3, 2)))
    assert run(tmp_path, items=items, item_vectors=[cover], user_vectors=[taste]).fingerprint != report.fingerprint


def test_matrices_of_movielens(tmp_path: Path) -> None:
    for name, content in CSV.items():
        (tmp_path / "ml").mkdir(exist_ok=True)
        (tmp_path / "ml" / name).write_bytes(content)
    source = matrix(tmp_path, [[1.0], [2.0]], [3, 1])
    preprocess(tmp_path / "ml", tmp_path / "out", item_vectors=[source], max_reject_share=0.5, options=QUIET)
    assert features(tmp_path).to_pydict() == {"movieId": [1, 3], "cover": [[2], [1]]}


@pytest.mark.parametrize(
    ("rows", "ids", "message"),
    [
        ([[1.0], [2.0]], [5], r"has 2 rows and .*ids.csv 1 ids; row r must belong to id r"),
        ([[1.0], [np.nan]], [5, 7], r"1 rows with NaN or infinite numbers, the first is row 1 \(from 0\)"),
        ([[1e300], [1.0]], [5, 7], r"the first is row 0"),
        ([[1.0], [2.0]], [5, 5], r"names movieId 5 twice"),
        ([[1.0], [2.0]], [5, -7], r"row 3: itemId is negative"),
        ([1.0, 2.0], [5, 7], r"must hold numbers of shape \(rows, dimensions\), got float64 \(2,\)"),
        ([["a"], ["b"]], [5, 7], r"must hold numbers"),
        (np.array([[{}], [None]]), [5, 7], r"cannot be read as a .npy matrix of numbers: .*Python objects"),
    ],
)
def test_bad_matrices(tmp_path: Path, rows: Any, ids: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(tmp_path, item_vectors=[matrix(tmp_path, rows, ids)])
    assert not (tmp_path / "out").exists()


def test_files_of_vectors_that_are_none(tmp_path: Path) -> None:
    source = matrix(tmp_path, [[1.0]], [5])
    with pytest.raises(DataError, match=r"no such file: .*no\.npy"):
        run(tmp_path, item_vectors=[VectorSource("cover", tmp_path / "no.npy", source.ids)])
    source.matrix.write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot be read as a \.npy"):
        run(tmp_path, item_vectors=[source])
    np.savez(tmp_path / "many.npz", a=np.zeros((1, 1)))
    with pytest.raises(DataError, match="several arrays"):
        run(tmp_path, item_vectors=[VectorSource("cover", tmp_path / "many.npz", source.ids)])
    for text in ("cover", "cover=a.npy", "=a.npy:b.csv"):
        with pytest.raises(ConfigError, match=r"vectors are given as NAME=MATRIX.npy:IDS.csv"):
            VectorSource.parse(text)


def test_names_of_vectors(tmp_path: Path) -> None:
    items = put(tmp_path / "i.csv", {"itemId": [5], "cover": [1]})
    with pytest.raises(ConfigError, match="'cover': another column has this name"):
        run(tmp_path, items=items, item_vectors=[matrix(tmp_path, [[1.0]], [5])])
    for name, message in (("title", "another column has this name"), ("a.b", "use letters, digits")):
        with pytest.raises(ConfigError, match=message):
            run(tmp_path, item_vectors=[matrix(tmp_path, [[1.0]], [5], name=name)])
