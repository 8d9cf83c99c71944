"""What is kept of earlier requests changes no answer, is bounded, and never out of date."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline import Pipeline
from pipeline.encodings import Encodings, digest
from reccore import QueryBatch
from tests.pipeline.small import movie_id, user_id, with_parts


@pytest.fixture
def fresh(pipeline: Pipeline) -> Pipeline:
    """The pipeline with nothing kept."""
    return with_parts(pipeline)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> list[str]:
    """Names of the channels that encode a query, as they do."""
    calls: list[str] = []
    for name in ("mf", "two_tower"):
        channel = pipeline.source(name).channel
        original = channel.encode_queries

        def noted(queries: QueryBatch, name: str = name, original: Any = original) -> Any:
            calls.append(name)
            return original(queries)

        monkeypatch.setattr(channel, "encode_queries", noted)
    return calls


def shown(pipeline: Pipeline, **asked: Any) -> list[tuple[Any, dict[str, float], dict[str, int]]]:
    return [(item.movie_id, item.scores, item.places) for item in pipeline.recommend(k=8, **asked).items]


def test_a_second_request_encodes_nothing_and_answers_alike(fresh: Pipeline, prepared: list[str]) -> None:
    first = shown(fresh, user=user_id(3))
    assert sorted(set(prepared)) == ["mf", "two_tower"]
    prepared.clear()
    assert shown(fresh, user=user_id(3)) == first
    assert prepared == []
    assert shown(fresh, user=user_id(3), diversity=0.9) == shown(with_parts(fresh), user=user_id(3), diversity=0.9)


@pytest.mark.parametrize(
    "change",
    [
        {"new_events": [(movie_id(7), 1.0)]},
        {"history": [(movie_id(7), 1.0)]},
        {"history": [(movie_id(7), 5.0)]},
        {"history": [(movie_id(7), 5.0, 10)]},
        {"history": [(movie_id(7), 5.0, 10), (movie_id(8), 5.0, 10)]},
        {"history": [(movie_id(8), 5.0, 10), (movie_id(7), 5.0, 10)]},
        {"history": []},
    ],
)
def test_another_history_is_encoded_anew(fresh: Pipeline, prepared: list[str], change: dict[str, Any]) -> None:
    shown(fresh, user=user_id(3))
    prepared.clear()
    assert shown(fresh, user=user_id(3), **change) == shown(with_parts(fresh), user=user_id(3), **change)
    assert len(prepared) >= 4  # both channels, both times


def test_every_column_counts() -> None:
    query = QueryBatch.from_histories([[1, 2]], ratings=[[3.0, 4.0]], times=[[5, 6]], user_idx=[7])
    others = [
        replace(query, user_idx=np.array([8])),
        replace(query, as_of=np.array([9])),
        replace(query, history_idx=np.array([2, 1])),
        replace(query, history_rating=np.array([4.0, 3.0], dtype=np.float32)),
        replace(query, history_rating=None),
        replace(query, history_time=np.array([5, 7])),
        replace(query, history_time=None),
    ]
    assert len({digest(one) for one in [query, *others]}) == len(others) + 1
    assert digest(replace(query)) == digest(query)


def test_the_earliest_asked_for_makes_room(fresh: Pipeline, prepared: list[str]) -> None:
    kept, channel = Encodings(capacity=2), fresh.source("mf").channel
    one, two, three = (QueryBatch.from_histories([[item]]) for item in (1, 2, 3))
    for query in (one, two, one, three):  # two was asked for before one
        kept.of("mf", channel, query)
    assert len(kept) == 2
    prepared.clear()
    for query in (one, three):
        np.testing.assert_array_equal(kept.of("mf", channel, query), channel.prepare(query))
    assert prepared == ["mf", "mf"]  # of the right sides alone
    kept.of("mf", channel, two)
    assert len(prepared) == 3


def test_batches_and_what_is_not_encoded_are_not_kept(fresh: Pipeline) -> None:
    kept = Encodings()
    kept.of("mf", fresh.source("mf").channel, QueryBatch.from_histories([[1], [2]]))
    kept.of("popularity", fresh.source("popularity").channel, QueryBatch.from_histories([[1]]))
    assert len(kept) == 0
