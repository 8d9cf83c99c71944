"""The demo at any size: costs of the steps, the estimate before they start, and which are done again."""

from __future__ import annotations

import errno
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from dataprep.synthetic import ML_32M_MOVIES, ML_32M_RATINGS, ML_32M_USERS, SyntheticSize, make_synthetic
from reccore import DataError, RecommenderError, RunOptions, Workspace
from scripts import _large_demo as large
from scripts._costs import CostBook, Estimate, StepCost, TimeLeft
from scripts._steps import Step, StepRunner
from tests.scripts.conftest import Command

STEPS = [
    "data", "preprocess", "prepare", *large.CHANNELS, "ranking and pipeline", "evaluate recall", "evaluate pipeline"
]  # fmt: skip


@pytest.fixture
def lines() -> Any:
    """The lines that are logged."""
    found: list[str] = []
    number = logger.add(lambda message: found.append(message.record["message"]), level="INFO")
    yield found
    logger.remove(number)


def estimate() -> Estimate:
    runs = {
        1_000: {"fit": StepCost(2.0, 2.0, 1), "sort": StepCost(1.0, 1.0, 1)},
        100_000: {"fit": StepCost(900.0, 200.0, 1), "sort": StepCost(100.0, 100.0, 1)},
        1_000_000: {"fit": StepCost(20_000.0, 38_000.0, 1)},
    }
    return Estimate("a box", runs)


@pytest.mark.parametrize(
    ("step", "events", "seconds"),
    [
        ("fit", 1_000, 2.0),
        ("fit", 10_000, 20.0),  # half way on log axes
        # On the steeper part between the next two. The first of them was measured beside other work, so that its CPU
        # time is nearer to that of an idle machine, the second with two threads on an idle one.
        ("fit", 10**5 * 10**0.5, 2_000.0),
        ("fit", 4_000_000, 80_000.0),  # in proportion beyond the largest
        ("sort", 400_000, 400.0),
        ("fit", 10, 2.0),  # what does not shrink, such as starting a process
        ("unknown", 1_000, 0.0),
    ],
)
def test_an_estimate_is_on_the_line_through_the_measured_sizes(step: str, events: int, seconds: float) -> None:
    assert estimate().seconds(step, events) == pytest.approx(seconds)


def test_the_time_left_follows_what_the_steps_took(lines: list[str]) -> None:
    left = TimeLeft(estimate(), 100_000)
    left.start(["fit", "sort"])
    left.after("fit", 600.0, ["sort"])  # three times the 200 s of the estimate
    left.after("sort", 300.0, [])
    assert lines == [
        "2 steps to do, an estimated 5 min if the machine does nothing else (from runs on a box; 100,000 events)",
        "about 5 min left",  # three times the 100 s of the other step
    ]


def fill(path: Path, megabytes: int) -> None:
    held = b"x" * (megabytes * 2**20)
    path.write_text(str(len(held)))


def test_a_step_of_its_own_process_is_measured_and_written_down(tmp_path: Path) -> None:
    book = CostBook(tmp_path / "reports" / "costs.json", events=7)
    runner = StepRunner(tmp_path / "memory.json")
    small, big = (
        Step(name, partial(fill, tmp_path / name, megabytes), tmp_path / name)
        for name, megabytes in (("small", 1), ("big", 400))
    )
    for step in (small, big):
        runner.run(book.measured(step))
    costs = book.read()
    # The peak is of the step's own process: this one's, and that of the other step, are not in it.
    assert costs["big"].peak_bytes - costs["small"].peak_bytes > 300 * 2**20
    assert 0 < costs["small"].cpu_seconds <= 2 * costs["small"].seconds
    assert json.loads(book.path.read_text())["events"] == 7
    again = StepRunner(tmp_path / "memory.json")
    again.run(book.measured(small))
    assert (again.skipped, book.read()) == (["small"], costs)
    assert CostBook(book.path, events=8).read() == {}  # of other data
    book.path.write_text(json.dumps({**json.loads(book.path.read_text()), "machine": "another"}))
    assert book.read() == {}


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [DataError("ratings.csv is damaged"), OSError(errno.ENOSPC, "No space left", "x")])
def test_an_error_that_a_user_can_mend_comes_back_from_the_steps_process(tmp_path: Path, error: Exception) -> None:
    book = CostBook(tmp_path / "costs.json", events=7)
    step = book.measured(Step("fails", partial(fail, error), tmp_path / "nothing"))
    with pytest.raises((RecommenderError, OSError)) as raised:
        StepRunner(tmp_path / "memory.json").run(step)
    assert str(raised.value) == str(error)
    assert getattr(raised.value, "errno", None) == getattr(error, "errno", None)
    assert book.read() == {}


