"""The table of rankers: samples and lists as in training, nothing measured twice, figures against other reports."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dataprep.events import write_events
from dataprep.prepare import Prepared
from dataprep.readers.own import EventFile
from evaluation.metrics import per_query_metrics
from evaluation.stored import read_evaluation, write_evaluation
from experiments import ranking_runs
from experiments.compare_ranking import compare_ranking
from experiments.evaluate_ranking import evaluate_ranking
from experiments.ranking_report import WITHIN, within
from experiments.runs import Row
from pipeline import label_window
from pipeline.builder import load
from pipeline.train_channel import train_channel
from pipeline.train_ranker import train_ranker
from ranking import RANKERS, SHORT_HISTORIES
from reccore import ConfigError, Workspace
from tests.pipeline import small
from tests.pipeline.small import PIPELINE, QUIET, RANKER


def row(name: str, model: str = "deepfm", **settings: Any) -> Row:
    options = {"deepfm": RANKER, "lambdamart": {"trees": 4, "min_data_in_leaf": 5}}.get(model, {})
    return Row.parse(name, {"model": model, **options, **settings}, source="here", registry=RANKERS)


ROWS = [row("deepfm"), row("trees", "lambdamart")]


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
        np.testing.assert_array_equal(by_name[name].per_query("hit_rate@100"), merged.per_query["hit_rate@100"])
    holdout = Prepared.load(root.prepared).split.test()
    offers = [source.channel.retrieve(holdout.queries, 10) for source in load(root.model("pipeline")).sources]
    best = max(per_query_metrics(offer, holdout, (10,))["ndcg@10"].mean() for offer in offers)
    assert by_name[comparison.channel].per_query("ndcg@10").mean() == pytest.approx(best)
    text = report.read_text(encoding="utf-8")
    assert f"| {comparison.channel} " in text
    assert "± " in text
    stored = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
    assert stored == comparison.to_dict()
    assert [len(each["runs"]) for each in stored["rows"] if each["name"] in ("deepfm", "trees")] == [2, 2]

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("measured twice")

    monkeypatch.setattr(ranking_runs, "make_ranking_data", never)
    again, _ = compare_ranking(root, ROWS, PIPELINE, seeds=(0, 1), max_queries=60, options=QUIET)
    assert again.to_markdown() == comparison.to_markdown()
    other = replace(ROWS[0], config={**ROWS[0].config, "epochs": 1})
    for row, label_windows in ((other, 1), (ROWS[0], 2)):
        with pytest.raises(AssertionError, match="measured twice"):
            compare_ranking(
                root, [row], PIPELINE, seeds=(0,), max_queries=60, label_windows=label_windows, options=QUIET
            )


def test_rankers_of_several_label_windows_are_compared(root: Workspace) -> None:
    given: dict[str, Any] = {"seeds": (0,), "max_queries": 60, "label_windows": 2, "name": "two", "options": QUIET}
    comparison, report = compare_ranking(root, ROWS, PIPELINE, **given)
    assert "up to 60 label events of 2 label windows for each seed" in report.read_text(encoding="utf-8")
    stored = read_evaluation(root.root / "comparisons" / "two" / "trees-seed0-test.npz")[1]
    assert json.loads(stored["basis"])["samples"][-1] == 2
    assert len(comparison.rows) == len(ROWS) + 2


def test_samples_are_those_of_train_ranking_with_its_other_options(own: Workspace) -> None:
    given: dict[str, Any] = {"seeds": (0,), "max_queries": 60, "split": "valid", "name": "other", "options": QUIET}
    options: dict[str, Any] = {"found_only": True, "label_window": "moment"}
    comparison, report = compare_ranking(own, ROWS[1:], PIPELINE, **given, **options)
    assert "those of train_ranking.py with label_window = moment and found_only, up to 60" in report.read_text("utf-8")
    path = own.root / "comparisons" / "other" / "trees-seed0-valid.npz"
    assert json.loads(read_evaluation(path)[1]["basis"])["samples"] == [60, SHORT_HISTORIES, 1, "moment", "found_only"]
    trained = train_ranker(
        own, "lambdamart", ROWS[1].config, PIPELINE, name="trees", max_queries=60, options=QUIET, **options
    )
    found = comparison.results[0].mean("ndcg@10")
    assert found == pytest.approx(trained["validation"]["ranking"]["ndcg@10"], abs=1e-5)
    compare_ranking(own, ROWS[1:], PIPELINE, **given, label_window="own_history")  # the default of this protocol
    assert json.loads(read_evaluation(path)[1]["basis"])["samples"] == [60, SHORT_HISTORIES, 1]


@pytest.mark.parametrize("rule", [{"below": 1000}, {"below": 1000, "weights": {"mf": 1.0}}, None])
def test_a_ranker_is_trained_and_served_as_by_train_ranking(
    own: Workspace, rule: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same samples, the same rule for short histories; figures within the candidates as evaluate_ranking's."""
    monkeypatch.setattr(label_window, "MIN_JUDGES", 2)
    settings = {**PIPELINE, "short_history": rule}
    trained = train_ranker(own, "deepfm", RANKER, settings, options=QUIET)
    comparison, _ = compare_ranking(own, [row("deepfm")], settings, seeds=(0,), split="valid", options=QUIET)
    by_name = {result.row.name: result for result in comparison.results}
    for metric in ("ndcg@10", "hit_rate@10"):
        assert by_name["deepfm"].mean(metric) == pytest.approx(trained["validation"]["ranking"][metric], abs=1e-5)
        assert by_name["after recall"].mean(metric) == pytest.approx(trained["validation"]["recall"][metric], abs=1e-5)
    assert by_name["deepfm"].runs[0].facts["short_history"] == trained["short_history"]
    assert (trained["short_history"] is not None) == (rule == {"below": 1000})
    assert ("60 of 60 queries have fewer than 1000 events" in comparison.short) == (rule is not None)
    systems = {system.name: system for system in evaluate_ranking(own, split="valid", options=QUIET).systems}
    for name, result in by_name.items():
        expected = {figure: interval.mean for figure, interval in systems[name].metrics.items()}
        reliability = systems[name].reliability
        expected |= {} if reliability is None else {"ece": reliability.error}
        found = {figure: values[0] for figure in WITHIN if len(values := within(result, figure))}
        assert found == pytest.approx({figure: expected[figure] for figure in WITHIN if figure in expected})
        assert ({"logloss", "ece"} <= found.keys()) == (name == "deepfm")


