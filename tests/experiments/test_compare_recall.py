"""The comparison of channels: what is trained and measured again, and figures worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dataprep.prepare import Prepared
from dataprep.protocols import LastThree
from evaluation.evaluate import Evaluation
from evaluation.metrics import per_query_metrics
from evaluation.report import EvaluationProtocol
from evaluation.significance import Interval, bootstrap_mean
from experiments import compare_runs, runs
from experiments.compare_recall import compare_recall
from experiments.compare_report import RecallComparison, Result
from experiments.own_process import ProcessEnded
from experiments.results import RowResult, RunResult
from experiments.runs import Row, Run
from recall import CHANNELS
from reccore import ConfigError, DataError, Workspace
from tests.pipeline import small

POPULARITY = Row.parse("popularity", {"model": "popularity"}, source="popularity.toml")
MF = Row.parse("mf", {"model": "mf", "embedding_size": 4, "epochs": 2}, source="mf.toml")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is trained (names of runs) and measured ("measure"), in this process instead of one per run."""
    record: list[str] = []
    train, measure = runs.train_channel, compare_runs.measure

    def recorded_train(*args: Any, **options: Any) -> dict[str, Any]:
        record.append(options["name"])
        return train(*args, **options)

    def recorded_measure(*args: Any) -> Evaluation:
        record.append("measure")
        return measure(*args)

    def call(function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    monkeypatch.setattr(runs, "train_channel", recorded_train)
    monkeypatch.setattr(compare_runs, "measure", recorded_measure)
    monkeypatch.setattr(compare_runs, "in_own_process", call)
    return record


def go(workspace: Workspace, *rows: Row, **options: Any) -> RecallComparison:
    given: dict[str, Any] = {"seeds": (0, 1, 2), "split": "valid", "options": small.QUIET, **options}
    return compare_recall(workspace, rows or (POPULARITY, MF), **given)[0]


def test_finished_runs_are_kept_and_a_channel_without_randomness_runs_twice(own: Workspace, calls: list[str]) -> None:
    first = go(own)
    assert [name for name in calls if name != "measure"] == [
        "popularity-seed0",
        "mf-seed0",
        "popularity-seed1",
        "mf-seed1",
        "mf-seed2",
    ]
    assert {result.row.name: len(result.runs) for result in first.rows} == {"popularity": 1, "mf": 3}
    calls.clear()
    assert go(own).to_dict() == first.to_dict()
    assert calls == []
    wide = Row.parse("mf", {"model": "mf", "embedding_size": 6, "epochs": 2}, source="mf.toml")
    go(own, POPULARITY, wide, seeds=(0,))
    assert calls == ["mf-seed0", "measure"]
    calls.clear()
    go(own, POPULARITY, split="test")
    assert calls == ["measure", "measure"]
    calls.clear()
    (own.root / "comparisons" / "channels" / "popularity-seed0-test.npz").unlink()  # killed before it was written
    go(own, POPULARITY, split="test")
    assert calls == ["measure"]
    calls.clear()
    go(own, POPULARITY, protocol="leave_last_2", seeds=(0,))
    assert calls == ["popularity-seed0", "measure"]
    assert not list(own.models.glob("*-seed*"))


def test_figures_are_those_of_the_stored_channels(own: Workspace, calls: list[str]) -> None:
    found = go(own, MF, seeds=(3,), split="test")
    holdout = Prepared.load(own.prepared).split.test()
    channel = CHANNELS.load(own.root / "comparisons" / "channels" / "mf-seed3")
    expected = per_query_metrics(channel.retrieve(holdout.queries, 500), holdout, (10, 500))
    for metric in ("ndcg@10", "recall@500"):
        np.testing.assert_array_equal(found.rows[0].runs[0].evaluation.per_query[metric], expected[metric])
    facts = found.rows[0].runs[0].facts
    assert facts["queries_per_second"] > 0
    assert 20e6 < facts["peak_bytes"] < 20e9


def test_several_queries_of_a_user_are_drawn_together(own: Workspace, calls: list[str]) -> None:
    found = go(own, POPULARITY, protocol="last_three", split="test", seeds=(0,))
    (row,) = found.rows
    evaluation = row.runs[0].evaluation
    holdout = Prepared.load(own.prepared).resplit(LastThree()).split.test()
    users = holdout.queries.user_idx
    assert f"{len(users)} queries of {len(np.unique(users))} users" in found.protocol.line()
    np.testing.assert_array_equal(evaluation.users, users)  # as stored
    values = evaluation.per_query["ndcg@10"].astype(np.float64)
    assert row.interval("ndcg@10", 0) == bootstrap_mean(values, users=users, seed=0)
    assert row.minus(row, "ndcg@10", 0).difference.excludes_zero is False
    assert evaluation.metrics["ndcg@10"].high == pytest.approx(row.interval("ndcg@10", 0).high)


def test_the_files_of_a_report(own: Workspace, calls: list[str]) -> None:
    found = go(own, seeds=(0, 1), name="mine", command="python scripts/compare_recall.py --x")
    stem = own.reports / "compare_mine_valid"
    markdown = stem.with_suffix(".md").read_text()
    assert found.ties is not None
    assert found.ties.system == f"{found.rows[0].row.name}, seed 0"
    assert found.ties.orders[0].ndcg == pytest.approx(found.rows[0].runs[0].evaluation.mean("ndcg@10"))
    for part in (
        found.table(),
        found.ties.line(),
        "## Paired differences",
        "compare_mine_valid_fit_time.png",
        "--x",
        "training 0, 1",
    ):
        assert part in markdown
    assert json.loads(stem.with_suffix(".json").read_text()) == found.to_dict()
    for figure in ("fit_time", "coverage"):
        assert (own.reports / f"compare_mine_valid_{figure}.png").read_bytes()[:4] == b"\x89PNG"


def test_a_failed_run_is_reported_beside_the_others(
    own: Workspace, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(function: Callable[..., Any], job: Any, run: Run, trained: bool) -> Any:
        if run.row.name == "mf" and run.seed == 0:
            raise ProcessEnded("its process ended with SIGKILL (out of memory?)")
        if run.row.name == "mf" and run.seed == 1:
            return "the loss is not finite"
        return function(job, run, trained)

    monkeypatch.setattr(compare_runs, "in_own_process", failing)
    found = go(own)
    assert [(result.row.name, [run.run.seed for run in result.runs]) for result in found.results] == [
        ("popularity", [0]),
        ("mf", [2]),
    ]
    assert found.failures == {
        "mf, seed 0": "its process ended with SIGKILL (out of memory?)",
        "mf, seed 1": "the loss is not finite",
    }
    assert "- mf, seed 1: the loss is not finite" in found.to_markdown()
    with pytest.raises(DataError, match=r"no channel could be trained, .*mf, seed 0: its process ended with SIGKILL"):
        go(own, MF, seeds=(0,))


def test_rows_that_read_the_query_time_have_their_own_comparison(own: Workspace, calls: list[str]) -> None:
    settings = {"model": "two_tower", **small.CHANNELS["two_tower"], "epochs": 1}
    timed = Row.parse("timed", {**settings, "encoder": {**settings["encoder"], "query_time": True}}, source="a")
    with pytest.raises(ConfigError, match=r"timed reads the time of the event to predict, .* add --query_time"):
        go(own, timed, POPULARITY)
    with pytest.raises(ConfigError, match="none of these does"):
        go(own, query_time=True)
    with pytest.raises(ConfigError, match="seeds must differ from each other, got 1, 1"):
        go(own, seeds=(1, 1))
    assert calls == []
    found = go(own, timed, seeds=(0,), query_time=True)
    assert "QUERY TIME SEEN (separate leaderboard)" in found.about()
    assert (own.reports / "compare_channels_query_time_valid.md").is_file()
    holdout = Prepared.load(own.prepared).split.valid(query_time=True)
    channel = CHANNELS.load(own.root / "comparisons" / "channels" / "timed-seed0")
    expected = per_query_metrics(channel.retrieve(holdout.queries, 500), holdout, (100,))["ndcg@100"]
    np.testing.assert_array_equal(found.rows[0].runs[0].evaluation.per_query["ndcg@100"], expected)


# Figures by hand: two seeds, four users.


def result(row: Row, *seeds: list[float]) -> Result:
    seeded = []
    for seed, values in enumerate(seeds):
        ndcg = np.array(values, dtype=np.float32)
        names = ("ndcg@10", "hit_rate@10", "recall@20", "recall@100", "recall@500")
        per_query = dict.fromkeys(names, ndcg)
        metrics = dict.fromkeys(names, Interval(float(ndcg.mean()), 0.0, 1.0))
        lists = {"coverage@10": 0.5, "popularity@10": 1234.0}
        evaluation = Evaluation(row.name, (10,), per_query, metrics, lists, len(ndcg), 0, len(ndcg), 0, None, "x")
        facts = {"seconds": 2.0 + 2 * seed, "device": "cpu", "threads": 1, "git_commit": row.name}
        facts |= {"peak_bytes": 5e8, "queries_per_second": 1000.0 * (1 + seed)}
        seeded.append(RunResult(Run(row, seed), evaluation, facts))
    return RowResult(row, seeded)


def test_the_table_by_hand() -> None:
    one = result(POPULARITY, [0.0, 0.2, 0.4, 0.2])
    two = result(MF, [0.5, 0.5, 0.5, 0.5], [0.3, 0.3, 0.3, 0.3])
    protocol = EvaluationProtocol("tiny", "leave_one_out (test)", 4)
    found = RecallComparison(protocol, [one, two], (0, 1), {}, "")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in found.table().splitlines()]
    assert lines[2][:3] == ["mf", "2", "0.4000 [0.4000, 0.4000] ± 0.1414"]  # √(2 · .1² / (2 − 1))
    assert lines[2][4:] == ["0.4000", "0.4000", "0.4000", "50.0%", "1,234", "3.0", "500", "1,500"]
    assert lines[3][:3] == ["popularity", "1", str(bootstrap_mean(np.array([0.0, 0.2, 0.4, 0.2]), seed=0))]
    (difference,) = found.comparisons
    assert (difference.a, difference.b, difference.verdict) == ("mf", "popularity", "better")
    assert difference.difference.mean == pytest.approx(0.2)
    assert "different versions of the code**: mf, populari." in found.to_markdown()
    assert replace(found, results=[one]).comparisons == []


@pytest.mark.slow
def test_runs_in_their_own_processes(own: Workspace) -> None:
    found = go(own, POPULARITY, seeds=(0,))
    assert found.failures == {}
    facts = found.rows[0].runs[0].facts
    assert 50e6 < facts["peak_bytes"] < 5e9
