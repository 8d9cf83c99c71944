"""Requests that are answered as one batch: each has the list and the trace that it has alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline import ItemFilter, Pipeline, StageLimits, Trace, run_together
from pipeline.stages import Request
from reccore import Candidates
from tests.pipeline.breaking import PARTS, breaking, fail
from tests.pipeline.small import N_USERS, movie_id, user_id

LIMITS = StageLimits(source=30.0, hydrate=30.0, score=30.0, select=30.0)
ASKED: list[dict[str, Any]] = [
    *({"user": user_id(user)} for user in range(N_USERS)),
    {"history": []},
    {"history": [movie_id(4), movie_id(8)]},
    {"history": [(movie_id(4), 5.0, 9), (movie_id(9), 1.0, 10)]},
    {"user": user_id(1), "exclude": [movie_id(3)]},
    {"user": user_id(2), "filters": ItemFilter(year_from=1990)},
    {"user": user_id(2), "k": 3},
    {"user": user_id(3), "k": 3},
    {"user": user_id(3), "diversity": 0.9},
    {"user": user_id(4), "diversity": 0.9},
    {"user": user_id(5), "must_include": [movie_id(7)]},
]


def answered(pipeline: Pipeline, request: Request, candidates: Candidates, trace: Trace) -> tuple[Any, ...]:
    """Films, scores and trace of an answer."""
    answer = pipeline.answer(request, candidates, trace)
    scores = [score for item in answer.items for score in item.scores.values()]
    films = [(item.movie_id, item.channels, item.places, list(item.scores)) for item in answer.items]
    stages = [(r.stage, r.name, r.items_in, r.items_out, r.unanswered, r.blended, r.error) for r in trace.stages]
    return films, stages, scores


def sizes_of_runs(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets the number of queries of every run."""
    sizes: list[int] = []
    original: Callable[[Request], Any] = pipeline.run_request

    def counted(request: Request) -> Any:
        sizes.append(len(request.queries))
        return original(request)

    monkeypatch.setattr(pipeline, "run_request", counted)
    return sizes


@pytest.mark.parametrize("limits", [None, LIMITS])
def test_each_request_has_the_answer_that_it_has_alone(
    pipeline: Pipeline, limits: StageLimits | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    degrade = limits is not None

    def requests() -> list[Request]:
        return [pipeline.request(**asked, degrade=degrade, limits=limits)[0] for asked in ASKED]

    alone = [answered(pipeline, request, *pipeline.run_request(request)) for request in requests()]
    sizes = sizes_of_runs(pipeline, monkeypatch)
    asked = requests()
    found = run_together(pipeline, asked)
    # A film to include; two without ratings, two of k = 3 and two of diversity 0.9; all others.
    assert sorted(sizes) == [1, 2, 2, 2, len(ASKED) - 7]
    assert len(found) == len(asked)
    for request, (candidates, trace), expected in zip(asked, found, alone, strict=True):
        films, stages, scores = answered(pipeline, request, candidates, trace)
        assert films == expected[0]
        assert stages == expected[1]
        np.testing.assert_allclose(scores, expected[2], rtol=1e-5, atol=1e-5)


def test_the_time_of_a_batch_is_shared_by_its_requests(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[Trace] = []
    original = pipeline.run_request

    def kept(request: Request) -> tuple[Candidates, Trace]:
        candidates, trace = original(request)
        together.append(trace)
        return candidates, trace

    monkeypatch.setattr(pipeline, "run_request", kept)
    requests = [pipeline.request(user=user_id(user))[0] for user in range(4)]
    traces = [trace for _, trace in run_together(pipeline, requests)]
    assert len(together) == 1
    for number, record in enumerate(together[0].stages):
        assert sum(trace.stages[number].milliseconds for trace in traces) == pytest.approx(record.milliseconds)


@pytest.mark.parametrize("role", PARTS)
def test_a_request_that_breaks_a_stage_takes_it_from_no_other(pipeline: Pipeline, role: str) -> None:
    """The component fails for one user: the others have their whole chain."""
    bad = 3

    def fail_for_one(original: Callable[..., Any], first: Any, *args: Any, **kwargs: Any) -> Any:
        queries = first.queries if isinstance(first, Request) else first
        if bad in queries.user_idx:
            raise RuntimeError("not this one")
        return original(first, *args, **kwargs)

    broken = breaking(pipeline, role, fail_for_one)
    requests = [broken.request(user=user_id(user), degrade=True)[0] for user in range(6)]
    for user, (request, (candidates, trace)) in enumerate(zip(requests, run_together(broken, requests), strict=True)):
        assert trace.errors == (user == bad)
        if user != bad:
            alone, _ = pipeline.request(user=user_id(user), degrade=True)
            expected = pipeline.run_request(alone)
            assert answered(broken, request, candidates, trace)[0] == answered(pipeline, alone, *expected)[0]


def test_without_degradation_a_failure_is_raised(pipeline: Pipeline) -> None:
    broken = breaking(pipeline, "score", fail)
    with pytest.raises(RuntimeError, match="on fire"):
        run_together(broken, [broken.request(user=user_id(user))[0] for user in range(3)])


def test_no_request_is_no_answer(pipeline: Pipeline) -> None:
    assert run_together(pipeline, []) == []
