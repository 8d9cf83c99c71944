"""Catalogues, queries and candidates that the tests of several rerankers share."""

from __future__ import annotations

import numpy as np

from reccore import Candidates, IdMap, ItemTable, QueryBatch, Vocabulary


def vocabulary(n_items: int) -> Vocabulary:
    """Item i has the raw id 10·i."""
    return Vocabulary(IdMap.of(np.array([1])), IdMap.of(np.arange(n_items) * 10))


def genre_table(genres: list[list[int]], names: str = "abcdefg") -> ItemTable:
    """A catalogue with genres named by letters."""
    offsets = np.cumsum([0] + [len(row) for row in genres]).astype(np.int64)
    flat = np.array([g for row in genres for g in row], dtype=np.int64)
    n_genres = int(flat.max(initial=-1)) + 1
    return ItemTable(len(genres), genre_names=tuple(names[:n_genres]), genre_offsets=offsets, genre_idx=flat)


def candidates_of(items: list[list[int]], scores: list[list[float]] | None = None) -> Candidates:
    """Candidates of given items (-1 = empty), by default with falling scores."""
    item_idx = np.array(items, dtype=np.int64)
    falling = np.broadcast_to(-np.arange(item_idx.shape[1]), item_idx.shape)
    score = falling if scores is None else np.array(scores)
    return Candidates(item_idx, np.where(item_idx >= 0, score, -np.inf).astype(np.float32))


def no_history(n: int) -> QueryBatch:
    """Queries with an empty history."""
    return QueryBatch.from_histories([[]] * n)
