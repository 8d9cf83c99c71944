"""The ablation: what is trained again and what is not, and figures worked out by hand."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataprep.prepare import Prepared
from evaluation.evaluate import Evaluation
from evaluation.metrics import per_query_metrics
from evaluation.significance import Interval, paired_bootstrap
from experiments import runs
from experiments.ablation import ablate
from experiments.ablation_report import Ablation
from experiments.ablation_runs import AblationResult, Job
from experiments.results import RowResult
from experiments.runs import Row, Run, RunsWorkspace
from recall import CHANNELS
from reccore import ConfigError, DataError, Workspace
from scripts._settings import deep_merge
from tests.pipeline import small
from tests.training.interruption import Killed, count_steps

PLAIN = Row.parse("plain", {"model": "mf", "embedding_size": 4, "epochs": 2}, source="plain.toml")
WIDE = Row.parse("wide", {"model": "mf", "embedding_size": 16, "epochs": 2}, source="wide.toml")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that are trained."""
    trained: list[str] = []
    train = runs.train_channel

    def record(*args: Any, **options: Any) -> dict[str, Any]:
        trained.append(options["name"])
        return train(*args, **options)

    monkeypatch.setattr(runs, "train_channel", record)
    return trained


def go(workspace: Workspace, *rows: Row, **options: Any) -> Ablation:
    given: dict[str, Any] = {"baseline": "plain", "seeds": (0, 1), "options": small.QUIET, **options}
    return ablate(workspace, rows or (PLAIN, WIDE), **given)[0]


def test_a_killed_ablation_resumes_and_trains_changed_runs_only(own: Workspace, calls: list[str]) -> None:
    first = go(own)
    assert calls == ["plain-seed0", "plain-seed1", "wide-seed0", "wide-seed1"]
    assert not {path.name for path in own.models.iterdir()} & set(calls)
    calls.clear()
    again = go(own)
    assert calls == []
    assert again.to_dict() == first.to_dict()
    go(own, seeds=(0, 1, 2))
    assert calls == ["plain-seed2", "wide-seed2"]
    calls.clear()
    go(own, PLAIN, Row.parse("wide", {"model": "mf", "embedding_size": 6}, source="wide.toml"), seeds=(1,))
    assert calls == ["wide-seed1"]
    calls.clear()
    kept = own.root / "ablations" / "ablation"
    (kept / "plain-seed0.json").unlink()  # killed between the bundle and the note of its minutes
    note = json.loads((kept / "plain-seed1.json").read_text())
    (kept / "plain-seed1.json").write_text(json.dumps({**note, "fingerprint": "of another bundle"}))
    go(own, PLAIN)
    assert calls == ["plain-seed0", "plain-seed1"]
    calls.clear()
    go(own, PLAIN, protocol="leave_last_2")
    assert calls == ["plain-seed0", "plain-seed1"]


TOWERS = {"model": "two_tower", **small.CHANNELS["two_tower"], "epochs": 3}


