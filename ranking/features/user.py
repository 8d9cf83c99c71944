"""Features of the query: its user, and what its history says about the user."""

from __future__ import annotations

import numpy as np

from dataprep.features import QueryFeatures, query_features
from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, feature, seen, shares
from reccore.arrays import FloatArray, IntArray


def history_facts(batch: FeatureBatch) -> QueryFeatures:
    """Genres, mean rating and length of each history; share it by ``batch.once(history_facts)``."""
    return query_features(batch.queries, batch.tables.items)


@feature(
    "user.id",
    side="query",
    kind="category",
    fit=lambda samples, tables: {"seen": seen(samples.queries.user_idx, tables.users.n_users)},
    size=lambda tables, _: tables.users.n_users + 1,
    default=True,
)
def user_id(batch: FeatureBatch, fitted: Fitted) -> IntArray:
    """The user; users without a training query share the unknown code."""
    user_idx = batch.queries.user_idx
    known = (user_idx >= 0) & (user_idx < batch.tables.users.n_users)
    known[known] = fitted.state["seen"][user_idx[known]]
    return np.where(known, user_idx + 1, 0)


@feature(
    "user.{category}",
    side="query",
    kind="category",
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
    kind="bag",
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
    return batch.once(history_facts).mean_rating


@feature(
    "user.top_genres",
    side="query",
    kind="bag",
    requires=("items.genre_names",),
    size=lambda tables, _: tables.items.n_genres,
    default=True,
)
def top_genres(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Equal shares of the history's three most frequent genres."""
    top = np.zeros((len(batch.queries), batch.tables.items.n_genres + 1), dtype=np.float32)
    np.put_along_axis(top, batch.once(history_facts).top_genres, 1.0, axis=1)  # -1 (none) falls into the extra column
    return shares(top[:, :-1])
