"""Every layout: miniature files and their expected tables."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprep import schema
from dataprep.readers.layouts import find_layout
from reccore.errors import DataError
from tests.dataprep.miniatures import ATOMIC, CSV, ML_1M, ML_10M, ML_100K, put, rows, run


def test_ml_100k(tmp_path):
    out, report = run(tmp_path, ML_100K)
    assert rows(out / "ratings.parquet") == [(1, 3, 1, 50), (1, 2, 3, 200), (1, 1, 5, 200), (2, 1, 4, 100)]
    assert rows(out / "movies.parquet") == [
        (1, "Café Society", 1995, ["Action", "Comedy"]),
        (2, "", None, []),
        (3, "Land", 1995, ["Drama", "War"]),
    ]
    assert rows(out / "users.parquet") == [
        (1, 24, "18-24", "M", "technician", "85711"),
        (2, 53, "50-55", "F", "other", "E94043"),
    ]
    assert (report.layout, report.tie_order, report.rows["ratings"]) == ("ml-100k", "file", 4)
    assert not (out / "links.parquet").exists()


def test_ml_1m_codes_are_decoded(tmp_path):
    out, report = run(tmp_path, ML_1M)
    assert rows(out / "ratings.parquet")[:2] == [(1, 20, 5, 978300760), (1, 10, 3, 978300760)]
    assert rows(out / "movies.parquet") == [
        (10, "Misérables, Les", 1995, ["Drama", "Musical"]),
        (20, "Mission: Impossible", 1996, ["Action"]),
    ]
    assert rows(out / "users.parquet") == [
        (1, 1, "Under 18", "F", "K-12 student", "48067"),
        (2, 56, "56+", "M", "other or not specified", "70072-1"),
    ]
    assert (report.layout, report.tie_order) == ("ml-1m", "file")


def test_ml_10m(tmp_path):
    out, report = run(tmp_path, ML_10M)
    assert rows(out / "movies.parquet") == [(122, "Misérables, Les", 1995, ["Drama"]), (185, "Net, The", 1995, [])]
    assert rows(out / "tags.parquet") == [(1, 122, "très bon", 1215184630)]
    assert (report.layout, report.tie_order, report.n_users, report.n_items) == ("ml-10m", "hash", 2, 2)


def test_csv(tmp_path):
    out, report = run(tmp_path, CSV)
    assert rows(out / "ratings.parquet") == [(1, 3, 0.5, 100), (1, 1, 4, 300), (2, 1, 5, 100)]
    assert rows(out / "movies.parquet") == [
        (1, "American President, The", 1995, ["Comedy", "Drama", "Romance"]),
        (3, 'He said "no"', 1994, []),
        (4, "Babylon 5", None, ["Sci-Fi"]),
    ]
    assert rows(out / "links.parquet") == [(1, 114709, 862), (3, 113497, None)]
    assert rows(out / "tags.parquet") == [(1, 1, "funny, odd", 1445714994)]
    assert report.tie_order == "hash"


def test_atomic(tmp_path):
    out, report = run(tmp_path, ATOMIC)
    assert rows(out / "ratings.parquet") == [(1, 1412, 3, 881250949), (1, 267, 5, 881250949), (2, 2, 1, 881250949)]
    assert rows(out / "movies.parquet") == [
        (2, "Misérables, Les", 1995, ["Drama", "Musical"]),
        (267, "", None, []),
        (1412, "Land Before Time III: The Time of the Great Giving", 1995, ["Animation", "Children's"]),
    ]
    assert (report.layout, report.tie_order) == ("atomic", "file")


def test_ties_of_atomic_files_sorted_by_id_are_ordered_by_hash(tmp_path):
    header = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    files = {**ATOMIC, "ml-100k.inter": header + b"1\t2\t3\t5\n1\t267\t3\t5\n2\t2\t3\t5\n"}
    assert run(tmp_path, files)[1].tie_order == "hash"


@pytest.mark.parametrize(("files", "names"), [(ML_1M, ("movies.dat", "users.dat")), (ML_100K, ("u.item", "u.user"))])
def test_copies_in_utf_8_read_the_same(tmp_path, files, names):
    converted = {**files, **{name: files[name].decode("latin-1").encode() for name in names}}
    before, after = run(tmp_path / "a", files)[0], run(tmp_path / "b", converted)[0]
    assert rows(before / "movies.parquet") == rows(after / "movies.parquet")


def test_bom_unix_line_ends_and_other_column_order_read_the_same(tmp_path):
    before = run(tmp_path / "a", CSV)[0]
    files = {name: b"\xef\xbb\xbf" + content.replace(b"\r\n", b"\n") for name, content in CSV.items()}
    files["ratings.csv"] = b"timestamp,rating,extra,movieId,userId\n300,4.0,x,1,1\n100,.5,,3,1\n\n100,5,y,1,2"
    after, report = run(tmp_path / "b", files)
    assert report.n_rejected == 0
    for name in ("ratings.parquet", "movies.parquet", "links.parquet", "tags.parquet"):
        assert rows(before / name) == rows(after / name)


def test_schemas_and_metadata(tmp_path):
    out, _ = run(tmp_path, CSV)
    ratings = pq.read_schema(out / "ratings.parquet")
    assert ratings.names == ["userId", "movieId", "rating", "timestamp"]
    assert ratings.types == [pa.int64(), pa.int64(), pa.float32(), pa.int64()]
    assert {k.decode(): v.decode() for k, v in ratings.metadata.items() if k != b"ARROW:schema"} == {
        "dataset": "mini",
        "tie_order": "hash",
        "has_time": "true",
    }
    assert pq.read_schema(out / "movies.parquet").equals(schema.MOVIES_SCHEMA)
    assert pq.read_schema(out / "rejects.parquet").equals(schema.REJECTS_SCHEMA)


def test_rated_movie_without_record_gets_a_row_without_title(tmp_path):
    files = {**CSV, "ratings.csv": CSV["ratings.csv"] + b"2,99,3.0,100\r\n"}
    out, report = run(tmp_path, files)
    assert report.movies_without_record == 1
    assert rows(out / "movies.parquet")[-1] == (99, "", None, [])
    assert report.rows["ratings"] == 4


def test_files_in_a_single_subfolder_are_found(tmp_path):
    put(tmp_path / "ml-x" / "ml-x", CSV)
    layout, folder = find_layout(tmp_path / "ml-x")
    assert (layout.name, folder.name, folder.parent.name) == ("csv", "ml-x", "ml-x")


@pytest.mark.parametrize(
    ("files", "missing"),
    [(ML_100K, "u.user"), (ML_100K, "u.data"), (ML_1M, "ratings.dat"), (CSV, "movies.csv"), (ATOMIC, "ml-100k.item")],
)
def test_a_missing_file_is_named(tmp_path, files, missing):
    left = {name: content for name, content in files.items() if name != missing}
    with pytest.raises(DataError, match=missing):
        run(tmp_path, left)
    assert not (tmp_path / "processed").exists()


def test_an_unknown_layout_error_lists_the_files(tmp_path):
    with pytest.raises(DataError, match=r"no known MovieLens layout.*strange\.txt"):
        run(tmp_path, {"strange.txt": b"x"})


def test_ties_follow_a_reference_splitmix64(tmp_path):
    ids = [1, 2, 5, 9, 14, 230, 77000]
    lines = "".join(f"3,{movie},3.0,100\r\n" for movie in ids)
    files = {**CSV, "ratings.csv": b"userId,movieId,rating,timestamp\r\n" + lines.encode()}
    out, _ = run(tmp_path, files)
    expected = sorted(ids, key=lambda movie: _splitmix64(_splitmix64(3) ^ movie))
    assert expected != ids
    assert [row[1] for row in rows(out / "ratings.parquet")] == expected


def _splitmix64(x: int) -> int:
    """splitmix64 with Python integers; the first value for seed 0 is 0xE220A8397B1DCDAF."""
    mask = 2**64 - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def test_the_reference_is_splitmix64():
    assert _splitmix64(0) == 0xE220A8397B1DCDAF
    assert np.uint64(_splitmix64(0x9E3779B97F4A7C15)) == 0x6E789E6AA1B965F4
