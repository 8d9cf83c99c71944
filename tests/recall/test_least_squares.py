"""Least squares of users: against float64, against implicit's own exact step, and one row at a time."""

from __future__ import annotations

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse

from recall.least_squares import regularised_gram, solve
from recall.sparse_rows import SparseRows
from reccore.arrays import offsets_from_lengths

N_ITEMS, REG = 400, 0.05
LENGTHS = np.array([0, 1, 3, 64, 200, 399, 0, 12, 5, 90, 30, 2, 17, 8, 150, 1, 60, 4])


def item_factors(n_factors: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((N_ITEMS, n_factors)) * 0.3).astype(np.float32)


def confidences() -> sparse.csr_matrix:
    rng = np.random.default_rng(1)
    items = np.concatenate([np.sort(rng.permutation(N_ITEMS)[:length]) for length in LENGTHS])
    values = (1.0 + 5.0 * np.exp2(-rng.integers(0, 40, len(items)))).astype(np.float32)
    return sparse.csr_matrix((values, items, offsets_from_lengths(LENGTHS)), shape=(len(LENGTHS), N_ITEMS))


def in_float64(confidence: sparse.csr_matrix, factors: np.ndarray) -> np.ndarray:
    """The normal equations of every row, with a dense diagonal of confidences."""
    y, rows = factors.astype(np.float64), []
    for stored in confidence.toarray().astype(np.float64):
        c = np.where(stored > 0, stored, 1.0)
        left = y.T @ (c[:, None] * y) + REG * np.eye(y.shape[1])
        rows.append(np.linalg.solve(left, y.T @ stored))
    return np.array(rows)


@pytest.mark.parametrize("n_factors", [1, 6, 64])
def test_solves_the_normal_equations(n_factors: int) -> None:
    factors, confidence = item_factors(n_factors), confidences()
    found = solve(SparseRows.of(confidence), factors, regularised_gram(factors, REG))
    expected = in_float64(confidence, factors)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert not found[LENGTHS == 0].any()


def test_equals_the_exact_step_of_implicit() -> None:
    factors, confidence = item_factors(64), confidences()
    model = AlternatingLeastSquares(factors=64, regularization=REG, alpha=1.0, num_threads=1)
    model.item_factors = factors
    theirs = model.recalculate_user(np.arange(len(LENGTHS)), confidence)
    found = solve(SparseRows.of(confidence), factors, regularised_gram(factors, REG))
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-5)
    expected = in_float64(confidence, factors)
    assert np.abs(found - expected).max() <= 2 * np.abs(theirs - expected).max()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_does_not_depend_on_the_others(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    factors, confidence = item_factors(64), confidences()
    gram = regularised_gram(factors, REG)
    alone = np.concatenate([solve(SparseRows.of(confidence[row]), factors, gram) for row in range(len(LENGTHS))])
    monkeypatch.setattr("recall.topk.n_threads", lambda: threads)
    np.testing.assert_array_equal(solve(SparseRows.of(confidence), factors, gram), alone)
