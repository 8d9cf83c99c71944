"""One popularity list per genre, mixed by the genres of a history."""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy import sparse

from recall.history import history_matrix
from reccore import ComponentConfig, DataError, ItemTable, QueryBatch
from reccore.arrays import FloatArray

# Share of the overall list in every mixture, so that items of other genres still have an order.
OVERALL_SHARE = 0.01


class GenresConfig(ComponentConfig):
    """Options of popularity by genre.

    Attributes:
        half_life: exponential decay of the history whose genres are counted; half-life in events, None = no decay.
    """

    half_life: float | None = Field(default=10.0, gt=0)


class GenreLists:
    """The distribution of events over the items of each genre, and over all items.

    With P(j|g) = n_j / Σ n over the items of genre g and P(g|q) the share of g among the genres of the history, each
    event counting by its recency, score(q, j) = 0.99 · Σ_g P(g|q) · P(j|g) + 0.01 · P(j). A history that is empty or
    has no genres gets P(j) alone.

    Args:
        config: options.
        genres: (N, G) multi-hot.
        weight: (N,) decayed number of events of each item, n.
    """

    def __init__(self, config: GenresConfig, genres: FloatArray, weight: FloatArray) -> None:
        self.config, self.genres = config, genres
        lists = np.vstack([genres.T * weight, weight]).astype(np.float64)  # (G+1, N), the last is the overall list
        total = lists.sum(axis=1, keepdims=True)
        self.lists = np.divide(lists, total, out=np.zeros_like(lists), where=total > 0).astype(np.float32)

    @classmethod
    def of(cls, config: GenresConfig, items: ItemTable, weight: FloatArray) -> GenreLists:
        """Lists of the genres of a table.

        Raises:
            DataError: no item has a genre.
        """
        genres = items.genre_matrix()
        if not genres.any():
            raise DataError("popularity by genre needs items with genres, and this data has none; leave out genres")
        return cls(config, genres, weight)

    def shares(self, queries: QueryBatch) -> sparse.csr_matrix:
        """(B, G+1) weights of the lists, each row sums to 1."""
        counts = history_matrix(queries, len(self.genres), self.config.half_life) @ self.genres  # (B, G)
        total = counts.sum(axis=1, keepdims=True)
        known = total > 0
        share = (1 - OVERALL_SHARE) * np.divide(counts, total, out=np.zeros_like(counts), where=known)
        return sparse.csr_matrix(np.hstack([share, np.where(known, OVERALL_SHARE, 1.0)]).astype(np.float32))

    def scores(self, shares: sparse.csr_matrix) -> FloatArray:
        """(B, N) float32; a sparse product, whose sums do not depend on the size of the batch."""
        return np.asarray(shares @ self.lists, dtype=np.float32)
