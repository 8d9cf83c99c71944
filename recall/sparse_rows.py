"""Sparse rows, sums of them, and single entries of such sums, compiled and on all threads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import sparse

from recall.topk import read_only, run_rows
from reccore.arrays import FloatArray, IntArray, offsets_from_lengths


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A CSR matrix (B, N) without SciPy's checks, which take longer than the sums of one query.

    Attributes:
        offsets: (B+1,) int64.
        columns: (L,) int32, in any order within a row.
        values: (L,) float32.
        n_columns: N.
    """

    offsets: IntArray
    columns: np.ndarray
    values: FloatArray
    n_columns: int

    @classmethod
    def of(cls, matrix: sparse.csr_matrix) -> SparseRows:
        """The rows of a SciPy matrix; shares memory where the types agree."""
        return cls(
            matrix.indptr.astype(np.int64, copy=False),
            matrix.indices.astype(np.int32, copy=False),
            matrix.data.astype(np.float32, copy=False),
            matrix.shape[1],
        )

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.offsets) - 1, self.n_columns

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice) -> SparseRows:
        """Contiguous rows, sharing memory."""
        start, stop, _ = rows.indices(len(self))
        low, high = self.offsets[start], self.offsets[stop]
        return SparseRows(
            self.offsets[start : stop + 1] - low, self.columns[low:high], self.values[low:high], self.n_columns
        )

    @property
    def arrays(self) -> tuple[IntArray, np.ndarray, FloatArray]:
        """Offsets, columns and values as read-only views, for which Numba compiles once."""
        return read_only(self.offsets), read_only(self.columns), read_only(self.values)

    def to_csr(self) -> sparse.csr_matrix:
        """The same as a SciPy matrix."""
        return sparse.csr_matrix((self.values, self.columns, self.offsets), shape=self.shape)


def sum_rows(weights: SparseRows, matrix: SparseRows) -> SparseRows:
    """(B, N) float32 ``weights @ matrix`` with the columns of a row in any order, each once.

    Terms are added in float32 in the order of ``weights``, as SciPy does. A column of ``weights`` may repeat in a row.
    Where a sum cancels, a 0 is stored. O(Σ entries of the rows) time; memory for 8 bytes an entry of the result, and N
    entries per thread.
    """
    parts: dict[int, tuple[IntArray, IntArray, FloatArray]] = {}

    def sum_part(rows: IntArray, part: int, n_parts: int) -> None:
        parts[part] = _sum_rows(*weights.arrays, *matrix.arrays, matrix.n_columns, part, n_parts)

    run_rows(sum_part, weights.offsets[:-1])
    if len(parts) == 1:
        lengths, columns, values = parts[0]
    else:
        lengths, columns, values = (
            np.concatenate(each) for each in zip(*(parts[part] for part in sorted(parts)), strict=True)
        )
    return SparseRows(offsets_from_lengths(lengths), columns, values, matrix.n_columns)


def entries(matrix: SparseRows, column: IntArray) -> FloatArray:
    """(B, K) the stored entries of each row of a (B, N) matrix at the given columns, 0 where none is stored."""
    found: FloatArray = np.zeros(column.shape, dtype=np.float32)
    run_rows(_entries, *matrix.arrays, matrix.n_columns, column, found)
    return found


def prefix_entries(weights: SparseRows, matrix: SparseRows, lengths: IntArray, column: IntArray) -> FloatArray:
    """``entries`` of sums over the first entries of each row of ``weights`` alone.

    Args:
        weights: (B, N).
        matrix: (N, N).
        lengths: (W,) ascending numbers of first entries, at least 1; a shorter row is summed whole.
        column: (B, K).

    Returns:
        (B, W, K) float32. O(entries of the rows that are summed) time; memory for N numbers per thread.
    """
    found: FloatArray = np.zeros((len(column), len(lengths), column.shape[1]), dtype=np.float32)
    run_rows(_prefix_entries, *weights.arrays, *matrix.arrays, matrix.n_columns, lengths, column, found)
    return found


@njit(nogil=True, cache=True)
def _sum_rows(
    row_offsets: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    offsets: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    n_columns: int,
    part: int,
    n_parts: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lengths, columns and values of one part of the rows."""
    n = len(row_offsets) - 1
    first, last = part * n // n_parts, (part + 1) * n // n_parts
    most = 0
    for row in range(first, last):
        terms = 0
        for at in range(row_offsets[row], row_offsets[row + 1]):
            terms += offsets[rows[at] + 1] - offsets[rows[at]]
        most += min(terms, n_columns)
    lengths = np.empty(last - first, dtype=np.int64)
    summed, sums = np.empty(most + 1, dtype=np.int32), np.empty(most, dtype=np.float32)
    total = np.zeros(n_columns, dtype=np.float32)
    touched = np.zeros(n_columns, dtype=np.bool_)
    end = 0
    for row in range(first, last):
        start = end
        for at in range(row_offsets[row], row_offsets[row + 1]):
            weight = weights[at]
            low, high = offsets[rows[at]], offsets[rows[at] + 1]
            line, value = columns[low:high], values[low:high]
            for j in range(len(line)):
                column = line[j]
                summed[end] = column  # without a branch: the next one overwrites it if the column is not new
                end += not touched[column]
                touched[column] = True
                total[column] += weight * value[j]
        for at in range(start, end):
            column = summed[at]
            sums[at] = total[column]
            total[column] = 0.0
            touched[column] = False
        lengths[row - first] = end - start
    return lengths, summed[:end], sums[:end]


@njit(nogil=True, cache=True)
def _entries(
    offsets: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    n_columns: int,
    wanted: np.ndarray,
    found: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    line = np.zeros(n_columns, dtype=np.float32)
    for row in range(part * len(found) // n_parts, (part + 1) * len(found) // n_parts):
        for at in range(offsets[row], offsets[row + 1]):
            line[columns[at]] = values[at]
        for j in range(found.shape[1]):
            found[row, j] = line[wanted[row, j]]
        for at in range(offsets[row], offsets[row + 1]):
            line[columns[at]] = 0.0


@njit(nogil=True, cache=True)
def _prefix_entries(
    row_offsets: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    offsets: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    n_columns: int,
    lengths: np.ndarray,
    wanted: np.ndarray,
    found: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    total = np.zeros(n_columns, dtype=np.float32)
    for row in range(part * len(found) // n_parts, (part + 1) * len(found) // n_parts):
        at, end = row_offsets[row], row_offsets[row + 1]
        for prefix in range(len(lengths)):
            while at < min(row_offsets[row] + lengths[prefix], end):
                for j in range(offsets[rows[at]], offsets[rows[at] + 1]):
                    total[columns[j]] += weights[at] * values[j]
                at += 1
            for j in range(wanted.shape[1]):
                found[row, prefix, j] = total[wanted[row, j]]
        for event in range(row_offsets[row], at):
            for j in range(offsets[rows[event]], offsets[rows[event] + 1]):
                total[columns[j]] = 0.0
