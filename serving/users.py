"""Users and their histories, as the page shows them."""

from __future__ import annotations

import numpy as np

from dataprep.features import query_features
from reccore import QueryBatch, RawId
from serving.catalogue import ids_with_prefix
from serving.live_histories import tolerant_reading
from serving.model import Model
from serving.responses import HistoryAnswer, PastEvent, UsersAnswer, UserSummary


def find_users(model: Model, query: str, limit: int) -> UsersAnswer:
    """Users of the model whose id begins with the query; counts and genres include live events."""
    users = model.pipeline.vocabulary.users
    found = users.decode(ids_with_prefix(users, query.strip(), limit)).tolist()
    with tolerant_reading():
        return UsersAnswer([_summary(model, user) for user in found])


def _summary(model: Model, user: RawId) -> UserSummary:
    query, items = model.histories.of(user).query, model.pipeline.items
    top = query_features(query, items).top_genres[0].tolist()
    return UserSummary(user, len(query.history_idx), [items.genre_names[genre] for genre in top if genre >= 0])


def history_of(model: Model, user: RawId, limit: int, offset: int) -> HistoryAnswer:
    """A part of a user's history, the latest event first.

    Raises:
        UnknownUserError: neither the model nor the store knows the user.
        StoreError: the model does not know the user, and the store failed.
    """
    with tolerant_reading():
        found = model.histories.of(user)
    query, total = found.query, len(found.event_ids)
    latest_first = range(total - 1 - offset, max(total - 1 - offset - limit, -1), -1)
    return HistoryAnswer(user, total, [_event(model, found.event_ids, query, at) for at in latest_first])


def _event(model: Model, event_ids: tuple[str | None, ...], query: QueryBatch, at: int) -> PastEvent:
    film = model.catalogue.film(int(query.history_idx[at]))
    rating = None if query.history_rating is None else float(query.history_rating[at])
    return PastEvent(
        movie_id=film.movie_id,
        title=film.title,
        label=film.label,
        year=film.year,
        genres=film.genres,
        rating=None if rating is None or np.isnan(rating) else rating,
        time=None if query.history_time is None else int(query.history_time[at]),
        event_id=event_ids[at],
    )
