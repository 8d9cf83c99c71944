"""The rule for short histories: which queries are blended, of what and how much, and where it shows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from pipeline import Pipeline, PipelineConfig, assemble, load
from pipeline.blend import Blend, standardised
from pipeline.explain import explain
from pipeline.fates import Passage
from pipeline.stages import RankerScorer, Request
from pipeline.trace import Trace
from reccore import ArtefactError, Candidates, Exclusions, QueryBatch, Workspace
from reccore.arrays import FloatArray
from tests.pipeline.small import PIPELINE, before_ranking, movie_id

HISTORIES = [[], [4], [4, 8], [4, 8, 12], [1, 5, 9, 13]]
MERGED_BELOW_2 = {"below": 2, "weights": {"merged": 1.0}}


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
    config = PipelineConfig.parse({**PIPELINE, "ranker": "deepfm", "rerank": None, "short_history": rule, **values})
    return assemble(
        config,
        channels={source.name: source.channel for source in pipeline.sources if source.name in config.channels},
        ranker=scorer.ranker if trained else Backwards(pipeline),  # type: ignore[arg-type]
        items=pipeline.items,
        histories=pipeline.histories,
    )


def test_standard_scores_by_hand() -> None:
    score = np.array([[4, 2, np.nan, 0], [3, 3, -np.inf, -np.inf], [np.nan, np.nan, 1, 5]], dtype=np.float32)
    mask = np.array([[True] * 4, [True, True, False, False], [True, True, False, False]])
    # Row 0: the candidate without a score counts as 0; mean 1.5, deviation √2.75.
    expected = np.array([[2.5, 0.5, -1.5, -1.5], [0] * 4, [0] * 4]) / np.sqrt(2.75)
    np.testing.assert_allclose(standardised(score, mask), expected, rtol=1e-6)


def test_the_blend_by_hand(pipeline: Pipeline) -> None:
    """Of a query with few events the score is the weighted mean of standard scores."""
    mf = next(source.channel for source in pipeline.sources if source.name == "mf")
    weights = {"backwards": 3.0, "merged": 0.5, "mf": 2.0}
    blend = Blend(4, "backwards", weights, {"merged": 1.0}, {"mf": mf})
    scorer = RankerScorer(Backwards(pipeline), blend)  # type: ignore[arg-type]
    queries = QueryBatch.from_histories(HISTORIES)
    candidates = before_ranking(pipeline, queries)
    found = scorer.score(Request(queries, 5, Exclusions.of_history(queries)), candidates)
    given = {"backwards": -candidates.score, "merged": candidates.score, "mf": mf.score(queries, candidates)}
    for row, history in enumerate(HISTORIES):
        n = int(candidates.counts[row])
        standard = {}
        for name, part in given.items():
            score = np.nan_to_num(part[row, :n], nan=np.nanmin(part[row, :n]) if name != "mf" or history else 0.0)
            standard[name] = (score - score.mean()) / (score.std() or 1.0)
        expected = sum(weight * standard[name] for name, weight in weights.items()) / 5.5
        if not history:
            expected = standard["merged"]
        elif len(history) >= 4:
            expected = given["backwards"][row, :n]
        np.testing.assert_allclose(found[row, :n], expected, rtol=1e-4, atol=1e-5)
        assert np.isneginf(found[row, n:]).all()


def test_long_histories_keep_the_rankers_order_and_none_at_all_the_merged(pipeline: Pipeline) -> None:
    queries = QueryBatch.from_histories(HISTORIES)
    ranked, plain_trace = with_rule(pipeline, None).run(queries, 10)
    answer, trace = with_rule(pipeline, MERGED_BELOW_2).run(queries, 10)
    merged = before_ranking(pipeline, queries).head(10)
    np.testing.assert_array_equal(answer.item_idx[0], merged.item_idx[0])
    np.testing.assert_array_equal(answer.item_idx[2:], ranked.item_idx[2:])
    np.testing.assert_allclose(answer.score[2:], ranked.score[2:], rtol=1e-5)
    assert (ranked.item_idx[0] != merged.item_idx[0]).any()  # the ranker's order is another one
    assert [record.blended for record in trace.stages if record.stage == "score"] == [2]
    assert "2 blended" in str(trace)
    assert "blended" not in str(plain_trace)
    assert trace.to_dict()["stages"][-2]["blended"] == 2


def test_weights_of_no_history_hold_before_the_others_are_chosen(pipeline: Pipeline) -> None:
    queries = QueryBatch.from_histories(HISTORIES)
    rule = {"below": 3, "without_history": {"merged": 1.0}}
    answer, _ = with_rule(pipeline, rule).run(queries, 10)
    for row, weights in ((0, {"merged": 1.0}), (1, {"deepfm": 1.0}), (4, {"deepfm": 1.0})):
        expected, _ = with_rule(pipeline, {"below": 3, "weights": weights}).run(queries, 10)
        np.testing.assert_array_equal(answer.item_idx[row], expected.item_idx[row])


def test_the_order_of_a_channel(pipeline: Pipeline) -> None:
    queries = QueryBatch.from_histories([[], []])
    answer, _ = with_rule(pipeline, {"below": 9, "weights": {"popularity": 1.0}}, candidates=100).run(queries, 10)
    popular = pipeline.sources[0].channel.retrieve(queries, 10)
    np.testing.assert_array_equal(answer.item_idx, popular.item_idx)


def test_a_channel_for_short_histories_alone_offers_nothing_to_others(pipeline: Pipeline) -> None:
    queries = QueryBatch.from_histories(HISTORIES)
    rule = {"below": 2, "channel": "mf", "weights": {"deepfm": 1.0, "mf": 1.0}}
    others = ["popularity", "itemcf", "two_tower"]
    plain = with_rule(pipeline, None, channels=others)
    ruled = with_rule(pipeline, rule, channels=others, merge={"weights": {"mf": 1e6}})
    request = Request(queries, 10, Exclusions.of_history(queries))
    merged, after = ruled.steps(request, Trace(len(queries)))[0][1], plain.run(queries, 10)[0]
    offer = request.offers["mf"]
    mf = next(source.channel for source in pipeline.sources if source.name == "mf")
    np.testing.assert_array_equal(offer.item_idx[1], mf.retrieve(queries, PIPELINE["per_channel"]).item_idx[1])
    assert (offer.counts[2:] == 0).all()
    np.testing.assert_array_equal(merged.item_idx[1, :10], offer.item_idx[1, :10])
    answer, _ = ruled.run(queries, 10)
    np.testing.assert_array_equal(answer.item_idx[2:], after.item_idx[2:])
    # No stage of the chain scores all candidates by it, since the ranker would learn to do without.
    hydrated = {name for name in answer.features if name.startswith("match.")}
    assert hydrated == {name for name in after.features if name.startswith("match.")}
    assert np.isnan(answer.features["recall_rank.mf"][2:]).all()
    long_only, _ = ruled.run(queries.select(np.array([2, 3])), 10)
    np.testing.assert_array_equal(long_only.item_idx, answer.item_idx[2:4])


def test_short_histories_keep_the_first_items_of_every_channel(pipeline: Pipeline) -> None:
    """Whatever the merge makes of them, so that a blend can follow any one channel."""
    queries = QueryBatch.from_histories(HISTORIES)
    settings: dict[str, Any] = {"candidates": 24, "merge": {"weights": {"mf": 1e6}}}
    request = Request(queries, 10, Exclusions.of_history(queries))
    merged = with_rule(pipeline, {"below": 3}, **settings).steps(request, Trace(len(queries)))[0][1]
    plain = with_rule(pipeline, None, **settings)
    before = plain.steps(Request(queries, 10, Exclusions.of_history(queries)), Trace(len(queries)))[0][1]
    np.testing.assert_array_equal(merged.item_idx[3:], before.item_idx[3:])
    missed_before = 0
    for row in range(3):
        wanted = np.concatenate([offer.item_idx[row, :3] for offer in request.offers.values()])
        wanted = wanted[wanted >= 0]
        assert np.isin(wanted, merged.item_idx[row]).all()
        missed_before += np.count_nonzero(~np.isin(wanted, before.item_idx[row]))
        assert merged.counts[row] == 24
        assert (np.diff(merged.score[row]) <= 0).all()
    assert missed_before > 0
    one_event = QueryBatch.from_histories([[4]])
    for order in ("popularity", "itemcf"):  # what any weight of the merge buries
        rule = {"below": 3, "weights": {order: 1.0}}
        channel = next(source.channel for source in pipeline.sources if source.name == order)
        answer = with_rule(pipeline, rule, **settings).run(one_event, 3)[0]
        np.testing.assert_array_equal(answer.item_idx, channel.retrieve(one_event, 3).item_idx)


def test_only_events_of_films_in_the_catalogue_count(pipeline: Pipeline) -> None:
    n_items = len(pipeline.vocabulary.items)
    queries = QueryBatch.from_histories([[4, n_items + 3], [4, 8]])
    _, trace = with_rule(pipeline, MERGED_BELOW_2).run(queries, 10)
    assert trace.stages[-2].blended == 1


@pytest.mark.parametrize(
    ("history", "name", "share"),
    [((), "100% deepfm", 1.0), ((4,), "75% mf, 25% deepfm", 0.25), ((4, 8), "75% mf, 25% deepfm", 0.25)],
)
def test_an_explanation_shows_the_blend_and_what_the_ranker_adds_to_it(
    pipeline: Pipeline, history: tuple[int, ...], name: str, share: float
) -> None:
    rule = {"below": 3, "weights": {"mf": 3.0, "deepfm": 1.0}, "without_history": {"deepfm": 2.0}}
    ruled = with_rule(pipeline, rule, trained=True)
    seen = [movie_id(m) for m in history]
    films = ruled.recommend(history=seen, k=25).items
    found = explain(ruled, films[-1].movie_id, history=seen, k=10)
    assert found.fate == "ranked_low"
    assert f"the blend of {name} puts it at place {len(films)} of {len(films)}" in found.why
    assert [view.stage for view in found.stages] == ["merge", "blend"]
    view = found.stages[-1]
    assert (view.name, view.place, view.limit) == (name, len(films), 10)
    assert (view.score, view.last_score) == pytest.approx((films[-1].scores["rank"], films[9].scores["rank"]))
    assert found.facts.order == view
    assert "place 1 after the blend" in explain(ruled, films[0].movie_id, history=seen, k=10).why

    assert found.ranker_share == share
    request, _ = ruled.request(history=seen, k=10)
    candidates = Passage.of_request(ruled, request).to_rank
    assert candidates is not None
    assert ruled.ranker is not None
    own = dict(zip(candidates.item_idx[0].tolist(), ruled.ranker.score(request.queries, candidates)[0], strict=True))
    lead = own[int(ruled.vocabulary.items.encode(films[-1].movie_id))] - np.mean(list(own.values()))
    assert sum(one.value for one in found.contributions) == pytest.approx(lead, abs=0.01)


def test_an_explanation_has_no_contributions_of_a_ranker_without_a_share(pipeline: Pipeline) -> None:
    ruled = with_rule(pipeline, MERGED_BELOW_2, trained=True)
    last = ruled.recommend(history=[movie_id(4)], k=25).items[-1].movie_id
    found = explain(ruled, last, history=[movie_id(4)], k=10)
    assert "the blend of 100% merged puts it" in found.why
    assert (found.ranker_share, found.contributions) == (0.0, ())
    ranked = explain(ruled, last, history=[movie_id(4), movie_id(8)], k=10)
    assert "score" in {view.stage for view in ranked.stages}
    assert ranked.ranker_share == 1.0


@pytest.mark.parametrize(
    "rule",
    [
        None,
        {"below": 3},
        {"below": 3, "weights": {"mf": 1.0, "deepfm": 2.0}, "without_history": {"merged": 1.0}},
        {"below": 3, "weights": {"popularity": 1.0, "deepfm": 1.0}, "channel": "popularity"},
    ],
)
def test_a_request_alone_equals_its_row_in_a_batch(pipeline: Pipeline, rule: dict[str, Any] | None) -> None:
    ruled = with_rule(pipeline, rule, channels=["itemcf", "mf"], fill=None)
    batch, _ = ruled.run(QueryBatch.from_histories(HISTORIES), 10)
    for row, history in enumerate(HISTORIES):
        single, _ = ruled.run(QueryBatch.from_histories([history]), 10)
        np.testing.assert_array_equal(single.item_idx[0], batch.item_idx[row])


def test_options_of_another_version_are_refused_with_the_way_out(own: Workspace) -> None:
    path = own.model("pipeline") / "manifest.json"
    manifest = json.loads(path.read_text())
    rank = next(stage for stage in manifest["config"]["stages"] if stage["kind"] == "rank")
    rank["short_history"] = {"below": 18, "order": "itemcf_prior"}
    path.write_text(json.dumps(manifest))
    with pytest.raises(
        ArtefactError, match=r"another version .*order: no such option.*python scripts/train_ranking.py"
    ):
        load(own.model("pipeline"))
