"""A step runs if and only if its inputs, options or code have changed."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import equal

from pipeline.window_refits import LabelCut
from reccore import Workspace
from scripts import _steps as steps_module
from scripts._steps import Step, StepRunner, channel_step, content_stamp
from tests.pipeline import small
from tests.training.interruption import Killed, count_steps
from training.checkpointing import has_checkpoint


class Chain:
    """Three steps, a → b → c, and d apart; ``ran`` lists what ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = {"a": 1, "b": 1, "c": 1, "d": 1}
        self.failing: set[str] = set()

    def path(self, name: str) -> Path:
        return self.folder / "out" / name

    def make(self, name: str) -> None:
        if name in self.failing:
            raise RuntimeError(name)
        self.path(name).parent.mkdir(exist_ok=True)
        self.path(name).write_text("the same every time")

    def run(self) -> list[str]:
        steps = StepRunner(self.folder / "memory.json")
        for name, needs in (("a", []), ("b", ["a"]), ("c", ["b"]), ("d", [])):
            rooms = ["room" if name == "b" else "other"]
            steps.run(Step(name, partial(self.make, name), self.path(name), needs, rooms, self.options[name]))
        assert sorted([*steps.seconds, *steps.skipped]) == ["a", "b", "c", "d"]
        return list(steps.seconds)


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    monkeypatch.setattr(steps_module, "ROOT", tmp_path)
    for room in ("room", "other"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "code.py").write_text("x = 1\n")
    chain = Chain(tmp_path)
    assert chain.run() == ["a", "b", "c", "d"]
    return chain


def test_a_second_run_does_nothing(chain: Chain) -> None:
    assert chain.run() == []
    assert chain.run() == []


def test_changed_options_run_the_step_and_all_that_depend_on_it(chain: Chain) -> None:
    chain.options["b"] = 2
    assert chain.run() == ["b", "c"]
    assert chain.run() == []


def test_changed_code_runs_the_steps_of_its_room(chain: Chain) -> None:
    (chain.folder / "room" / "code.py").write_text("x = 2\n")
    assert chain.run() == ["b", "c"]
    (chain.folder / "room" / "more.py").write_text("")
    assert chain.run() == ["b", "c"]
    (chain.folder / "room" / "notes.txt").write_text("not code")
    assert chain.run() == []


def test_a_deleted_result_is_made_again_with_all_that_depend_on_it(chain: Chain) -> None:
    chain.path("a").unlink()
    assert chain.run() == ["a", "b", "c"]
    assert chain.run() == []


def test_a_result_changed_by_hand_is_made_again(chain: Chain) -> None:
    chain.path("b").write_text("trained by hand")
    assert chain.run() == ["b", "c"]
    assert chain.path("b").read_text() == "the same every time"


def test_a_failed_step_runs_again_and_so_does_what_depends_on_it(chain: Chain) -> None:
    chain.options["b"] = 2
    chain.failing = {"b"}
    with pytest.raises(RuntimeError):
        chain.run()
    chain.failing = set()
    chain.options["b"] = 1  # back to what had worked: its result may be half made all the same
    assert chain.run() == ["b", "c"]
    assert chain.run() == []


def test_a_run_killed_between_two_steps_continues_where_it_stopped(chain: Chain) -> None:
    chain.path("a").unlink()
    chain.failing = {"b"}
    with pytest.raises(RuntimeError):
        chain.run()
    chain.failing = set()
    assert chain.run() == ["b", "c"]


@pytest.mark.parametrize("content", ["", "not json", "[]", '{"a": "old format"}', '{"a": {"basis": "x"}}'])
def test_without_a_memory_everything_runs(chain: Chain, content: str) -> None:
    (chain.folder / "memory.json").write_text(content)
    assert chain.run() == ["a", "b", "c", "d"]


def test_mistakes_in_the_chain_are_errors(tmp_path: Path) -> None:
    steps = StepRunner(tmp_path / "memory.json")
    with pytest.raises(ValueError, match="'b' needs a to be run before it"):
        steps.run(Step("b", lambda: None, tmp_path, needs=["a"]))
    with pytest.raises(ValueError, match="did not make"):
        steps.run(Step("b", lambda: None, tmp_path / "nothing"))
    assert json.loads((tmp_path / "memory.json").read_text()) == {}


def test_stamps(tmp_path: Path) -> None:
    assert content_stamp(tmp_path / "nothing") is None
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "x").write_text("12")
    plain = content_stamp(folder)
    (folder / "x").write_text("123")
    assert content_stamp(folder) not in (plain, None)
    (folder / "manifest.json").write_text("{}")
    bundle = content_stamp(folder)
    (folder / "x").write_text("1234")  # a bundle's manifest already holds the hash of every file
    assert content_stamp(folder) == bundle == content_stamp(folder / "manifest.json")


@pytest.mark.parametrize("resume", [True, False])
def test_a_training_that_was_killed_goes_on_where_the_chain_asks_for_it(
    own: Workspace, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    settings = small.CHANNELS["two_tower"]
    options = replace(small.QUIET, checkpoint_minutes=1e-9, resume=resume)

    def run(name: str, end_after: int | None = None) -> int:
        step = replace(channel_step(own, name, "two_tower", settings, options), needs=())
        with monkeypatch.context() as patched:
            steps = count_steps(patched, end_after)
            StepRunner(own.root / f"{name}.json").run(step)
        return len(steps)

    every = run("whole")
    with pytest.raises(Killed):
        run("broken", every - 2)
    assert has_checkpoint(own.checkpoint("broken"))
    assert run("broken") == (2 if resume else every)
    one, other = (load_file(own.model(name) / "network.safetensors") for name in ("whole", "broken"))
    assert all(equal(values, other[name]) for name, values in one.items())


def test_a_step_trains_around_the_labels_that_it_is_given(own: Workspace) -> None:
    settings, name = small.CHANNELS["two_tower"], "around"
    plain, around = (channel_step(own, name, "two_tower", settings, small.QUIET, cut) for cut in (None, LabelCut()))
    assert plain.options != around.options
    kept = own.models / f".{name}.label_window"
    for step, expected in ((plain, False), (around, True)):
        StepRunner(own.root / "memory.json").run(replace(step, needs=()))
        assert kept.is_dir() == expected
