"""Quantile buckets."""

from __future__ import annotations

import numpy as np
import pytest

from reccore.buckets import N_BUCKETS, bucket_boundaries, bucket_codes


def test_codes_by_hand() -> None:
    boundaries = np.array([1.0, 2.0, 2.0, 5.0], dtype=np.float32)
    values = np.array([-9, 0.99, 1.0, 1.5, 2.0, 4.9, 5.0, 99, np.nan], dtype=np.float32)
    assert bucket_codes(values, boundaries).tolist() == [1, 1, 2, 2, 4, 4, 5, 5, 0]


def test_infinite_values_are_missing() -> None:
    values = np.array([-np.inf, 1.0, np.inf, np.nan])
    assert bucket_codes(values, np.zeros(9, dtype=np.float32)).tolist() == [0, 10, 0, 0]
    assert bucket_boundaries(values).tolist() == [1.0] * 9


def test_a_double_on_a_boundary_is_in_the_upper_bucket() -> None:
    """The boundary nearest to 0.1 as float32 is above 0.1 as float64."""
    assert bucket_codes(np.array([0.1]), np.array([0.1], dtype=np.float32)).tolist() == [2]


@pytest.mark.parametrize("n_buckets", [2, N_BUCKETS])
@pytest.mark.parametrize("values", [[], [np.nan], [3.0], [3.0] * 50, list(range(100)), [np.inf, 1.0]])
def test_boundaries_always_have_the_same_length(values: list[float], n_buckets: int) -> None:
    boundaries = bucket_boundaries(np.array(values, dtype=np.float32), n_buckets)
    assert (boundaries.shape, boundaries.dtype) == ((n_buckets - 1,), np.float32)
    assert np.isfinite(boundaries).all()
    assert (np.diff(boundaries) >= 0).all()


def test_boundaries_cut_into_tenths() -> None:
    values = np.arange(1000, dtype=np.float32)
    assert np.bincount(bucket_codes(values, bucket_boundaries(values))).tolist() == [0] + [100] * 10
