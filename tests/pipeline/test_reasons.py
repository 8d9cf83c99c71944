"""Reasons against recommending again, one history at a time."""

from __future__ import annotations

from copy import copy
from threading import Event
from typing import Any

import numpy as np
import pytest

from pipeline import Event as Watched
from pipeline import ItemFilter, Pipeline, StageLimits
from pipeline.reasons import LATEST, Reason, reasons, without_each
from reccore import RawId
from tests.pipeline.small import PIPELINE, changed, movie_id, user_id, with_parts

K = 5
MANY = PIPELINE["candidates"] + K


def history_of(pipeline: Pipeline, user: int) -> list[Watched]:
    """Without times, so that the time of the request is the same whichever event is left out."""
    query = pipeline.histories.history([user_id(user)])
    assert query.history_rating is not None
    ids = pipeline.vocabulary.items.decode(query.history_idx).tolist()
    return [Watched(movie, rating) for movie, rating in zip(ids, query.history_rating.tolist(), strict=True)]


def by_recommending_again(
    pipeline: Pipeline, history: list[Watched], score: str, **asked: Any
) -> list[dict[RawId, float]]:
    """For each film of the list: film of the history → how much the relative score falls without it."""
    shown = [item.movie_id for item in pipeline.recommend(history=history, k=K, **asked).items]

    def relative(events: list[Watched], exclude: list[RawId]) -> np.ndarray:
        items = pipeline.recommend(history=events, k=MANY, exclude=exclude, must_include=shown, **asked).items
        scores = {item.movie_id: item.scores[score] for item in items}
        return np.array([scores[movie] for movie in shown]) - np.mean(list(scores.values()))

    found: list[dict[RawId, float]] = [{} for _ in shown]
    whole = relative(history, [])
    for film in {event.movie_id for event in history[-LATEST:]}:
        fall = whole - relative([event for event in history if event.movie_id != film], [film])
        for place, lift in enumerate(fall.tolist()):
            found[place][film] = lift
    return found


def asked_for(pipeline: Pipeline, most: int = 2, **asked: Any) -> list[tuple[Reason, ...]]:
    request, _ = pipeline.request(k=K, **asked)
    candidates, _ = pipeline.run_request(request)
    return reasons(pipeline, request, candidates, most)


@pytest.mark.parametrize(
    ("settings", "score", "asked"),
    [
        ({}, "rank", {}),
        ({"rerank": None}, "rank", {"filters": ItemFilter(not_genres=("Drama",))}),
        ({"ranker": None, "rerank": None, "latest": ()}, "merge", {}),
        ({"short_history": {"below": 30, "weights": {"mf": 1}}}, "rank", {}),
    ],
)
@pytest.mark.parametrize("user", [3, 20])
def test_lifts_are_those_of_recommending_again(
    pipeline: Pipeline, settings: dict[str, Any], score: str, asked: dict[str, Any], user: int
) -> None:
    other = changed(pipeline, **settings)
    history = history_of(other, user)
    expected = by_recommending_again(other, history, score, **asked)
    found = asked_for(other, 3, history=history, **asked)
    assert len(found) == K
    for lifts, of_film in zip(expected, found, strict=True):
        positive = sorted((lift for lift in lifts.values() if lift > 1e-3), reverse=True)[:3]
        np.testing.assert_allclose([reason.lift for reason in of_film][: len(positive)], positive, atol=1e-4)
        for reason in of_film:
            assert reason.lift == pytest.approx(lifts[reason.movie_id], abs=1e-4)
            assert reason.title.startswith(("The Film", "Film"))
    assert any(found)


@pytest.mark.parametrize("n", [4, 5])
def test_a_history_that_is_just_long_enough_is_not_short_without_a_film(pipeline: Pipeline, n: int) -> None:
    """Neither the blend, nor the first items of every channel, nor the channel of short histories has a part."""
    channels = ("popularity", "itemcf", "two_tower")
    rule = {"channel": "mf", "weights": {"mf": 1.0, "deepfm": 1.0}}
    below_4, below_1 = (changed(pipeline, channels=channels, short_history={**rule, "below": n}) for n in (4, 1))
    history = history_of(pipeline, 3)[:n]
    found = asked_for(below_4, n, history=history)
    assert any(found)
    assert found == asked_for(below_1, n, history=history)


