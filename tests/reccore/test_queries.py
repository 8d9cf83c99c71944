"""Queries: padding, selection, unknown items."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reccore import QueryBatch
from reccore.arrays import offsets_from_lengths
from reccore.queries import UNKNOWN_TIME
from tests.helpers import rows_of

HISTORIES = st.lists(st.lists(st.integers(-1, 12), max_size=8), max_size=6)


def batch(histories: list[list[int]]) -> QueryBatch:
    """Queries whose ratings and times tell each event's place in the batch."""
    flat = [item for history in histories for item in history]
    n = len(histories)
    return QueryBatch(
        history_offsets=offsets_from_lengths(np.array([len(h) for h in histories], dtype=np.int64)),
        history_idx=np.array(flat, dtype=np.int64),
        user_idx=100 + np.arange(n),
        as_of=1000 + np.arange(n),
        history_rating=np.arange(len(flat), dtype=np.float32),
        history_time=np.arange(len(flat), dtype=np.int64),
    )


def assert_rows(part: QueryBatch, whole: QueryBatch, rows: list[int]) -> None:
    histories, places = rows_of(whole), np.split(np.arange(len(whole.history_idx)), whole.history_offsets[1:-1])
    assert rows_of(part) == [histories[row] for row in rows]
    assert part.user_idx.tolist() == [100 + row for row in rows]
    assert part.as_of.tolist() == [1000 + row for row in rows]
    expected = [int(place) for row in rows for place in places[row]]
    assert part.history_time is not None
    assert part.history_rating is not None
    assert part.history_time.tolist() == expected
    assert part.history_rating.tolist() == expected


@given(histories=HISTORIES, data=st.data())
def test_select_takes_whole_rows(histories: list[list[int]], data: st.DataObject) -> None:
    queries, n = batch(histories), len(histories)
    start, stop = data.draw(st.integers(0, 7)), data.draw(st.integers(0, 7))
    if n:
        rows = data.draw(st.lists(st.integers(0, n - 1), max_size=8))
        assert_rows(queries.select(rows), queries, rows)
        mask = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
        assert_rows(queries.select(np.array(mask)), queries, [row for row in range(n) if mask[row]])
        assert_rows(queries.select(np.array([-1])), queries, [n - 1])
        assert_rows(queries.select(slice(None, None, -2)), queries, list(range(n))[::-2])
        assert_rows(queries.select(slice(start, stop)), queries, list(range(n))[start:stop])
    assert len(queries.select([])) == 0


def test_a_contiguous_slice_shares_memory() -> None:
    queries = batch([[1, 2], [3], [4, 5, 6]])
    assert np.shares_memory(queries.select(slice(1, 3)).history_idx, queries.history_idx)


@given(histories=HISTORIES, length=st.integers(1, 10))
def test_padded_keeps_the_latest_oldest_first(histories: list[list[int]], length: int) -> None:
    queries = batch(histories)
    padded = queries.padded(length)
    assert padded.rating is not None
    assert padded.time is not None
    for row, history in enumerate(histories):
        latest = history[-length:]
        assert padded.item_idx[row].tolist() == latest + [-1] * (length - len(latest))
        assert padded.lengths[row] == len(latest)
        single = queries.select([row]).padded(length)
        np.testing.assert_array_equal(single.item_idx[0], padded.item_idx[row])
        last = int(queries.history_offsets[row + 1])
        times = list(range(last - len(latest), last)) + [0] * (length - len(latest))
        assert padded.time[row].tolist() == times
        assert padded.rating[row].tolist() == times


@given(histories=HISTORIES, n_items=st.integers(0, 12))
def test_known_items_only(histories: list[list[int]], n_items: int) -> None:
    queries = batch(histories)
    known = queries.known_items_only(n_items)
    kept = [(row, item) for row, history in enumerate(histories) for item in history]
    at = [place for place, (_, item) in enumerate(kept) if 0 <= item < n_items]
    assert rows_of(known) == [[item for item in history if 0 <= item < n_items] for history in histories]
    assert known.history_time is not None
    assert known.history_time.tolist() == at
    assert known.user_idx.tolist() == queries.user_idx.tolist()


def test_from_histories() -> None:
    queries = QueryBatch.from_histories([[3, 1], []], user_idx=[5, -1], as_of=[9, -1])
    assert rows_of(queries) == [[3, 1], []]
    assert queries.user_idx.tolist() == [5, -1]
    assert queries.padded(3).mask.tolist() == [[True, True, False], [False] * 3]
    nobody = QueryBatch.from_histories([])
    assert (len(nobody), nobody.padded(4).item_idx.shape) == (0, (0, 4))


def test_shapes_are_checked() -> None:
    two = np.array([0, 1])
    with pytest.raises(ValueError, match=r"user_idx must have shape \(2,\)"):
        QueryBatch(np.array([0, 1, 2]), two, np.array([0]), two)
    with pytest.raises(ValueError, match="history_rating must have the shape of history_idx"):
        QueryBatch(np.array([0, 1, 2]), two, two, two, history_rating=np.ones(3, dtype=np.float32))
    with pytest.raises(ValueError, match="history_offsets must not decrease"):
        QueryBatch(np.array([0, 2, 1, 2]), two, np.zeros(3, np.int64), np.zeros(3, np.int64))


def test_ratings_and_times_from_lists() -> None:
    batch = QueryBatch.from_histories([[4, 2], [], [3]], ratings=[[5, 1], [], [2.5]], times=[[10, 30], [], [20]])
    np.testing.assert_array_equal(batch.history_rating, np.array([5, 1, 2.5], dtype=np.float32))
    np.testing.assert_array_equal(batch.history_time, [10, 30, 20])
    assert batch.as_of.tolist() == [30, UNKNOWN_TIME, 20]  # of the last event
    assert QueryBatch.from_histories([[4]], times=[[10]], as_of=[99]).as_of.tolist() == [99]
    for wrong in ({"ratings": [[1.0]]}, {"times": [[1], [2, 3]]}):
        with pytest.raises(ValueError, match="must have as many values as the histories have events"):
            QueryBatch.from_histories([[4], [5]], **wrong)


@given(HISTORIES, st.integers(1, 10))
def test_latest_positions_are_those_of_the_reversed_histories(histories: list[list[int]], n: int) -> None:
    queries = batch(histories)
    at = queries.latest_positions(n)
    assert at.shape == (len(histories), n)
    for row, history in enumerate(histories):
        kept = min(len(history), n)
        assert np.append(queries.history_idx, -1)[at[row]].tolist() == [*history[::-1][:kept], *[-1] * (n - kept)]
        assert at[row].tolist() == [*range(queries.history_offsets[row + 1])][::-1][:kept] + [-1] * (n - kept)


def test_latest_keeps_the_end_of_every_history() -> None:
    queries = QueryBatch.from_histories(
        [[1, 2, 3], [], [4]], ratings=[[5, 4, 3], [], [2]], times=[[10, 20, 30], [], [40]], user_idx=[7, 8, 9]
    )
    found = queries.latest(2)
    assert rows_of(found) == [[2, 3], [], [4]]
    assert found.history_rating is not None
    assert found.history_time is not None
    assert (found.history_rating.tolist(), found.history_time.tolist()) == ([4, 3, 2], [20, 30, 40])
    assert (found.user_idx.tolist(), found.as_of.tolist()) == ([7, 8, 9], queries.as_of.tolist())
    assert rows_of(queries.latest(5)) == rows_of(queries)
