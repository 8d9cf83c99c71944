"""Exact top-k of dense rows, sparse rows and given pairs: the inner loop of every channel, compiled, on all threads.

One pass over a row keeps the items whose score reaches a threshold, a little below the k-th best score as estimated
from a sample of the row. The few items kept are packed with their scores into integers, partitioned and sorted. A row
in any order, with any ties, takes O(N + k log k): whenever the buffer of kept items is full, it is partitioned and the
threshold raised to the k-th best so far. ``reccore.top_k`` is the same in plain NumPy and the reference of the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from recall.topk_kernels import decode, pack, push_dense, select_sparse, walk
from reccore import Candidates, Exclusions
from reccore.arrays import FloatArray, IntArray
from reccore.threads import n_threads, run_parts

if TYPE_CHECKING:
    from recall.sparse_rows import SparseRows

ROWS_PER_THREAD = 8  # starting a thread costs as much as a few rows


class RunningTopK:
    """The best ``k`` items of B rows whose scores arrive in blocks of items.

    Args:
        n_items: N, size of the catalogue.
        k: at least 1.
        exclude: B rows of items never to offer.
    """

    def __init__(self, n_items: int, k: int, exclude: Exclusions) -> None:
        self._n_items, self._exclude = n_items, exclude
        self._keys = np.empty((len(exclude), min(k, n_items)), dtype=np.int64)  # in any order
        self._counts = np.zeros(len(exclude), dtype=np.int64)

    def push(self, scores: FloatArray, first: int = 0) -> None:
        """Offer scores (B, n) float32 of the items from ``first`` on; −inf entries are never taken.

        Raises:
            ValueError: a NaN or +inf among the scores.
        """
        exclude = self._exclude
        run_rows(
            push_dense,
            np.ascontiguousarray(scores, dtype=np.float32),
            first,
            self._n_items,
            read_only(exclude.offsets),
            read_only(exclude.item_idx),
            self._keys,
            self._counts,
        )

    def best(self) -> Candidates:
        """(B, min(k, N)), the best first, ties by item index."""
        return _decoded(self._keys, self._keys.shape[1])


def top_k_dense(scores: FloatArray, k: int, exclude: Exclusions | None = None) -> Candidates:
    """The exact best ``k`` items of dense scores (B, N), ties by item index; −inf entries are never offered.

    Returns:
        (B, min(k, N)). O(B·N) time; memory of the result and a few thousand entries per thread.

    Raises:
        ValueError: a NaN or +inf among the scores.
    """
    n_rows, n_items = scores.shape
    if min(k, n_items) == 0:
        return Candidates.empty(n_rows)
    running = RunningTopK(n_items, k, Exclusions.nothing(n_rows) if exclude is None else exclude)
    running.push(scores)
    return running.best()


def top_k_sparse(scores: SparseRows, k: int, exclude: Exclusions) -> Candidates:
    """The exact best ``k`` among the stored entries of (B, N) scores, ties by item index.

    Rows may be in any order but hold a column once; a stored 0 or −inf is never offered.

    Returns:
        (B, min(k, N)). Time in proportion to the stored entries and exclusions.

    Raises:
        ValueError: a NaN or +inf among the scores.
    """
    n_rows, n_items = scores.shape
    keys = np.empty((n_rows, min(k, n_items)), dtype=np.int64)
    run_rows(select_sparse, *scores.arrays, n_items, read_only(exclude.offsets), read_only(exclude.item_idx), keys)
    return _decoded(keys, keys.shape[1])


def top_k_of_pairs(item_idx: IntArray, score: FloatArray, k: int) -> Candidates:
    """The best ``k`` of given items (B, n) with float32 scores, ties by item index; −1 or a score of −inf is no item.

    Returns:
        (B, min(k, n)).

    Raises:
        ValueError: a NaN or +inf among the scores of items.
    """
    n_rows, n = item_idx.shape
    keys = np.empty((n_rows, n), dtype=np.int64)
    run_rows(pack, np.ascontiguousarray(item_idx), np.ascontiguousarray(score, dtype=np.float32), keys)
    return _decoded(keys, min(k, n))


def top_k_of_order(order: IntArray, score: FloatArray, k: int, exclude: Exclusions) -> Candidates:
    """The first ``k`` items of one order (N,) that a row does not exclude, with their scores (N,), for each row."""
    k = min(k, len(order))
    item_idx = np.full((len(exclude), k), -1, dtype=np.int64)
    scores: FloatArray = np.full(item_idx.shape, -np.inf, dtype=np.float32)
    run_rows(walk, order, read_only(score), read_only(exclude.offsets), read_only(exclude.item_idx), item_idx, scores)
    return Candidates(item_idx, scores)


def run_rows(kernel: Callable[..., None], *arguments: Any) -> None:
    """Call ``kernel(*arguments, part, n_parts)`` over the rows of the last argument, on the threads worth starting."""
    run_parts(kernel, max(1, min(n_threads(), len(arguments[-1]) // ROWS_PER_THREAD)), *arguments)


def read_only(array: Any) -> Any:
    """A read-only view, so that arrays and memory-mapped files have one type and a kernel is compiled once."""
    view = array.view()
    view.flags.writeable = False
    return view


def _decoded(keys: IntArray, k: int) -> Candidates:
    """The ``k`` greatest keys of each row as candidates; ``keys`` is sorted in place."""
    item_idx = np.empty((len(keys), k), dtype=np.int64)
    score = np.empty((len(keys), k), dtype=np.float32)
    run_rows(_sort_and_decode, keys, item_idx, score)
    return Candidates(item_idx, score)


def _sort_and_decode(keys: IntArray, item_idx: IntArray, score: FloatArray, part: int, n_parts: int) -> None:
    rows = slice(part * len(keys) // n_parts, (part + 1) * len(keys) // n_parts)
    keys[rows].sort(axis=1)  # NumPy sorts integers with vector instructions and without Python's lock
    decode(keys[rows], item_idx[rows], score[rows])
