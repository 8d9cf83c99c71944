"""How much a user, or the users of a group, take to the candidate's genres and directors: (B, K).

Every figure is smoothed: a few events are mixed with what holds without any. NaN for a candidate without genres or
directors, and on padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, Values, feature
from ranking.features.history import (
    event_rows,
    genre_counts,
    genre_rows,
    genre_sums,
    mean_over_genres,
    ratings,
)
from reccore import QueryBatch, RankingSamples
from reccore.arrays import FloatArray, IntArray, offsets_from_lengths, row_of_each

GENRE_PRIOR = 5.0
"""Events without a deviation that are added to the rated events of each genre."""
LABEL_PRIOR = 10.0
"""Genre labels in the usual shares that are added to those of a history."""
GROUP_PRIOR = 100.0
"""The same for the users of a group."""
DIRECTOR_PRIOR = 2.0
"""Events without a deviation that are added to the rated events of a director."""


@feature(
    "cross.genre_rating",
    side="pair",
    kind="number",
    requires=("items.genre_names", "queries.history_rating"),
    default=True,
)
def genre_rating(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Mean rating the user gave to the candidate's genres less the mean of all the user's ratings, shrunk to 0."""
    found = batch.once(ratings)
    sums = genre_sums(batch, found.deviation)  # (B, G)
    counts = batch.once(genre_counts) if found.rated.all() else genre_sums(batch, found.rated.astype(np.float32))
    return mean_over_genres(batch, sums / (counts + np.float32(GENRE_PRIOR)))


def usual_genres(samples: RankingSamples, tables: FeatureTables, _: str = "") -> dict[str, Values]:
    """(G,) share of each genre among the genre labels of the training users' histories, from one each on."""
    queries = unlabelled_histories(samples, tables.items.n_items)
    counts = np.bincount(queries.history_idx, minlength=tables.items.n_items) @ tables.once(genre_rows)[:-1] + 1.0
    return {"usual": (counts / max(counts.sum(), 1.0)).astype(np.float32)}


