"""The order of ties in every report, against the full run under the other order; most events here are tied in time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dataprep.prepare import Prepared
from evaluation.metrics import per_query_metrics
from experiments.compare_ranking import compare_ranking
from experiments.evaluate_pipeline import evaluate_pipeline
from experiments.evaluate_ranking import evaluate_ranking
from experiments.evaluate_recall import evaluate_recall
from experiments.evaluate_rerank import evaluate_rerank, fit_families, item_vectors
from experiments.new_users import evaluate_new_users, new_users, split_ties
from experiments.new_users_pipeline import evaluate_new_users_pipeline
from experiments.runs import Row
from experiments.tie_audit import with_order
from experiments.tune_merge import TUNED, tune_merge
from pipeline import Pipeline
from pipeline.fates import Passage
from ranking import RANKERS
from recall import CHANNELS
from recall.merge import merge
from reccore import Candidates, Interactions, QueryBatch, Workspace
from tests.pipeline.small import PIPELINE, QUIET, before_ranking

Answer = Callable[[QueryBatch], Candidates]


@pytest.fixture
def tied(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """The data of the trained root as reports read it, with times of some minutes only."""
    events = prepared.split.interactions
    assert events.timestamp is not None
    coarse = with_order(replace(events, timestamp=events.timestamp // 500), prepared.vocabulary, "hash")
    data = replace(prepared, split=replace(prepared.split, interactions=coarse))
    for module in ("measuring", "compare_ranking", "new_users", "new_users_pipeline"):
        monkeypatch.setattr(f"experiments.{module}.data_of", lambda *_: data)
    return data


def by_full_run(tied: Prepared, split: str, answer: Answer, users: Any = None) -> dict[str, list[float]]:
    """Order → NDCG@10 and HitRate@10 of all queries, or those of some users."""
    found = {}
    for order in ("hash", "id"):
        events = with_order(tied.split.interactions, tied.vocabulary, order)  # type: ignore[arg-type]
        cut = replace(tied.split, interactions=events)
        holdout = cut.test() if split == "test" else cut.valid()
        if users is not None:
            holdout = holdout.select(np.flatnonzero(np.isin(holdout.queries.user_idx, users)))
        metrics = per_query_metrics(answer(holdout.queries).head(10), holdout, (10,))
        found[order] = [float(metrics[name].mean()) for name in ("ndcg@10", "hit_rate@10")]
    assert found["hash"] != found["id"]
    return found


def check(audit: Mapping[str, Any], system: str, expected: Mapping[str, list[float]]) -> None:
    assert audit["system"] == system
    assert [figures["order"] for figures in audit["orders"]] == list(expected)
    for figures in audit["orders"]:
        assert [figures["ndcg"], figures["hit_rate"]] == pytest.approx(expected[figures["order"]])


def test_the_tuned_merge(own: Workspace, tied: Prepared) -> None:
    names = ("itemcf", "mf", "popularity")
    tuning = tune_merge(own, names=names, metrics=("ndcg@10", "recall@20"), per_channel=30)
    channels = {name: CHANNELS.load(own.model(name)) for name in names}

    def answer(queries: QueryBatch) -> Candidates:
        offers = {name: channel.retrieve(queries, 30) for name, channel in channels.items()}
        return merge(tuning.config, offers, 20, fill="popularity")

    check(tuning.result.data["tie_audit"], TUNED, by_full_run(tied, "valid", answer))
    assert f"Order of ties, NDCG@10/HitRate@10 of {TUNED}: hash " in tuning.result.report.read_text()


def test_the_tuned_merge_of_some_users_and_short_lists(own: Workspace, tied: Prepared) -> None:
    """The audit measures at 10, which the tuning does not, and asks about the drawn users alone."""
    tuning = tune_merge(own, names=["mf", "itemcf"], metrics=("mrr@5",), per_channel=5, max_users=40)
    channels = {name: CHANNELS.load(own.model(name)) for name in ("mf", "itemcf")}

    def answer(queries: QueryBatch) -> Candidates:
        offers = {name: channel.retrieve(queries, 10) for name, channel in channels.items()}
        return merge(tuning.config, offers, 10, fill=None)

    drawn = np.random.default_rng(0).permutation(tied.split.interactions.n_users)[:40]
    check(tuning.result.data["tie_audit"], TUNED, by_full_run(tied, "valid", answer, drawn))
    assert tuning.result.protocol.users == 40


def test_the_pipeline_and_a_channel_in_reports_of_short_lists(
    own: Workspace, pipeline: Pipeline, tied: Prepared
) -> None:
    """The audit asks for lists of 10 where the report has only shorter ones."""
    result = evaluate_pipeline(own, ks=(5,))
    expected = by_full_run(tied, "test", lambda queries: pipeline.run(queries, 10)[0])
    check(result.data["tie_audit"], "after reranking", expected)
    channel = CHANNELS.load(own.model("mf"))
    found = evaluate_recall(own, names=["mf"], ks=(5,)).data["tie_audit"]
    check(found, "mf", by_full_run(tied, "test", lambda queries: channel.retrieve(queries, 10)))


@pytest.mark.parametrize("ks", [(5,), (10,)])
def test_rankers_within_the_candidates(own: Workspace, pipeline: Pipeline, tied: Prepared, ks: tuple[int, ...]) -> None:
    result = evaluate_ranking(own, split="valid", ks=ks, options=QUIET)
    ranker = RANKERS.load(own.model("deepfm"))

    def answer(queries: QueryBatch) -> Candidates:
        candidates = before_ranking(pipeline, queries)
        return candidates.reordered(ranker.score(queries, candidates))

    stored = json.loads((own.reports / "ranking_valid.json").read_text())
    system = "deepfm, a positive that recall missed counting as a miss"
    check(stored["tie_audit"], system, by_full_run(tied, "valid", answer))
    assert result.ties is not None
    assert result.ties.line() in result.report.read_text()


def test_compared_rankers(own: Workspace, pipeline: Pipeline, tied: Prepared) -> None:
    row = Row.parse("trees", {"model": "lambdamart", "trees": 2, "min_data_in_leaf": 5}, source="x", registry=RANKERS)
    comparison, report = compare_ranking(own, [row], PIPELINE, seeds=(0,), max_queries=60, options=QUIET)
    expected = by_full_run(tied, "test", lambda queries: before_ranking(pipeline, queries))
    check(comparison.ties.to_dict(), "after recall", expected)
    assert f"{comparison.ties.line()} The rankers order that list and are not kept" in report.read_text()


def test_the_chosen_reranker(own: Workspace, pipeline: Pipeline, tied: Prepared) -> None:
    """The setting that is chosen on validation, on test; the order before where none is chosen."""
    options: dict[str, Any] = {"only": ["dpp, genres"], "trade_offs": (0.3,)}
    chosen = evaluate_rerank(own, min_gain=0.0, **options)
    given = (pipeline.items, *item_vectors(pipeline), pipeline.vocabulary)
    reranker = fit_families(["dpp, genres"], 30, *given)["dpp, genres"].with_trade_off(0.3)

    def before(queries: QueryBatch) -> Candidates:
        return Passage.of(pipeline, queries, 10).before_selection

    stored = json.loads((own.reports / "rerank.json").read_text())["tie_audit"]
    reranked = by_full_run(tied, "test", lambda queries: reranker.rerank(queries, before(queries), 10))
    check(stored, "dpp, genres, λ = 0.3", reranked)
    assert chosen.ties is not None
    assert chosen.ties.line() in chosen.report.read_text(encoding="utf-8")
    none = evaluate_rerank(own, min_gain=99.0, **options)
    check(none.to_dict()["tie_audit"], "before reranking", by_full_run(tied, "test", before))


def test_ties_on_both_sides_of_a_place_by_hand() -> None:
    events = Interactions(
        user_offsets=np.array([0, 4, 8]),
        item_idx=np.arange(8),
        n_items=8,
        timestamp=np.array([1, 1, 2, 2, 1, 2, 3, 3]),
    )
    assert split_ties(events, np.array([0, 1]), [1, 2, 3]) == {1: 0.5, 2: 0.0, 3: 1.0}
    assert split_ties(events, np.array([1]), [1]) == {1: 0.0}


def test_new_users(own: Workspace, tied: Prepared) -> None:
    """The order decides only which events are given; the share of users whom that concerns is stated."""
    result = evaluate_new_users(own, (3, 1), names=["mf"], options=QUIET)
    events = tied.split.interactions
    users = new_users(events, 3, "test", QUIET)
    times = [np.asarray(events.timestamp)[events.user_offsets[user] :][:4] for user in users]
    shares = {n: float(np.mean([t[n - 1] == t[n] for t in times])) for n in (1, 3)}
    assert max(shares.values()) > 0
    assert min(shares.values()) < 1
    assert result.split_ties == pytest.approx(shares)
    line = f"both sides of N for {shares[1]:.1%} of the users at N = 1, {shares[3]:.1%} of the users at N = 3."
    assert line in result.report.read_text()
    stored = json.loads((own.reports / "new_users.json").read_text())
    assert stored["split_ties"] == {"1": pytest.approx(shares[1]), "3": pytest.approx(shares[3])}
    pipeline = evaluate_new_users_pipeline(own, (3, 1), options=QUIET)
    assert line in pipeline.report.read_text()
    assert "no times, no ties" in replace(result, split_ties=None).to_markdown()
