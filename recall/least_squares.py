"""Users' factors from their events by weighted least squares: the exact inner step of ALS, compiled, on all threads."""

from __future__ import annotations

import numpy as np
from numba import njit

from recall.sparse_rows import SparseRows
from recall.topk import read_only, run_rows
from reccore.arrays import FloatArray
from reccore.threads import one_blas_thread


def regularised_gram(factors: FloatArray, reg: float) -> FloatArray:
    """(D, D) float32 YᵀY + reg·I of item factors Y (N, D), summed in float64; what all users of ``solve`` share."""
    wide = factors.astype(np.float64)
    gram: FloatArray = (wide.T @ wide + reg * np.eye(factors.shape[1])).astype(np.float32)
    return gram


def solve(confidence: SparseRows, factors: FloatArray, gram: FloatArray) -> FloatArray:
    """argmin_x Σ_i c_i (p_i − x·y_i)² + reg·|x|² for each row of confidences; p is 1 where one is stored, else 0.

    Solves (YᵀY + reg·I + Y_uᵀ (C_u − I) Y_u) x = Y_uᵀ c_u by Cholesky (Hu, Koren and Volinsky, ICDM 2008, eq. 4), in
    float32, a row at a time, so that its result does not depend on the other rows.

    Args:
        confidence: (B, N), stored values of at least 1, which is the confidence in every other item; each item once.
        factors: (N, D) float32 item factors Y.
        gram: ``regularised_gram(factors, reg)``; positive definite, as it is with reg > 0.

    Returns:
        (B, D) float32; zero for a row without entries. O(L·D² + D³) time for L entries, memory for L·D per thread.
    """
    found: FloatArray = np.empty((len(confidence), factors.shape[1]), dtype=np.float32)
    with one_blas_thread():  # the threads share out the rows
        run_rows(_solve, *confidence.arrays, read_only(factors), read_only(gram), found)
    return found


# ``contract`` alone: a product and a sum may round once. Sums keep their order.
@njit(nogil=True, cache=True, fastmath={"contract"})
def _solve(
    offsets: np.ndarray,
    items: np.ndarray,
    confidence: np.ndarray,
    factors: np.ndarray,
    gram: np.ndarray,
    found: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    n_rows, n_factors = found.shape
    first, last = part * n_rows // n_parts, (part + 1) * n_rows // n_parts
    longest = 0
    for row in range(first, last):
        longest = max(longest, offsets[row + 1] - offsets[row])
    scaled = np.empty((longest, n_factors), dtype=np.float32)  # √(c − 1) · y
    left = np.empty((n_factors, n_factors), dtype=np.float32)
    for row in range(first, last):
        x = found[row]
        x[:] = 0.0
        start, end = offsets[row], offsets[row + 1]
        if start == end:
            continue
        n_scaled = 0
        for at in range(start, end):
            vector, c = factors[items[at]], confidence[at]
            root = np.sqrt(c - np.float32(1.0))
            for d in range(n_factors):
                scaled[n_scaled, d] = root * vector[d]
                x[d] += c * vector[d]
            n_scaled += root > 0.0  # else the row is zero, as of old events, and the next one takes its place
        own = scaled[:n_scaled]
        np.dot(own.T, own, left)
        left += gram
        _solve_triangles(np.linalg.cholesky(left), x)


@njit(nogil=True, cache=True, fastmath={"contract"})
def _solve_triangles(lower: np.ndarray, x: np.ndarray) -> None:
    """Replace ``x`` by the solution of L Lᵀ z = x."""
    for k in range(len(x)):
        x[k] /= lower[k, k]
        for i in range(k + 1, len(x)):
            x[i] -= lower[i, k] * x[k]
    for k in range(len(x) - 1, -1, -1):
        row = lower[k]
        x[k] /= row[k]
        for i in range(k):
            x[i] -= row[i] * x[k]
