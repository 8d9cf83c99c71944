"""Sums of sparse rows and single entries of them, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from recall import topk as topk_module
from recall.sparse_rows import SparseRows, entries, prefix_entries, sum_rows


def random_csr(shape: tuple[int, int], density: float, seed: int) -> sparse.csr_matrix:
    """Entries of both signs, some of them small integers that cancel."""
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random(shape) < 0.5, rng.standard_normal(shape), rng.integers(-2, 3, shape))
    return sparse.csr_matrix((dense * (rng.random(shape) < density)).astype(np.float32))


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(("n_rows", "density"), [(40, 0.05), (40, 0.9), (1, 0.5), (0, 0.5), (40, 0.0)])
def test_sums_equal_scipys_to_the_last_bit(
    n_threads: int, n_rows: int, density: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topk_module, "n_threads", lambda: n_threads)
    weights, matrix = random_csr((n_rows, 70), density, 0), random_csr((70, 70), 0.3, 1)
    found = sum_rows(SparseRows.of(weights), SparseRows.of(matrix))
    expected = (weights @ matrix).toarray()
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.to_csr().toarray(), expected)
    for row in range(n_rows):  # each column once, and only those that a term reaches
        columns = found[row : row + 1].columns
        assert len(np.unique(columns)) == len(columns)
        assert set(columns) == set(matrix[weights[row].indices].indices)
    wanted = np.random.default_rng(2).integers(0, 70, (n_rows, 9))
    np.testing.assert_array_equal(entries(found, wanted), np.take_along_axis(expected, wanted, axis=1))


@pytest.mark.parametrize("n_threads", [1, 3])
def test_sums_of_the_first_entries_alone(n_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk_module, "n_threads", lambda: n_threads)
    weights, matrix = SparseRows.of(random_csr((40, 70), 0.1, 3)), SparseRows.of(random_csr((70, 70), 0.3, 4))
    wanted, lengths = np.random.default_rng(5).integers(0, 70, (40, 9)), np.array([1, 3, 50])
    found = prefix_entries(weights, matrix, lengths, wanted)
    for row in range(40):
        for prefix, length in enumerate(lengths):
            kept = weights[row : row + 1].columns[:length], weights[row : row + 1].values[:length]
            first = SparseRows(np.array([0, len(kept[0])]), *kept, 70)
            expected = entries(sum_rows(first, matrix), wanted[row : row + 1])[0]
            np.testing.assert_array_equal(found[row, prefix], expected)


def test_slices_of_rows_are_rows_of_the_matrix() -> None:
    matrix = random_csr((6, 10), 0.4, 6)
    rows = SparseRows.of(matrix)
    assert (len(rows), rows.shape) == (6, (6, 10))
    np.testing.assert_array_equal(rows[2:5].to_csr().toarray(), matrix[2:5].toarray())
