"""The pipeline's configuration: what it refuses, and that every field does something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline import Pipeline, PipelineConfig, Trace, assemble
from pipeline.config import ChainConfig
from reccore import Candidates, ConfigError
from tests.pipeline.small import PIPELINE, before_ranking

BASE: dict[str, Any] = {**PIPELINE, "ranker": "deepfm"}
CHAIN: list[dict[str, Any]] = [
    {"kind": "channel", "name": "popularity"},
    {"kind": "merge"},
    {"kind": "seen"},
    {"kind": "top"},
]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channel": ["mf"]}, r"channel: no such option.*Known options: channels, fill"),
        ({"channels": []}, "channels: "),
        ({"channels": ["popularity", "mf", "mf"]}, "a channel is named twice: popularity, mf, mf"),
        ({"channels": ["mf"]}, "'merge' needs channel 'popularity', which is not among the channels: mf"),
        ({"fill": "bestsellers"}, "'merge' needs channel 'bestsellers', which is not among"),
        ({"per_channel": 0}, "per_channel: .*got 0"),
        ({"candidates": 0}, "candidates: .*got 0"),
        ({"candidates": "many"}, "candidates: .*'many'"),
        ({"merge": {"weights": {"mff": 2.0}}}, "'merge' needs channel 'mff', which is not among"),
        ({"merge": {"kind": "quota", "quota": {"x": 2}}}, "'merge' needs channel 'x', which is not among"),
        ({"merge": {"kind": "average"}}, "merge.kind: unknown kind 'average'"),
        ({"merge": 3}, "merge: "),
        ({"rerank": {"method": "shuffle"}}, "unknown rerank 'shuffle'; known: mmr"),
        ({"rerank": {"trade_off": 2}}, "trade_off: .*got 2"),
        ({"rerank": {"lambda": 1}}, "lambda: no such option"),
        ({"rerank": []}, "steps: .*at least 1 item"),
        ({"rerank": [{"method": "calibrated"}, {"method": "mmr", "pool": 0}]}, "pool: .*got 0"),
        ({"rerank": {"similarity": {"channel": "bert"}}}, "'rerank' needs channel 'bert', which is not among"),
        (
            {
                "stages": [
                    {"kind": "channel", "name": "mf"},
                    {"kind": "merge", "fill": None},
                    {"kind": "rank", "short_history": {"below": 3, "weights": {"bert": 1}}},
                    {"kind": "top"},
                ]
            },
            "'rank' needs channel 'bert', which is not among",
        ),
        ({"short_history": {"below": 0}}, "below: .*got 0"),
        ({"short_history": {"weights": {}}}, "weights: .*at least 1 item"),
        ({"short_history": {"weights": {"mf": 0}}}, "weights.mf: .*greater than 0"),
        ({"short_history": {"without_history": {"bert": 1}}}, "'rank' needs channel 'bert', which is not among"),
        ({"short_history": {"channel": "mf"}}, "a channel is named twice"),
        ({"ranker": None, "short_history": {"below": 3}}, "give a ranker, or leave it out"),
        ({"channels": ["popularity", "mf"]}, "'rerank' needs channel 'two_tower', which is not among"),
        ({"stages": [], "candidates": 7}, "leave out candidates, or leave out stages"),
        ({"stages": [{"kind": "cache"}]}, "unknown kind 'cache'|'cache'"),
        ({"stages": [{"kind": "seen", "k": 3}]}, "k: no such option"),
        ({"stages": []}, "stages must be one or more 'channel'"),
        ({"stages": CHAIN[1:]}, "stages must be"),
        ({"stages": CHAIN[:1] + CHAIN[2:]}, "stages must be"),
        ({"stages": CHAIN[:-1]}, "stages must be"),
        ({"stages": [*CHAIN, {"kind": "seen"}]}, "stages must be"),
        ({"stages": [*CHAIN, {"kind": "top"}]}, "stages must be"),
        ({"stages": [*CHAIN[:2], CHAIN[0], *CHAIN[2:]]}, "stages must be"),
        ({"stages": [*CHAIN[:2], {"kind": "rank"}, {"kind": "rank"}, *CHAIN[2:]]}, "stages must be"),
        ({"stages": [*CHAIN[:2], {"kind": "match", "channels": ["mf"]}, *CHAIN[2:]]}, "'match' needs channel 'mf'"),
    ],
)
def test_invalid_configurations(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PipelineConfig.parse(values)


def test_defaults_and_round_trip() -> None:
    assert PipelineConfig.parse({}) == PipelineConfig.parse(PipelineConfig().model_dump(mode="json"))
    given = {"fill": None, "channels": ["mf"], "rerank": {"trade_off": 0.4, "similarity": {"channel": "mf"}}}
    config = PipelineConfig.parse(given)
    assert config.merge.fill is None
    assert PipelineConfig.parse(config.model_dump(mode="json")) == config
    assert config.rerank is not None
    assert config.rerank.options == given["rerank"]


def test_the_short_form_equals_its_list_of_stages() -> None:
    short = {
        "channels": ["popularity", "mf"],
        "per_channel": 30,
        "candidates": 25,
        "merge": {"weights": {"mf": 2.0}},
        "ranker": "din",
        "short_history": {"below": 4, "weights": {"mf": 1.0, "din": 2.0}},
        "latest": [2, 5],
        "closeness_sums": ["rated"],
        "rerank": {"trade_off": 0.6, "similarity": {"kind": "genres"}},
    }
    stages = [
        {"kind": "channel", "name": "popularity", "k": 30},
        {"kind": "channel", "name": "mf", "k": 30},
        {"kind": "merge", "k": 25, "method": {"weights": {"mf": 2.0}}, "first": 20, "below": 4},
        {"kind": "match"},
        {"kind": "match", "latest": [2, 5]},
        {"kind": "closeness", "latest": [2, 5], "sums": ["rated"]},
        {"kind": "seen"},
        {"kind": "rank", "model": "din", "short_history": {"below": 4, "weights": {"mf": 1.0, "din": 2.0}}},
        {"kind": "rerank", "method": "mmr", "trade_off": 0.6, "similarity": {"kind": "genres"}},
    ]
    assert PipelineConfig.parse(short) == PipelineConfig.parse({"stages": stages})


def test_a_channel_for_short_histories_alone_weighs_as_much_as_all_others() -> None:
    rule = {"below": 4, "channel": "itemcf"}
    short = {"channels": ["mf", "popularity", "two_tower"], "ranker": "din", "short_history": rule}
    config = PipelineConfig.parse({**short, "merge": {"weights": {"mf": 2.5}}})
    assert [(source.name, source.below) for source in config.sources] == [
        ("mf", None), ("popularity", None), ("two_tower", None), ("itemcf", 4),
    ]  # fmt: skip
    assert config.merge.method.weights == {"mf": 2.5, "itemcf": 3.5}  # popularity fills and weighs nothing
    given = PipelineConfig.parse({**short, "merge": {"weights": {"itemcf": 0.5}}})
    assert given.merge.method.weights == {"itemcf": 0.5}
    quota = PipelineConfig.parse({**short, "merge": {"kind": "quota"}})
    assert quota.merge.method.channels == ()
    among = PipelineConfig.parse({**short, "short_history": {"below": 4, "weights": {"mf": 1}}})
    assert [source.below for source in among.sources] == [None] * 3
    assert among.merge.method.channels == ()


def test_several_rerankers_are_a_chain_and_one_is_itself() -> None:
    steps = [{"method": "calibrated", "trade_off": 0.9}, {"method": "mmr", "pool": 30}]
    stage = PipelineConfig.parse({"rerank": steps}).rerank
    assert stage is not None
    assert (stage.method, stage.options) == ("chain", {"steps": steps})
    assert PipelineConfig.parse({"rerank": [{"trade_off": 0.4}]}) == PipelineConfig.parse(
        {"rerank": {"trade_off": 0.4}}
    )


def built(pipeline: Pipeline, **values: Any) -> tuple[Pipeline, Candidates, Trace]:
    """A pipeline of other settings over the same components, and its answer to all users."""
    config = PipelineConfig.parse({**BASE, **values})
    scorer = next(stage for stage in pipeline.stages if stage.role == "score")
    other = assemble(
        config,
        channels={s.name: s.channel for s in pipeline.sources if s.name in config.channels},
        ranker=None if config.ranker is None else scorer.ranker,  # type: ignore[attr-defined]
        items=pipeline.items,
        histories=pipeline.histories,
    )
    return other, *other.run(other.histories.interactions.queries(), 10)


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
    "merge": ({"kind": "quota"}, lambda a, t, a0, t0: "quota" in names(t) and "rrf" in names(t0)),
    "candidates": (5, lambda a, t, a0, t0: t.stages[4].items_out * 25 == t0.stages[4].items_out * 5),
    "latest": ([], lambda a, t, a0, t0: "itemcf.latest" in names(t0) and "itemcf.latest" not in names(t)),
    "closeness_sums": (
        ["decayed"],
        lambda a, t, a0, t0: "mf.closeness_sums" in names(t) and "mf.closeness_sums" not in names(t0),
    ),
    "ranker": (None, lambda a, t, a0, t0: {"score", "hydrate"}.isdisjoint(r.stage for r in t.stages)),
    "short_history": ({"below": 99, "weights": {"mf": 1}}, lambda a, t, a0, t0: t.stages[-2].blended == t.queries),
    "rerank": ({"trade_off": 0.1}, lambda a, t, a0, t0: different(a, a0)),
    "rerank by a chain": (
        [{"method": "dpp", "trade_off": 0.2}, {"method": "calibrated", "trade_off": 0.2}],
        lambda a, t, a0, t0: names(t)[-1] == "chain" and different(a, a0),
    ),
    "rerank none": (None, lambda a, t, a0, t0: names(t)[-1] == "top" and different(a, a0)),
    "rerank by other vectors": ({"similarity": {"channel": "mf"}}, lambda a, t, a0, t0: different(a, a0)),
}


def test_every_field_has_a_case() -> None:
    assert {case.partition(" ")[0] for case in CASES} == set(ChainConfig.model_fields)


@pytest.mark.parametrize("case", list(CASES))
def test_every_field_changes_behaviour(pipeline: Pipeline, case: str) -> None:
    value, seen = CASES[case]
    values = {case.partition(" ")[0]: value}
    _, before, trace_before = built(pipeline)
    _, after, trace = built(pipeline, **values)
    assert seen(after, trace, before, trace_before)


def test_merge_weights_count(pipeline: Pipeline) -> None:
    heavy, _, _ = built(pipeline, merge={"weights": {"mf": 1e6}}, ranker=None, rerank=None)
    queries = heavy.histories.interactions.queries()
    answer, _ = heavy.run(queries, 10)
    mf = next(source for source in heavy.sources if source.name == "mf")
    np.testing.assert_array_equal(answer.item_idx, mf.channel.retrieve(queries, 10).item_idx)


def test_without_ranker_and_reranker_the_merged_order_is_the_answer(pipeline: Pipeline) -> None:
    plain, answer, _ = built(pipeline, ranker=None, rerank=None)
    np.testing.assert_array_equal(
        answer.item_idx, before_ranking(plain, plain.histories.interactions.queries()).head(10).item_idx
    )
    item = plain.recommend(history=[5], k=1).items[0]
    assert "rank" not in item.scores
    assert item.scores["final"] == item.scores["merge"]


def test_stages_are_run_in_the_order_of_the_list(pipeline: Pipeline) -> None:
    """A chain that the short form cannot say: different k, two filters, matches of one channel, no reranker."""
    stages = [
        {"kind": "channel", "name": "popularity", "k": 4},
        {"kind": "channel", "name": "itemcf", "k": 9},
        {"kind": "merge", "k": 12},
        {"kind": "seen"},
        {"kind": "match", "channels": ["itemcf"]},
        {"kind": "seen"},
        {"kind": "top"},
    ]
    channels = {s.name: s.channel for s in pipeline.sources if s.name in ("popularity", "itemcf")}
    other = assemble(
        PipelineConfig.parse({"stages": stages}),
        channels=channels,
        ranker=None,
        items=pipeline.items,
        histories=pipeline.histories,
    )
    queries = other.histories.interactions.queries()  # type: ignore[attr-defined]
    answer, trace = other.run(queries, 10)
    assert [(record.stage, record.name) for record in trace.stages] == [
        ("source", "popularity"),
        ("source", "itemcf"),
        ("merge", "rrf"),
        ("filter", "seen"),
        ("hydrate", "itemcf"),
        ("filter", "seen"),
        ("select", "top"),
    ]
    assert trace.stages[0].items_out == 4 * len(queries)
    match, offered = answer.features["match.itemcf"], answer.features["recall_score.itemcf"]
    found = np.isfinite(offered)
    np.testing.assert_allclose(match[found], offered[found], rtol=1e-5)


def test_a_rank_stage_needs_a_ranker(pipeline: Pipeline) -> None:
    channels = {s.name: s.channel for s in pipeline.sources}
    with pytest.raises(ConfigError, match="a stage for ranker 'deepfm', and no ranker is given"):
        assemble(
            PipelineConfig.parse(BASE),
            channels=channels,
            ranker=None,
            items=pipeline.items,
            histories=pipeline.histories,
        )