def test_an_interrupted_training_resumes_from_its_checkpoint(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row.parse("plain", TOWERS, source="plain.toml")
    kept = replace(small.QUIET, checkpoint_minutes=1e-9)
    with monkeypatch.context() as patched:
        every = count_steps(patched)
        expected = go(own, row, seeds=(0,), name="whole")
    for name, first in (("broken", len(every) - 2), ("changed", 3)):
        with monkeypatch.context() as patched:
            count_steps(patched, end_after=first)
            with pytest.raises(Killed):
                go(own, row, seeds=(0,), name=name, options=kept)
    assert not list((own.root / "checkpoints").iterdir())  # those of the channels in use
    with monkeypatch.context() as patched:
        steps = count_steps(patched)
        found = go(own, row, seeds=(0,), name="broken")
        assert len(steps) == 2
        again = go(own, Row.parse("plain", {**TOWERS, "epochs": 1}, source="plain.toml"), seeds=(0,), name="changed")
        assert len(steps) == 2 + len(every) // 3  # of another row: begun anew
    (one,), (other,) = expected.rows[0].runs, found.rows[0].runs
    for metric, values in one.evaluation.per_query.items():
        np.testing.assert_array_equal(other.evaluation.per_query[metric], values)
    log = json.loads((own.root / "ablations" / "broken" / "plain-seed0" / "manifest.json").read_text())["training"]
    assert other.facts["seconds"] == pytest.approx(60 * log["minutes"], abs=0.01)
    assert again.rows[0].runs[0].run.row.config["epochs"] == 1
    assert not list((own.root / "ablations").glob("*/checkpoints/*"))


def test_the_split_option_chooses_the_holdout(own: Workspace) -> None:
    split = Prepared.load(own.prepared).split
    for name, holdout in (("valid", split.valid()), ("test", split.test())):
        found = go(own, split=name)
        assert found.label == f"leave_one_out ({name})"
        for result in found.rows:
            for run in result.runs:
                channel = CHANNELS.load(own.root / "ablations" / "ablation" / run.run.name)
                expected = per_query_metrics(channel.retrieve(holdout.queries, 100), holdout, (10,))["ndcg@10"]
                np.testing.assert_array_equal(run.evaluation.per_query["ndcg@10"], expected)
    assert {path.name for path in own.reports.glob("ablation*")} == {
        f"{stem}{end}" for stem in ("ablation", "ablation_valid") for end in (".md", ".json", "_users.parquet")
    }


def test_the_files_of_a_report(own: Workspace) -> None:
    found = go(own, plot=("wide",), name="mine", command="python scripts/ablate.py --x")
    markdown = (own.reports / "mine_valid.md").read_text()
    assert found.ties is not None
    assert found.ties.system == "plain"
    assert found.ties.orders[0].ndcg == pytest.approx(found.rows[0].per_seed("ndcg@10")[0])
    assert found.ties.line() in markdown
    for part in (found.table(), "mine_valid_popularity.png", "--x", "embedding_size = 4", "seeds 0, 1", "60 users"):
        assert part in markdown
    assert "different versions" not in markdown
    assert json.loads((own.reports / "mine_valid.json").read_text()) == found.to_dict()
    assert (own.reports / "mine_valid_popularity.png").stat().st_size > 10_000
    users = pq.read_table(own.reports / "mine_valid_users.parquet").to_pandas()
    assert len(users) == 2 * 2 * small.N_USERS
    assert set(users["userId"]) == {small.user_id(user) for user in range(small.N_USERS)}
    means = users.groupby("row", observed=True)["ndcg@10"].mean()
    for result in found.rows:
        assert means[result.row.name] == pytest.approx(result.mean("ndcg@10"))


def test_a_failed_row_is_reported_beside_the_others(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    train = runs.train_channel

    def failing(row: str) -> Callable[..., dict[str, Any]]:
        def fail(*args: Any, **options: Any) -> dict[str, Any]:
            if options["name"] == f"{row}-seed1":
                raise DataError("the loss is not finite")
            return train(*args, **options)

        return fail

    monkeypatch.setattr(runs, "train_channel", failing("wide"))
    found = go(own)
    assert [result.row.name for result in found.rows] == ["plain"]
    assert found.failures == {"wide, seed 1": "the loss is not finite"}
    assert "- wide, seed 1: the loss is not finite" in found.to_markdown()
    monkeypatch.setattr(runs, "train_channel", failing("plain"))
    with pytest.raises(DataError, match=r"baseline 'plain' could not be trained.*seed 1: the loss is not finite"):
        go(own, name="other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": None}, "--baseline is missing; .* rows: plain, wide"),
        ({"baseline": "none"}, "--baseline names no row 'none'; rows: plain, wide"),
        ({"plot": ("plain", "none")}, "--plot names no row 'none'; rows: plain, wide"),
        ({"seeds": (1, 2, 1)}, "seeds must differ from each other, got 1, 2, 1"),
        ({"name": "a/b"}, "'a/b' is not a usable model name"),
    ],
)
def test_invalid_ablations_fail_before_training(
    trained: Workspace, calls: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        go(trained, **options)
    assert calls == []


def test_a_row_that_reads_the_query_time_gets_it_and_is_labelled(own: Workspace) -> None:
    plain = Row.parse("plain", {"model": "two_tower", **small.CHANNELS["two_tower"], "epochs": 1}, source="a")
    settings = deep_merge({"model": "two_tower", **plain.config}, {"encoder": {"query_time": True}})
    timed = Row.parse("timed", settings, source="b")
    found = go(own, plain, timed, seeds=(0,))
    holdout = Prepared.load(own.prepared).split.valid(query_time=True)
    channel = CHANNELS.load(own.root / "ablations" / "ablation" / "timed-seed0")
    expected = per_query_metrics(channel.retrieve(holdout.queries, 100), holdout, (100,))["ndcg@100"]
    np.testing.assert_array_equal(found.rows[1].runs[0].evaluation.per_query["ndcg@100"], expected)
    assert "QUERY TIME SEEN by timed (separate leaderboard" in found.about()
    assert [row["query_time"] for row in found.to_dict()["rows"]] == [False, True]
    assert "query time not seen" in go(own, plain, seeds=(0,)).about()


@pytest.mark.slow
def test_parallel_runs_give_the_same_results(own: Workspace) -> None:
    alone, beside = go(own), go(own, name="beside", jobs=2)
    for a, b in zip(alone.rows, beside.rows, strict=True):
        assert a.per_seed("ndcg@10").tolist() == b.per_seed("ndcg@10").tolist()


# Figures by hand: two seeds, four users.


def result(row: Row, *seeds: list[float]) -> RowResult[AblationResult]:
    seeded = []
    for seed, values in enumerate(seeds):
        ndcg = np.array(values, dtype=np.float32)
        mean = Interval(float(ndcg.mean()), 0.0, 1.0)
        lists = {"coverage@10": 0.5, "popularity@10": 1234.0}
        per_query = {"ndcg@10": ndcg, "hit_rate@10": ndcg}
        metrics = dict.fromkeys(per_query, mean)
        evaluation = Evaluation(row.name, (10,), per_query, metrics, lists, len(ndcg), 0, len(ndcg), 0, None, "x")
        facts = {"seconds": 60.0 + 60 * seed, "device": "cpu", "threads": 1, "git_commit": row.name}
        seeded.append(AblationResult(Run(row, seed), evaluation, facts, np.array([1.0])))
    return RowResult(row, seeded)


def ablation(prepared: Prepared, *rows: RowResult[AblationResult]) -> Ablation:
    job = Job(RunsWorkspace(Path(), "hand", "ablations"), None, None, small.QUIET, prepared, prepared.split.valid())
    return Ablation(job, "leave_one_out (valid)", rows, (0, 1), {}, "")


BASE = result(PLAIN, [0.0, 0.2, 0.4, 0.2], [0.2, 0.2, 0.4, 0.4])


def test_means_and_spread_over_seeds() -> None:
    np.testing.assert_allclose(BASE.per_query("ndcg@10"), [0.1, 0.2, 0.4, 0.3], atol=1e-7)
    np.testing.assert_allclose(BASE.per_seed("ndcg@10"), [0.2, 0.3], atol=1e-7)
    assert BASE.mean("ndcg@10") == pytest.approx(0.25)
    assert BASE.spread("ndcg@10") == pytest.approx(np.sqrt(0.005))  # (.05² + .05²) / (2 − 1)
    assert BASE.minutes == 1.5
    assert result(PLAIN, [0.1, 0.3]).spread("ndcg@10") is None


@pytest.mark.parametrize(
    ("seeds", "verdict"),
    [
        (([0.5, 0.6, 0.9, 0.7], [0.6, 0.7, 0.8, 0.9]), "better"),
        (([0.1, 0.3, 0.5, 0.3], [0.4, 0.4, 0.6, 0.6]), "better, but seeds overlap"),
        (([0.0, 0.0, 0.1, 0.0], [0.0, 0.1, 0.1, 0.1]), "worse"),
        (([0.0, 0.1, 0.3, 0.2], [0.1, 0.1, 0.3, 0.3]), "worse, but seeds overlap"),
        (([0.5, 0.0, 0.5, 0.0], [0.5, 0.0, 0.5, 0.2]), "no clear difference"),
    ],
)
def test_the_verdict_takes_the_interval_and_the_seeds(
    prepared: Prepared, seeds: tuple[list[float], list[float]], verdict: str
) -> None:
    row = result(WIDE, *seeds)
    found = ablation(prepared, BASE, row)
    assert found.verdict(row) == verdict
    expected = paired_bootstrap(np.mean(seeds, axis=0), np.array([0.1, 0.2, 0.4, 0.3]), seed=0)
    difference = found.comparison(row).difference
    assert (difference.mean, difference.low, difference.high) == pytest.approx(
        (expected.mean, expected.low, expected.high), abs=1e-6
    )
    assert difference.excludes_zero == (verdict != "no clear difference")


def test_the_table_by_hand(prepared: Prepared) -> None:
    other = Row.parse("other", {"model": "popularity"}, source="other.toml")
    better = [0.5, 0.5, 0.5, 0.5]
    found = ablation(prepared, BASE, result(WIDE, better, better), result(other, better, better))
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in found.table().splitlines()]
    assert lines[2] == ["plain", "(baseline)", "0.2500", "0.2500 ± 0.0707", "–", "–", "50.0%", "1,234", "1.5", "–"]
    assert lines[3][:4] == ["wide", "embedding_size = 16", "0.5000", "0.5000 ± 0.0000"]
    assert lines[3][4].startswith("+0.2500 [+0.1")
    assert lines[3][5:] == ["+100.0%", "50.0%", "1,234", "1.5", "better"]
    assert lines[4][1] == "model = popularity"
    text = found.to_markdown()
    assert "different versions of the code**: other, plain, wide." in text
    assert "Of 2 differences without any effect, 0.1 would look clear by chance." in text


