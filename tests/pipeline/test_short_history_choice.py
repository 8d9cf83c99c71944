"""The choice of the rule for short histories: on made-up data where it is known, and as a step of training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dataprep.prepare import Prepared
from evaluation.metrics import per_query_metrics
from experiments.new_users import first_events
from experiments.new_users_pipeline import evaluate_new_users_pipeline
from pipeline import Pipeline, assemble, label_window, load
from pipeline.builder import PIPELINE as NAME
from pipeline.refitting import refit_for_serving
from pipeline.samples import ranking_samples
from pipeline.short_history import Choice, Judged, choose_rule
from pipeline.stage_configs import ShortHistory
from pipeline.stages import RankerScorer
from pipeline.train_ranker import train_ranker
from pipeline.validation import summary
from ranking.base import BaseRanker
from reccore import Candidates, Holdout, QueryBatch, RankingSamples, Workspace
from reccore.arrays import FloatArray, offsets_from_lengths, ragged_positions
from reccore.bundle import read_manifest
from tests.helpers import checkerboard, rows_of
from tests.pipeline.small import N_USERS, PIPELINE, QUIET, RANKER, before_ranking

BELOW = 16
N_ITEMS, N_CANDIDATES = 60, 30
ORDERS = ("merged", "popularity", "itemcf")


class Given:
    """A ranker or channel with the scores that a table has for it: (N_ITEMS,) by row of the samples."""

    def __init__(self, table: FloatArray) -> None:
        self.table, self.vocabulary = table, checkerboard(n_items=N_ITEMS).vocabulary

    def score(self, queries: QueryBatch, candidates: Candidates) -> FloatArray:
        return np.take_along_axis(self.table[: len(candidates)], candidates.item_idx, axis=1)


class Both(Given):
    """One table for the samples of new users and one for those of known ones."""

    def __init__(self, new: FloatArray, known: FloatArray) -> None:
        super().__init__(new)
        self.known = known

    def score(self, queries: QueryBatch, candidates: Candidates) -> FloatArray:
        table = self.known if (queries.user_idx >= 0).any() else self.table
        return np.take_along_axis(table[: len(candidates)], candidates.item_idx, axis=1)


class World:
    """New users with 0 … 15 events, whose targets one order or another knows; all others are noise."""

    def __init__(self, knows: dict[str, Any], n_users: int = 25) -> None:
        draws = np.random.default_rng(3)
        known = np.tile(np.arange(BELOW), n_users)
        rows = len(known)
        self.wanted = draws.random((rows, N_ITEMS)) < 0.15
        self.tables = {}
        for name in ("ranker", *ORDERS):
            sees = np.broadcast_to(knows.get(name, np.zeros(rows, dtype=bool)), (rows,))
            noise = draws.random((rows, N_ITEMS)).astype(np.float32)
            self.tables[name] = np.where(sees[:, None], 3.0 * self.wanted, 0.0).astype(np.float32) + noise
        self.queries = QueryBatch.from_histories([list(range(n)) for n in known])
        item_idx = np.argsort(draws.random((rows, N_ITEMS)), axis=1)[:, :N_CANDIDATES]
        self.candidates = Candidates(item_idx, np.take_along_axis(self.tables["merged"], item_idx, axis=1))
        labels = np.take_along_axis(self.wanted, item_idx, axis=1).astype(np.float32)
        missed = self.wanted.sum(axis=1) - labels.sum(axis=1).astype(int)
        self.samples = RankingSamples(self.queries, self.candidates, {"click": labels}, missed=missed)

    def choose(self, samples: RankingSamples | None = None, **given: Any) -> Choice:
        channels: Any = {name: Given(self.tables[name]) for name in ORDERS[1:]}
        ranker: Any = Given(self.tables["ranker"])
        judging = self.samples if samples is None else samples
        nothing = self.samples.select(np.zeros(0, dtype=np.int64))
        return choose_rule(ShortHistory(below=BELOW, **given), "ranker", ranker, channels, judging, nothing)


@pytest.mark.parametrize("best", ORDERS)
def test_the_order_that_knows_the_targets_is_chosen(best: str) -> None:
    rule = World({best: True}).choose().rule
    assert rule is not None
    assert rule.below == BELOW
    for weights in (rule.weights, rule.without_history):
        assert weights is not None
        assert max(weights, key=lambda name: weights[name]) == best


def test_where_the_ranker_is_right_nothing_else_counts() -> None:
    choice = World({"ranker": True}).choose()
    assert choice.rule is not None
    assert choice.rule.weights == {"ranker": 1.0}
    assert (
        choice.facts["orders"]["ranker"] == choice.facts["ndcg"] > max(choice.facts["orders"][name] for name in ORDERS)
    )


def test_known_users_with_a_short_history_count_where_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Popularity serves new users, the ranker known ones: few of these change nothing, many make the ranker count."""
    new, known = World({"popularity": True}), World({"ranker": True}, n_users=100)
    queries = replace(known.queries, user_idx=np.zeros(len(known.queries), dtype=np.int64))
    samples_of_known = replace(known.samples, queries=queries)
    channels: Any = {name: Both(new.tables[name], known.tables[name]) for name in ORDERS[1:]}
    ranker: Any = Both(new.tables["ranker"], known.tables["ranker"])

    def share(stopping: RankingSamples) -> float:
        rule = choose_rule(ShortHistory(below=BELOW), "ranker", ranker, channels, new.samples, stopping).rule
        assert rule is not None
        assert rule.weights is not None
        return rule.weights.get("ranker", 0.0) / sum(rule.weights.values())

    few, many = samples_of_known.select(np.arange(100)), samples_of_known
    assert share(few) == 0.0
    assert share(many) > 0.0
    monkeypatch.setattr("pipeline.short_history.MIN_KNOWN", 100)
    assert share(few) != share(samples_of_known.select(np.arange(0)))


