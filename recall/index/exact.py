"""Exact search: float32 products or 8-bit codes propose items, float64 scores decide."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cached_property
from typing import Any

import faiss as typed_faiss
import numpy as np

from recall.index.brute_force import rescore, search_dense
from recall.index.int8_scan import Int8Scan
from recall.topk import RunningTopK, top_k_of_pairs
from reccore import Candidates, Exclusions
from reccore.arrays import FloatArray
from reccore.candidates import concatenate
from reccore.threads import n_threads, one_blas_thread, run_parts

# The type declarations of FAISS lack most of its exports, and some are wrong.
faiss: Any = typed_faiss

# Items proposed beyond k, because float32 scores can misplace items that lie close together.
SLACK = 8
# Factor by which more items are proposed where rounding or ties leave the last place open.
WIDENING = 4
# Size of one float32 product: 4 MB stay in the cache until the best of it are chosen. Fewer queries take more items.
QUERIES_PER_CHUNK, ITEMS_PER_BLOCK = 128, 8192
# Up to this many queries over this many items and more, codes are faster: the product is limited by reading vectors,
# which do not fit into a core's cache. More queries share one reading.
FEW_QUERIES, MANY_ITEMS = 3, 8192


class ExactSearch:
    """The true best items of each query, with exclusion, reproducible scores and exact ties.

    The best of float32 products with blocks of items are kept, excluded ones left out: a long history costs no more
    than a short one.

    The sums of a float32 product depend on the size of the batch. So ``SLACK`` items more than ``k`` are proposed,
    their scores are computed again in float64, and the best ``k`` are taken, ties by ``item_idx``. Where rounding
    could have hidden a better item behind the last proposed one (such as a group of equal vectors at the k-th
    place), ``WIDENING`` times as many are proposed, and at last the query is scored against the whole catalogue in
    float64. The result always equals that of ``BruteForceIndex``.

    For a few queries of a large catalogue ``Int8Scan`` proposes in place of products, and leaves out no item that could
    be among the best; where it cannot tell items apart, the products do.

    O(B·N·D) time; memory of the vectors plus a bounded chunk, and of the codes from the first search that takes them.

    Args:
        vectors: (N, D) float32.
        coded: whether to make codes; no for vectors that may not fit into memory.
    """

    def __init__(self, vectors: FloatArray, *, coded: bool = True) -> None:
        self.vectors = vectors
        self._largest_coded = FEW_QUERIES if coded and len(vectors) >= MANY_ITEMS else 0

    @cached_property
    def _largest_norm(self) -> float:
        return float(np.sqrt(np.einsum("nd,nd->n", self.vectors, self.vectors, dtype=np.float64).max()))

    @cached_property
    def _codes(self) -> Int8Scan:
        return Int8Scan(self.vectors)

    @property
    def n_bytes(self) -> int:
        """Memory of the codes, 0 as long as no search has taken them."""
        return self._codes.n_bytes if "_codes" in self.__dict__ else 0

    def search(self, queries: FloatArray, k: int, exclude: Exclusions) -> Candidates:
        if k + SLACK >= len(self.vectors):
            return search_dense(queries, self.vectors, k, exclude)
        if len(queries) <= self._largest_coded:
            rows = range(len(queries))
            return concatenate([self._search_one(queries[at : at + 1], k, exclude.rows(at, at + 1)) for at in rows], k)
        n_chunks = -(-len(queries) // QUERIES_PER_CHUNK)
        if n_chunks > 1:
            n_chunks = n_threads() * -(-n_chunks // n_threads())  # of equal size, as many for each thread
        bounds = np.linspace(0, len(queries), n_chunks + 1).astype(np.int64).tolist()
        found: list[Candidates] = [Candidates.empty(0)] * n_chunks

        def search_some(part: int, n_parts: int) -> None:
            for at in range(part, n_chunks, n_parts):
                rows = slice(bounds[at], bounds[at + 1])
                found[at] = self._search_chunk(queries[rows], k, exclude.rows(rows.start, rows.stop), k + SLACK)

        # Threads that share chunks out wait for one another once; those that share every product and selection, often.
        n_parts = min(n_threads(), n_chunks)
        with one_blas_thread() if n_parts > 1 else nullcontext():
            run_parts(search_some, n_parts)
        return concatenate(found, k)

    def _search_one(self, query: FloatArray, k: int, exclude: Exclusions) -> Candidates:
        """The best of one query (1, D), by codes if they tell items apart."""
        items = self._codes.survivors(query[0], k, exclude.item_idx)
        if items is None:
            return self._search_chunk(query, k, exclude, k + SLACK)
        return top_k_of_pairs(items[None], rescore(query, self.vectors, items[None]), k)

    def _search_chunk(self, queries: FloatArray, k: int, exclude: Exclusions, n: int) -> Candidates:
        """Propose ``n`` items, more than ``k``, and decide."""
        proposed = self._propose(queries, n, exclude)
        best = top_k_of_pairs(proposed.item_idx, rescore(queries, self.vectors, proposed.item_idx), k)
        # The error of a float32 inner product is at most D·2⁻²⁴·‖q‖·‖v‖; twice that also covers the rounding.
        norms = np.sqrt(np.einsum("bd,bd->b", queries, queries, dtype=np.float64))
        margin = 2 * (self.vectors.shape[1] + 2) * 2.0**-24 * norms * self._largest_norm
        all_found = proposed.item_idx[:, -1] < 0  # the catalogue holds no further item
        rows = np.flatnonzero(~all_found & (best.score[:, -1] <= proposed.score[:, -1] + margin))
        if len(rows):
            wider = WIDENING * n
            if WIDENING * wider < len(self.vectors):
                exact = self._search_chunk(queries[rows], k, exclude.select(rows), wider)
            else:
                exact = search_dense(queries[rows], self.vectors, k, exclude.select(rows))
            best.item_idx[rows], best.score[rows] = exact.item_idx, exact.score
        return best

    def _propose(self, queries: FloatArray, n: int, exclude: Exclusions) -> Candidates:
        """The best ``n`` items by float32 scores."""
        best = RunningTopK(len(self.vectors), n, exclude)
        step = QUERIES_PER_CHUNK * ITEMS_PER_BLOCK // max(len(queries), 1)  # at least ITEMS_PER_BLOCK
        buffer = np.empty(len(queries) * min(step, len(self.vectors)), dtype=np.float32)
        for start in range(0, len(self.vectors), step):
            block = self.vectors[start : start + step]
            products = buffer[: len(queries) * len(block)].reshape(len(queries), len(block))
            best.push(np.matmul(queries, block.T, out=products), start)
        return best.best()