def test_nested_options_are_shown_by_their_dotted_names(prepared: Prepared) -> None:
    nested = Row.parse("nested", {"model": "mf", "index": {"kind": "hnsw"}}, source="nested.toml")
    flat = Row.parse("flat", {"model": "mf", "index": {"kind": "flat"}}, source="flat.toml")
    one, other = result(flat, [0.5, 0.5], [0.5, 0.5]), result(nested, [0.5, 0.5], [0.5, 0.5])
    found = ablation(prepared, one, other)
    assert found.change(other).startswith('index.kind = "hnsw", index.')
    toml = found.to_markdown().partition("```toml\n")[2].partition("```")[0]
    read = {name: _nulls(value) for name, value in tomllib.loads(toml).items()}
    assert (
        Row.parse("again", {name: _nulls(value) for name, value in read.items()}, source="report").config == flat.config
    )


def _nulls(value: Any) -> Any:
    return None if value == "null" else value


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "row.toml: model is missing; known: popularity"),
        ({"model": "svd"}, "row.toml: unknown recall 'svd'"),
        ({"model": "mf", "factors": 3}, "row.toml: .*factors: no such option"),
        ({"model": "mf", "epochs": 0}, "row.toml: .*epochs: "),
    ],
)
def test_an_invalid_row_names_its_file(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Row.parse("row", settings, source="row.toml")