def test_two_orders_that_complete_each_other_are_both_chosen() -> None:
    world = World({})
    half = np.arange(N_ITEMS) % 2 == 0
    for name, part in (("popularity", half), ("itemcf", ~half)):
        world.tables[name] += 3.0 * (world.wanted & part)
    choice = world.choose()
    assert choice.rule is not None
    assert choice.rule.weights is not None
    assert {"popularity", "itemcf"} <= set(choice.rule.weights)
    assert choice.facts["ndcg"] > max(choice.facts["orders"].values())


def test_no_history_has_weights_of_its_own() -> None:
    lengths = np.tile(np.arange(BELOW), 25)
    rule = World({"popularity": lengths == 0, "itemcf": lengths > 0}).choose().rule
    assert rule is not None
    assert [max(w, key=w.get) for w in (rule.without_history, rule.weights) if w] == ["popularity", "itemcf"]  # type: ignore[arg-type]


def test_weights_that_are_given_for_no_history_stay_whatever_is_chosen_for_others() -> None:
    world = World({"itemcf": True})
    given = {"popularity": 2.0, "ranker": 1.0}
    choice = world.choose(without_history=given)
    assert choice.rule is not None
    assert choice.rule.without_history == given
    assert choice.rule.weights == world.choose().rule.weights  # type: ignore[union-attr]
    assert "without events: 67% popularity, 33% ranker" in str(choice)

    nobody = world.samples.select(np.zeros(0, dtype=np.int64))
    choice = world.choose(nobody, without_history=given)
    assert choice.rule == ShortHistory(below=BELOW, weights={"ranker": 1.0}, without_history=given)
    assert "the ranker alone" in str(choice)
    assert "without events, as given: 67% popularity, 33% ranker" in str(choice)
    assert world.choose(nobody).rule is None


def test_the_measure_is_that_of_the_evaluations() -> None:
    world = World({"itemcf": True})
    channels: Any = {"itemcf": Given(world.tables["itemcf"])}
    ranker: Any = Given(world.tables["ranker"])
    judged = Judged.of(world.samples, "ranker", ranker, channels)
    targets = [np.flatnonzero(row) for row in world.wanted]
    holdout = Holdout(world.queries, offsets_from_lengths(world.wanted.sum(axis=1)), np.concatenate(targets))
    asked = world.wanted.any(axis=1)
    for name, table in (("ranker", world.tables["ranker"]), ("itemcf", world.tables["itemcf"])):
        ordered = world.candidates.reordered(np.take_along_axis(table, world.candidates.item_idx, axis=1))
        expected = per_query_metrics(
            ordered.select(np.flatnonzero(asked)), holdout.select(np.flatnonzero(asked)), (10,)
        )["ndcg@10"]
        np.testing.assert_allclose(judged.ndcg(judged.scores[name])[asked], expected, rtol=1e-5)


