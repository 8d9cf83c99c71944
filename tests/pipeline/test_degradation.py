"""Every role with a component that raises, hangs or returns garbage: the answer comes without it.

Components are broken below the pipeline's own classes: the channel, the ranker, the reranker. Hanging ones wait for an
event that the test sets at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import replace
from threading import Event
from typing import Any

import numpy as np
import pytest

from pipeline import Pipeline, StageLimits
from pipeline.match import MatchHydrator
from pipeline.stages import Request, SeenFilter, known_events
from pipeline.trace import Trace
from reccore import Candidates, DataError
from tests.pipeline.breaking import PARTS, breaking, fail
from tests.pipeline.small import changed, movie_id, user_id, with_parts

K = 6
USER = user_id(3)
LIMITS = StageLimits(source=30.0, hydrate=30.0, filter=30.0, score=30.0, select=30.0)


@pytest.fixture
def released() -> Iterator[Event]:
    event = Event()
    yield event
    event.set()


def without(pipeline: Pipeline, role: str) -> list[int]:
    """What the chain answers without the component, from its own parts."""
    request, _ = pipeline.request(user=USER, k=K)
    offers = {source.name: source.fetch(request) for source in pipeline.sources}
    if role == "source":
        offers["mf"] = Candidates.empty(1)
    candidates = pipeline.merger.merge(offers, known_events(request, pipeline.vocabulary))
    for stage in pipeline.stages:
        if stage.role == "select" and role == "select":
            candidates = candidates.head(K)
        elif not (stage.role == role and stage.name == PARTS[role]):
            candidates = stage.apply(request, candidates)
    return pipeline.vocabulary.items.decode(candidates.item_idx[0, :K]).tolist()  # type: ignore[no-any-return]


def shown(pipeline: Pipeline, limits: StageLimits | None) -> tuple[list[int], list[tuple[str, str, str]]]:
    answer = pipeline.recommend(user=USER, k=K, degrade=True, limits=limits)
    skipped = [(r.stage, r.name, r.error) for r in answer.trace.stages if r.error is not None]
    assert answer.trace.errors == len(skipped)
    return [item.movie_id for item in answer.items], skipped


@pytest.mark.parametrize("role", PARTS)
@pytest.mark.parametrize("limits", [None, LIMITS])
def test_a_component_that_raises(pipeline: Pipeline, role: str, limits: StageLimits | None) -> None:
    films, skipped = shown(breaking(pipeline, role, fail), limits)
    assert films == without(pipeline, role)
    assert skipped == [(role, PARTS[role], "RuntimeError: the disk is on fire")]
    assert len(films) == K


@pytest.mark.parametrize("role", PARTS)
def test_a_component_that_hangs(pipeline: Pipeline, role: str, released: Event) -> None:
    calls = []

    def hang(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        assert released.wait(60)
        return original(*args, **kwargs)

    hanging = breaking(pipeline, role, hang)
    only = StageLimits(**{role: 0.5})  # the others may take their time on a busy machine
    films, skipped = shown(hanging, only)
    assert films == without(pipeline, role)
    assert skipped[0] == (role, PARTS[role], "took longer than 500 ms")
    for _ in range(3):
        again, skipped = shown(hanging, StageLimits(**{role: 60.0}))
        assert again == films
        assert skipped[0][:2] == (role, PARTS[role])
        assert skipped[0][2].startswith("still busy with an earlier call, for")
    assert len(calls) == 1
    released.set()
    while shown(hanging, StageLimits(**{role: 60.0}))[1]:
        pass  # the late call ends in its own time
    assert shown(hanging, None)[0] == [item.movie_id for item in pipeline.recommend(user=USER, k=K).items]


def nan_scores(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    found = original(*args, **kwargs)
    if isinstance(found, Candidates):
        return replace(found, score=np.full_like(found.score, np.nan))
    return np.full_like(found, np.nan)


def other_items(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    found = original(*args, **kwargs)
    return replace(found, item_idx=np.where(found.mask, found.item_idx + 10_000, -1))


def same_item(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    found = original(*args, **kwargs)
    return replace(found, item_idx=np.broadcast_to(found.item_idx[:, :1], found.item_idx.shape))


def another_shape(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    found = original(*args, **kwargs)
    if isinstance(found, Candidates):
        return Candidates.empty(7, 3)
    return ~found[:, :3] if found.dtype == bool else found[:, :3]


@pytest.mark.parametrize(
    ("role", "work", "message"),
    [
        ("source", nan_scores, "ValueError: it returned scores that are not finite"),
        ("source", other_items, "ValueError: it returned item 10"),
        ("source", another_shape, "ValueError: it returned 7 rows for 1 queries"),
        ("hydrate", another_shape, ""),
        ("filter", another_shape, ""),
        ("score", nan_scores, "ValueError: it has no finite score for any candidate"),
        ("score", another_shape, ""),
        ("select", nan_scores, "ValueError: it returned scores that are not finite"),
        ("select", other_items, "ValueError: it returned item 10"),
        ("select", same_item, "ValueError: it returned an item twice, or one that is no candidate"),
        ("select", another_shape, "ValueError: it returned 7 rows for 1 queries"),
    ],
)
def test_a_component_that_returns_garbage(pipeline: Pipeline, role: str, work: Any, message: str) -> None:
    films, skipped = shown(breaking(pipeline, role, work), None)
    assert films == without(pipeline, role)
    ((stage, name, error),) = skipped
    assert (stage, name) == (role, PARTS[role])
    assert error.startswith(message)


def test_a_hydrator_s_nan_equals_its_absence(pipeline: Pipeline) -> None:
    """A ranker reads a feature that is missing as unknown for every film."""
    request, _ = pipeline.request(user=USER, k=K)
    candidates = pipeline.run_stages(request, Trace(1), ())
    for stage in pipeline.stages:
        if stage.role == "hydrate":
            candidates = stage.apply(request, candidates)
    names = [name for name in candidates.features if name.startswith("match.mf")]
    absent = replace(candidates, features={n: v for n, v in candidates.features.items() if n not in names})
    unknown = candidates.with_features({n: np.full_like(candidates.score, np.nan) for n in names})
    ranker = pipeline.ranker
    assert ranker is not None
    by_absent, by_unknown = (ranker.score(request.queries, given) for given in (absent, unknown))
    np.testing.assert_array_equal(by_absent, by_unknown)
    assert (by_absent != ranker.score(request.queries, candidates)).any()


def test_a_channel_that_hangs_is_hung_for_its_hydrators_too(pipeline: Pipeline, released: Event) -> None:
    """Source and hydrator call one channel: the second is skipped at once."""

    def hang(*_: Any, **__: Any) -> Any:
        assert released.wait(60)
        raise RuntimeError("released")

    channel = copy(pipeline.source("itemcf").channel)
    channel.retrieve = channel.score = hang  # type: ignore[method-assign]
    sources, stages = [], []
    for source in pipeline.sources:
        other = copy(source)
        other.channel = channel if source.name == "itemcf" else source.channel
        sources.append(other)
    for stage in pipeline.stages:
        other_stage: Any = copy(stage)
        if stage.name in ("itemcf", "itemcf.latest"):
            other_stage.channel = channel
        stages.append(other_stage)
    hanging = with_parts(pipeline, sources=sources, stages=stages)
    films, skipped = shown(hanging, StageLimits(source=0.5, hydrate=60.0))
    assert len(films) == K
    assert [(stage, name) for stage, name, _ in skipped] == [
        ("source", "itemcf"),
        ("hydrate", "itemcf"),
        ("hydrate", "itemcf.latest"),
    ]
    assert [error.startswith("still busy") for _, _, error in skipped] == [False, True, True]


def test_limits_that_hold_change_nothing(pipeline: Pipeline) -> None:
    plain = pipeline.recommend(user=USER, k=K)
    limited = pipeline.recommend(user=USER, k=K, degrade=True, limits=LIMITS)
    assert limited.items == plain.items
    assert limited.trace.errors == 0
    assert [(r.stage, r.name, r.items_out) for r in limited.trace.stages] == [
        (r.stage, r.name, r.items_out) for r in plain.trace.stages
    ]


def test_everything_at_once(pipeline: Pipeline) -> None:
    """Without any source the answer is empty; with the filling channel alone, it is that channel's."""
    few = changed(pipeline, ranker=None, rerank=None)
    others = [source for source in few.sources if source.name != "popularity"]
    for source in others:
        few = with_parts(few, sources=[_failing(s) if s.name == source.name else s for s in few.sources])
    films, skipped = shown(few, LIMITS)
    assert len(skipped) == 3
    request, _ = few.request(user=USER, k=K)
    popular = few.source("popularity").channel.retrieve(request.queries, K, exclude=request.exclude)
    assert films == few.vocabulary.items.decode(popular.item_idx[0]).tolist()
    nothing = with_parts(few, sources=[_failing(source) for source in few.sources])
    assert shown(nothing, LIMITS)[0] == []


