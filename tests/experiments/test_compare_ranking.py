"""The table of rankers: the same candidates for all, nothing measured twice, figures against an independent order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dataprep.prepare import Prepared
from evaluation.metrics import per_query_metrics
from experiments import compare_ranking as module
from experiments.compare_ranking import compare_ranking
from experiments.runs import Row
from pipeline.builder import load
from ranking import RANKERS
from reccore import ConfigError, Workspace
from tests.pipeline import small
from tests.pipeline.small import PIPELINE, QUIET, RANKER

ROWS = [
    Row.parse("deepfm", {"model": "deepfm", **RANKER}, source="here", registry=RANKERS),
    Row.parse("trees", {"model": "lambdamart", "trees": 4, "min_data_in_leaf": 5}, source="here", registry=RANKERS),
]


@pytest.fixture(scope="module")
def root(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return small.copy_of(trained.root, tmp_path_factory.mktemp("rankers"))


def test_all_rankers_order_the_candidates_of_one_pipeline(root: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, report = compare_ranking(root, ROWS, PIPELINE, seeds=(0, 1), max_queries=60, options=QUIET)
    by_name = {result.row.name: result for result in comparison.results}
    assert set(by_name) == {"deepfm", "trees", "after recall", comparison.channel}
    assert [len(by_name[name].runs) for name in ("deepfm", "trees", "after recall")] == [2, 2, 1]
    # A ranker reorders the merged candidates, so it finds the same films among all of them.
    merged = by_name["after recall"].runs[0].evaluation
    for name in ("deepfm", "trees"):
        np.testing.assert_array_equal(by_name[name].per_user("hit_rate@100"), merged.per_query["hit_rate@100"])
    holdout = Prepared.load(root.prepared).split.test()
    offers = [source.channel.retrieve(holdout.queries, 10) for source in load(root.model("pipeline")).sources]
    best = max(per_query_metrics(offer, holdout, (10,))["ndcg@10"].mean() for offer in offers)
    assert by_name[comparison.channel].per_user("ndcg@10").mean() == pytest.approx(best)
    text = report.read_text(encoding="utf-8")
    assert f"| {comparison.channel} " in text
    assert "± " in text

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("measured twice")

    monkeypatch.setattr(module, "make_ranking_data", never)
    again, _ = compare_ranking(root, ROWS, PIPELINE, seeds=(0, 1), max_queries=60, options=QUIET)
    assert again.to_markdown() == comparison.to_markdown()
    with pytest.raises(AssertionError, match="measured twice"):
        compare_ranking(
            root,
            [replace(ROWS[0], config={**ROWS[0].config, "epochs": 1})],
            PIPELINE,
            seeds=(0,),
            max_queries=60,
            options=QUIET,
        )


def test_rows_that_no_ranker_takes_name_their_file() -> None:
    with pytest.raises(ConfigError, match=r"x\.toml: model is missing; known: .*deepfm"):
        Row.parse("x", {}, source="x.toml", registry=RANKERS)
    with pytest.raises(ConfigError, match=r"x\.toml: .*epoch"):
        Row.parse("x", {"model": "deepfm", "epoch": 1}, source="x.toml", registry=RANKERS)


def test_seeds_differ(root: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seeds must differ from each other, got 1, 1"):
        compare_ranking(root, ROWS, PIPELINE, seeds=(1, 1), options=QUIET)
