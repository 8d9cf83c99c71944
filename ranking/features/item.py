"""Features of the item: its id, its facts, and its statistics in the fit split."""

from __future__ import annotations

import numpy as np

from ranking.features.declaration import FeatureTables, Fitted, Values, feature, seen, shares, still_seen
from reccore import RankingSamples
from reccore.arrays import FloatArray, IntArray
from reccore.tables import UNKNOWN_YEAR


def seen_items(samples: RankingSamples, tables: FeatureTables, _: str) -> dict[str, Values]:
    """Items that occur in training, as candidates or in histories."""
    met = np.concatenate([samples.queries.history_idx, samples.candidates.item_idx.ravel()])
    return {"seen": seen(met, tables.items.n_items)}


@feature(
    "item.id",
    side="item",
    kind="category",
    vocabulary="items",
    fit=seen_items,
    grow=lambda state, tables: still_seen(state, tables.items.n_items),
    size=lambda tables, _: tables.items.n_items + 1,
)
def item_id(tables: FeatureTables, fitted: Fitted) -> IntArray:
    """The item; items that training never met share the unknown code.

    Not in the default set: with it DeepFM was worse on users it had not learnt from (MovieLens-100K, NDCG@10 .175
    against .182), since some thousands of label queries do not say much about single films.
    """
    return np.where(fitted.state["seen"], np.arange(1, tables.items.n_items + 1), 0)


def year_or_nan(tables: FeatureTables) -> FloatArray:
    """(N,) year of each film, NaN = unknown."""
    known = np.asarray(tables.items.year)
    return np.where(known == UNKNOWN_YEAR, np.nan, known)


@feature("item.year", side="item", kind="number", requires=("items.year",), buckets=True, default=True)
def year(tables: FeatureTables, _: Fitted) -> FloatArray:
    """Year of release."""
    return year_or_nan(tables)


@feature("item.log_count", side="item", kind="number", requires=("items.statistics.count",), buckets=True, default=True)
def log_count(tables: FeatureTables, _: Fitted) -> FloatArray:
    """log(1 + events of the item)."""
    return np.log1p(tables.items.statistics["count"])


@feature("item.log_recent_count", side="item", kind="number", requires=("items.statistics.recent_count",), default=True)
def log_recent_count(tables: FeatureTables, _: Fitted) -> FloatArray:
    """log(1 + recent events of the item)."""
    return np.log1p(tables.items.statistics["recent_count"])


RECENT_PRIOR = 10.0
"""Events of average age that are added to an item's own before its recent share is taken."""


@feature(
    "item.recent_share",
    side="item",
    kind="number",
    requires=("items.statistics.count", "items.statistics.recent_count"),
    default=True,
)
def recent_share(tables: FeatureTables, _: Fitted) -> FloatArray:
    """Share of the item's events that are recent, shrunk to the share of all events."""
    count, recent = tables.items.statistics["count"], tables.items.statistics["recent_count"]
    of_all = recent.sum(dtype=np.float64) / max(count.sum(dtype=np.float64), 1.0)
    share: FloatArray = ((recent + RECENT_PRIOR * of_all) / (count + RECENT_PRIOR)).astype(np.float32)
    return share


@feature(
    "item.log_trend",
    side="item",
    kind="number",
    requires=("items.statistics.recent_count", "items.statistics.previous_count"),
    default=True,
)
def log_trend(tables: FeatureTables, _: Fitted) -> FloatArray:
    """Log of the ratio of recent events to those of the window before, 1 added to both."""
    statistics = tables.items.statistics
    trend: FloatArray = np.log1p(statistics["recent_count"]) - np.log1p(statistics["previous_count"])
    return trend


@feature(
    "item.rating_variance", side="item", kind="number", requires=("items.statistics.rating_variance",), default=True
)
def item_rating_variance(tables: FeatureTables, _: Fitted) -> FloatArray:
    """Variance of the item's ratings."""
    return tables.items.statistics["rating_variance"]


@feature("item.mean_rating", side="item", kind="number", requires=("items.statistics.mean_rating",), default=True)
def item_mean_rating(tables: FeatureTables, _: Fitted) -> FloatArray:
    """Mean rating of the item."""
    return tables.items.statistics["mean_rating"]


@feature(
    "item.log_{number}",
    side="item",
    kind="number",
    members=lambda samples, tables: sorted(set(tables.items.numbers) - tables.items.own),
    buckets=True,
    default=True,
)
def log_number(tables: FeatureTables, fitted: Fitted) -> FloatArray:
    """log(1 + value) of budget, runtime and every other number of TMDb."""
    return np.log1p(tables.items.numbers[fitted.member])


@feature(
    "item.{number}",
    side="item",
    kind="number",
    members=lambda samples, tables: sorted(tables.items.own.intersection(tables.items.numbers)),
    buckets=True,
)
def own_number(tables: FeatureTables, fitted: Fitted) -> FloatArray:
    """Numbers among the own columns of the items."""
    return tables.items.numbers[fitted.member]


@feature(
    "item.genres",
    side="item",
    kind="bag",
    requires=("items.genre_names",),
    vocabulary=lambda tables, _: tables.items.genre_names,
    size=lambda tables, _: tables.items.n_genres,
    default=True,
)
def genres(tables: FeatureTables, _: Fitted) -> FloatArray:
    """Equal shares of the item's genres."""
    return shares(tables.items.genre_matrix())


def label_names(tables: FeatureTables, name: str) -> tuple[str, ...]:
    """Names of the labels of a column of the items."""
    return tables.items.labels[name].names


@feature(
    "item.{label}",
    side="item",
    kind="labels",
    vocabulary=label_names,
    members=lambda samples, tables: sorted(tables.items.labels),
    size=lambda tables, name: len(tables.items.labels[name]) + 1,
    default=True,
)
def labels(tables: FeatureTables, fitted: Fitted) -> IntArray:
    """Directors, cast, keywords, own categories and lists: every label of the item table."""
    return tables.items.labels[fitted.member].padded() + 1


@feature(
    "item.{vector}",
    side="item",
    kind="vector",
    members=lambda samples, tables: sorted(tables.items.vectors),
    size=lambda tables, name: tables.items.vectors[name].shape[1],
    default=True,
)
def vector(tables: FeatureTables, fitted: Fitted) -> FloatArray:
    """Vectors of overviews and titles, own vectors: every vector of the item table."""
    return tables.items.vectors[fitted.member]
