"""Exact search by scoring everything, in bounded memory: the yardstick of every other index."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from recall.index.base import BaseIndex, BaseIndexConfig
from reccore import Bundle, Candidates, Exclusions, top_k
from reccore.arrays import FloatArray, IntArray
from reccore.bundle import BundleWriter
from reccore.candidates import concatenate

# Queries times items scored at once: about 100 MB with the sort keys.
CELLS_PER_CHUNK = 4_000_000
# Items converted to float64 at once.
ITEMS_PER_BLOCK = 8192
# Entries of gathered vectors rescored at once: 2 MB in float64 stay in the cache, three times as fast as 32 MB.
GATHERED_PER_CHUNK = 250_000


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
    at = np.maximum(item_idx, 0)
    scores = np.empty(at.shape, dtype=np.float32)
    # A matrix product over everything is cheaper than gathering a good part of the catalogue.
    dense = 8 * at.shape[1] > len(vectors)
    rows = max(
        1, CELLS_PER_CHUNK // len(vectors) if dense else GATHERED_PER_CHUNK // max(at[:1].size * vectors.shape[1], 1)
    )
    for start in range(0, len(at), rows):
        chunk = slice(start, start + rows)
        if dense:
            scores[chunk] = np.take_along_axis(dense_scores(queries[chunk], vectors), at[chunk], axis=1)
        else:
            gathered = vectors[at[chunk]].astype(np.float64)  # (b, n, D)
            scores[chunk] = np.matmul(gathered, queries[chunk].astype(np.float64)[:, :, None])[:, :, 0]
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
