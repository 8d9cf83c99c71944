"""Plain array arithmetic."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reccore.arrays import sorted_distinct


@given(st.lists(st.integers(-(2**62), 2**62), max_size=30))
def test_distinct_values_ascend(values: list[int]) -> None:
    given_values = np.array(values, dtype=np.int64)
    assert sorted_distinct(given_values).tolist() == sorted(set(values))
    assert given_values.tolist() == values
