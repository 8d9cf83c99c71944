"""What the item encoder reads beside ids: genres, year, statistics, and optional labels and vectors, as tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from reccore import ItemTable
from reccore.arrays import IntArray
from reccore.buckets import bucket_boundaries, bucket_codes

N_BUCKETS = 10
YEAR_CODES = 100
STATISTICS = ("count", "mean_rating", "recent_count")
"""The statistics of the table that the item encoder reads, in the order of their columns."""


@dataclass(frozen=True, eq=False)
class ItemContent:
    """Content of M items.

    Attributes:
        genres: (M, G) float32, rows sum to 1 or 0.
        codes: (M, C) int64, column c in 0 … sizes[c] - 1; 0 = missing.
        sizes: number of codes of each column.
        labels: one (M, P) int64 per feature with several values per item, such as tags; each row's labels
            0 … label_sizes[f] - 1 first and then -1.
        label_sizes: number of labels of each.
        vectors: (M, V) float32, the table's vectors side by side; V = 0 without any.
    """

    genres: Tensor
    codes: Tensor
    sizes: tuple[int, ...]
    labels: tuple[Tensor, ...]
    label_sizes: tuple[int, ...]
    vectors: Tensor

    @classmethod
    def of(cls, items: ItemTable) -> ItemContent:
        """Genres, year, quantile buckets of ``STATISTICS`` and of all numbers, all labels and vectors of a table."""
        genres = items.genre_matrix()
        genres /= np.maximum(genres.sum(axis=1, keepdims=True), 1.0)
        columns, sizes = [], []
        year = year_codes(items)
        if year is not None:
            columns.append(year)
            sizes.append(YEAR_CODES)
        statistics = [items.statistics[name] for name in STATISTICS if name in items.statistics]
        for values in (*statistics, *(items.numbers[name] for name in sorted(items.numbers))):
            columns.append(bucket_codes(values, bucket_boundaries(values, N_BUCKETS)))
            sizes.append(N_BUCKETS + 1)
        codes = np.stack(columns, axis=1) if columns else np.zeros((items.n_items, 0), dtype=np.int64)
        none = np.zeros((items.n_items, 0), dtype=np.float32)
        vectors = np.concatenate([none, *(items.vectors[name] for name in sorted(items.vectors))], axis=1)
        return cls(
            torch.from_numpy(genres),
            torch.from_numpy(codes),
            tuple(sizes),
            tuple(torch.from_numpy(items.labels[name].padded()) for name in sorted(items.labels)),
            tuple(len(items.labels[name]) for name in sorted(items.labels)),
            torch.from_numpy(vectors),
        )

    def of_items(self, item_idx: Tensor) -> ItemContent:
        """The rows of the given items, repeats allowed."""
        return replace(
            self,
            genres=self.genres[item_idx],
            codes=self.codes[item_idx],
            labels=tuple(lists[item_idx] for lists in self.labels),
            vectors=self.vectors[item_idx],
        )


def year_codes(items: ItemTable) -> IntArray | None:
    """(N,) two-year steps from 1900, 0 = unknown; None without years."""
    if items.year is None:
        return None
    return np.where(items.year > 0, np.clip((items.year - 1900) // 2, 0, YEAR_CODES - 2) + 1, 0)
