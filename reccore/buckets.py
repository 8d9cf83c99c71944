"""Quantile buckets: numbers as small integer codes, for embeddings of continuous features."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from reccore.arrays import FloatArray, IntArray

N_BUCKETS = 10
MISSING = 0
"""Code of a value that is NaN or infinite; finite values have the codes 1 … n_buckets."""


def bucket_boundaries(values: npt.NDArray[Any], n_buckets: int = N_BUCKETS) -> FloatArray:
    """(n_buckets - 1,) float32 quantiles of the finite values.

    Equal quantiles are kept, so the length is always the same; without a finite value all boundaries are 0.
    """
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return np.zeros(n_buckets - 1, dtype=np.float32)
    boundaries: FloatArray = np.quantile(finite, np.linspace(0, 1, n_buckets + 1)[1:-1]).astype(np.float32)
    return boundaries


def bucket_codes(values: npt.NDArray[Any], boundaries: FloatArray) -> IntArray:
    """Codes 1 … len(boundaries) + 1, and ``MISSING`` for NaN and ±inf. A value on a boundary is in the upper bucket.

    Values are compared as float32, the type of the boundaries.
    """
    codes = np.searchsorted(boundaries, np.asarray(values, dtype=np.float32), side="right") + 1
    return np.where(np.isfinite(values), codes, MISSING)
