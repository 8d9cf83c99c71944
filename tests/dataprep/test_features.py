"""User features of prefixes and of whole histories agree; hand-computed statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.features import QueryFeatures, item_statistics, prefix_features, query_features
from reccore import Interactions, ItemTable, QueryBatch
from reccore.arrays import offsets_from_lengths


def table(genres: list[list[int]], n_genres: int) -> ItemTable:
    return ItemTable(
        n_items=len(genres),
        genre_names=tuple(f"G{g}" for g in range(n_genres)),
        genre_offsets=offsets_from_lengths(np.array([len(row) for row in genres], dtype=np.int64)),
        genre_idx=np.array([g for row in genres for g in row], dtype=np.int64),
    )


@st.composite
def data(draw: st.DrawFn) -> tuple[Interactions, ItemTable]:
    n_items, n_genres = draw(st.integers(1, 6)), draw(st.integers(0, 5))
    genre = st.integers(0, max(n_genres - 1, 0))
    rows = st.lists(genre, unique=True, max_size=n_genres)
    items = table(draw(st.lists(rows, min_size=n_items, max_size=n_items)), n_genres)
    users = draw(st.lists(st.lists(st.integers(0, n_items - 1), max_size=12), min_size=1, max_size=4))
    idx = np.array([i for user in users for i in user], dtype=np.int64)
    rating = None
    if draw(st.booleans()):
        steps = draw(st.lists(st.integers(1, 10), min_size=len(idx), max_size=len(idx)))
        rating = np.array(steps, dtype=np.float32) / np.float32(2)
        rating[draw(st.lists(st.booleans(), min_size=len(idx), max_size=len(idx)))] = np.nan
    offsets = offsets_from_lengths(np.array([len(user) for user in users], dtype=np.int64))
    return Interactions(offsets, idx, n_items, rating), items


@settings(max_examples=150, deadline=None)
@given(data())
def test_features_before_each_event_are_the_features_of_that_prefix(given_data: tuple[Interactions, ItemTable]) -> None:
    events, items = given_data
    before = prefix_features(events, items)
    users = events.user_idx
    stops = np.arange(events.n_events) - events.user_offsets[:-1][users]
    expected = query_features(events.queries(users, stops), items)
    np.testing.assert_array_equal(before.top_genres, expected.top_genres)
    np.testing.assert_array_equal(before.activity, expected.activity)
    if events.rating is None:
        assert before.mean_rating is None
        assert np.isnan(expected.mean_rating).all()
    else:
        np.testing.assert_array_equal(before.mean_rating, expected.mean_rating)  # halves add up exactly


def features_of(history: list[int], items: ItemTable) -> QueryFeatures:
    return query_features(QueryBatch.from_histories([history]), items)


def test_top_genres_by_hand() -> None:
    items = table([[0, 1], [1], [3, 2], [], [4]], 5)
    cases = {
        (): [-1, -1, -1],
        (3, 3): [-1, -1, -1],  # films without genres
        (1,): [1, -1, -1],
        (0,): [0, 1, -1],  # equal: the lower number first
        (2, 4): [2, 3, 4],
        (2, 1, 1): [1, 2, 3],
        (4, 4, 2, 2, 0, 1, 1): [1, 2, 3],  # 1: three times; 2, 3 and 4: twice
    }
    for history, expected in cases.items():
        assert features_of(list(history), items).top_genres.tolist() == [expected], history


def test_genre_shares_by_hand() -> None:
    items = table([[0, 1], [1], []], 3)
    np.testing.assert_allclose(features_of([0, 1, 1, 2], items).genre_share, [[0.25, 0.75, 0.0]])
    np.testing.assert_array_equal(features_of([2], items).genre_share, [[0.0, 0.0, 0.0]])
    rated = Interactions(np.array([0, 4]), np.array([0, 1, 1, 2]), 3, np.array([5, 4, 3, 2], dtype=np.float32))
    np.testing.assert_allclose(query_features(rated.queries(), items).genre_share, [[0.25, 0.75, 0.0]])


def test_without_genres_and_ratings() -> None:
    found = features_of([0, 1], ItemTable(n_items=2))
    assert found.top_genres.tolist() == [[-1, -1, -1]]
    assert found.genre_share.shape == (1, 0)
    assert np.isnan(found.mean_rating).all()
    assert found.activity.tolist() == [2]


def test_mean_rating_by_hand() -> None:
    events = Interactions(
        np.array([0, 3, 3, 5]), np.array([0, 1, 0, 1, 1]), 2, np.array([1, 2, 6, 5, 4], dtype=np.float32)
    )
    items = ItemTable(n_items=2)
    np.testing.assert_array_equal(query_features(events.queries(), items).mean_rating, [3.0, np.nan, 4.5])
    np.testing.assert_array_equal(prefix_features(events, items).mean_rating, [np.nan, 1.0, 1.5, np.nan, 5.0])


def test_an_unrated_event_changes_no_other_mean() -> None:
    nan = np.nan
    rating = np.array([1, nan, 6, 5, 4, nan], dtype=np.float32)
    events = Interactions(np.array([0, 3, 5, 6]), np.array([0, 1, 0, 1, 1, 1]), 3, rating)
    items = ItemTable(n_items=3)
    np.testing.assert_array_equal(query_features(events.queries(), items).mean_rating, [3.5, 4.5, nan])
    np.testing.assert_array_equal(prefix_features(events, items).mean_rating, [nan, 1, 1, nan, 5, nan])
    assert query_features(events.queries(), items).activity.tolist() == [3, 2, 1]
    np.testing.assert_array_equal(item_statistics(events)["mean_rating"], [3.5, 4.5, nan])
    assert item_statistics(events)["count"].tolist() == [2, 4, 0]


def test_means_of_rated_data_are_bitwise_those_of_one_cumulative_sum() -> None:
    """The order and the precision of the summation must not change, since published figures depend on them."""
    rng = np.random.default_rng(0)
    offsets = offsets_from_lengths(rng.integers(0, 30, 200))
    rating = rng.normal(3, 1, offsets[-1]).astype(np.float32)
    events = Interactions(offsets, rng.integers(0, 50, offsets[-1]), 50, rating)
    sums = np.concatenate([[0.0], np.cumsum(rating, dtype=np.float64)])
    user, activity = events.user_idx, np.arange(events.n_events) - offsets[:-1][events.user_idx]
    with np.errstate(invalid="ignore"):
        whole = ((sums[offsets[1:]] - sums[offsets[:-1]]) / events.lengths).astype(np.float32)
        before = ((sums[:-1] - sums[offsets[:-1]][user]) / activity).astype(np.float32)
        of_items = np.bincount(events.item_idx, weights=rating, minlength=50) / events.item_counts()
    np.testing.assert_array_equal(query_features(events.queries(), ItemTable(50)).mean_rating, whole)
    np.testing.assert_array_equal(prefix_features(events, ItemTable(50)).mean_rating, before)
    np.testing.assert_array_equal(item_statistics(events)["mean_rating"], of_items.astype(np.float32))


@pytest.mark.parametrize("n_genres", [127, 128, 400])
def test_many_genres_keep_their_numbers(n_genres: int) -> None:
    items = table([[n_genres - 1], [n_genres - 2, 0]], n_genres)
    events = Interactions(np.array([0, 3]), np.array([0, 1, 0]), 2)
    expected = [[-1, -1, -1], [n_genres - 1, -1, -1], [0, n_genres - 2, n_genres - 1]]
    assert prefix_features(events, items).top_genres.tolist() == expected


def test_item_statistics_by_hand() -> None:
    events = Interactions(
        user_offsets=np.array([0, 6, 10]),
        item_idx=np.array([0, 1, 0, 2, 1, 0, 0, 1, 2, 2]),
        n_items=4,
        rating=np.array([5, 4, 3, 2, 1, 4, 4, 1, 3, 4], dtype=np.float32),
        timestamp=np.array([10, 20, 30, 40, 50, 100, 60, 70, 80, 90]),
    )
    found = item_statistics(events)
    assert found["count"].tolist() == [4, 3, 3, 0]
    np.testing.assert_array_equal(found["mean_rating"], np.array([4, 2, 3, np.nan], dtype=np.float32))
    # Item 0 has 5, 3, 4, 4; item 1 has 4, 1, 1; item 2 has 2, 3, 4.
    np.testing.assert_allclose(found["rating_variance"], [0.5, 2.0, 2 / 3, np.nan], rtol=1e-6)
    assert found["recent_count"].tolist() == [1, 0, 0, 0]  # from 91 on, the .9 quantile of 10 … 100
    assert found["previous_count"].tolist() == [0, 0, 1, 0]  # from 82 on, the .8 quantile
    halves = item_statistics(events, recent_share=0.5)  # from 55 on, and before
    assert halves["recent_count"].tolist() == [2, 1, 2, 0]
    assert halves["previous_count"].tolist() == [2, 2, 1, 0]
    assert item_statistics(events, recent_share=0.9)["previous_count"].tolist() == [1, 0, 0, 0]  # nothing is older
    assert item_statistics(events, recent_share=0.4)["recent_count"].tolist() == [1, 1, 2, 0]  # from 64 on


def test_item_statistics_without_ratings_and_times() -> None:
    bare = Interactions(np.array([0, 2]), np.array([1, 1]), 3)
    assert {name: values.tolist() for name, values in item_statistics(bare).items()} == {"count": [0, 2, 0]}
