"""Invalid rows: exact lines and reasons; and failed runs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from dataprep import tables
from dataprep.readers.columns import CSV as CSV_DIALECT
from dataprep.readers.columns import ColumnSpec, Kind, Scale
from dataprep.readers.delimited import read_delimited
from reccore.errors import ConfigError, DataError
from tests.dataprep.miniatures import ATOMIC, CSV, ML_1M, ML_100K, rows, run

BAD_CSV_ROWS = {
    "1,5,4.0": "wrong number of fields",
    "1,5,4.0,100,7": "wrong number of fields",
    "one,5,4.0,100": "userId is not a whole number",
    "1,5.5,4.0,100": "movieId is not a whole number",
    "1,,4.0,100": "movieId is empty",
    "1,5,four,100": "rating is not a number",
    "1,5,nan,100": "rating is not a number",
    "1,5,inf,100": "rating is not a number",
    "1,5,,100": "rating is empty",
    "1,5,5.5,100": "rating is outside the scale",
    "1,5,0.0,100": "rating is outside the scale",
    "1,5,3.7,100": "rating is outside the scale",
    "1,5,4.0,-1": "timestamp is negative",
    "1,5,4.0,soon": "timestamp is not a whole number",
    "-1,5,4.0,100": "userId is negative",
    "9223372036854775808,5,4.0,100": "userId is outside 64 bits",
    "1,123456789012345678901234567890,4.0,100": "movieId is outside 64 bits",
    "2,1,3.0,900": "repeated (userId, movieId)",
    '1,"5,4.0,100': "wrong number of fields",
}


def _with_bad_row(row: str, at: int) -> bytes:
    good = ["userId,movieId,rating,timestamp"] + [f"{u},{m},3.5,{100 * u + m}" for u in (1, 2) for m in (1, 2, 3)]
    good.insert(at - 1, row)  # becomes line `at`; the header is line 1
    return ("\r\n".join(good) + "\r\n").encode()


@pytest.mark.parametrize(("row", "reason"), BAD_CSV_ROWS.items())
@pytest.mark.parametrize("line", [6, 8])
def test_each_bad_row_has_its_line_and_reason(tmp_path, row, reason, line):
    out, report = run(tmp_path, {**CSV, "ratings.csv": _with_bad_row(row, line)}, share=0.2)
    assert rows(out / "rejects.parquet") == [("ratings.csv", line, reason, row)]
    assert report.rejects == {"ratings.csv": {reason: 1}}
    assert report.rows["ratings"] == 6
    assert sorted(r[:2] for r in rows(out / "ratings.parquet")) == [(u, m) for u in (1, 2) for m in (1, 2, 3)]


@pytest.mark.parametrize(
    ("files", "name", "line", "reason"),
    [
        (ML_100K, "u.data", b"1\t9\t3.5\t100", "rating is outside the scale"),
        (ML_100K, "u.data", b"1 9 3 100", "wrong number of fields"),
        (ML_100K, "u.user", b"3|old|M|writer|1", "age is not a whole number"),
        (ML_1M, "ratings.dat", b"1::9::0.5::100", "rating is outside the scale"),
        (ML_1M, "ratings.dat", b"1::9::5:100", "wrong number of fields"),
        (ML_1M, "users.dat", b"3::M::25::21::1", "occupation is not a code of ml-1m"),
        (ML_1M, "users.dat", b"2::M::25::2::1", "repeated userId"),
        (ML_1M, "movies.dat", b"20::Again (1996)::Drama", "repeated movieId"),
        (ATOMIC, "ml-100k.inter", b"1\t9\t3\t-5", "timestamp is negative"),
        (CSV, "movies.csv", b"9,Unquoted, The (1990),Drama", "wrong number of fields"),
        (CSV, "movies.csv", b"9,Caf\xe9 (1990),Drama", "not valid UTF-8"),
        (CSV, "tags.csv", b"1,1,x,never", "timestamp is not a whole number"),
        (CSV, "links.csv", b"9,tt0114709,1", "imdbId is not a whole number"),
    ],
)
def test_bad_rows_in_every_layout(tmp_path, files, name, line, reason):
    expected = files[name].count(b"\n") + 1
    out, _ = run(tmp_path, {**files, name: files[name] + line + b"\n"}, share=0.5)
    file, at, why, content = rows(out / "rejects.parquet")[0]
    assert (file, at, why, content) == (name, expected, reason, line.decode("latin-1"))


def test_the_fast_and_the_slow_path_agree(tmp_path):
    """One block with an invalid row and one block per row give the same rows, lines and reasons."""
    rng = np.random.default_rng(1)
    lines = [f"{rng.integers(1, 99)},{rng.integers(1, 99)},{rng.integers(1, 11) / 2},{i}" for i in range(200)]
    for at, row in zip(rng.choice(200, len(BAD_CSV_ROWS), replace=False), BAD_CSV_ROWS, strict=True):
        lines[at] = row
    path = tmp_path / "ratings.csv"
    path.write_text("userId,movieId,rating,timestamp\n" + "\n".join(lines))
    kinds = zip(("userId", "movieId", "rating", "timestamp"), (Kind.ID, Kind.ID, Kind.RATING, Kind.TIME), strict=True)
    specs = [ColumnSpec(name, kind) for name, kind in kinds]
    whole, single = (
        read_delimited(path, CSV_DIALECT, specs, scale=Scale.HALF_STARS, block_bytes=size) for size in (1 << 20, 1)
    )
    assert whole.table.combine_chunks().equals(single.table.combine_chunks())
    assert whole.lines.tolist() == single.lines.tolist()
    assert dict(zip(*map(list, whole.rejects.in_order()), strict=True)) == dict(
        zip(*map(list, single.rejects.in_order()), strict=True)
    )
    assert len(whole.rejects) == len(BAD_CSV_ROWS) - 1  # a repeated row is only found across rows


def test_the_later_of_two_repeated_rows_is_rejected(tmp_path):
    text = b"userId,movieId,rating,timestamp\n2,1,4.0,9\n1,1,1.0,5\n2,1,2.0,1\n2,3,3.0,2\n"
    out, _ = run(tmp_path, {**CSV, "ratings.csv": text}, share=0.5)
    assert rows(out / "ratings.parquet") == [(1, 1, 1.0, 5), (2, 3, 3.0, 2), (2, 1, 4.0, 9)]
    assert rows(out / "rejects.parquet") == [("ratings.csv", 4, "repeated (userId, movieId)", "2,1,2.0,1")]


def test_too_many_bad_rows_raise_with_counts_and_examples(tmp_path):
    with pytest.raises(DataError) as caught:
        run(tmp_path, {**CSV, "ratings.csv": _with_bad_row("1,5,9,100", 3)})
    message = str(caught.value)
    for part in ("1 of 7", "14.3%", "1 × rating is outside the scale", "line 3", "'1,5,9,100'", "--max_reject_share"):
        assert part in message
    assert not (tmp_path / "processed").exists()


def test_the_limit_is_a_share_of_rows(tmp_path):
    lines = [b"userId,movieId,rating,timestamp"] + [b"%d,1,3.0,5" % user for user in range(1, 100)]
    exactly = b"\n".join([*lines, b"7,2,9,5\n"])
    assert run(tmp_path / "a", {**CSV, "ratings.csv": exactly})[1].n_rejected == 1
    with pytest.raises(DataError, match=r"2 of 101 .*; to continue without them, give --max_reject_share 0\.02$"):
        run(tmp_path / "b", {**CSV, "ratings.csv": exactly + b"7,3,9,5\n"})
    assert run(tmp_path / "c", {**CSV, "ratings.csv": exactly + b"7,3,9,5\n"}, share=0.02)[1].n_rejected == 2


def test_where_most_rows_are_invalid_dropping_them_is_not_advised(tmp_path):
    ratings = b"userId,movieId,rating,timestamp\n1,1,9,5\n1,2,9,5\n1,3,3,5\n"
    with pytest.raises(DataError, match=r"2 of 3 rows .*; most rows are invalid, so look at the separator") as raised:
        run(tmp_path, {**CSV, "ratings.csv": ratings})
    assert "max_reject_share" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ratings.csv", b"", "ratings.csv is empty"),
        ("ratings.csv", b"userId,movieId,rating,timestamp\n", "ratings.csv is empty: no rows after the header"),
        (
            "ratings.csv",
            b"userId,rating,timestamp\n1,2,3\n",
            "no column movieId; its columns are userId, rating, times",
        ),
        ("ratings.csv", b"userId,userId,movieId,rating,timestamp\n1,1,2,3,4\n", "column userId twice"),
        ("movies.csv", b"", "movies.csv is empty"),
        ("movies.csv", b"movieId,name\n1,x\n", "movies.csv has no column title, genres"),
    ],
)
def test_empty_files_and_missing_columns(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        run(tmp_path, {**CSV, name: content})


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_out_of_range(tmp_path, share):
    with pytest.raises(ConfigError, match="max_reject_share"):
        run(tmp_path, CSV, share=share)


def test_a_file_without_valid_rows_is_an_error_at_any_share(tmp_path):
    with pytest.raises(DataError, match="no rows are left"):
        run(tmp_path, {**CSV, "ratings.csv": b"userId,movieId,rating,timestamp\n1,1,9,1\n"}, share=1.0)


def test_a_failed_run_does_not_change_the_tables(tmp_path, monkeypatch):
    out, _ = run(tmp_path, CSV)
    (out / "two_tower").mkdir()
    (out / "two_tower" / "kept").write_text("x")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def break_down(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables.pq, "ParquetWriter", break_down)
    with pytest.raises(DataError, match="No space left"):
        run(tmp_path, ML_1M | CSV)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_second_data_set_replaces_every_table(tmp_path):
    out, first = run(tmp_path, CSV)
    (out / "two_tower").mkdir()
    shutil.rmtree(tmp_path / "raw")
    _, second = run(tmp_path, ML_1M)
    expected = {"ratings.parquet", "movies.parquet", "users.parquet", "rejects.parquet", "processed.json", "two_tower"}
    assert {path.name for path in out.iterdir()} == expected
    assert json.loads((out / "processed.json").read_text())["fingerprint"] == second.fingerprint != first.fingerprint


def test_the_fingerprint_changes_with_the_content(tmp_path):
    first = run(tmp_path / "a", CSV)[1].fingerprint
    assert run(tmp_path / "b", CSV)[1].fingerprint == first
    changed = CSV["ratings.csv"].replace(b"4.0", b"4.5")
    assert run(tmp_path / "c", {**CSV, "ratings.csv": changed})[1].fingerprint != first


def test_a_replacement_character_in_the_source_is_valid(tmp_path):
    text = "movieId,title,genres\n1,\ufffd (1990),Drama\n3,x\n".encode()
    out, report = run(tmp_path, {**CSV, "movies.csv": text}, share=0.5)
    assert report.rejects == {"movies.csv": {"wrong number of fields": 1}}
    assert rows(out / "movies.parquet")[0][1] == "\ufffd"


def test_a_stray_quote_does_not_swallow_the_next_line(tmp_path):
    text = CSV["movies.csv"] + b'5,"Odd, one\r\n6,"two, or more",Drama\r\n'
    out, _ = run(tmp_path, {**CSV, "movies.csv": text}, share=0.5)
    assert rows(out / "rejects.parquet") == [("movies.csv", 5, "wrong number of fields", '5,"Odd, one')]
    assert rows(out / "movies.parquet")[-1] == (6, "two, or more", None, ["Drama"])


def test_blank_lines_are_ignored_but_counted_as_lines(tmp_path):
    text = CSV["ratings.csv"].replace(b"\r\n1,3", b"\r\n\r\n1,3") + b"2,1,3.0,7\r\n"
    out, _ = run(tmp_path, {**CSV, "ratings.csv": text}, share=0.5)
    assert rows(out / "rejects.parquet") == [("ratings.csv", 6, "repeated (userId, movieId)", "2,1,3.0,7")]
