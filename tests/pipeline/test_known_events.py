"""What answers people knows every event there is; the evaluation asks with the history before the held-out events."""

from __future__ import annotations

import numpy as np
import pytest

from dataprep.prepare import Prepared
from dataprep.protocols import LastThree
from pipeline import Pipeline
from pipeline.explain import explain, explain_request
from pipeline.held_out import held_out_request
from reccore import DataError
from tests.pipeline.small import N_RATINGS, N_USERS, user_id


def events_of(prepared: Prepared, user: int) -> list[int]:
    """Raw ids of all films that a user has rated, oldest first."""
    row = int(prepared.vocabulary.users.encode(user))
    ids: list[int] = prepared.vocabulary.items.decode(prepared.split.interactions.history(row)).tolist()
    return ids


def test_no_film_that_the_user_has_rated_is_offered(pipeline: Pipeline, prepared: Prepared) -> None:
    for user in map(user_id, range(0, N_USERS, 4)):
        rated = events_of(prepared, user)
        assert len(rated) == N_RATINGS
        answer = pipeline.recommend(user=user, k=25)
        assert list(answer.history) == rated
        assert not {item.movie_id for item in answer.items} & set(rated)


@pytest.mark.parametrize(("split", "ago"), [("test", 1), ("valid", 2)])
def test_an_explanation_of_a_held_out_film(pipeline: Pipeline, prepared: Prepared, split: str, ago: int) -> None:
    user = user_id(7)
    film = events_of(prepared, user)[-ago]
    assert explain(pipeline, film, user=user).fate == "excluded"
    unseen = next(m for m in prepared.vocabulary.items.ids.tolist() if m not in events_of(prepared, user))
    request = held_out_request(pipeline, prepared, split, user, film, k=7, exclude=[unseen])
    assert request.k == 7
    assert prepared.vocabulary.items.decode(request.queries.history_idx).tolist() == events_of(prepared, user)[:-ago]
    holdout = getattr(prepared.split, split)()
    asked = holdout.queries.select([7])
    offered, _ = pipeline.run(asked, 7)
    found = explain_request(pipeline, film, request)
    assert found.fate not in ("excluded", "unknown")
    item = int(prepared.vocabulary.items.encode(film))
    listed = offered.item_idx[0].tolist()
    without_exclusion = held_out_request(pipeline, prepared, split, user, film, k=7)
    place = explain_request(pipeline, film, without_exclusion).place
    assert place == (listed.index(item) + 1 if item in listed else None)
    excluded = np.setdiff1d(request.exclude.item_idx, request.queries.history_idx)
    assert prepared.vocabulary.items.decode(excluded).tolist() == [unseen]


def test_where_every_target_has_a_query_the_one_of_the_film_is_asked(pipeline: Pipeline, prepared: Prepared) -> None:
    three = prepared.resplit(LastThree())
    holdout = three.split.test()
    row = int(np.bincount(holdout.queries.user_idx).argmax())
    user = user_id(row)
    films, targets = events_of(prepared, user), holdout.target_idx[holdout.queries.user_idx == row]
    assert len(targets) > 1
    for target in prepared.vocabulary.items.decode(targets).tolist():
        asked = held_out_request(pipeline, three, "test", user, target, k=5).queries
        assert len(asked.history_idx) == films.index(target)
    other = held_out_request(pipeline, three, "test", user, films[0], k=5).queries
    assert len(other.history_idx) == films.index(int(prepared.vocabulary.items.decode(targets[-1])))


def test_a_user_without_held_out_events(pipeline: Pipeline, prepared: Prepared) -> None:
    with pytest.raises(DataError, match="user 4 has no event in the test split of leave_one_out; leave out --split"):
        held_out_request(pipeline, prepared, "test", 4, 5, k=5)
