"""Interactions in Parquet: columns, order of events and invalid files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loguru import logger

from dataprep.events import read_event_file, read_events, to_interactions, write_events
from dataprep.prepare import prepare_file
from dataprep.protocols import LeaveLastN
from dataprep.readers.own import EventFile
from reccore import DataError, IdMap, Vocabulary, Workspace


def put(folder: Path, **columns: object) -> Path:
    path = folder / "events.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def vocabulary_of(table: pa.Table) -> Vocabulary:
    return Vocabulary(IdMap.of(table["userId"].to_numpy()), IdMap.of(table["movieId"].to_numpy()))


def histories(path: Path) -> dict[int, list[int]]:
    """Raw ids: user → movies, oldest first."""
    table = read_event_file(EventFile(path))
    vocabulary = vocabulary_of(table)
    events = to_interactions(table, vocabulary)
    return {
        int(raw): vocabulary.items.decode(events.history(user)).tolist()
        for user, raw in enumerate(vocabulary.users.ids)
    }


def test_columns_and_types(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        comment=["a", "b"],
        timestamp=pa.array([7.0, 8.0]),
        userId=pa.array([1, 2], pa.int32()),
        itemId=pa.array([5, 6], pa.uint8()),
        rating=pa.array([4, 5], pa.int16()),
    )
    table = read_event_file(EventFile(path))
    types = {"userId": pa.int64(), "movieId": pa.int64(), "rating": pa.float32(), "timestamp": pa.int64()}
    assert {field.name: field.type for field in table.schema} == types
    assert table.to_pylist()[1] == {"userId": 2, "movieId": 6, "rating": 5.0, "timestamp": 8}


def test_order_by_user_and_time(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        userId=[9, 2, 9, 2, 9],
        movieId=[1, 2, 3, 4, 5],
        timestamp=[30, 20, 10, 10, 20],
        rating=[1.0, 2.0, 3.0, 4.0, 5.0],
    )
    assert histories(path) == {2: [4, 2], 9: [3, 5, 1]}
    table = read_event_file(EventFile(path))
    events = to_interactions(table, vocabulary_of(table))
    assert events.rating.tolist() == [4.0, 2.0, 3.0, 5.0, 1.0]
    assert events.timestamp.tolist() == [10, 20, 10, 20, 30]


def test_order_by_position_where_there_are_no_times(tmp_path: Path) -> None:
    path = put(tmp_path, userId=[1, 1, 1, 2], movieId=[10, 11, 12, 13], position=[2, 0, 1, 5])
    assert histories(path) == {1: [11, 12, 10], 2: [13]}
    table = read_event_file(EventFile(path))
    assert to_interactions(table, vocabulary_of(table)).timestamp is None  # a position is not a time


def test_position_orders_events_of_equal_time(tmp_path: Path) -> None:
    columns = {"userId": [1, 1, 1], "movieId": [10, 11, 12], "timestamp": [5, 5, 1]}
    assert histories(put(tmp_path, **columns, position=[1, 0, 9])) == {1: [12, 11, 10]}
    assert histories(put(tmp_path, **columns)) == {1: [12, 10, 11]}  # without position: the order of the file


def test_without_times_events_are_in_file_order(tmp_path: Path) -> None:
    assert histories(put(tmp_path, userId=[2, 1, 2, 1], movieId=[7, 9, 5, 9])) == {1: [9, 9], 2: [7, 5]}


def test_sorted_and_shuffled_rows_give_the_same_events(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 300
    columns = {
        "userId": np.sort(rng.integers(0, 20, n)),
        "movieId": rng.integers(0, 40, n),
        "timestamp": rng.permutation(n),
        "position": rng.permutation(n),
    }
    order = np.lexsort((columns["timestamp"], columns["userId"]))
    in_order = histories(put(tmp_path, **{name: values[order] for name, values in columns.items()}))
    assert histories(put(tmp_path, **columns)) == in_order


def test_write_and_read_round_trip(tmp_path: Path) -> None:
    table = read_events(
        put(tmp_path, userId=[3, 3, 8], movieId=[70, 20, 70], timestamp=[4, 4, 1], rating=[0.5, 5.0, 3.0])
    )
    vocabulary = vocabulary_of(table)
    write_events(tmp_path / "out.parquet", to_interactions(table, vocabulary), vocabulary, protocol="none")
    again = read_events(tmp_path / "out.parquet")
    assert again.to_pylist() == [
        {"userId": 3, "movieId": 70, "rating": 0.5, "timestamp": 4},
        {"userId": 3, "movieId": 20, "rating": 5.0, "timestamp": 4},
        {"userId": 8, "movieId": 70, "rating": 3.0, "timestamp": 1},
    ]
    assert pq.read_schema(tmp_path / "out.parquet").metadata[b"protocol"] == b"none"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"whom": [1], "movieId": [1]}, "no column for the user, such as userId; its columns are whom, movieId"),
        ({"userId": [1], "x": [1]}, "no column for the item"),
        ({"userId": [1], "itemId": [9], "movieId": [5]}, "several columns for the item: itemId, movieId; choose"),
        ({"userId": [1, None], "movieId": [1, 2]}, "row 2: userId is empty"),
        ({"userId": [1, 3], "movieId": ["a", " "]}, "row 2: movieId is empty"),
        ({"userId": [1], "movieId": [1], "rating": pa.nulls(1)}, "row 1: rating is empty"),
        ({"userId": [True], "movieId": [1]}, "column userId of .* has type bool"),
        ({"userId": [1], "movieId": [1.5]}, "row 1: movieId is not a whole number"),
        ({"userId": [1], "movieId": [float("nan")]}, "row 1: movieId is empty"),
        ({"userId": [1], "movieId": pa.array([2**63], pa.uint64())}, "row 1: movieId is outside 64 bits"),
        ({"userId": [-1], "movieId": [1]}, "row 1: userId is negative"),
        ({"userId": [1], "movieId": [1], "timestamp": [-5]}, "row 1: timestamp is negative"),
        ({"userId": [1], "movieId": [1], "rating": [float("nan")]}, "row 1: rating is not a number"),
        ({"userId": [1], "movieId": [1], "rating": [1e300]}, "row 1: rating is not a number"),
        ({"userId": [1], "movieId": [1], "timestamp": [[5]]}, "column timestamp of .* has type list"),
        ({"userId": pa.array([], pa.int64()), "movieId": pa.array([], pa.int64())}, "is empty: no rows"),
    ],
)
def test_what_is_refused(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    path = put(tmp_path, **columns)
    with pytest.raises(DataError, match=message) as raised:
        read_event_file(EventFile(path))
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"userId,movieId\n1,2\n", b"PAR1 and then nothing more PAR1"])
def test_what_is_no_parquet(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a readable Parquet file") as raised:
        read_events(path)
    assert str(path) in str(raised.value)


def test_a_file_cut_short(tmp_path: Path) -> None:
    path = put(tmp_path, userId=list(range(1000)), movieId=list(range(1000)))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_events(path)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.parquet", tmp_path):
        with pytest.raises(DataError, match="no such file"):
            read_events(path)


# Ties ------------------------------------------------------------------------------------------------------


def warnings_of(path: Path, tmp_path: Path) -> list[str]:
    """Warnings logged while the file is prepared."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="WARNING")
    try:
        prepare_file(EventFile(path), Workspace(tmp_path / "root"), LeaveLastN(1))
    finally:
        logger.remove(sink)
    return lines