def test_only_rankers_have_probabilities_speed_and_minutes(root: Workspace) -> None:
    comparison, _ = compare_ranking(root, ROWS, PIPELINE, seeds=(0, 1), max_queries=60, options=QUIET)
    header, _, *lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in comparison.table().splitlines()]
    of_rankers = ("logloss", "ECE", "candidates/s", "minutes")
    assert header == ["order by", "NDCG@10", "HitRate@10", "× best channel", "AUC", "GAUC", "MRR", *of_rankers]
    for line in lines:
        cells = dict(zip(header, line, strict=True))
        shown = {name for name in of_rankers if cells[name] != "–"}
        assert shown == (set(of_rankers) if cells["order by"] in ("deepfm", "trees") else set())
        assert "–" not in [cells[name] for name in ("NDCG@10", "HitRate@10", "AUC", "GAUC", "MRR")]


def test_what_an_older_version_stored_is_measured_again(root: Workspace) -> None:
    """Runs of one seed, stored without the figures within the candidates."""
    given: dict[str, Any] = {"seeds": (2,), "max_queries": 60, "name": "older", "options": QUIET}
    comparison, _ = compare_ranking(root, ROWS[:1], PIPELINE, **given)
    path = root.root / "comparisons" / "older" / "deepfm-seed2-test.npz"
    evaluation, facts = read_evaluation(path)
    basis = json.loads(facts["basis"])
    for key in ("version", "short_history"):
        basis.pop(key)
    old = {"basis": json.dumps(basis, sort_keys=True), "seconds": 1e6}
    write_evaluation(path, evaluation, old)
    again, _ = compare_ranking(root, ROWS[:1], PIPELINE, **given)
    (first,), (second,) = ([r for r in each.results if r.row.name == "deepfm"] for each in (comparison, again))
    assert second.minutes < 1e3
    assert within(second, "auc") == pytest.approx(within(first, "auc"))
    assert "within" in read_evaluation(path)[1]


