"""The pipeline's configuration: what it refuses, and that every field does something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline import Pipeline, PipelineConfig, Trace, assemble
from reccore import Candidates, ConfigError
from tests.pipeline.small import PIPELINE

BASE: dict[str, Any] = {**PIPELINE, "ranker": "deepfm"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channel": ["mf"]}, r"channel: no such option.*Known options: channels, fill"),
        ({"channels": []}, "channels: "),
        ({"channels": ["popularity", "mf", "mf"]}, "a channel is named twice"),
        ({"channels": ["mf"]}, "fill channel 'popularity' is not among the channels"),
        ({"fill": "bestsellers"}, "fill channel 'bestsellers' is not among"),
        ({"per_channel": 0}, "per_channel: .*got 0"),
        ({"candidates": 0}, "candidates: .*got 0"),
        ({"candidates": "many"}, "candidates: .*'many'"),
        ({"merge": {"weights": {"mff": 2.0}}}, "merge names 'mff', which is not among"),
        ({"merge": {"method": "quota", "quota": {"x": 2}}}, "merge names 'x', which is not among"),
        ({"merge": {"method": "average"}}, "merge.method: "),
        ({"merge": 3}, "merge: "),
        ({"reranker": "shuffle"}, "unknown rerank 'shuffle'; known: mmr"),
        ({"rerank": {"trade_off": 2}}, "trade_off: .*got 2"),
        ({"rerank": {"lambda": 1}}, "lambda: no such option"),
        ({"reranker": None, "rerank": {"trade_off": 0.5}}, "options of a reranker without a reranker"),
        ({"vectors_of": "bert"}, "vectors_of 'bert' is not among the channels"),
        ({"channels": ["popularity", "mf"]}, "vectors_of 'two_tower' is not among the channels"),
    ],
)
def test_what_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PipelineConfig.parse(values)


def test_the_defaults_are_whole() -> None:
    assert PipelineConfig.parse({}) == PipelineConfig.parse(PipelineConfig().model_dump(mode="json"))
    assert PipelineConfig.parse({"fill": None, "channels": ["mf"], "vectors_of": "mf"}).fill is None


def built(pipeline: Pipeline, **values: Any) -> tuple[Pipeline, Candidates, Trace]:
    """A pipeline of other settings over the same components, and its answer to all users and a stranger."""
    config = PipelineConfig.parse({**BASE, **values})
    scorer = next(stage for stage in pipeline.stages if stage.stage == "score")
    other = assemble(
        config,
        channels={s.name: s.channel for s in pipeline.sources if s.name in config.channels},
        ranker=scorer.ranker if config.ranker is not None else None,  # type: ignore[attr-defined]
        items=pipeline.items,
        histories=pipeline.histories,
    )
    return other, *other.run(other.histories.queries(), 10)


def names(trace: Trace) -> list[str]:
    return [record.name for record in trace.stages]


def different(left: Candidates, right: Candidates) -> bool:
    return not np.array_equal(left.item_idx, right.item_idx)


Check = Callable[[Candidates, Trace, Candidates, Trace], bool]
# field → another value, and what must be seen of it in (new answer, new trace, old answer, old trace)
CASES: dict[str, tuple[Any, Check]] = {
    "channels": (["popularity", "two_tower"], lambda a, t, a0, t0: "itemcf" in names(t0) and "itemcf" not in names(t)),
    "fill": (None, lambda a, t, a0, t0: t.stages[4].items_out == t0.stages[4].items_out and different(a, a0)),
    "per_channel": (7, lambda a, t, a0, t0: t.stages[0].items_out * 30 == t0.stages[0].items_out * 7),
    "merge": ({"method": "quota"}, lambda a, t, a0, t0: "quota" in names(t) and "rrf" in names(t0)),
    "candidates": (5, lambda a, t, a0, t0: t.stages[4].items_out * 25 == t0.stages[4].items_out * 5),
    "ranker": (None, lambda a, t, a0, t0: {"score", "hydrate"}.isdisjoint(r.stage for r in t.stages)),
    "reranker": (None, lambda a, t, a0, t0: names(t)[-1] == "top" and different(a, a0)),
    "rerank": ({"trade_off": 0.1}, lambda a, t, a0, t0: different(a, a0)),
    "vectors_of": ("mf", lambda a, t, a0, t0: different(a, a0)),
}


def test_no_field_is_forgotten() -> None:
    assert set(CASES) == set(PipelineConfig.model_fields)


@pytest.mark.parametrize("field", list(CASES))
def test_every_field_changes_behaviour(pipeline: Pipeline, field: str) -> None:
    value, seen = CASES[field]
    values = {field: value}
    _, before, trace_before = built(pipeline)
    _, after, trace = built(pipeline, **values)
    assert seen(after, trace, before, trace_before)


def test_merge_weights_count(pipeline: Pipeline) -> None:
    heavy, _, _ = built(pipeline, merge={"weights": {"mf": 1e6}}, ranker=None, reranker=None)
    queries = heavy.histories.queries()
    answer, _ = heavy.run(queries, 10)
    mf = next(source for source in heavy.sources if source.name == "mf")
    np.testing.assert_array_equal(answer.item_idx, mf.channel.retrieve(queries, 10).item_idx)


def test_without_ranker_and_reranker_the_merged_order_is_the_answer(pipeline: Pipeline) -> None:
    plain, answer, _ = built(pipeline, ranker=None, reranker=None)
    np.testing.assert_array_equal(answer.item_idx, plain.prepare(plain.histories.queries()).head(10).item_idx)
    item = plain.recommend(history=[5], k=1).items[0]
    assert "rank" not in item.scores
    assert item.scores["final"] == item.scores["merge"]
