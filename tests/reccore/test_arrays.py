"""Plain array arithmetic."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reccore.arrays import are_among, sorted_distinct


@given(st.lists(st.integers(-(2**62), 2**62), max_size=30))
def test_distinct_values_ascend(values: list[int]) -> None:
    given_values = np.array(values, dtype=np.int64)
    assert sorted_distinct(given_values).tolist() == sorted(set(values))
    assert given_values.tolist() == values


@given(st.lists(st.integers(-9, 9), max_size=12), st.lists(st.integers(-9, 9), max_size=12))
def test_membership_is_that_of_sets(values: list[int], of: list[int]) -> None:
    distinct = sorted_distinct(np.array(of, dtype=np.int64))
    assert are_among(np.array(values, dtype=np.int64), distinct).tolist() == [value in of for value in values]