@feature(
    "cross.genre_lift", side="pair", kind="number", requires=("items.genre_names",), fit=usual_genres, default=True
)
def genre_lift(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """Log of the share of the candidate's genres in the history over their share in all histories."""
    return mean_over_genres(batch, _log_lift(batch.once(genre_counts), fitted.state["usual"], LABEL_PRIOR))


def group_lift(samples: RankingSamples, tables: FeatureTables, name: str) -> dict[str, Values]:
    """(C+1, G) log of the share of each genre in the histories of the users of each code over its usual share.

    Row 0 is for users without a code.
    """
    queries = unlabelled_histories(samples, tables.items.n_items)
    n_items, n_codes = tables.items.n_items, len(tables.users.category_names[name]) + 1
    codes = tables.users.codes(name, queries.user_idx) + 1
    keys = codes[row_of_each(queries.history_offsets)] * n_items + queries.history_idx
    events = np.bincount(keys, minlength=n_codes * n_items).reshape(n_codes, n_items)
    counts = events @ tables.once(genre_rows)[:-1]  # (C+1, G)
    lift = _log_lift(counts, usual_genres(samples, tables)["usual"], GROUP_PRIOR)
    lift[0] = 0.0
    return {"lift": lift}


def categories(_: RankingSamples, tables: FeatureTables) -> list[str]:
    """Age, gender, occupation: every category of the user table."""
    return list(tables.users.category_names)


@feature(
    "cross.group_genre_lift.{category}",
    side="pair",
    kind="number",
    requires=("items.genre_names",),
    members=categories,
    fit=group_lift,
    default=True,
)
def group_genre_lift(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """Log of the share of the candidate's genres in the histories of the user's group over their share in all."""
    codes = batch.tables.users.codes(fitted.member, batch.queries.user_idx) + 1
    return mean_over_genres(batch, fitted.state["lift"][codes])


def director_rows(tables: FeatureTables) -> IntArray:
    """(N+1, P) codes 1 … L of each film's directors, then 0; the last row has none."""
    codes = tables.items.labels["director"].padded() + 1
    return np.concatenate([codes, np.zeros((1, codes.shape[1]), dtype=np.int64)])


def director_events(batch: FeatureBatch) -> tuple[FloatArray, FloatArray, FloatArray]:
    """For the candidate's directors: films in the history, rated ones among them, and sum of their deviations.

    (B, K) each; a film by two of them counts twice. NaN for a candidate without directors.
    """
    rows = batch.tables.once(director_rows)
    found = batch.once(ratings)
    size = len(batch.tables.items.labels["director"]) + 1
    weights = (np.ones(len(found.rated)), found.rated, found.deviation)
    films, of_rated, deviation_sums = (_label_sums(batch, rows, size, each) for each in weights)
    return films, of_rated, deviation_sums


@feature("cross.director_seen", side="pair", kind="number", requires=("items.labels.director",), default=True)
def director_seen(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """log(1 + films of the history by the candidate's directors)."""
    return np.log1p(batch.once(director_events)[0])


@feature(
    "cross.director_rating",
    side="pair",
    kind="number",
    requires=("items.labels.director", "queries.history_rating"),
    default=True,
)
def director_rating(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Mean rating the user gave to films by the candidate's directors less the user's mean rating, shrunk to 0."""
    _films, counts, sums = batch.once(director_events)
    rating: FloatArray = sums / (counts + np.float32(DIRECTOR_PRIOR))
    return rating


def unlabelled_histories(samples: RankingSamples, n_items: int) -> QueryBatch:
    """The longest history of each known user among the samples, without the items that user chose in any of them.

    A later query's history holds the targets of earlier ones. What is learnt from histories must not count them: a
    query would meet its own answer in the figures of its group. That holds for every task: with the targets that are
    disliked left in, a target would be counted where its label is 0 and not where it is 1.

    Raises:
        ConfigError: the samples have no labels of ``click``.
    """
    queries = samples.queries
    known = np.flatnonzero(queries.user_idx >= 0)
    order = known[np.lexsort((queries.lengths[known], queries.user_idx[known]))]
    last = np.append(np.diff(queries.user_idx[order]) != 0, True)[: len(order)]
    longest = queries.select(order[last])
    row, column = np.nonzero(samples.chosen)
    answers = queries.user_idx[row] * n_items + samples.candidates.item_idx[row, column]
    events = longest.user_idx[row_of_each(longest.history_offsets)] * n_items + longest.history_idx
    kept = ~np.isin(events, answers)
    return QueryBatch(
        offsets_from_lengths(kept)[longest.history_offsets], longest.history_idx[kept], longest.user_idx, longest.as_of
    )


def _log_lift(counts: npt.NDArray[np.floating], usual: FloatArray, prior: float) -> FloatArray:
    """(R, G) log of the smoothed share of each genre in a row's counts over its usual share."""
    shares = (counts + prior * usual) / (counts.sum(axis=1, keepdims=True) + prior)
    lift: FloatArray = np.log(shares / usual).astype(np.float32)
    return lift


def _label_sums(batch: FeatureBatch, rows: IntArray, size: int, weights: npt.NDArray[Any]) -> FloatArray:
    """(B, K) sum of the weights (L,) of the history's events that have a label of the candidate.

    Args:
        batch: histories and candidates.
        rows: (N+1, P) codes of each item, 0 = none.
        size: one more than the greatest code.
        weights: (L,) of the events.
    """
    queries, n = batch.queries, len(batch.queries)
    codes = rows[queries.history_idx]  # (L, P)
    keys = batch.once(event_rows)[:, None] * size + codes
    each = np.broadcast_to(weights[:, None], codes.shape)
    sums = np.bincount(keys.ravel(), weights=each.ravel(), minlength=n * size).reshape(n, size)
    sums[:, 0] = 0.0
    wanted = rows[batch.candidates.item_idx]  # (B, K, P)
    found = sums[np.arange(n)[:, None, None], wanted].sum(axis=2)
    return np.where((wanted > 0).any(axis=2), found, np.nan).astype(np.float32)