def test_rows_are_compared_with_a_baseline(root: Workspace) -> None:
    given: dict[str, Any] = {"seeds": (0, 1), "max_queries": 60, "options": QUIET}
    comparison, report = compare_ranking(root, ROWS, PIPELINE, baseline="trees", **given)
    assert {c.a for c in comparison.comparisons} == {"deepfm", "after recall", comparison.channel}
    assert {c.b for c in comparison.comparisons} == {"trees"}
    deepfm, trees = (next(r for r in comparison.results if r.row.name == name) for name in ("deepfm", "trees"))
    difference = next(c for c in comparison.comparisons if c.a == "deepfm").difference.mean
    assert difference == pytest.approx(deepfm.mean("ndcg@10") - trees.mean("ndcg@10"))
    assert "## Against trees" in report.read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="--baseline names no row 'lr'; rows: deepfm, trees"):
        compare_ranking(root, ROWS, PIPELINE, baseline="lr", **given)


def test_rankers_that_order_every_list_alike_are_named(root: Workspace) -> None:
    """Features that this data lacks, so that leaving them out changes nothing."""
    rows = [row("all"), row("no_directors", features=["default", "!cross.director_*"]), ROWS[1]]
    comparison, report = compare_ranking(root, rows, PIPELINE, seeds=(0, 1), max_queries=60, options=QUIET)
    assert comparison.alike == [["all", "no_directors"]]
    assert "**all, no_directors order every list alike**" in report.read_text(encoding="utf-8")


def test_rows_that_no_ranker_takes_name_their_file() -> None:
    with pytest.raises(ConfigError, match=r"x\.toml: model is missing; known: .*deepfm"):
        Row.parse("x", {}, source="x.toml", registry=RANKERS)
    with pytest.raises(ConfigError, match=r"x\.toml: .*epoch"):
        Row.parse("x", {"model": "deepfm", "epoch": 1}, source="x.toml", registry=RANKERS)


def test_what_cannot_be_compared(root: Workspace) -> None:
    for rows, seeds, message in (
        (ROWS, (1, 1), "seeds must differ from each other, got 1, 1"),
        ([row("mf")], (0,), "the row 'mf' is named like another line of the table"),
        ([*ROWS, row("likes", "mmoe", tasks=["like", "click"])], (0,), "rankers of different tasks"),
    ):
        with pytest.raises(ConfigError, match=message):
            compare_ranking(root, rows, PIPELINE, seeds=seeds, options=QUIET)


def test_rankers_of_likes_are_left_out_where_the_data_has_no_ratings(own: Workspace) -> None:
    file, prepared = own.root / "own.parquet", Prepared.load(own.prepared)
    write_events(file, replace(prepared.split.interactions, rating=None), prepared.vocabulary)
    channels = ("popularity", "mf")
    for channel in channels:
        train_channel(own, channel, {}, input_file=EventFile(file), options=QUIET)
    pipeline = {"channels": channels, "per_channel": 10, "candidates": 10, "rerank": None}
    rows = [row("tasks", "mmoe"), ROWS[1], row("likes", "lambdamart", task="like")]
    given: dict[str, Any] = {"seeds": (0,), "max_queries": 60, "name": "unrated", "options": QUIET}
    comparison, report = compare_ranking(own, rows, pipeline, **given)
    assert {result.row.name for result in comparison.results} == {"trees", "after recall", comparison.channel}
    assert comparison.to_dict()["left_out"] == ["tasks", "likes"]
    assert "**Left out: tasks, likes.**" in report.read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match=r"--baseline names 'tasks': .* needs ratings, and this data set has none"):
        compare_ranking(own, rows, pipeline, baseline="tasks", **given)
    with pytest.raises(ConfigError, match="the task 'like' needs ratings, and this data set has none"):
        compare_ranking(own, rows[:1], pipeline, **given)
