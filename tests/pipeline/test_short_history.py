"""The rule for short histories: which queries leave the ranker's order, what they get instead, and where it shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline import Pipeline, PipelineConfig, assemble
from pipeline.explain import explain
from pipeline.stages import RankerScorer, channel_first
from reccore import Candidates, QueryBatch
from reccore.arrays import FloatArray
from tests.pipeline.small import PIPELINE, before_ranking, movie_id

HISTORIES = [[], [4], [4, 8], [4, 8, 12], [1, 5, 9, 13]]


class Backwards:
    """A ranker that turns the merged order round, so that its order is always another one."""

    name = "backwards"

    def __init__(self, pipeline: Pipeline) -> None:
        self.vocabulary = pipeline.vocabulary

    def score(self, queries: QueryBatch, candidates: Candidates) -> FloatArray:
        assert len(queries) == len(candidates)
        return np.where(candidates.mask, -candidates.score, -np.inf)


def with_rule(pipeline: Pipeline, rule: dict[str, Any] | None, *, trained: bool = False, **values: Any) -> Pipeline:
    """The pipeline without a reranker, with a rule, and with the trained ranker or ``Backwards``."""
    scorer = next(stage for stage in pipeline.stages if isinstance(stage, RankerScorer))
    settings = {**PIPELINE, "ranker": "deepfm", "rerank": None, "short_history": rule, **values}
    return assemble(
        PipelineConfig.parse(settings),
        channels={source.name: source.channel for source in pipeline.sources},
        ranker=scorer.ranker if trained else Backwards(pipeline),  # type: ignore[arg-type]
        items=pipeline.items,
        histories=pipeline.histories,
    )


def test_a_channel_comes_first_in_its_order_by_hand() -> None:
    nan = np.nan
    candidates = Candidates(
        np.array([[7, 3, 9, 1, -1]]),
        np.array([[4, 3, 2, 1, -np.inf]], dtype=np.float32),
        {"recall_rank.mf": np.array([[nan, 8, nan, 2, nan]], dtype=np.float32)},
    )
    score = channel_first(candidates, "mf")
    assert candidates.reordered(score).item_idx.tolist() == [[1, 3, 7, 9, -1]]
    # Places 3, 2, 4, 1 in reciprocal-rank fusion with k0 = 60.
    np.testing.assert_allclose(score[0, :4], [1 / 63, 1 / 62, 1 / 64, 1 / 61], rtol=1e-6)
    assert score[0, 4] == -np.inf


def test_queries_below_the_limit_keep_the_merged_order_and_others_the_rankers(pipeline: Pipeline) -> None:
    queries = QueryBatch.from_histories(HISTORIES)
    ranked, plain_trace = with_rule(pipeline, None).run(queries, 10)
    answer, trace = with_rule(pipeline, {"below": 2}).run(queries, 10)
    merged = before_ranking(pipeline, queries).head(10)
    np.testing.assert_array_equal(answer.item_idx[:2], merged.item_idx[:2])
    np.testing.assert_array_equal(answer.item_idx[2:], ranked.item_idx[2:])
    np.testing.assert_allclose(answer.score[2:], ranked.score[2:], rtol=1e-5)
    assert (ranked.item_idx[:2] != merged.item_idx[:2]).any(axis=1).all()  # the ranker's order is another one
    assert [record.bypassed for record in trace.stages if record.stage == "score"] == [2]
    assert "2 bypassed" in str(trace)
    assert "bypassed" not in str(plain_trace)
    assert trace.to_dict()["stages"][-2]["bypassed"] == 2


def test_the_order_of_a_channel(pipeline: Pipeline) -> None:
    queries = QueryBatch.from_histories(HISTORIES)
    answer, _ = with_rule(pipeline, {"below": 9, "order": "popularity"}, candidates=100).run(queries, 10)
    popular = pipeline.sources[0].channel.retrieve(queries, 10)
    np.testing.assert_array_equal(answer.item_idx, popular.item_idx)


def test_only_events_of_films_in_the_catalogue_count(pipeline: Pipeline) -> None:
    n_items = len(pipeline.vocabulary.items)
    queries = QueryBatch.from_histories([[4, n_items + 3], [4, 8]])
    _, trace = with_rule(pipeline, {"below": 2}).run(queries, 10)
    assert trace.stages[-2].bypassed == 1


def test_an_explanation_does_not_name_a_ranker_that_had_no_say(pipeline: Pipeline) -> None:
    ruled = with_rule(pipeline, {"below": 3}, trained=True)
    history = [movie_id(4)]
    last = ruled.recommend(history=history, k=25).items[-1].movie_id
    found = explain(ruled, last, history=history, k=10)
    assert found.fate == "ranked_low"
    assert "the ranker" not in found.why
    assert "score" not in {view.stage for view in found.stages}
    assert found.contributions == ()
    ranked = explain(ruled, last, history=[movie_id(m) for m in (4, 8, 12)], k=10)
    assert "score" in {view.stage for view in ranked.stages}


@pytest.mark.parametrize("rule", [None, {"below": 3}, {"below": 3, "order": "mf"}])
def test_a_request_alone_equals_its_row_in_a_batch(pipeline: Pipeline, rule: dict[str, Any] | None) -> None:
    ruled = with_rule(pipeline, rule)
    batch, _ = ruled.run(QueryBatch.from_histories(HISTORIES), 10)
    for row, history in enumerate(HISTORIES):
        single, _ = ruled.run(QueryBatch.from_histories([history]), 10)
        np.testing.assert_array_equal(single.item_idx[0], batch.item_idx[row])
