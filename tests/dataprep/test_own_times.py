"""Times of own events: units, dates, text; order below the second; and ties."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprep.events import read_event_file
from dataprep.prepare import load_for_training
from dataprep.preprocess import PreprocessReport, preprocess_own
from dataprep.readers.own import EventFile
from reccore import DataError, Workspace
from tests.dataprep.miniatures import QUIET, rows

SECOND = 1_600_000_000
SUFFIXES = pytest.mark.parametrize("suffix", ["csv", "parquet"])


def put(folder: Path, suffix: str, times: Any, **columns: Any) -> Path:
    n = len(times)
    columns = {"userId": [1] * n, "itemId": list(range(n)), **columns, "timestamp": times}
    path = folder / f"e.{suffix}"
    if suffix == "csv":
        pd.DataFrame(columns).to_csv(path, index=False)
    else:
        pq.write_table(pa.table(columns), path)
    return path


def read(folder: Path, path: Path, unit: Any = None, share: float = 0.01) -> tuple[list[tuple], PreprocessReport]:
    out = folder / "out"
    report = preprocess_own(EventFile(path, time_unit=unit), None, None, out, max_reject_share=share, options=QUIET)
    return [row[1:] for row in rows(out / "ratings.parquet")], report


@SUFFIXES
@pytest.mark.parametrize(("unit", "factor"), [("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_units_are_detected_with_a_notice(tmp_path: Path, log: list[str], suffix: str, unit: str, factor: int) -> None:
    times = [(SECOND + 1) * factor + 7, SECOND * factor]
    assert read(tmp_path, put(tmp_path, suffix, times))[0] == [(1, SECOND), (0, SECOND + 1)]
    (line,) = log
    assert f"are read as {unit}; if that is wrong, give --time_unit" in line


@SUFFIXES
def test_a_given_unit_is_not_questioned(tmp_path: Path, log: list[str], suffix: str) -> None:
    path = put(tmp_path, suffix, [2000, 1500, 500])
    assert read(tmp_path, path, "ms")[0] == [(2, 0), (1, 1), (0, 2)]
    assert read(tmp_path, path, "s")[0] == [(2, 500), (1, 1500), (0, 2000)]
    assert log == []


@SUFFIXES
def test_one_absurd_time_does_not_decide_the_unit(tmp_path: Path, suffix: str) -> None:
    path = put(tmp_path, suffix, [SECOND, SECOND * 1000, SECOND + 1])
    found, report = read(tmp_path, path, share=0.5)
    assert found == [(0, SECOND), (2, SECOND + 1)]
    assert report.rejects == {path.name: {"timestamp is after the year 5138, read in s": 1}}


def test_milliseconds_given_as_seconds_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "csv", [SECOND * 1000, SECOND * 1000 + 5])
    with pytest.raises(DataError, match="timestamp is after the year 5138, read in s"):
        read(tmp_path, path, "s")


@pytest.mark.parametrize(
    "times",
    [
        [SECOND * 1000 + 30, SECOND * 1000 + 20, SECOND * 1000 + 10],
        [SECOND + 0.3, SECOND + 0.2, SECOND + 0.1],
        [f"2020-09-13 12:26:40.{part}" for part in ("3", "25", "1")],
        pa.array([dt.datetime(2020, 9, 13, 12, 26, 40, part) for part in (3, 2, 1)], pa.timestamp("us")),
    ],
)
@SUFFIXES
def test_order_below_the_second(tmp_path: Path, log: list[str], times: Any, suffix: str) -> None:
    path = put(tmp_path, suffix, times)
    assert read(tmp_path, path)[0] == [(2, SECOND), (1, SECOND), (0, SECOND)]
    prepared = load_for_training(Workspace(tmp_path / "root"), EventFile(path), "none")
    assert prepared.split.interactions.item_idx.tolist() == [2, 1, 0]
    assert not any("same user and time" in line for line in log)  # they only seem tied


@SUFFIXES
def test_fractions_come_before_positions(tmp_path: Path, suffix: str) -> None:
    path = put(tmp_path, suffix, [SECOND * 1000 + 2, SECOND * 1000 + 1, SECOND * 1000 + 1], position=[0, 2, 1])
    assert [item for item, _ in read(tmp_path, path)[0]] == [2, 1, 0]


@SUFFIXES
def test_iso_text(tmp_path: Path, suffix: str) -> None:
    times = ["2020-09-13T12:26:41Z", "2020-09-13 12:26:40", "2020-09-13T14:26:42+02:00"]
    path = put(tmp_path, suffix, times)
    assert read(tmp_path, path)[0] == [(1, SECOND), (0, SECOND + 1), (2, SECOND + 2)]
    table = read_event_file(EventFile(path))
    assert table["timestamp"].to_pylist() == [SECOND + 1, SECOND, SECOND + 2]


def test_numbers_in_text(tmp_path: Path) -> None:
    path = put(tmp_path, "parquet", [str(SECOND + 1), str(SECOND)])
    assert read(tmp_path, path)[0] == [(1, SECOND), (0, SECOND + 1)]


@SUFFIXES
def test_bad_times_are_rejected(tmp_path: Path, suffix: str) -> None:
    path = put(tmp_path, suffix, ["2020-09-13", "13.9.2020", "soon"])
    reason = "timestamp is neither a number nor an ISO 8601 time"
    assert read(tmp_path, path, share=0.9)[1].rejects == {path.name: {reason: 2}}
    path = put(tmp_path, suffix, [1.5, -2.5, None])
    reasons = {"timestamp is empty": 1, "timestamp is negative": 1}
    assert read(tmp_path, path, share=0.9)[1].rejects == {path.name: reasons}


def test_a_unit_without_times(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("user,item\n1,2\n")
    with pytest.raises(DataError, match="no column for the time, so --time_unit ms means nothing"):
        read(tmp_path, path, "ms")


TIED = {"userId": [1] * 5 + [2] * 5, "timestamp": [7, 7, 7, 8, 9, 1, 2, 3, 4, 5]}  # 3 of 10 events


@pytest.mark.parametrize(("items", "leak"), [([10, 20, 30], True), ([10, 30, 20], False)])
def test_both_ways_in_warn_of_ties(tmp_path: Path, log: list[str], items: list[int], leak: bool) -> None:
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table({**TIED, "itemId": [*items, 5, 4, 9, 8, 7, 6, 5]}), path)
    read(tmp_path, path)
    (of_preprocessing,) = log
    log.clear()
    load_for_training(Workspace(tmp_path / "root"), EventFile(path), None)
    assert log == [of_preprocessing]
    assert "e.parquet: 30% of the events have the same user and time" in of_preprocessing
    assert ("sorted by movieId" in of_preprocessing) == leak
    log.clear()
    pq.write_table(pa.table({**TIED, "itemId": list(range(10)), "position": list(range(10))}), path)
    read(tmp_path, path)
    assert log == []