def test_the_measure_of_a_ranker_of_likes_is_by_the_liked_films(prepared: Prepared, pipeline: Pipeline) -> None:
    events = prepared.split.interactions
    assert events.rating is not None
    users = np.arange(N_USERS)
    liked = first_events(events, users, 3, 4.0)
    counts = events.lengths - 3
    at = ragged_positions(events.user_offsets[:-1] + 3, counts)
    every = Holdout(liked.queries, offsets_from_lengths(counts), events.item_idx[at], target_rating=events.rating[at])
    channels = {source.name: source.channel for source in pipeline.sources}
    stages = assemble(
        pipeline.config.before_ranking(),
        channels=channels,
        ranker=None,
        items=pipeline.items,
        histories=pipeline.histories,
    )
    samples = ranking_samples(stages, every, tasks=["like"], source="test", options=QUIET)
    assert samples.missed is not None
    assert samples.missed.sum() > 0
    assert pipeline.ranker is not None
    judged = Judged.of(samples, "deepfm", pipeline.ranker, channels)
    scores = judged.scores["deepfm"]
    expected = per_query_metrics(samples.candidates.reordered(scores), liked, (10,))["ndcg@10"]
    np.testing.assert_allclose(judged.ndcg(scores), expected, rtol=1e-5)


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_window, "MIN_JUDGES", 2)


def trained(own: Workspace, **settings: Any) -> Pipeline:
    train_ranker(own, "deepfm", RANKER, {**PIPELINE, "rerank": None, **settings}, options=QUIET)
    return load(own.model(NAME))


def without_rule(pipeline: Pipeline) -> Pipeline:
    """The same components without the rule."""
    return assemble(
        pipeline.config.with_short_history(None),
        channels={source.name: source.channel for source in pipeline.sources},
        ranker=pipeline.ranker,
        items=pipeline.items,
        histories=pipeline.histories,
    )


