"""Features of the query: its user, and what its history says about the user."""

from __future__ import annotations

import numpy as np

from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, feature, seen, shares, still_seen
from ranking.features.history import LATEST, genre_counts, latest_events, ratings, segment_sums
from reccore.arrays import FloatArray, IntArray

TOP_GENRES = 3
SECONDS_PER_DAY, SECONDS_PER_HOUR = 86_400, 3_600


@feature(
    "user.id",
    side="query",
    kind="category",
    vocabulary="users",
    fit=lambda samples, tables, _: {"seen": seen(samples.queries.user_idx, tables.users.n_users)},
    grow=lambda state, tables: still_seen(state, tables.users.n_users),
    size=lambda tables, _: tables.users.n_users + 1,
)
def user_id(batch: FeatureBatch, fitted: Fitted) -> IntArray:
    """The user; users without a training query share the unknown code.

    Not in the default set: users who are held out to choose the epoch have no code, so that over-fitting of the others'
    codes would stay unseen.
    """
    user_idx = batch.queries.user_idx
    known = (user_idx >= 0) & (user_idx < batch.tables.users.n_users)
    known[known] = fitted.state["seen"][user_idx[known]]
    return np.where(known, user_idx + 1, 0)


@feature(
    "user.{category}",
    side="query",
    kind="category",
    vocabulary=lambda tables, name: tables.users.category_names[name],
    members=lambda samples, tables: list(tables.users.category_names),
    size=lambda tables, name: len(tables.users.category_names[name]) + 1,
    default=True,
)
def user_category(batch: FeatureBatch, fitted: Fitted) -> IntArray:
    """Age, gender, occupation: every category of the user table."""
    return batch.tables.users.codes(fitted.member, batch.queries.user_idx) + 1


def own_label_rows(tables: FeatureTables) -> dict[str, IntArray]:
    """Column → (U+1, P) codes of each user's labels, then 0; the last row, of an unknown user, has none."""
    return {
        name: np.concatenate([labels.padded() + 1, np.zeros((1, labels.padded().shape[1]), dtype=np.int64)])
        for name, labels in tables.users.labels.items()
    }


@feature(
    "user.{label}",
    side="query",
    kind="labels",
    vocabulary=lambda tables, name: tables.users.labels[name].names,
    members=lambda samples, tables: sorted(tables.users.labels),
    size=lambda tables, name: len(tables.users.labels[name]) + 1,
)
def own_labels(batch: FeatureBatch, fitted: Fitted) -> IntArray:
    """Categories and lists among the own columns of the users."""
    return batch.tables.once(own_label_rows)[fitted.member][_rows(batch)]


@feature(
    "user.{number}",
    side="query",
    kind="number",
    members=lambda samples, tables: sorted(tables.users.numbers),
    buckets=True,
)
def own_number(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """Numbers among the own columns of the users."""
    return np.append(batch.tables.users.numbers[fitted.member], np.float32(np.nan))[_rows(batch)]


@feature(
    "user.{vector}",
    side="query",
    kind="vector",
    members=lambda samples, tables: sorted(tables.users.vectors),
    size=lambda tables, name: tables.users.vectors[name].shape[1],
)
def own_vector(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """Vectors among the own columns of the users."""
    vectors = batch.tables.users.vectors[fitted.member]
    rows = np.minimum(_rows(batch), len(vectors) - 1)
    return np.where(batch.tables.users.known(batch.queries.user_idx)[:, None], vectors[rows], np.float32(0))


def _rows(batch: FeatureBatch) -> IntArray:
    """(B,) the user's row; the row after the last for unknown users."""
    users, user_idx = batch.tables.users, batch.queries.user_idx
    return np.where(users.known(user_idx), user_idx, users.n_users)


@feature("user.log_activity", side="query", kind="number", buckets=True, default=True)
def log_activity(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """log(1 + events of the history)."""
    return np.log1p(batch.queries.lengths)


@feature("user.mean_rating", side="query", kind="number", requires=("queries.history_rating",), default=True)
def mean_rating(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Mean rating of the history."""
    return batch.once(ratings).mean.astype(np.float32)


@feature("user.rating_variance", side="query", kind="number", requires=("queries.history_rating",))
def rating_variance(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Variance of the ratings of the history."""
    found = batch.once(ratings)
    squares = segment_sums(found.deviation**2, batch.queries.history_offsets)
    return np.where(found.count > 0, squares / np.maximum(found.count, 1), np.nan).astype(np.float32)


@feature("user.log_rating_count", side="query", kind="number", requires=("queries.history_rating",))
def log_rating_count(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """log(1 + rated events of the history); the same as the activity where every event is rated."""
    return np.log1p(batch.once(ratings).count).astype(np.float32)


@feature("user.log_days_since_last", side="query", kind="number", requires=("queries.history_time",))
def log_days_since_last(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """log(1 + days from the last event to the query): 0 unless the query's time is known, see ``--query_time``."""
    last, as_of = batch.once(latest_events).time[:, 0], batch.queries.as_of
    days = np.maximum(as_of - last, 0.0) / SECONDS_PER_DAY
    return np.where(as_of >= 0, np.log1p(days), np.nan).astype(np.float32)


@feature("user.log_last_gap", side="query", kind="number", requires=("queries.history_time",))
def log_last_gap(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """log(1 + days between the last two events)."""
    time = batch.once(latest_events).time
    return np.log1p((time[:, 0] - time[:, 1]) / SECONDS_PER_DAY).astype(np.float32)


@feature("user.log_pace", side="query", kind="number", requires=("queries.history_time",))
def log_pace(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Log of the events per day over the latest 20 events, which span an hour at least."""
    time = batch.once(latest_events).time
    n = np.minimum(batch.queries.lengths, LATEST)
    first = np.take_along_axis(time, np.maximum(n - 1, 0)[:, None], axis=1)[:, 0]
    days = np.maximum(time[:, 0] - first, SECONDS_PER_HOUR) / SECONDS_PER_DAY
    return np.where(n > 1, np.log(np.maximum(n - 1, 1) / days), np.nan).astype(np.float32)


@feature(
    "user.top_genres",
    side="query",
    kind="bag",
    requires=("items.genre_names",),
    vocabulary=lambda tables, _: tables.items.genre_names,
    size=lambda tables, _: tables.items.n_genres,
    default=True,
)
def top_genres(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Equal shares of the history's three most frequent genres; of equally frequent ones the first."""
    counts = batch.once(genre_counts)
    top = np.argsort(-counts, axis=1, kind="stable")[:, :TOP_GENRES]
    row = np.arange(len(counts))[:, None]
    chosen = np.zeros_like(counts)
    chosen[row, top] = counts[row, top] > 0
    return shares(chosen)
