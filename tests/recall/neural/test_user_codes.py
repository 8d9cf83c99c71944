"""Codes of users and histories, by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from recall.neural.encoders.windows import WindowCodes
from recall.neural.user_codes import UserCodes
from reccore import Interactions, UserTable
from tests.helpers import training_data


def test_user_codes_by_hand() -> None:
    users = UserTable(2, {"gender": np.array([1, -1])}, {"gender": ("F", "M")})
    encoder = UserCodes(np.arange(1, 10, dtype=np.float32), users, longest=1_000_000)
    assert encoder.sizes == (11, 18, 3)
    rating = np.array([np.nan, 0.5, 3.2, 9.5], dtype=np.float32)
    found = encoder.codes(np.array([-1, 0, 1, 7]), np.array([0, 1, 6, 2**40]), rating)
    assert found.tolist() == [[0, 0, 0], [1, 1, 2], [4, 2, 0], [10, 17, 0]]
    unrated = encoder.codes(np.array([0]), np.array([3]), None)
    assert unrated.tolist() == [[0, 2, 2]]
    assert UserCodes(None, UserTable(2), longest=9).codes(np.array([0]), np.array([3]), None).tolist() == [[2]]


def test_histories_longer_than_any_before_a_training_event_have_its_code() -> None:
    codes = UserCodes.fit(training_data(rated_events(4, 3, 4, 3)), query_time=False)
    assert codes.longest == 3
    activity = np.arange(9)
    found = codes.codes(np.zeros(9, dtype=np.int64), activity, None)[:, 1]
    assert found.tolist() == [0, 1, 1, 2, 2, 2, 2, 2, 2]  # 7 and 8 events would be code 3, which nothing has taught
    stored = UserCodes.from_arrays(codes.to_arrays(), codes.users)
    assert stored.longest == 3


def rated_events(*ratings: float) -> Interactions:
    n = len(ratings)
    return Interactions(
        user_offsets=np.array([0, n]),
        item_idx=np.arange(n),
        n_items=n,
        rating=np.array(ratings, dtype=np.float32),
        timestamp=np.concatenate([[100, 100, 107, 1107], 2000 + np.arange(n)])[:n],
    )


def fitted(*ratings: float) -> UserCodes:
    return UserCodes.fit(training_data(rated_events(*ratings)), query_time=False)


def event_codes(codes: UserCodes, *ratings: float) -> list[int]:
    """What a sequence encoder reads of a history with these ratings."""
    found, _ = WindowCodes(codes).of_events(np.array(ratings, dtype=np.float32), None, np.array([0, len(ratings)]))
    return found.tolist()


@pytest.mark.parametrize("ratings", [range(1, 6), np.arange(1, 11) / 2, (0, 0.5, 5, np.nan), (np.nan, np.nan), (3,)])
def test_half_stars_have_the_codes_of_their_halves(ratings: Sequence[float]) -> None:
    codes = fitted(*ratings)
    assert "event_boundaries" not in codes.to_arrays()
    assert codes.n_event_ratings == 12
    stars = np.arange(11, dtype=np.float32) / 2
    np.testing.assert_array_equal(codes.event_ratings(stars), np.round(stars * 2) + 1)
    assert codes.event_ratings(np.array([np.nan, 99, -9], dtype=np.float32)).tolist() == [0, 11, 1]


@pytest.mark.parametrize(
    "scale",
    [range(1, 11), np.arange(1, 21) / 2, range(-5, 6), (-1, 1), (0, 100), np.arange(0, 3, 0.1), (-4.5, 1e6, 1e9)],
)
def test_ratings_of_any_scale_have_a_code_each(scale: Sequence[float]) -> None:
    codes = fitted(*scale, *scale)
    n = len(scale)
    assert event_codes(codes, *scale) == list(range(1, n + 1))
    assert codes.n_event_ratings == n + 1
    assert event_codes(codes, scale[0] - 1e10, scale[-1] + 1e10) == [1, n]


def test_missing_ratings_of_a_wide_scale_have_the_code_of_the_typical_one() -> None:
    codes = fitted(*range(1, 11), np.nan, 9, 9, 9, 9)  # the mean is 6.5, between two that occur
    assert codes.typical_rating in (6, 7)
    assert event_codes(codes, np.nan, 10, 1) == [int(codes.typical_rating), 10, 1]
    unrated, _ = WindowCodes(codes).of_events(None, None, np.array([0, 2]))
    assert unrated.tolist() == [int(codes.typical_rating)] * 2
    assert codes.event_ratings(np.array([np.nan], dtype=np.float32)).tolist() == [0]


def test_many_distinct_ratings_have_buckets_of_equal_size() -> None:
    ratings = np.random.default_rng(0).permutation(np.arange(-310, 310) / 7)
    codes = fitted(*ratings)
    found = np.array(event_codes(codes, *ratings))
    assert np.bincount(found).tolist() == [0, *[20] * 31]
    assert (np.diff(found[np.argsort(ratings)]) >= 0).all()
    assert codes.n_event_ratings == 32
    stored = UserCodes.from_arrays(codes.to_arrays(), codes.users)
    assert event_codes(stored, *ratings) == found.tolist()


@pytest.mark.parametrize(
    ("ratings", "typical"),
    [((4, 3, 4, 3), 3), ((4, 4, 3, 5), 4), ((1, 5, 5, np.nan), 5), ((3.5, 4, 3, 3.5), 3.5), ((np.nan,) * 4, np.nan)],
)
def test_the_typical_rating_occurs_among_the_events(ratings: tuple[float, ...], typical: float) -> None:
    """The mean of whole stars may be 3.5, and no event has taught the model what that is."""
    found = UserCodes.fit(training_data(rated_events(*ratings)), query_time=False)
    np.testing.assert_equal(found.typical_rating, typical)
    codes = WindowCodes(found)
    assert codes.typical_rating in found.event_ratings(np.array(ratings, dtype=np.float32))


def test_the_typical_gap_occurs_among_the_events() -> None:
    found = UserCodes.fit(training_data(rated_events(4, 3, 4, 3)), query_time=False)
    assert found.typical_gap == 7  # of 0, 7 and 1000
    two = UserCodes.fit(training_data(rated_events(4, 3, 4)), query_time=False)
    assert two.typical_gap == 0  # of 0 and 7


def test_unrated_histories_have_the_code_of_the_typical_rating() -> None:
    codes = UserCodes(np.arange(1, 10, dtype=np.float32), UserTable(2), longest=9, typical_rating=4.0)
    users, activity = np.array([0, 0, 0]), np.array([0, 3, 3])
    rating = np.array([np.nan, np.nan, 2.5], dtype=np.float32)
    assert codes.codes(users, activity, rating)[:, 0].tolist() == [0, 5, 3]  # an empty history has none
    assert codes.codes(users, activity, None)[:, 0].tolist() == [0, 5, 5]
