"""Exact search by scoring everything, in bounded memory: the yardstick of every other index."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from recall.index.base import BaseIndex
from reccore import Bundle, Candidates, ComponentConfig, Exclusions, top_k
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter
from reccore.candidates import concatenate

# Queries times items scored at once: about 100 MB with the sort keys.
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


def search_dense(queries: FloatArray, vectors: FloatArray, k: int, exclude: Exclusions) -> Candidates:
    """The exact best ``k`` of all N vectors per query, ties by row number. O(B·N·D) time."""
    rows = max(1, CELLS_PER_CHUNK // len(vectors))
    parts = []
    for start in range(0, len(queries), rows):
        stop = min(start + rows, len(queries))
        scores = dense_scores(queries[start:stop], vectors)
        exclude.rows(start, stop).mask_scores(scores)
        parts.append(top_k(scores, k))
    return concatenate(parts, k)


class BruteForceConfig(ComponentConfig):
    """Nothing to choose."""


class BruteForceIndex(BaseIndex):
    """Matrix product and partial sort over the whole catalogue. Exact; ties always by ``item_idx``."""

    name: ClassVar[str] = "brute_force"
    Config: ClassVar[type[ComponentConfig]] = BruteForceConfig

    def is_exact(self) -> bool:
        return True

    def _build(self, vectors: FloatArray) -> None:
        self._vectors = vectors.copy()

    def _search(self, queries: FloatArray, k: int, exclude: Exclusions) -> Candidates:
        return search_dense(queries, self._vectors, k, exclude)

    def _write_vectors(self, bundle: BundleWriter) -> None:
        bundle.arrays("vectors.npz", {"vectors": self._vectors})

    def _read_vectors(self, bundle: Bundle) -> tuple[int, int]:
        self._vectors = bundle.arrays("vectors.npz")["vectors"]
        n_items, dimension = self._vectors.shape
        return n_items, dimension
