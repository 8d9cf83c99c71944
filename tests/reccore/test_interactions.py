"""Events: order, slices, queries and padded training batches."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reccore import DataError, Interactions
from tests.helpers import rows_of

Event = tuple[int, int, int]  # user, item, time
EVENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 3)), max_size=40)


def build(events: list[Event], *, timed: bool = True, rated: bool = True) -> Interactions:
    """Events of 5 users and 10 items; the rating of an event is its place in the list."""
    columns = np.array(events, dtype=np.int64).reshape(-1, 3)
    return Interactions.from_events(
        columns[:, 0],
        columns[:, 1],
        n_users=5,
        n_items=10,
        rating=np.arange(len(events), dtype=np.float32) if rated else None,
        timestamp=columns[:, 2] if timed else None,
    )


def slow_rows(events: list[Event], *, timed: bool = True) -> list[list[tuple[int, float, int]]]:
    """Each user's (item, place in the file, time), sorted by time; Python's sort keeps ties in order."""
    rows = []
    for user in range(5):
        mine = [(item, float(place), time) for place, (u, item, time) in enumerate(events) if u == user]
        rows.append(sorted(mine, key=lambda event: event[2]) if timed else mine)
    return rows


def as_rows(interactions: Interactions) -> list[list[tuple[int, float, int]]]:
    assert interactions.rating is not None
    assert interactions.timestamp is not None
    events = list(
        zip(
            interactions.item_idx.tolist(),
            interactions.rating.tolist(),
            interactions.timestamp.tolist(),
            strict=True,
        )
    )
    offsets = interactions.user_offsets.tolist()
    return [events[a:b] for a, b in pairwise(offsets)]


@given(events=EVENTS)
def test_sorted_by_user_and_time_with_ties_in_the_order_of_the_file(events: list[Event]) -> None:
    interactions = build(events)
    assert as_rows(interactions) == slow_rows(events)
    assert [interactions.history(u).tolist() for u in range(5)] == [
        [item for item, _, _ in row] for row in slow_rows(events)
    ]
    assert interactions.user_idx.tolist() == sorted(user for user, _, _ in events)
    assert interactions.item_counts().tolist() == [sum(e[1] == item for e in events) for item in range(10)]


@given(events=EVENTS)
def test_without_times_the_order_of_the_file_counts(events: list[Event]) -> None:
    interactions = build(events, timed=False, rated=False)
    rows = slow_rows(events, timed=False)
    assert [interactions.history(u).tolist() for u in range(5)] == [[item for item, _, _ in row] for row in rows]
    assert interactions.rating is None
    assert interactions.timestamp is None


@given(events=EVENTS, start=st.lists(st.integers(-2, 12), min_size=5, max_size=5), data=st.data())
def test_first_latest_between_equal_slices(events: list[Event], start: list[int], data: st.DataObject) -> None:
    stop = data.draw(st.lists(st.integers(-2, 12), min_size=5, max_size=5))
    cap = data.draw(st.integers(0, 12))
    interactions, rows = build(events), slow_rows(events)
    low, high = np.array(start), np.array(stop)
    assert as_rows(interactions.first(high)) == [row[: max(n, 0)] for row, n in zip(rows, stop, strict=True)]
    assert as_rows(interactions.latest(cap)) == [row[max(len(row) - cap, 0) :] for row in rows]
    assert as_rows(interactions.between(low, high)) == [
        row[max(a, 0) : max(b, 0)] for row, a, b in zip(rows, start, stop, strict=True)
    ]


@given(events=EVENTS, data=st.data())
def test_queries_with_stops(events: list[Event], data: st.DataObject) -> None:
    interactions, rows = build(events), slow_rows(events)
    users = data.draw(st.lists(st.integers(0, 4), max_size=6))
    stops = [data.draw(st.integers(0, len(rows[user]))) for user in users]
    queries = interactions.queries(np.array(users, dtype=np.int64), np.array(stops, dtype=np.int64))
    prefixes = [rows[user][:stop] for user, stop in zip(users, stops, strict=True)]
    assert rows_of(queries) == [[item for item, _, _ in prefix] for prefix in prefixes]
    assert queries.user_idx.tolist() == users
    assert queries.as_of.tolist() == [prefix[-1][2] if prefix else -1 for prefix in prefixes]
    assert queries.history_rating is not None
    assert queries.history_rating.tolist() == [place for prefix in prefixes for _, place, _ in prefix]


def test_queries_of_everybody_share_memory() -> None:
    interactions = build([(3, 1, 5), (0, 2, 7), (3, 4, 6)])
    queries = interactions.queries()
    assert rows_of(queries) == [[2], [], [], [1, 4], []]
    assert queries.as_of.tolist() == [7, -1, -1, 6, -1]
    assert np.shares_memory(queries.history_idx, interactions.item_idx)
    assert np.shares_memory(interactions.history(3), interactions.item_idx)


@given(events=EVENTS, length=st.integers(1, 6), data=st.data())
def test_padded_prefixes_equal_a_slow_loop(events: list[Event], length: int, data: st.DataObject) -> None:
    interactions, rows = build(events), slow_rows(events)
    users = data.draw(st.lists(st.integers(0, 4), max_size=6))
    stops = [data.draw(st.integers(0, len(rows[user]))) for user in users]
    padded = interactions.padded_prefixes(np.array(users, dtype=np.int64), np.array(stops, dtype=np.int64), length)
    assert padded.item_idx.shape == (len(users), length)
    assert padded.rating is not None
    assert padded.time is not None
    for at, (user, stop) in enumerate(zip(users, stops, strict=True)):
        wanted = rows[user][max(stop - length, 0) : stop]
        empty = length - len(wanted)
        assert padded.lengths[at] == len(wanted)
        assert padded.item_idx[at].tolist() == [item for item, _, _ in wanted] + [-1] * empty
        assert padded.rating[at].tolist() == [place for _, place, _ in wanted] + [0.0] * empty
        assert padded.time[at].tolist() == [time for _, _, time in wanted] + [0] * empty


@pytest.mark.parametrize("stop", [-1, 3])
def test_a_stop_beyond_the_events_of_its_user_is_refused(stop: int) -> None:
    interactions = build([(0, 1, 0), (1, 2, 0), (1, 3, 1), (2, 4, 0)])
    user, stops = np.array([1]), np.array([stop])
    with pytest.raises(ValueError, match="stops must lie between"):
        interactions.queries(user, stops)
    with pytest.raises(ValueError, match="stops must lie between"):
        interactions.padded_prefixes(user, stops, 2)


def test_to_csr_sums_repeats_and_does_not_change_the_events() -> None:
    interactions = build([(0, 7, 0), (0, 2, 1), (0, 7, 2), (4, 0, 0)])
    assert interactions.rating is not None
    matrix = interactions.to_csr(interactions.rating)
    expected = np.zeros((5, 10), dtype=np.float32)
    expected[0, 7], expected[0, 2], expected[4, 0] = 0 + 2, 1, 3
    np.testing.assert_array_equal(matrix.toarray(), expected)
    assert interactions.to_csr()[0, 7] == 2
    assert interactions.item_idx.tolist() == [7, 2, 7, 0]
    assert interactions.rating.tolist() == [0, 1, 2, 3]


@settings(max_examples=20, deadline=None)
@given(events=EVENTS, timed=st.booleans(), rated=st.booleans())
def test_save_and_map_into_memory(
    events: list[Event], timed: bool, rated: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("events")
    interactions = build(events, timed=timed, rated=rated)
    interactions.save(folder)
    loaded = Interactions.load(folder)
    assert loaded.n_items == 10
    for name in ("user_offsets", "item_idx", "rating", "timestamp"):
        stored, original = getattr(loaded, name), getattr(interactions, name)
        assert (stored is None) == (original is None)
        if original is not None:
            assert stored.dtype == original.dtype
            np.testing.assert_array_equal(stored, original)
    if events:
        assert not loaded.item_idx.flags.writeable  # the file's own pages, not a copy
        assert not loaded.item_idx.flags.owndata


def test_load_names_an_unreadable_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read interactions in"):
        Interactions.load(tmp_path)


def test_indices_and_shapes_are_checked() -> None:
    one = np.array([0])
    with pytest.raises(ValueError, match="user_idx must lie in 0…1"):
        Interactions.from_events(np.array([2]), one, n_users=2, n_items=1)
    with pytest.raises(ValueError, match="user_idx must lie in 0…1"):
        Interactions.from_events(np.array([-1]), one, n_users=2, n_items=1)
    with pytest.raises(ValueError, match="item_idx must lie in 0…0"):
        Interactions.from_events(one, np.array([1]), n_users=2, n_items=1)
    with pytest.raises(ValueError, match="user_offsets must start at 0 and end at 1"):
        Interactions(np.array([0, 2]), one, n_items=1)
    with pytest.raises(ValueError, match="rating must have the shape"):
        Interactions(np.array([0, 1]), one, n_items=1, rating=np.ones(2, dtype=np.float32))
