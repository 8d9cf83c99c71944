"""New users at the pipeline: what is fitted on whose events, and the lists that are measured."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from dataprep.prepare import Prepared
from evaluation.metrics import per_query_metrics
from experiments import measuring
from experiments import new_users_pipeline as subject
from experiments.new_users import evaluate_new_users, first_events, new_users
from experiments.new_users_pipeline import evaluate_new_users_pipeline
from pipeline import Pipeline, PipelineConfig
from pipeline.fates import Passage
from pipeline.label_window import QUERIES_OF_NEW_USER
from ranking import SHORT_HISTORIES
from ranking.base import BaseRanker
from recall.base import BaseRecall
from reccore import QueryBatch, RankingSamples, TrainingData, Workspace
from tests.pipeline.small import CHANNELS, N_RATINGS, N_USERS, PIPELINE, QUIET

STAGES = ("after recall", "after ranking", "after reranking")


class Recorded:
    """What every refit and every ranker of a run was fitted on, and the pipeline that answered."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.events: list[TrainingData] = []
        self.samples: list[RankingSamples] = []
        self.stopping: list[RankingSamples] = []
        self.pipelines: list[Pipeline] = []
        refit, fit, built = BaseRecall.refit, BaseRanker.fit, subject.refit_pipeline

        def recorded_refit(channel: BaseRecall, data: TrainingData, options: Any = None) -> BaseRecall:
            self.events.append(data)
            return refit(channel, data, options)

        def recorded_fit(ranker: BaseRanker, samples: RankingSamples, **given: Any) -> BaseRanker:
            self.samples.append(samples)
            self.stopping.append(given["valid"])
            return fit(ranker, samples, **given)

        def recorded_pipeline(*given: Any) -> Pipeline:
            self.pipelines.append(built(*given))
            return self.pipelines[-1]

        patch.setattr(BaseRecall, "refit", recorded_refit)
        patch.setattr("recall.neural.channel.NeuralRecall.refit", recorded_refit)
        patch.setattr(BaseRanker, "fit", recorded_fit)
        patch.setattr(subject, "refit_pipeline", recorded_pipeline)


def files_of(space: Workspace) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in space.models.rglob("*")}


