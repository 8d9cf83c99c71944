"""Exact search by scoring everything, in bounded memory: the yardstick of every other index."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numba import njit

from recall.index.base import BaseIndex, BaseIndexConfig
from recall.topk import read_only, run_rows, top_k_dense
from reccore import Bundle, Candidates, Exclusions
from reccore.arrays import FloatArray, IntArray
from reccore.bundle import BundleWriter
from reccore.candidates import concatenate

# Queries times items scored at once: 16 MB.
CELLS_PER_CHUNK = 4_000_000
# Items converted to float64 at once.
ITEMS_PER_BLOCK = 8192


def dense_scores(queries: FloatArray, vectors: FloatArray) -> FloatArray:
    """Inner products (B, N) float32, accumulated in float64.

    In float32 the last bits of a product depend on how many rows are multiplied together. Rounding a
    float64 sum makes the score of a pair the same in any batch, and equal vectors tie.
    """
    scores = np.empty((len(queries), len(vectors)), dtype=np.float32)
    wide = queries.astype(np.float64)
    for start in range(0, len(vectors), ITEMS_PER_BLOCK):
        block = vectors[start : start + ITEMS_PER_BLOCK].astype(np.float64)
        scores[:, start : start + len(block)] = wide @ block.T
    return scores


def rescore(queries: FloatArray, vectors: FloatArray, item_idx: IntArray) -> FloatArray:
    """(B, n) float32 inner products with the given items, summed in float64; −1 gets the score of item 0."""
    scores: FloatArray = np.empty(item_idx.shape, dtype=np.float32)
    run_rows(_rescore, queries, read_only(vectors), item_idx, scores)
    return scores


# The terms of a float32 product are exact in float64, and vectors are finite: ``fastmath`` only reorders the sum.
@njit(nogil=True, cache=True, fastmath=True)
def _rescore(
    queries: np.ndarray, vectors: np.ndarray, item_idx: np.ndarray, scores: np.ndarray, part: int, n_parts: int
) -> None:
    wide = np.empty(queries.shape[1], dtype=np.float64)
    for row in range(part * len(scores) // n_parts, (part + 1) * len(scores) // n_parts):
        wide[:] = queries[row]
        for j in range(scores.shape[1]):
            vector = vectors[max(item_idx[row, j], 0)]
            total = 0.0
            for d in range(len(wide)):
                total += wide[d] * vector[d]
            scores[row, j] = total


def search_dense(queries: FloatArray, vectors: FloatArray, k: int, exclude: Exclusions) -> Candidates:
    """The exact best ``k`` of all N vectors per query, ties by row number. O(B·N·D) time."""
    rows = max(1, CELLS_PER_CHUNK // len(vectors))
    parts = []
    for start in range(0, len(queries), rows):
        stop = min(start + rows, len(queries))
        scores = dense_scores(queries[start:stop], vectors)
        parts.append(top_k_dense(scores, k, exclude.rows(start, stop)))
    return concatenate(parts, k)


class BruteForceConfig(BaseIndexConfig):
    """``BruteForceIndex`` has no options."""

    kind: Literal["brute_force"] = "brute_force"


class BruteForceIndex(BaseIndex):
    """Matrix product and partial sort over the whole catalogue. Exact; ties always by ``item_idx``."""

    name: ClassVar[str] = "brute_force"
    Config: ClassVar[type[BaseIndexConfig]] = BruteForceConfig

    def is_exact(self) -> bool:
        return True

    @property
    def n_bytes(self) -> int:
        return int(self._vectors.nbytes)

    def _build(self, vectors: FloatArray, seed: int) -> None:
        self._vectors = vectors.copy()

    def _search(self, queries: FloatArray, k: int, exclude: Exclusions) -> Candidates:
        return search_dense(queries, self._vectors, k, exclude)

    def _write_vectors(self, bundle: BundleWriter) -> None:
        bundle.arrays("vectors.npz", {"vectors": self._vectors})

    def _read_vectors(self, bundle: Bundle) -> tuple[int, int]:
        self._vectors = bundle.arrays("vectors.npz")["vectors"]
        n_items, dimension = self._vectors.shape
        return n_items, dimension
