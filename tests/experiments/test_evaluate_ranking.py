"""Rankers within the candidates: the same candidates as in the pipeline, every order beside them, a report."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dataprep.prepare import Prepared
from evaluation.significance import Interval, paired_bootstrap
from evaluation.within_candidates import WithinCandidates
from experiments import measuring
from experiments.evaluate_ranking import NOTE, _compare, evaluate_ranking
from pipeline import Pipeline
from pipeline.builder import load
from pipeline.stages import RECALL_RANK, RankerScorer
from pipeline.train_ranker import train_ranker
from ranking import RANKERS
from ranking.base import BaseRanker
from reccore import Candidates, ConfigError, Exclusions, NotReadyError, QueryBatch, Workspace
from reccore.arrays import FloatArray
from tests.pipeline.small import PIPELINE, QUIET, before_ranking


def test_figures_are_those_of_the_pipelines_candidates(own: Workspace, pipeline: Pipeline) -> None:
    result = evaluate_ranking(own, split="valid", options=QUIET)
    names = [system.name for system in result.systems]
    assert names == ["deepfm", "after recall", *(source.name for source in pipeline.sources)]

    holdout = Prepared.load(own.prepared).split.valid()
    candidates = before_ranking(pipeline, holdout.queries)
    labels = Exclusions(holdout.target_offsets, holdout.target_idx).contains(candidates.item_idx)
    ranker = RANKERS.load(own.model("deepfm"))
    mask = candidates.mask
    expected = {
        "deepfm": ranker.score(holdout.queries, candidates),
        "itemcf": -np.nan_to_num(candidates.features[RECALL_RANK + "itemcf"], nan=1e6),
    }
    for system in result.systems:
        if system.name in expected:
            auc = roc_auc_score(labels[mask], expected[system.name][mask])
            assert system.metrics["auc"].mean == pytest.approx(auc)
    assert result.offered == labels.sum()
    assert result.systems[0].reliability is not None
    assert result.systems[0].examples_per_second is not None
    assert all("logloss" not in system.metrics for system in result.systems[1:])  # an order has no probabilities


def test_parts_of_a_few_queries_give_the_report_of_one_part(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def figures() -> dict[str, Any]:
        found = evaluate_ranking(own, split="valid", options=QUIET).to_dict()
        assert [system.pop("examples_per_second") is None for system in found["systems"]][:2] == [False, True]
        return flat(found)

    together = figures()
    monkeypatch.setattr(measuring, "QUERIES_AT_ONCE", 7)
    scored: list[int] = []
    score = BaseRanker.score

    def counted(ranker: BaseRanker, queries: QueryBatch, candidates: Candidates) -> FloatArray:
        scored.append(len(queries))
        return score(ranker, queries, candidates)

    monkeypatch.setattr(BaseRanker, "score", counted)
    in_parts = figures()
    assert scored[:9] == [*[7] * 8, 4]
    assert in_parts.keys() == together.keys()
    for name, value in together.items():
        # Networks encode other queries together, which moves the last bit.
        assert in_parts[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), name


def flat(values: Any, path: str = "") -> dict[str, Any]:
    """Path → plain value of nested dictionaries and lists."""
    if not isinstance(values, dict | list):
        return {path: values}
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    return {name: value for key, each in pairs for name, value in flat(each, f"{path}/{key}").items()}


def test_the_report_has_the_table_the_curve_and_the_comparisons(own: Workspace) -> None:
    result = evaluate_ranking(own, split="test", ks=(5, 10), options=QUIET)
    text = result.report.read_text()
    assert result.report == own.reports / "ranking.md"
    for part in ("GAUC by impressions", "NDCG@5", "NDCG@10", "deepfm − after recall", "ECE calibrated"):
        assert part in text
    assert (own.reports / "ranking_reliability.png").stat().st_size > 0
    stored = json.loads((own.reports / "ranking.json").read_text())
    assert [system["name"] for system in stored["systems"]] == [system.name for system in result.systems]
    assert len(stored["systems"][0]["reliability"]["calibrated"]["predicted"]) > 1


def test_recall_of_likes_is_of_the_liked_films(own: Workspace, pipeline: Pipeline) -> None:
    train_ranker(own, "lr", {"epochs": 1, "task": "like"}, PIPELINE, name="likes", options=QUIET)
    result = evaluate_ranking(own, models=("likes",), split="valid", options=QUIET)
    holdout = Prepared.load(own.prepared).split.valid()
    assert holdout.target_rating is not None
    liked = holdout.target_rating >= 4
    found = (before_ranking(pipeline, holdout.queries).item_idx == holdout.target_idx[:, None]).any(axis=1)
    assert 0 < (found & liked).sum() < liked.sum() < len(liked)
    assert (result.offered, result.positives) == ((found & liked).sum(), liked.sum())
    share = (found & liked).sum() / liked.sum()
    assert f"of {liked.sum()} held-out films rated 4 or more ({share:.1%})" in result.about
    assert "NDCG@10/HitRate@10 of likes, by all held-out films, liked or not" in result.report.read_text()


def test_paired_differences_draw_users_with_all_their_queries_as_the_report_says() -> None:
    """All queries of a user say the same here: drawn one by one they would promise a far narrower interval."""
    users = np.repeat(np.arange(20), 50)
    better = np.random.default_rng(0).random(20)[users]
    one, other = (
        WithinCandidates(name, {"gauc": Interval(0.0, 0.0, 0.0)}, {"gauc": values}, users, 1, len(users))
        for name, values in (("one", better), ("other", np.zeros(len(users))))
    )
    found = _compare(one, other, "gauc", 0).difference
    by_user = paired_bootstrap(better[::50], np.zeros(20), seed=0)
    assert found.high - found.low == pytest.approx(by_user.high - by_user.low, rel=0.05)
    assert "bootstrap over users, each drawn with all queries; paired differences too." in NOTE


def test_an_untrained_ranker_is_named(own: Workspace) -> None:
    with pytest.raises(NotReadyError, match="din"):
        evaluate_ranking(own, models=("din",), options=QUIET)


def test_a_ranker_of_more_channels_is_not_measured_on_the_candidates_of_fewer(own: Workspace) -> None:
    few = {**PIPELINE, "channels": ["popularity", "itemcf"], "rerank": None}
    train_ranker(own, "lr", {"epochs": 1}, few, name="few", options=QUIET)  # the pipeline has two channels now
    columns = (
        "recall_rank.mf, recall_score.mf, recall_rank.two_tower, recall_score.two_tower, match.mf, match.two_tower"
    )
    with pytest.raises(ConfigError, match=f"ranker 'deepfm' learnt from columns .* lack: {columns}"):
        evaluate_ranking(own, models=("few", "deepfm"), options=QUIET)
    assert evaluate_ranking(own, models=("few",), options=QUIET).systems[0].name == "few"


def test_the_pipeline_scores_with_the_same_ranker(own: Workspace) -> None:
    stages = load(own.model("pipeline")).stages
    assert any(isinstance(stage, RankerScorer) for stage in stages)
