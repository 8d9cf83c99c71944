"""What is known of the user of a query beside the items of the history: small integer codes, 0 = missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dataprep.features import PrefixFeatures, query_features
from recall.neural.query_time import QueryTime
from reccore import Interactions, ItemTable, QueryBatch, TrainingData, UserTable
from reccore.arrays import FloatArray, IntArray
from reccore.buckets import bucket_boundaries, bucket_codes

N_BUCKETS = 10
ACTIVITY_CODES = 18
"""log2 of the number of events, up to 2^17."""
HALF_STARS = np.arange(0.25, 5.0, 0.5, dtype=np.float32)
"""Boundaries between half stars from 0 to 5, MovieLens's scale."""
MAX_RATINGS = 31
"""Ratings of an event that get a code each; of more distinct ones, so many quantile buckets."""


@dataclass(frozen=True, eq=False)
class UserCodes:
    """Codes of activity, mean rating, facts such as age, and the query's time.

    A model trained on rated events must also answer histories without ratings. Code 0 of the mean rating was learnt
    from empty histories alone, so a history without ratings gets the code of the typical rating instead.

    Attributes:
        rating_boundaries: quantiles of the users' mean ratings, or None for data without ratings.
        typical_rating: the rating of the fit events that is nearest to their mean; NaN without ratings. It occurs
            itself, so that its code was learnt; a mean of 3.6 over whole stars has a code of its own.
        users: facts of the users, may have no columns.
        longest: the greatest number of events before an event of the fit split; longer histories get its code, since
            no training example has a greater one.
        typical_gap: lower median of the seconds between two successive fit events of a user, or None for data without
            times.
        query_time: codes of the query's time, or None where it is not read.
        event_boundaries: between the ratings of the fit events that have codes of their own, or None for
            ``HALF_STARS``, which hold where all those ratings are half stars from 0 to 5.
    """

    rating_boundaries: FloatArray | None
    users: UserTable
    longest: int
    typical_rating: float = np.nan
    typical_gap: int | None = None
    query_time: QueryTime | None = None
    event_boundaries: FloatArray | None = None

    @classmethod
    def fit(cls, data: TrainingData, *, query_time: bool) -> UserCodes:
        """Fit boundaries to the events of the fit split.

        Raises:
            DataError: ``query_time`` and events without times.
        """
        events = data.interactions
        boundaries = None
        if events.rating is not None:
            boundaries = bucket_boundaries(_mean_ratings(events), N_BUCKETS)
        rated = np.zeros(0, dtype=np.float32) if events.rating is None else events.rating[~np.isnan(events.rating)]
        distinct = np.unique(rated)
        return cls(
            boundaries,
            data.users,
            max(int(events.lengths.max(initial=0)) - 1, 0),
            _typical_rating(rated, distinct),
            _typical_gap(events),
            QueryTime.of(events) if query_time else None,
            _event_boundaries(rated, distinct),
        )

    @property
    def has_ratings(self) -> bool:
        """Whether events come with ratings."""
        return self.rating_boundaries is not None

    @property
    def has_times(self) -> bool:
        """Whether events come with times."""
        return self.typical_gap is not None

    @property
    def n_event_ratings(self) -> int:
        """Number of codes of ``event_ratings``."""
        return len(self._event_boundaries) + 2

    def event_ratings(self, rating: FloatArray) -> IntArray:
        """(L,) codes of the ratings of L events, ascending from 1; 0 for NaN."""
        return bucket_codes(rating, self._event_boundaries)

    @property
    def _event_boundaries(self) -> FloatArray:
        return HALF_STARS if self.event_boundaries is None else self.event_boundaries

    @property
    def fact_sizes(self) -> tuple[int, ...]:
        """Number of codes of each column of the users' facts."""
        return tuple(len(self.users.category_names[name]) + 1 for name in self.users.categories)

    @property
    def time_sizes(self) -> tuple[int, ...]:
        """Number of codes of each column of the query's time."""
        return () if self.query_time is None else self.query_time.sizes

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes of each column of ``of_queries``."""
        rating = () if self.rating_boundaries is None else (N_BUCKETS + 1,)
        return (*rating, ACTIVITY_CODES, *self.fact_sizes, *self.time_sizes)

    def fact_codes(self, user_idx: IntArray) -> IntArray:
        """(B, F) codes of what is known of users beside their events; 0 = unknown."""
        codes = np.empty((len(user_idx), len(self.users.categories)), dtype=np.int64)
        for column, name in enumerate(self.users.categories):
            codes[:, column] = self.users.codes(name, user_idx) + 1
        return codes

    def codes(
        self, user_idx: IntArray, activity: IntArray, mean_rating: FloatArray | None, times: IntArray | None = None
    ) -> IntArray:
        """(B, C) codes; unknown users are 0. ``times`` (B, 2) are the codes of the query's time."""
        columns = []
        if self.rating_boundaries is not None:
            unrated = np.full(len(user_idx), np.nan, dtype=np.float32) if mean_rating is None else mean_rating
            imputed = np.where(np.isnan(unrated) & (activity > 0), np.float32(self.typical_rating), unrated)
            columns.append(bucket_codes(imputed, self.rating_boundaries))
        known = np.minimum(activity, self.longest)
        columns.append(np.minimum(np.log2(known + 1).astype(np.int64), ACTIVITY_CODES - 1))
        columns.extend(self.fact_codes(user_idx).T)
        if times is not None:
            columns.extend(times.T)
        return np.stack(columns, axis=1)

    def of_queries(self, queries: QueryBatch, items: ItemTable) -> tuple[IntArray, IntArray]:
        """Codes (B, C) and top genres (B, 3) at the end of each history."""
        features = query_features(queries, items)
        times = None if self.query_time is None else self.query_time.of_queries(queries)
        return self.codes(queries.user_idx, features.activity, features.mean_rating, times), features.top_genres

    def of_prefixes(
        self, interactions: Interactions, user_idx: IntArray, prefixes: PrefixFeatures, events: IntArray
    ) -> tuple[IntArray, IntArray]:
        """The same before the given events, each of the given user, at the time of the event."""
        rating = None if prefixes.mean_rating is None else prefixes.mean_rating[events]
        activity = prefixes.activity[events].astype(np.int64)
        times = None if self.query_time is None else self.query_time.of_events(interactions, events, activity == 0)
        codes = self.codes(user_idx, activity, rating, times)
        return codes, prefixes.top_genres[events].astype(np.int64)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for a bundle; the user table is stored beside them."""
        arrays = {"typical_rating": np.array(self.typical_rating), "longest": np.array(self.longest)}
        if self.typical_gap is not None:
            arrays["typical_gap"] = np.array(self.typical_gap)
        if self.rating_boundaries is not None:
            arrays["rating_boundaries"] = self.rating_boundaries
        if self.event_boundaries is not None:
            arrays["event_boundaries"] = self.event_boundaries
        return arrays | ({} if self.query_time is None else self.query_time.to_arrays())

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], users: UserTable) -> UserCodes:
        """Inverse of ``to_arrays``."""
        return cls(
            arrays.get("rating_boundaries"),
            users,
            int(arrays["longest"]),
            float(arrays["typical_rating"]),
            int(arrays["typical_gap"]) if "typical_gap" in arrays else None,
            QueryTime.from_arrays(arrays),
            arrays.get("event_boundaries"),
        )


def _mean_ratings(events: Interactions) -> FloatArray:
    """(U,) mean rating of each user's events; NaN for users without a rated event."""
    rating = np.zeros(0, dtype=np.float32) if events.rating is None else events.rating
    rated = ~np.isnan(rating)
    total = np.bincount(events.user_idx, weights=np.where(rated, rating, 0.0), minlength=events.n_users)
    with np.errstate(invalid="ignore"):
        mean = total / np.bincount(events.user_idx, weights=rated, minlength=events.n_users)
    return mean.astype(np.float32)


def _typical_rating(rated: FloatArray, distinct: FloatArray) -> float:
    """The one of the distinct ratings that is nearest to the mean of all; NaN without ratings."""
    if len(distinct) == 0:
        return np.nan
    return float(distinct[np.abs(distinct - rated.mean(dtype=np.float64)).argmin()])


def _event_boundaries(rated: FloatArray, distinct: FloatArray) -> FloatArray | None:
    """Midway between neighbours of the distinct ratings, or quantiles of all ratings where there are too many.

    None where ``HALF_STARS`` separate the ratings.
    """
    if np.isin(distinct, np.arange(11) / 2).all():
        return None
    if len(distinct) > MAX_RATINGS:
        return bucket_boundaries(rated, MAX_RATINGS)
    midway: FloatArray = ((distinct[:-1].astype(np.float64) + distinct[1:]) / 2).astype(np.float32)
    return midway


def _typical_gap(events: Interactions) -> int | None:
    if events.timestamp is None:
        return None
    gaps = np.diff(events.timestamp)[np.diff(events.user_idx) == 0]
    return int(np.quantile(gaps, 0.5, method="lower")) if len(gaps) else 0