@pytest.mark.usefixtures("few_are_enough")
def test_training_chooses_a_rule_and_the_pipeline_keeps_it(own: Workspace, prepared: Prepared) -> None:
    pipeline = trained(own)
    rule, facts = pipeline.config.short_history, (read_manifest(own.model(NAME)) or {})["short_history"]
    assert rule is not None
    assert rule.weights is not None
    assert (facts["users"], facts["below"]) == (N_USERS // 20, ShortHistory().below)
    queries = prepared.split.interactions.queries(np.arange(4), np.array([1, 1, 17, 18]))
    answer, trace = pipeline.run(queries, 10)
    ranked, _ = without_rule(pipeline).run(queries, 10)
    np.testing.assert_array_equal(answer.item_idx[3], ranked.item_idx[3])
    assert f"{int((queries.lengths < rule.below).sum())} blended" in str(trace)
    assert [f"fewer than {rule.below} films" in meaning for meaning in pipeline.score_meanings().values()][1]

    candidates = before_ranking(pipeline, queries)  # the answer to one event, by hand
    total = np.zeros(int(candidates.counts[0]))
    for name, weight in rule.weights.items():
        if name == "deepfm":
            assert pipeline.ranker is not None
            score = pipeline.ranker.score(queries, candidates)[0]
        elif name == "merged":
            score = candidates.score[0]
        else:
            score = pipeline.source(name).channel.score(queries, candidates)[0]
        score = score[: len(total)].astype(np.float64)
        score = np.where(np.isfinite(score), score, np.nanmin(np.where(np.isfinite(score), score, np.nan)))
        total += weight * (score - score.mean()) / (score.std() or 1.0)
    expected = candidates.item_idx[0, : len(total)][np.lexsort((candidates.item_idx[0, : len(total)], -total))]
    if rule.below > 1:
        assert answer.item_idx[0].tolist() == expected[:10].tolist()


@pytest.mark.usefixtures("few_are_enough")
def test_those_who_choose_are_unknown_to_channels_and_ranker(
    own: Workspace, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged, learnt = [], []
    fit = BaseRanker.fit

    def recorded(rule: Any, name: str, ranker: Any, channels: Any, judging: RankingSamples, stop: Any) -> Choice:
        judged.append(judging)
        return choose_rule(rule, name, ranker, channels, judging, stop)

    def recorded_fit(ranker: BaseRanker, given: RankingSamples, **more: Any) -> BaseRanker:
        learnt.extend([given, more["valid"]])
        return fit(ranker, given, **more)

    monkeypatch.setattr(BaseRanker, "fit", recorded_fit)
    monkeypatch.setattr("pipeline.train_ranker.choose_rule", recorded)
    trained(own)
    window, plain = (
        label_window.label_window(prepared, max_queries=None, short_histories=0.1, judge_below=below, options=QUIET)
        for below in (ShortHistory().below, 0)
    )
    np.testing.assert_array_equal(window.start, plain.start)  # the channels are those of a training without a choice
    judges = np.unique(window.users[window.judging])
    assert len(judges) == N_USERS // 20
    assert (window.start[judges] == 0).all()
    assert not np.isin(window.users[~window.judging], judges).any()
    kept = ~np.isin(plain.users, judges)
    assert rows_of(window.holdout.queries.select(~window.judging)) == rows_of(plain.holdout.queries.select(kept))
    asked = window.holdout.queries.select(window.judging)
    assert (asked.user_idx == -1).all()
    assert np.count_nonzero(asked.lengths == 0) == len(judges)
    assert asked.lengths.max() < ShortHistory().below
    assert rows_of(judged[0].queries) == rows_of(asked)
    assert sum(len(part) for part in learnt) == np.count_nonzero(~window.judging)


@pytest.mark.usefixtures("few_are_enough")
def test_a_rule_that_is_given_or_off_is_not_chosen(own: Workspace) -> None:
    given = {"below": 4, "weights": {"mf": 1.0}}
    for rule, expected in ((None, None), (given, ShortHistory.parse(given))):
        pipeline = trained(own, short_history=rule)
        assert pipeline.config.short_history == expected
        manifest = read_manifest(own.model(NAME)) or {}
        assert manifest["short_history"] is None
    assert any(isinstance(stage, RankerScorer) and stage.blend is not None for stage in pipeline.stages)


def test_the_figures_of_validation_are_those_of_the_order_that_is_served(own: Workspace, prepared: Prepared) -> None:
    rule = {"below": 1000, "weights": {"mf": 1.0}}
    settings = {**PIPELINE, "rerank": None}
    served = train_ranker(own, "deepfm", RANKER, {**settings, "short_history": rule}, options=QUIET)["validation"]
    valid = prepared.split.valid()
    answer, _ = load(own.model(NAME)).run(valid.queries, 100)
    assert served["ranking"] == pytest.approx(summary(answer, valid))
    alone = train_ranker(own, "deepfm", RANKER, {**settings, "short_history": None}, options=QUIET)["validation"]
    assert served["ranking"] != alone["ranking"]


def test_too_few_users_leave_the_ranker_alone(own: Workspace) -> None:
    pipeline = trained(own)
    assert pipeline.config.short_history is None


@pytest.mark.usefixtures("few_are_enough")
def test_serving_keeps_the_rule_and_new_users_have_it_chosen_without_them(
    own: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = trained(own).config.short_history
    refit_for_serving(own, options=QUIET)
    assert load(own.model("serving")).config.short_history == rule
    chosen: list[Choice] = []

    def recorded(*given: Any) -> Choice:
        chosen.append(choose_rule(*given))
        return chosen[-1]

    monkeypatch.setattr("pipeline.train_ranker.choose_rule", recorded)
    evaluate_new_users_pipeline(own, (1,), options=QUIET)
    (choice,) = chosen
    assert choice.facts["users"] == int((N_USERS - N_USERS // 10) * 0.1) // 2
