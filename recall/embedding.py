"""Channels that are an encoder of queries, an encoder of items, and an index between them."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from recall.base import BaseRecall
from recall.index import INDEXES
from recall.index.base import BaseIndex
from recall.index.brute_force import rescore
from reccore import Bundle, Candidates, Exclusions, IdMap, QueryBatch, Vocabulary
from reccore.arrays import FloatArray, IntArray
from reccore.bundle import BundleWriter

INDEX_FOLDER = "index"


class EmbeddingRecall(BaseRecall):
    """Scores by the inner product of a query's and an item's vector; an index over ``encode_items`` retrieves.

    A query may have I vectors; an item's score is then the greatest of its I inner products (multi-interest
    retrieval: Li et al., "Multi-interest network with dynamic routing", CIKM 2019). A zero vector gives no scores, so a
    query that has only zero vectors gets an empty row. Scores are summed in float64.

    The index is a bundle of its own inside the channel's and can be read without the encoders.
    """

    index: BaseIndex
    _indexed: IdMap | None = None
    _row_of_item: IntArray

    @property
    def indexed(self) -> IdMap | None:
        """The items in the index, ``item_idx`` ↔ row of the index; None = all items, row i is item i."""
        return self._indexed

    @indexed.setter
    def indexed(self, items: IdMap | None) -> None:
        self._indexed = items
        if items is not None and len(items):
            self._row_of_item = np.full(int(items.ids[-1]) + 1, -1, dtype=np.int64)
            self._row_of_item[items.ids] = np.arange(len(items))
        else:
            self._row_of_item = np.full(1, -1, dtype=np.int64)

    @abstractmethod
    def encode_queries(self, queries: QueryBatch) -> FloatArray:
        """(B, D) or (B, I, D) float32; unknown history items (-1) are ignored."""

    @abstractmethod
    def encode_items(self) -> FloatArray:
        """(N, D) float32, row = item index."""

    def index_queries(self, vectors: FloatArray, exclude: Exclusions) -> tuple[FloatArray, Exclusions]:
        """The searches of the index that answer a batch: one for each query vector that is not zero.

        Args:
            vectors: (B, D) or (B, I, D), as ``encode_queries`` returns them.
            exclude: B rows of items.

        Returns:
            (M, D) vectors in the order of the queries, and M rows of exclusions by row of the index.
        """
        vectors = _per_query(vectors)
        present = vectors.any(axis=2)
        by_row = Exclusions(exclude.offsets, self._index_rows(exclude.item_idx))
        if vectors.shape[1] == 1 and present.all():
            return vectors[:, 0], by_row
        query, vector = np.nonzero(present)
        return vectors[query, vector], by_row.select(query)

    @property
    def item_vectors(self) -> FloatArray:
        """(N, D) float32, row = item index, for reading only: those in the index where it holds all items."""
        return self.index.vectors if self.indexed is None else self.encode_items()

    def similarities(self, item: int) -> FloatArray:
        """(N,) cosine of every item's vector with that of one item; −inf for items without a vector."""
        vectors = self.item_vectors
        length = np.linalg.norm(vectors, axis=1)
        product = vectors @ vectors[item]
        found: FloatArray = np.full(len(vectors), -np.inf, dtype=np.float32)
        np.divide(product, length * length[item], out=found, where=(length > 0) & (length[item] > 0))
        return found

    def _prepare(self, queries: QueryBatch) -> FloatArray:
        return _per_query(self.encode_queries(queries))

    def _retrieve(self, prepared: FloatArray, k: int, exclude: Exclusions) -> Candidates:
        vectors, by_row = self.index_queries(prepared, exclude)
        found = self.index.search(vectors, k, by_row)
        if len(vectors) == len(prepared) and prepared.shape[1] == 1:
            return Candidates(self._items_of(found.item_idx), found.score)
        present = prepared.any(axis=2)  # (B, I)
        item_idx = np.full((*present.shape, found.k), -1, dtype=np.int64)
        score = np.full(item_idx.shape, -np.inf, dtype=np.float32)
        score[present] = found.score
        item_idx[present] = found.item_idx
        return _best_of_each_item(self._items_of(item_idx), score)

    def _score(self, prepared: FloatArray, item_idx: IntArray) -> FloatArray:
        rows = self._index_rows(item_idx)
        if prepared.shape[1] == 1:
            score = rescore(prepared[:, 0], self.index.vectors, rows)
            score[~prepared.any(axis=(1, 2))] = np.nan
            if self.indexed is not None:
                score[rows < 0] = np.nan
            return score
        scores = [rescore(vectors, self.index.vectors, rows) for vectors in np.moveaxis(prepared, 1, 0)]
        absent = ~np.any(prepared, axis=2).T  # (I, B)
        best = np.max(np.where(absent[:, :, None], -np.inf, scores), axis=0)
        return np.where((rows < 0) | np.isneginf(best), np.nan, best)

    def _index_rows(self, item_idx: IntArray) -> IntArray:
        """The row of the index of each item, -1 for items outside the index."""
        if self.indexed is None:
            return item_idx
        table = self._row_of_item
        known = (item_idx >= 0) & (item_idx < len(table))
        return np.where(known, table[np.where(known, item_idx, 0)], -1)

    def _items_of(self, rows: IntArray) -> IntArray:
        """The item of each row of the index; -1 stays."""
        return rows if self.indexed is None else np.where(rows >= 0, self.indexed.ids[rows], -1)

    def _write(self, bundle: BundleWriter) -> None:
        vocabulary = self.vocabulary
        if self.indexed is not None:
            vocabulary = Vocabulary(vocabulary.users, IdMap(vocabulary.items.ids[self.indexed.ids]))
        self.index.save(bundle.path(INDEX_FOLDER), vocabulary)

    def _read(self, bundle: Bundle) -> None:
        self.index = INDEXES.load(bundle.path / INDEX_FOLDER)
        items = self.index.vocabulary.items
        if len(items) < len(self.vocabulary.items):
            self.indexed = IdMap(self.vocabulary.items.encode(items.ids))


def _per_query(vectors: FloatArray) -> FloatArray:
    """(B, D) or (B, I, D) as (B, I, D)."""
    return vectors if vectors.ndim == 3 else vectors[:, None]


def _best_of_each_item(item_idx: IntArray, score: FloatArray) -> Candidates:
    """Merge the lists (B, I, k) of I vectors per query into (B, k), each item with its best score, ties by item.

    Exact where the lists are: an item among the best k of its query is among the best k of the vector that scores it
    highest.
    """
    n_queries, n_vectors, k = item_idx.shape
    lists = Candidates(item_idx.reshape(n_queries, n_vectors * k), score.reshape(n_queries, n_vectors * k))
    if n_vectors == 1:
        return lists
    lists = lists.take(np.lexsort((-lists.score, lists.item_idx), axis=1))  # equal items side by side, the best first
    best = lists.keep(np.diff(lists.item_idx, axis=1, prepend=-1) != 0)
    return best.reordered(best.score).head(k)
