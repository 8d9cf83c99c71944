"""What the towers read beside ids: small integer codes with fitted, fixed-length bucket boundaries."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dataprep.features import TOP_GENRES, PrefixFeatures, query_features
from dataprep.tags import TAG
from dataprep.title_vectors import TITLE
from dataprep.tmdb import metadata_to_read
from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.query_time import QueryTime
from reccore import DataError, Interactions, ItemTable, QueryBatch, UserTable
from reccore.arrays import FloatArray, IntArray
from reccore.buckets import MISSING, N_BUCKETS, bucket_boundaries, bucket_codes


def year_codes(items: ItemTable) -> IntArray | None:
    """Two-year steps from 1900, 0 = unknown; None without years."""
    if items.year is None:
        return None
    return np.where(items.year > 0, np.clip((items.year - 1900) // 2, 0, 98) + 1, MISSING)


YEAR_CODES = 100


@dataclass(frozen=True, eq=False)
class ItemInputs:
    """Content of the N items as tensors.

    Attributes:
        genres: (N, G) float32, rows sum to 1 or 0.
        codes: (N, C) int64, column c in 0 … sizes[c] - 1.
        sizes: number of codes of each column.
        labels: one (N, P) int64 per feature with several values per item, such as tags; each row's labels
            0 … label_sizes[f] - 1 first and then -1.
        label_sizes: number of labels of each.
        vectors: (N, V) float32, the table's vectors side by side; V = 0 without any.
    """

    genres: Tensor
    codes: Tensor
    sizes: tuple[int, ...]
    labels: tuple[Tensor, ...]
    label_sizes: tuple[int, ...]
    vectors: Tensor

    @classmethod
    def of(cls, items: ItemTable) -> ItemInputs:
        """Everything the table has: genres, year, quantile buckets of statistics and numbers, labels, vectors."""
        genres = items.genre_matrix()
        genres /= np.maximum(genres.sum(axis=1, keepdims=True), 1.0)
        columns, sizes = [], []
        year = year_codes(items)
        if year is not None:
            columns.append(year)
            sizes.append(YEAR_CODES)
        for values in (kind[name] for kind in (items.statistics, items.numbers) for name in sorted(kind)):
            columns.append(bucket_codes(values, bucket_boundaries(values)))
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

    def of_items(self, item_idx: Tensor) -> ItemInputs:
        """The rows of the given items, repeats allowed."""
        return replace(
            self,
            genres=self.genres[item_idx],
            codes=self.codes[item_idx],
            labels=tuple(lists[item_idx] for lists in self.labels),
            vectors=self.vectors[item_idx],
        )


def columns_to_read(items: ItemTable, config: TwoTowerConfig) -> ItemTable:
    """The table without the optional columns that ``config`` leaves out, so that no bundle carries them.

    Raises:
        DataError: tags, title vectors or metadata are to be read, and the table has none.
    """
    again = "prepare it again with PYTHONPATH=. python scripts/prepare_two_tower_data.py"
    if config.tags and not items.labels.get(TAG):
        raise DataError(
            "tags = true needs tags, and this data has none that are frequent enough in the fit split; where the data "
            f"set has tags, {again}, else set tags = false"
        )
    if config.title_vectors and TITLE not in items.vectors:
        raise DataError(
            "title_vectors = true needs vectors of the titles, and this data has none; where the data set has titles, "
            f"{again}, else set title_vectors = false"
        )
    metadata = metadata_to_read(items, config.metadata)
    return items.with_columns([*[TAG] * config.tags, *[TITLE] * config.title_vectors, *metadata])


@dataclass(frozen=True, eq=False)
class UserEncoder:
    """Codes of what is known about the user of a query: activity, mean rating, and facts such as age.

    Attributes:
        rating_boundaries: boundaries of the mean rating, or None for data without ratings.
        users: facts of the users, may have no columns.
        has_times: whether events come with times.
        query_time: codes of when a query is asked, or None where that is not to be read.
    """

    rating_boundaries: FloatArray | None
    users: UserTable
    has_times: bool = False
    query_time: QueryTime | None = None

    @property
    def has_ratings(self) -> bool:
        """Whether events come with ratings."""
        return self.rating_boundaries is not None

    @property
    def fact_sizes(self) -> tuple[int, ...]:
        """Number of codes of each column of the users' facts."""
        return tuple(len(self.users.category_names[name]) + 1 for name in self.users.categories)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes of each column."""
        rating = () if self.rating_boundaries is None else (N_BUCKETS + 1,)
        return (*rating, ACTIVITY_CODES, *self.fact_sizes, *self.when_sizes)

    @property
    def when_sizes(self) -> tuple[int, ...]:
        """Number of codes of each column of when a query is asked."""
        return () if self.query_time is None else self.query_time.sizes

    def fact_codes(self, user_idx: IntArray) -> IntArray:
        """(B, F) codes of what is known of users beside their events; 0 = unknown."""
        codes = np.empty((len(user_idx), len(self.users.categories)), dtype=np.int64)
        for column, name in enumerate(self.users.categories):
            codes[:, column] = self.users.codes(name, user_idx) + 1
        return codes

    def codes(
        self,
        user_idx: IntArray,
        activity: IntArray,
        mean_rating: FloatArray | None,
        asked: IntArray | None = None,
    ) -> IntArray:
        """(B, C) codes; unknown users and missing values are 0. ``asked`` (B, 2) are those of the query's time."""
        columns = []
        if self.rating_boundaries is not None:
            unrated = np.full(len(user_idx), np.nan, dtype=np.float32)
            columns.append(bucket_codes(unrated if mean_rating is None else mean_rating, self.rating_boundaries))
        columns.append(np.minimum(np.log2(activity + 1).astype(np.int64), ACTIVITY_CODES - 1))
        columns.extend(self.fact_codes(user_idx).T)
        if asked is not None:
            columns.extend(asked.T)
        return np.stack(columns, axis=1)

    def of_queries(self, queries: QueryBatch, items: ItemTable) -> tuple[IntArray, IntArray]:
        """Codes (B, C) and top genres (B, 3) at the end of each history."""
        features = query_features(queries, items)
        asked = None if self.query_time is None else self.query_time.of_queries(queries)
        return self.codes(queries.user_idx, features.activity, features.mean_rating, asked), features.top_genres

    def of_prefixes(
        self, interactions: Interactions, user_idx: IntArray, prefixes: PrefixFeatures, events: IntArray
    ) -> tuple[IntArray, IntArray]:
        """The same before the given events, each belonging to the given user and asked for when it happened."""
        rating = None if prefixes.mean_rating is None else prefixes.mean_rating[events]
        activity = prefixes.activity[events].astype(np.int64)
        asked = None if self.query_time is None else self.query_time.of_events(interactions, events, activity == 0)
        codes = self.codes(user_idx, activity, rating, asked)
        return codes, prefixes.top_genres[events].astype(np.int64)


ACTIVITY_CODES = 18
"""log2 of the number of events, up to 2^17."""

__all__ = ["MISSING", "TOP_GENRES", "ItemInputs", "UserEncoder"]
