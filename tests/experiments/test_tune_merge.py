"""Tuned weights: what is written, the check on the other half, and wrong use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluation.evaluate import Comparison
from evaluation.significance import Interval
from experiments.evaluate_recall import evaluate_recall
from experiments.merge_search import MergeWeights
from experiments.tune_merge import CHECKED, EQUAL, TUNED, MergeTuner, tune_merge, verdict
from pipeline.config import PipelineConfig
from recall.merge import RRFConfig, ScoresConfig, merge
from reccore import Candidates, ConfigError, Holdout, QueryBatch, Workspace
from reccore.arrays import IntArray
from scripts._settings import read_toml
from scripts.evaluate_recall import EvaluateRecallSettings

NAMES = ("itemcf", "mf", "popularity", "two_tower")
METRICS = ("ndcg@10", "recall@20")


def test_the_files_hold_the_tuned_options(own: Workspace) -> None:
    tuning = tune_merge(own, names=NAMES, metrics=METRICS, per_channel=30)
    assert isinstance(tuning.config, RRFConfig)
    settings = EvaluateRecallSettings.parse(read_toml(tuning.recall_toml))
    assert settings.merge == tuning.config
    assert settings.models == ("itemcf", "mf", "popularity", "two_tower")
    assert settings.per_channel == 30
    pipeline = PipelineConfig.parse(read_toml(tuning.pipeline_toml)["pipeline"])
    assert (pipeline.merge.method, pipeline.merge.fill) == (tuning.config, "popularity")
    assert (pipeline.channels, pipeline.sources[0].k) == (settings.models, 30)
    names = {e.name for e in tuning.result.evaluations}
    assert names == {"popularity", "itemcf", "mf", "two_tower", EQUAL, TUNED, CHECKED}
    assert len(tuning.result.comparisons) == 2 * 5
    assert tuning.result.protocol.split == "leave_one_out (valid)"
    assert tuning.result.data["verdict"] in tuning.result.report.read_text()
    assert tune_merge(own, names=NAMES, metrics=METRICS, per_channel=30).config == tuning.config


@pytest.mark.parametrize("kind", ["rrf", "scores"])
def test_figures_are_those_of_the_evaluation(own: Workspace, kind: str) -> None:
    """The tuned merge, and that of equal weights, by the options of the file, whatever the lists that are measured."""
    tuning = tune_merge(own, names=NAMES, kind=kind, metrics=METRICS, per_channel=25)
    by_name = {e.name: e for e in tuning.result.evaluations}
    settings = EvaluateRecallSettings.parse(read_toml(tuning.recall_toml))
    equal = MergeWeights.equal(kind, NAMES, "popularity").config()
    for ks in ((10, 20), (10, 20, 60)):
        for name, config in ((EQUAL, equal), (TUNED, settings.merge)):
            measured = evaluate_recall(
                own, names=NAMES, split="valid", merging=config, per_channel=settings.per_channel, ks=ks
            )
            merged = next(e for e in measured.evaluations if e.name == "merged")
            for metric in METRICS:
                np.testing.assert_allclose(merged.per_query[metric], by_name[name].per_query[metric])
            assert "Each channel gives the merge its first 25 films." in measured.report.read_text()


def test_the_number_of_candidates_decides_the_merge_of_scores(own: Workspace) -> None:
    """So that a merge must be measured with the number that it was tuned with."""
    found = [
        evaluate_recall(
            own, names=NAMES, split="valid", merging=ScoresConfig(), per_channel=per_channel, ks=(10, 60)
        ).evaluations
        for per_channel in (25, None)
    ]
    short, long = ({e.name: e.per_query["ndcg@10"] for e in evaluations} for evaluations in found)
    assert np.any(short["merged"] != long["merged"])
    np.testing.assert_array_equal(short["mf"], long["mf"])


def test_channels_are_measured_on_lists_as_long_as_the_merged_ones(own: Workspace) -> None:
    """Cut at fewer candidates, a channel would lose to any merge by Recall@K alone."""
    tuning = tune_merge(own, names=["mf", "itemcf"], metrics=("recall@400",), max_users=40)
    assert "per_channel = 400" in tuning.pipeline_toml.read_text()
    with pytest.raises(ConfigError, match="per_channel 30 is too few for lists of 400"):
        tune_merge(own, names=["mf", "itemcf"], metrics=("ndcg@10", "recall@400"), per_channel=30)


def test_other_methods_channels_and_fewer_users(own: Workspace) -> None:
    tuning = tune_merge(own, names=["mf", "itemcf"], kind="scores", metrics=("mrr@5",), max_users=40)
    assert isinstance(tuning.config, ScoresConfig)
    assert set(tuning.config.weights) == {"mf", "itemcf"}
    assert tuning.result.protocol.users == 40
    assert PipelineConfig.parse({**read_toml(tuning.pipeline_toml)["pipeline"], "rerank": None}).merge.fill is None
    other = tune_merge(own, names=["mf", "itemcf"], metrics=("mrr@5",), max_users=40, seed=1).result
    assert other.evaluations[0].holdout_id != tuning.result.evaluations[0].holdout_id


def test_each_half_is_merged_with_the_options_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 9
    rng = np.random.default_rng(0)
    offers = {
        name: Candidates(
            np.stack([rng.permutation(20)[:8] for _ in range(n)]), np.tile(-np.arange(8, dtype=np.float32), (n, 1))
        )
        for name in ("a", "b")
    }
    holdout = Holdout.single(QueryBatch.from_histories([[]] * n), np.arange(n, dtype=np.int64))
    start = MergeWeights.equal("rrf", ("a", "b"), None)
    tuner = MergeTuner(offers, holdout, start, ("ndcg@5",), (5,), None)
    only_a, only_b = RRFConfig(weights={"b": 0.0}), RRFConfig(weights={"a": 0.0})

    def tune(self: MergeTuner, rows: IntArray, label: str) -> RRFConfig:
        return only_a if 3 in rows else only_b

    monkeypatch.setattr(MergeTuner, "tune", tune)
    shuffled = np.array([3, 0, 7, 1, 8, 2, 4, 6, 5])
    checked = tuner.check(shuffled)
    for row in range(n):
        config = only_b if row in (3, 0, 7, 1) else only_a
        one = {name: offer.select([row]) for name, offer in offers.items()}
        np.testing.assert_array_equal(checked.item_idx[[row]], merge(config, one, 5, fill=None).item_idx)


@pytest.mark.parametrize(
    ("ndcg", "recall", "said"),
    [
        ((0.1, 0.2), (-0.1, 0.2), "tuned weights are better than equal weights"),
        ((-0.1, 0.2), (-0.1, 0.2), "tuned weights are not clearly better than equal weights"),
        ((-0.1, 0.2), (-0.2, -0.1), "tuned weights are worse than equal weights; keep those"),
        ((0.1, 0.2), (-0.2, -0.1), "tuned weights raise NDCG@10 and lower Recall@20 against equal weights"),
    ],
)
def test_verdicts(ndcg: tuple[float, float], recall: tuple[float, float], said: str) -> None:
    compared = [
        Comparison(CHECKED, EQUAL, metric, Interval(sum(ends) / 2, *ends), base=1.0)
        for metric, ends in zip(METRICS, (ndcg, recall), strict=True)
    ]
    misleading = [replace(c, b="mf", difference=Interval(0.5, 0.4, 0.6)) for c in compared]
    assert verdict([*misleading, *compared], METRICS).startswith(f"On users that they were not learnt from: {said} (")


def test_wrong_use(own: Workspace) -> None:
    with pytest.raises(ConfigError, match="at least two channels, got mf"):
        tune_merge(own, names=["mf"])
    for metric in ("f1@10", "ndcg", "ndcg@0", "ndcg@ten"):
        with pytest.raises(ConfigError, match=f"unknown metric '{metric}'; write NAME@K with a NAME of hit_rate"):
            tune_merge(own, names=NAMES, metrics=(metric,))
    with pytest.raises(ConfigError, match="no metric to raise"):
        tune_merge(own, names=NAMES, metrics=())
