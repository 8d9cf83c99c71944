"""Histories of requests: the ways to write an event, ratings and times on their way to the models, and the store."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pipeline import Pipeline
from pipeline.history import Event, FrozenHistoryStore, extended_query, history_query
from pipeline.stages import Request
from reccore import DataError, IdMap, Interactions, QueryBatch, Vocabulary
from tests.pipeline.small import FIRST_SECOND, movie_id, user_id

VOCABULARY = Vocabulary(IdMap.of(np.array([7, 9])), IdMap.of(np.array([10, 20, 30, 40])))
NOBODY = np.array([-1])


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("50", Event(50)),
        ("50:5", Event(50, 5.0)),
        (" 172:4.5@881250949", Event(172, 4.5, 881250949)),
        ("172@881250949", Event(172, None, 881250949)),
        ("Heat", Event(1_004)),
        (" Heat (1995):4.5@881250949", Event(1_011, 4.5, 881250949)),
        ("Terminator 2: Judgment Day:5", Event(1_026, 5.0)),
        ("5:4:3", Event(1_003, 3.0)),
        ("sku-7 b:4@60", Event(1_007, 4.0, 60)),
    ],
)
def test_events_from_text(text: str, event: Event) -> None:
    assert Event.parse(text, lambda title: 1_000 + len(title)) == event


@pytest.mark.parametrize("text", ["", " "])
def test_text_that_is_no_event(text: str) -> None:
    with pytest.raises(DataError, match="an event is written FILM, FILM:RATING or FILM:RATING@TIME"):
        Event.parse(text, len)


def test_events_from_values() -> None:
    for value in (5, np.int64(5), (5,), [5], {"movie_id": 5}, Event(5)):
        assert Event.of(value) == Event(5)
    for value in ((5, np.float32(4), np.int32(6)), {"movie_id": 5, "rating": 4, "time": 6}, Event(5, 4.0, 6)):
        assert Event.of(value) == Event(5, 4.0, 6)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "history must hold whole numbers"),
        ((1, 2, 3, 4), "an event is a movie_id with an optional rating and time"),
        ({"movie": 1}, "an event is a movie_id"),
        ((1, math.nan), "the rating of movie 1 must be a finite number, got nan"),
        ((1, "good"), "the rating of movie 1 must be a finite number, got 'good'"),
        ((1, 4.0, 1.5), "the time of movie 1 must hold whole numbers"),
    ],
)
def test_values_that_are_no_event(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Event.of(value)


def test_a_history_becomes_a_query() -> None:
    query, unknown = history_query([10, 99, 30], VOCABULARY, NOBODY)
    assert (query.history_idx.tolist(), unknown) == ([0, 2], (99,))
    assert query.history_rating is None
    assert query.history_time is None
    assert query.as_of.tolist() == [-1]


def test_times_decide_the_order_and_ratings_follow_their_films() -> None:
    query, unknown = history_query([(40, 2.0, 300), (99, 1.0, 400), (10, 5.0, 100), (20, 3.0, 300)], VOCABULARY, NOBODY)
    assert query.history_idx.tolist() == [0, 3, 1]  # equal times keep their order
    np.testing.assert_array_equal(query.history_rating, [5, 2, 3])
    np.testing.assert_array_equal(query.history_time, [100, 300, 300])
    assert query.as_of.tolist() == [300]
    assert unknown == (99,)


def test_a_film_without_a_rating_among_rated_ones() -> None:
    query, _ = history_query([(10, 5.0), 20], VOCABULARY, NOBODY)
    np.testing.assert_array_equal(query.history_rating, [5, np.nan])


def test_times_for_some_events_only_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 events of the history have a time"):
        history_query([(10, 5.0, 100), 20], VOCABULARY, NOBODY)


def test_the_frozen_store() -> None:
    events = Interactions(np.array([0, 2, 3]), np.array([1, 0, 3]), n_items=4, rating=np.ones(3, dtype=np.float32))
    store = FrozenHistoryStore(events, VOCABULARY)
    found = store.history([9, 7])
    assert found.history_offsets.tolist() == [0, 1, 3]
    assert found.history_idx.tolist() == [3, 1, 0]
    assert found.user_idx.tolist() == [1, 0]
    assert found.history_rating is not None
    with pytest.raises(DataError, match="user 8 is not known here; give a history instead"):
        store.history([7, 8])


# Through the pipeline ----------------------------------------------------------------------------------------


def test_a_stored_history_given_as_events_is_answered_as_the_stored_one(pipeline: Pipeline) -> None:
    """Ids, ratings and times of a request reach every stage as those of the store do."""
    stored = pipeline.recommend(user=user_id(7), k=8)
    query = pipeline.histories.history([user_id(7)])
    assert query.history_rating is not None
    assert query.history_time is not None
    ids = pipeline.vocabulary.items.decode(query.history_idx).tolist()
    columns = (ids, query.history_rating.tolist(), query.history_time.tolist())
    events = list(zip(*columns, strict=True))
    forms: list[list[Any]] = [
        events,
        [Event(*event) for event in events],
        [dict(zip(("movie_id", "rating", "time"), event, strict=True)) for event in events],
        events[::-1],  # times decide
    ]
    for history in forms:
        assert pipeline.recommend(user=user_id(7), history=history, k=8).items == stored.items


def scores(pipeline: Pipeline, history: list[Any]) -> dict[int, float]:
    query, _ = history_query(history, pipeline.vocabulary, NOBODY)
    candidates, _ = pipeline.run(query, pipeline.config.merge.k)
    shown = candidates.features["match.two_tower"][0]
    return dict(zip(candidates.item_idx[0].tolist(), shown.tolist(), strict=True))


def test_histories_with_and_without_ratings_are_answered_and_differ(pipeline: Pipeline) -> None:
    """The two-tower and the ranker of the pipeline learnt from rated events, so ratings matter to them."""
    films = [movie_id(n) for n in (0, 4, 8, 12, 16)]
    plain = films
    bad, good = [(film, 0.5) for film in films], [(film, 5.0) for film in films]
    some = [(films[0], 5.0), *films[1:]]
    answers = [pipeline.recommend(history=history, k=6) for history in (plain, bad, good, some)]
    for answer in answers:
        assert len(answer.items) == 6
        assert answer.history == tuple(films)
        assert all(math.isfinite(value) for item in answer.items for value in item.scores.values())
    found = [scores(pipeline, history) for history in (plain, bad, good)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        common = found[one].keys() & found[other].keys()
        assert common
        assert any(not math.isclose(found[one][item], found[other][item], abs_tol=1e-6) for item in common)


def test_times_of_a_history_reach_the_query(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[QueryBatch] = []
    original = pipeline.run_request

    def spy(request: Request, **options: Any) -> Any:
        met.append(request.queries)
        return original(request, **options)

    monkeypatch.setattr(pipeline, "run_request", spy)
    pipeline.recommend(history=[(movie_id(3), 4.0, FIRST_SECOND), (movie_id(5), 2.0, FIRST_SECOND + 9)], k=3)
    assert met[0].history_time is not None
    assert met[0].history_time.tolist() == [FIRST_SECOND, FIRST_SECOND + 9]
    assert met[0].as_of.tolist() == [FIRST_SECOND + 9]


STORED = QueryBatch.from_histories([[0, 1, 2]], ratings=[[3, 4, 5]], times=[[100, 200, 300]], user_idx=[1])
UNTIMED = QueryBatch.from_histories([[0, 1]], user_idx=[1])


def test_new_events_follow_the_stored_ones() -> None:
    query, unknown = extended_query(STORED, [(40, 2.0), 99], VOCABULARY)
    assert (query.history_idx.tolist(), unknown) == ([0, 1, 2, 3], (99,))
    np.testing.assert_array_equal(query.history_rating, [3, 4, 5, 2])
    np.testing.assert_array_equal(query.history_time, [100, 200, 300, 300])  # as late as the latest
    assert (query.as_of.tolist(), query.user_idx.tolist()) == ([300], [1])
    untimed, _ = extended_query(UNTIMED, [40, 30], VOCABULARY)
    assert untimed.history_idx.tolist() == [0, 1, 3, 2]
    assert untimed.history_time is None


def test_times_order_new_events_among_the_stored_ones() -> None:
    query, _ = extended_query(STORED, [(40, 2.0, 250)], VOCABULARY)
    assert query.history_idx.tolist() == [0, 1, 3, 2]


def test_a_new_rating_of_a_film_takes_the_place_of_the_old_one() -> None:
    query, _ = extended_query(STORED, [(10, 1.0), (40, 4.0), (40, 5.0)], VOCABULARY)
    assert query.history_idx.tolist() == [1, 2, 0, 3]
    np.testing.assert_array_equal(query.history_rating, [4, 5, 1, 5])


def test_times_for_new_events_alone_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 3 events of the history have a time"):
        extended_query(UNTIMED, [(40, 2.0, 250)], VOCABULARY)


def test_a_known_user_with_new_events(pipeline: Pipeline) -> None:
    plain = pipeline.recommend(user=user_id(7), k=6)
    first = plain.items[0].movie_id
    after = pipeline.recommend(user=user_id(7), new_events=[(first, 5.0)], k=6)
    assert after.history == (*plain.history, first)
    assert first not in [item.movie_id for item in after.items]
    for given in ({"history": [5]}, {"user": user_id(7), "history": [5]}, {}):
        with pytest.raises(DataError, match="new events follow the stored history of a user; give the user, and no"):
            pipeline.recommend(new_events=[5], **given)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="user 4 is not known here"):
        pipeline.recommend(user=4, new_events=[5])