def test_what_is_due_is_what_runs(tmp_path: Path) -> None:
    def chain(option: int) -> list[Step]:
        return [
            Step(name, partial((tmp_path / name).write_text, name), tmp_path / name, needs, options=value)
            for name, needs, value in (("a", [], 1), ("b", ["a"], option), ("c", ["b"], 1), ("d", ["a"], 1))
        ]

    def run(option: int) -> tuple[list[str], list[str]]:
        runner = StepRunner(tmp_path / "memory.json")
        due = runner.due(chain(option))
        for step in chain(option):
            runner.run(step)
        return due, list(runner.seconds)

    assert run(1) == (["a", "b", "c", "d"], ["a", "b", "c", "d"])
    assert run(1) == ([], [])
    assert run(2) == (["b", "c"], ["b", "c"])
    (tmp_path / "a").write_text("changed by hand")
    assert run(2) == (["a", "b", "c", "d"], ["a", "b", "c", "d"])


def test_sizes_are_in_proportion() -> None:
    assert SyntheticSize.of_ratings(ML_32M_RATINGS) == SyntheticSize(ML_32M_USERS, ML_32M_MOVIES, ML_32M_RATINGS)
    quarter = SyntheticSize.of_ratings(ML_32M_RATINGS // 4)
    assert (quarter.users, quarter.movies) == (ML_32M_USERS // 4, round(ML_32M_MOVIES / 4))
    tiny = SyntheticSize.of_ratings(large.LEAST_EVENTS)
    tiny.check()
    assert tiny.movies == 1_700


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--events", "50000"], "--events is for --dataset synthetic-32m"),
        (["--dataset", "ml-32m", "--events", "50000"], "--events is for --dataset synthetic-32m"),
        (["--dataset", "synthetic-32m", "--events", "999"], "--events must be at least 10,000, got 999"),
        (["--dataset", "synthetic-32m", "--events", "20000", "--user", "127"], "126 users, so there is no user 127"),
        (["--dataset", "ml-32m", "--user", "200949"], "200,948 users, so there is no user 200949"),
    ],
)
def test_wrong_use(command: Command, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    assert sentence in command("demo", "--data_dir", tmp_path, *arguments).sentence


@pytest.mark.parametrize("dataset", ["ml-100k", "ml-32m", "synthetic-32m"])
def test_tables_of_other_data_are_not_replaced(command: Command, own: Workspace, dataset: str) -> None:
    before = (own.processed / "ratings.parquet").read_bytes()
    found = command("demo", "--data_dir", own.root, "--dataset", dataset)
    assert f"holds ml-tiny; give {dataset} a root of its own: --data_dir" in found.sentence
    assert (own.processed / "ratings.parquet").read_bytes() == before
    assert not (own.root / "demo.json").exists()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Settings that train in seconds."""
    configs = tmp_path / "configs"
    configs.mkdir()
    for name in large.CHANNELS:
        (configs / f"{name}.toml").write_text(f'model = "{name}"\n' + ("epochs = 1\n" if name == "two_tower" else ""))
    (configs / "ranker.toml").write_text(
        'model = "lambdamart"\ntrees = 20\n[pipeline]\nper_channel = 50\ncandidates = 50\nrerank = "null"\n'
    )
    cost = {"seconds": 60.0, "cpu_seconds": 60.0, "peak_bytes": 1}
    run = {"events": 20_000, "steps": dict.fromkeys(STEPS, cost)}
    (configs / large.MEASURED).write_text(json.dumps({"machine": "a box", "runs": [run]}))
    monkeypatch.setattr(large, "CONFIGS", configs)
    return configs


@pytest.mark.slow
def test_the_whole_chain_and_its_second_run(command: Command, quick: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    argv = ("demo", "--dataset", "synthetic-32m", "--events", 20_000, "--data_dir", root)
    first = command(*argv)
    assert first.code == 0, first.err
    assert "10 steps to do, an estimated 10 min if the machine does nothing else" in first.err
    assert "(from runs on a box; 20,000 events)" in first.err
    assert "| after ranking" in first.out
    costs = json.loads((root / "reports" / "costs.json").read_text())
    assert list(costs["steps"]) == STEPS
    assert all(cost["peak_bytes"] > 50 * 2**20 for cost in costs["steps"].values())
    # Another option of one channel: that channel and what rests on it, and their costs alone.
    (quick / "mf.toml").write_text('model = "mf"\nepochs = 2\n')
    again = command(*argv, "--json")
    assert list(again.json["seconds"]) == ["mf", *STEPS[-3:]]
    assert "4 steps to do, an estimated 4 min" in again.err
    later = json.loads((root / "reports" / "costs.json").read_text())["steps"]
    assert [name for name in STEPS if later[name] == costs["steps"][name]] == [
        name for name in STEPS if name not in again.json["seconds"]
    ]
    assert command(*argv, "--json").json["up_to_date"] == STEPS


@pytest.mark.slow
def test_the_real_files_take_the_same_chain(command: Command, quick: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    make_synthetic(root / "raw" / "ml-32m", SyntheticSize.of_ratings(20_000), RunOptions(progress=False))
    found = command("demo", "--dataset", "ml-32m", "--data_dir", root, "--json")
    assert found.code == 0, found.err
    assert list(found.json["seconds"]) == ["download", *STEPS[1:]]
    assert json.loads((root / "processed" / "processed.json").read_text())["dataset"] == "ml-32m"