def test_one_film_is_weighed_by_the_blend_of_its_list(pipeline: Pipeline) -> None:
    weights = {"mf": 1.0, "popularity": 1.0}
    ruled = changed(pipeline, short_history={"below": 4, "weights": weights, "without_history": {"deepfm": 1.0}})
    alike = changed(pipeline, short_history={"below": 4, "weights": weights, "without_history": weights})
    history = history_of(pipeline, 3)[:1]
    found = asked_for(ruled, history=history)
    assert any(found)
    assert found == asked_for(alike, history=history)


def test_only_what_lifts_is_a_reason(pipeline: Pipeline) -> None:
    for user in range(0, 60, 12):
        of_films = asked_for(pipeline, 99, user=user_id(user))
        history = set(pipeline.recommend(user=user_id(user)).history)
        for of_film in of_films:
            lifts = [reason.lift for reason in of_film]
            assert lifts == sorted(lifts, reverse=True)
            assert all(lift > 0 for lift in lifts)
            assert {reason.movie_id for reason in of_film} <= history
            assert len(of_film) < len(history)  # some films of the history count against it
        assert all(len(of_film) <= 2 for of_film in asked_for(pipeline, user=user_id(user)))


def test_a_film_watched_twice_is_left_out_whole(pipeline: Pipeline) -> None:
    """As if it had been watched once, or not at all."""
    history = [movie_id(0), movie_id(4), movie_id(8), movie_id(0)]
    request, _ = pipeline.request(history=history, k=K)
    batch = without_each(request.queries, np.unique(request.queries.history_idx)[:1])
    again = pipeline.vocabulary.items.decode(batch.history_idx[batch.history_offsets[1] :]).tolist()
    assert again == [movie_id(4), movie_id(8)]
    for of_film in asked_for(pipeline, 9, history=history):
        assert len({reason.movie_id for reason in of_film}) == len(of_film) <= 3


def test_old_films_of_a_long_history_are_not_tried(pipeline: Pipeline) -> None:
    history = [movie_id(m) for m in range(LATEST + 15)]
    found = {reason.movie_id for of_film in asked_for(pipeline, 99, history=history) for reason in of_film}
    assert found
    assert found <= set(history[15:])


@pytest.mark.parametrize("asked", [{"history": []}, {"history": [999_999]}])
def test_without_a_history_there_are_no_reasons(pipeline: Pipeline, asked: dict[str, Any]) -> None:
    assert asked_for(pipeline, **asked) == [()] * K


def test_an_empty_list_has_none(pipeline: Pipeline) -> None:
    nothing = ItemFilter(genres=("Action",), not_genres=("Short",))
    assert asked_for(pipeline, user=user_id(1), filters=nothing) == []


def test_the_request_stays_as_it_was(pipeline: Pipeline) -> None:
    request, _ = pipeline.request(user=user_id(2), k=K)
    candidates, trace = pipeline.run_request(request)
    before = pipeline.answer(request, candidates, trace)
    reasons(pipeline, request, candidates)
    assert pipeline.answer(request, candidates, trace) == before


def test_a_hanging_channel_does_not_hang_them(pipeline: Pipeline) -> None:
    """It is left behind in the request itself, and skipped at once when the request is asked again."""
    released = Event()

    def hang(*_: Any, **__: Any) -> Any:
        assert released.wait(60)
        raise RuntimeError("released")

    channel = copy(pipeline.source("mf").channel)
    channel.retrieve = hang  # type: ignore[method-assign]
    sources = []
    for source in pipeline.sources:
        other = copy(source)
        other.channel = channel if source.name == "mf" else source.channel
        sources.append(other)
    hanging = with_parts(pipeline, sources=sources)
    found = asked_for(hanging, user=user_id(3), degrade=True, limits=StageLimits(source=0.5))
    released.set()
    assert len(found) == K
    assert any(found)