def _failing(source: Any) -> Any:
    other = copy(source)
    other.channel = copy(source.channel)
    other.channel.retrieve = fail
    return other


def test_must_include_survives_a_failing_reranker(pipeline: Pipeline) -> None:
    broken = breaking(pipeline, "select", fail)
    far = pipeline.recommend(user=USER, k=25).items[-1].movie_id
    answer = broken.recommend(user=USER, k=K, degrade=True, must_include=[far])
    assert [item.movie_id for item in answer.items] == [*without(pipeline, "select")[: K - 1], far]


def test_films_that_must_be_included_come_without_any_source(pipeline: Pipeline) -> None:
    nothing = with_parts(pipeline, sources=[_failing(source) for source in pipeline.sources])
    films = [movie_id(40), movie_id(3)]
    answer = nothing.recommend(user=USER, k=K, degrade=True, must_include=films)
    assert sorted(item.movie_id for item in answer.items) == sorted(films)


def test_requests_at_the_same_time_do_not_disturb_each_other(pipeline: Pipeline) -> None:
    def asked(user: int) -> list[int]:
        items = pipeline.recommend(user=user_id(user), k=K, degrade=True, limits=LIMITS).items
        return [item.movie_id for item in items]

    users = list(range(40))
    one_by_one = [asked(user) for user in users]
    with ThreadPoolExecutor(6) as callers:
        assert list(callers.map(asked, users)) == one_by_one


def test_limits_need_degradation(pipeline: Pipeline) -> None:
    with pytest.raises(DataError, match="limits skip what is slow, which needs degrade=True"):
        pipeline.recommend(user=USER, limits=LIMITS)


def test_stages_name_the_component_that_works(pipeline: Pipeline) -> None:
    channels = {source.name: source.channel for source in pipeline.sources}
    for source in pipeline.sources:
        assert source.component is source.channel
    for stage in pipeline.stages:
        if isinstance(stage, MatchHydrator):
            assert stage.component is channels[stage.name]
        if isinstance(stage, SeenFilter):
            assert stage.component is stage
    assert isinstance(pipeline.request(user=USER)[0], Request)