TIED = {"userId": [1] * 5 + [2] * 5, "timestamp": [7, 7, 7, 8, 9, 1, 2, 3, 4, 5]}  # 3 of 10 events


def test_many_ties_sorted_by_movie_are_reported_as_a_leak(tmp_path: Path) -> None:
    (line,) = warnings_of(put(tmp_path, **TIED, movieId=[10, 20, 30, 5, 4, 9, 8, 7, 6, 5]), tmp_path)
    assert "events.parquet: 30% of the events have the same user and time as another event" in line
    assert "The file is sorted by movieId, which leaks which film is a user's last" in line
    (line,) = warnings_of(put(tmp_path, **TIED, movieId=[10, 30, 20, 5, 4, 9, 8, 7, 6, 5]), tmp_path)
    assert "30% of the events" in line
    assert "movieId" not in line


@pytest.mark.parametrize(
    "changes",
    [
        {"timestamp": [7, 7, 8, 9, 10, 1, 2, 3, 4, 5]},  # 2 of 10 events: below the limit
        {"timestamp": [5, 6, 7, 8, 9, 9, 10, 11, 12, 13]},  # equal times of two users
        {"position": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]},
    ],
)
def test_few_ties_or_a_position_give_no_warning(tmp_path: Path, changes: dict[str, list[int]]) -> None:
    columns = {**TIED, "movieId": [10, 20, 30, 5, 4, 9, 8, 7, 6, 5], **changes}
    assert warnings_of(put(tmp_path, **columns), tmp_path) == []


def test_events_without_times_give_no_warning(tmp_path: Path) -> None:
    columns = {"userId": TIED["userId"], "movieId": list(range(10))}
    assert warnings_of(put(tmp_path, **columns), tmp_path) == []
