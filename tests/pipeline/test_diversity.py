"""The diversity that a request asks for."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline import Pipeline
from pipeline.explain import explain
from pipeline.fates import Passage
from reccore import DataError
from tests.pipeline.small import changed, user_id

USERS = [user_id(u) for u in range(0, 60, 7)]
K = 8
WITH_A_TRADE_OFF: dict[str, Any] = {
    "mmr": {"method": "mmr", "trade_off": 0.4},
    "mmr by genres": {"method": "mmr", "trade_off": 0.4, "similarity": {"kind": "genres"}},
    "dpp": {"method": "dpp", "trade_off": 0.4},
    "calibrated": {"method": "calibrated", "trade_off": 0.1},
    "chain": [{"method": "calibrated", "trade_off": 0.1, "pool": 20}, {"method": "mmr", "trade_off": 0.4}],
    "chain with rules": [{"method": "mmr", "trade_off": 0.4}, {"method": "rules"}],
}


def shown(pipeline: Pipeline, user: int, **asked: Any) -> list[int]:
    return [item.movie_id for item in pipeline.recommend(user=user, k=K, **asked).items]


@pytest.mark.parametrize("rerank", WITH_A_TRADE_OFF.values(), ids=WITH_A_TRADE_OFF.keys())
def test_from_the_ranker_s_order_to_diversity_alone(pipeline: Pipeline, rerank: Any) -> None:
    reranked, plain = changed(pipeline, rerank=rerank), changed(pipeline, rerank=None)
    assert [shown(reranked, user, diversity=0.0) for user in USERS] == [shown(plain, user) for user in USERS]
    configured = [shown(reranked, user) for user in USERS]
    assert configured == [shown(reranked, user, diversity=None) for user in USERS]
    assert configured != [shown(reranked, user, diversity=1.0) for user in USERS]


@pytest.mark.parametrize(("method", "trade_off"), [("mmr", 0.25), ("dpp", 0.5), ("calibrated", 0.75)])
def test_it_is_one_minus_the_trade_off(pipeline: Pipeline, method: str, trade_off: float) -> None:
    base = changed(pipeline, rerank={"method": method, "trade_off": 1.0})
    configured = changed(pipeline, rerank={"method": method, "trade_off": trade_off})
    for user in USERS:
        asked = base.recommend(user=user, k=K, diversity=1.0 - trade_off)
        assert asked.items == configured.recommend(user=user, k=K).items


def test_explanations_and_meanings_are_those_of_the_request(pipeline: Pipeline) -> None:
    """A film that diversity moves out, explained by the λ that was asked for."""
    meaning = pipeline.score_meanings(0.9)["final"]
    assert "0.1 × relevance − 0.9 × similarity" in meaning
    for user in USERS:
        out = set(shown(pipeline, user, diversity=0.0)) - set(shown(pipeline, user, diversity=0.9))
        for movie in out:
            found = explain(pipeline, movie, user=user, k=K, diversity=0.9)
            assert found.fate == "reranked_out"
            assert found.stages[-1].place is not None
            assert found.stages[-1].place > K
            assert found.would_help[-1].endswith("instead of 0.10")
            enough = float(found.would_help[-1].split("at least ")[1][:4])
            assert movie in shown(pipeline, user, diversity=1 - enough)
            return
    pytest.fail("no film is moved out by diversity")


def test_a_request_leaves_the_pipeline_as_it_is(pipeline: Pipeline) -> None:
    before = shown(pipeline, USERS[0])
    pipeline.recommend(user=USERS[0], k=K, diversity=1.0)
    assert shown(pipeline, USERS[0]) == before
    request, _ = pipeline.request(user=USERS[0], k=K, diversity=0.25)
    assert request.diversity == 0.25
    assert Passage.of_request(pipeline, request).final.k == K


@pytest.mark.parametrize(
    ("rerank", "message"),
    [
        (None, "diversity 0.5 would change nothing: this pipeline has no reranker; leave it out"),
        ({"method": "rules"}, "has the reranker rules, which has no such trade-off; leave it out"),
        ({"method": "explore"}, "has the reranker explore, which has no such trade-off"),
        ([{"method": "rules"}, {"method": "explore"}], "has the reranker chain, which has no such trade-off"),
    ],
)
def test_without_a_trade_off(pipeline: Pipeline, rerank: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        changed(pipeline, rerank=rerank).recommend(user=USERS[0], diversity=0.5)


@pytest.mark.parametrize("diversity", [-0.01, 1.01, float("nan")])
def test_values_out_of_range(pipeline: Pipeline, diversity: float) -> None:
    with pytest.raises(DataError, match="diversity is from 0 to 1, got"):
        pipeline.recommend(user=USERS[0], diversity=diversity)
