"""Codes of users and histories, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from recall.neural.encoders.windows import WindowCodes, rating_codes
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
        timestamp=np.array([100, 100, 107, 1107][:n]),
    )


@pytest.mark.parametrize(
    ("ratings", "typical"),
    [((4, 3, 4, 3), 3), ((4, 4, 3, 5), 4), ((1, 5, 5, np.nan), 5), ((3.5, 4, 3, 3.5), 3.5), ((np.nan,) * 4, np.nan)],
)
def test_the_typical_rating_occurs_among_the_events(ratings: tuple[float, ...], typical: float) -> None:
    """The mean of whole stars may be 3.5, and no event has taught the model what that is."""
    found = UserCodes.fit(training_data(rated_events(*ratings)), query_time=False)
    np.testing.assert_equal(found.typical_rating, typical)
    codes = WindowCodes(found)
    assert codes.typical_rating in rating_codes(np.array(ratings, dtype=np.float32))


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