def test_everything_is_fitted_without_the_users_and_nothing_is_stored(
    own: Workspace, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, before = Recorded(monkeypatch), files_of(own)
    result = evaluate_new_users_pipeline(own, (3, 1), options=QUIET)
    assert files_of(own) == before
    kept_out = new_users(prepared.split.interactions, 3, "test", QUIET)
    assert len(kept_out) == N_USERS // 10
    whole, window = N_RATINGS - 2, N_RATINGS - 2 - 3  # 20% of 18 fit events are labels
    n_others = N_USERS - len(kept_out)
    n_playing = int(n_others * SHORT_HISTORIES)  # so many of the others play new users for the ranker
    assert len(recorded.events) == 2 * len(CHANNELS)
    for number, data in enumerate(recorded.events):
        lengths = data.interactions.lengths
        assert (lengths[kept_out] == 0).all()
        n_events = [n_others * whole, (n_others - n_playing) * window][number >= len(CHANNELS)]
        assert (lengths.max(), lengths.sum()) == (whole if number < len(CHANNELS) else window, n_events)
    learnt = np.concatenate([part.queries.user_idx for part in (recorded.samples[0], recorded.stopping[0])])
    assert not np.isin(kept_out, learnt).any()
    assert len(np.unique(learnt[learnt >= 0])) == n_others - n_playing
    assert (learnt < 0).sum() == n_playing * QUERIES_OF_NEW_USER

    assert (result.lengths, result.chain) == ((1, 3), STAGES)
    assert set(result.evaluations[1]) == {*CHANNELS, *STAGES}
    (pipeline,) = recorded.pipelines
    for n in (1, 3):
        holdout = first_events(prepared.split.interactions, kept_out, n, None)
        answer = pipeline.run(holdout.queries, 10)[0]
        np.testing.assert_array_equal(
            result.evaluations[n]["after reranking"].per_query["ndcg@10"],
            per_query_metrics(answer, holdout, (10,))["ndcg@10"],
        )
    report = json.loads((own.reports / "new_users_pipeline.json").read_text())
    assert report == result.to_dict()
    assert "## Against popularity and the best channel of each N" in result.report.read_text()


def test_parts_of_a_few_queries_give_the_figures_of_one_part(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "refit_pipeline", lambda original, *_: original)
    together = evaluate_new_users_pipeline(own, (1, 3), options=QUIET).evaluations
    monkeypatch.setattr(measuring, "QUERIES_AT_ONCE", 4)
    passed: list[int] = []
    of = Passage.of

    def counted(pipeline: Pipeline, queries: QueryBatch, k: int) -> Passage:
        passed.append(len(queries))
        return of(pipeline, queries, k)

    monkeypatch.setattr(Passage, "of", staticmethod(counted))
    in_parts = evaluate_new_users_pipeline(own, (1, 3), options=QUIET).evaluations
    assert passed == [4, N_USERS // 10 - 4] * 2
    for n in (1, 3):
        assert list(in_parts[n]) == list(together[n])
        for name, evaluation in in_parts[n].items():
            assert evaluation.lists == pytest.approx(together[n][name].lists)
            for metric, values in evaluation.per_query.items():
                np.testing.assert_array_equal(values, together[n][name].per_query[metric])


def test_channels_have_the_figures_of_the_evaluation_of_channels(own: Workspace) -> None:
    """The same users, queries and refits as evaluate_recall.py --new_users, which has tests of its own."""
    pipeline = evaluate_new_users_pipeline(own, (1, 3), split="valid", min_rating=3.0, options=QUIET)
    channels = evaluate_new_users(own, (1, 3), split="valid", min_rating=3.0, options=QUIET)
    assert pipeline.about == channels.about
    for n in (1, 3):
        for name in CHANNELS:
            np.testing.assert_array_equal(
                pipeline.evaluations[n][name].per_query["ndcg@10"], channels.evaluations[n][name].per_query["ndcg@10"]
            )


def test_the_chain_is_compared_with_popularity_and_with_the_best_channel(own: Workspace) -> None:
    result = evaluate_new_users_pipeline(own, (1,), options=QUIET)
    found = result.evaluations[1]
    means = {name: float(np.mean(found[name].per_query["ndcg@10"])) for name in CHANNELS}
    best = max(means, key=lambda name: means[name])
    assert result.best_channel(1) == best
    bases = ["popularity"] if best == "popularity" else ["popularity", best]
    pairs = [(f"{stage}, N=1", base) for stage in STAGES for base in bases]
    assert [(comparison.a, comparison.b) for comparison in result.comparisons(1)] == pairs
    for comparison in result.comparisons(1):
        stage = comparison.a.removesuffix(", N=1")
        expected = found[stage].mean("ndcg@10") - means[comparison.b]
        np.testing.assert_allclose(comparison.difference.mean, expected, atol=1e-6)


def test_short_histories_are_those_of_the_training_unless_given(
    own: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = Recorded(monkeypatch)
    for share in (None, 0.0):
        evaluate_new_users_pipeline(own, (1,), short_histories=share, options=QUIET)
    queries = [len(train) + len(stop) for train, stop in zip(recorded.samples, recorded.stopping, strict=True)]
    n_others = N_USERS - N_USERS // 10
    n_playing = int(n_others * SHORT_HISTORIES)
    assert queries == [(n_others - n_playing) * 3 + n_playing * QUERIES_OF_NEW_USER, n_others * 3]


def test_a_rule_for_short_histories_decides_what_new_users_get(own: Workspace) -> None:
    found = {}
    for below in (1, 2):
        rule = {"below": below, "weights": {"popularity": 1.0}}
        config = PipelineConfig.parse({**PIPELINE, "candidates": 120, "ranker": "deepfm", "short_history": rule})
        found[below] = evaluate_new_users_pipeline(own, (1,), config=config, options=QUIET).evaluations[1]
    lists = [found[below]["after ranking"].per_query["ndcg@10"].tolist() for below in found]
    popular = found[1]["popularity"].per_query["ndcg@10"].tolist()
    assert lists[1] == popular != lists[0]
