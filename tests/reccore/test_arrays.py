"""Plain array arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reccore.arrays import are_among, sorted_distinct, unit_rows


@given(st.lists(st.integers(-(2**62), 2**62), max_size=30))
def test_distinct_values_ascend(values: list[int]) -> None:
    given_values = np.array(values, dtype=np.int64)
    assert sorted_distinct(given_values).tolist() == sorted(set(values))
    assert given_values.tolist() == values


@given(st.lists(st.integers(-9, 9), max_size=12), st.lists(st.integers(-9, 9), max_size=12))
def test_membership_is_that_of_sets(values: list[int], of: list[int]) -> None:
    distinct = sorted_distinct(np.array(of, dtype=np.int64))
    assert are_among(np.array(values, dtype=np.int64), distinct).tolist() == [value in of for value in values]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_length_one_keep_their_direction_and_type(dtype: type) -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [-2e-8, 0.0]], dtype=dtype)
    given_vectors = vectors.copy()
    unit = unit_rows(vectors)
    assert unit.dtype == dtype
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0.0, 0.0], [-1.0, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(unit_rows(vectors, shortest=1e-6), [[0.6, 0.8], [0.0, 0.0], [-0.02, 0.0]], rtol=1e-6)
    np.testing.assert_array_equal(vectors, given_vectors)
    assert unit_rows(vectors[:0]).shape == (0, 2)
