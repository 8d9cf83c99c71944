"""Codes of users and histories, by hand."""

from __future__ import annotations

import numpy as np

from recall.neural.user_codes import UserCodes
from reccore import UserTable


def test_user_codes_by_hand() -> None:
    users = UserTable(2, {"gender": np.array([1, -1])}, {"gender": ("F", "M")})
    encoder = UserCodes(np.arange(1, 10, dtype=np.float32), users)
    assert encoder.sizes == (11, 18, 3)
    rating = np.array([np.nan, 0.5, 3.2, 9.5], dtype=np.float32)
    found = encoder.codes(np.array([-1, 0, 1, 7]), np.array([0, 1, 6, 2**40]), rating)
    assert found.tolist() == [[0, 0, 0], [1, 1, 2], [4, 2, 0], [10, 17, 0]]
    unrated = encoder.codes(np.array([0]), np.array([3]), None)
    assert unrated.tolist() == [[0, 2, 2]]
    assert UserCodes(None, UserTable(2)).codes(np.array([0]), np.array([3]), None).tolist() == [[2]]
