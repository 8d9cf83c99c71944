"""Checkpoints: everything comes back as it was, damage and strangers are refused, a full disk is survived."""

from __future__ import annotations

import errno
import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loguru import logger

from reccore import ArtefactError, ConfigError, ResumeError, RunOptions
from reccore.bundle import BundleWriter
from reccore.interrupts import defer_sigint
from training.checkpointing import Checkpoints, digest, drop_checkpoint, has_checkpoint, train_on
from training.random_state import generator_states, set_torch_states, torch_states

IDENTITY: dict[str, Any] = {"seed": 3, "config": {"learning_rate": 0.003, "half_lives": (2.0, 5.0)}, "data": {"e": "x"}}


def checkpoints(folder: Path, **changes: Any) -> Checkpoints:
    return Checkpoints(folder, component="thing", identity={**IDENTITY, **changes}, every_minutes=10)


@pytest.fixture
def heard() -> Any:
    """Lines of the log."""
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(str(message)), level="DEBUG", format="{level} {message}")
    yield lines
    logger.remove(handler)


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    state = {
        "network": {"a.weight": shared, "the same": shared, "part": shared[2:4], "half": torch.ones(2).bfloat16()},
        "optimiser": {"state": {0: {"step": torch.tensor(5.0)}, 7: {}}, "param_groups": [{"betas": (0.9, 0.999)}]},
        "numbers": [0.1 + 0.2, 2**127 + 1, True, None, "text", -0.0, float("inf")],
        "empty": torch.zeros(0, 3, dtype=torch.int64),
        "nothing": {},
    }
    store = checkpoints(tmp_path / "deep" / "c")
    assert store.read() is None
    assert store.write(state, "epoch 1")
    assert has_checkpoint(store.folder)
    again = checkpoints(tmp_path / "deep" / "c").read()
    for name, tensor in state["network"].items():  # type: ignore[attr-defined]
        assert torch.equal(again["network"][name], tensor)
        assert again["network"][name].dtype == tensor.dtype
        assert again["network"][name].data_ptr() % 16 == 0
    assert again["optimiser"]["param_groups"] == [{"betas": (0.9, 0.999)}]
    assert list(again["optimiser"]["state"]) == [0, 7]
    assert again["optimiser"]["state"][0]["step"] == 5.0
    assert again["numbers"] == state["numbers"]
    assert again["empty"].shape == (0, 3)
    assert again["nothing"] == {}
    drop_checkpoint(store.folder)
    drop_checkpoint(store.folder)
    assert not has_checkpoint(store.folder)


def test_what_cannot_be_held_is_said(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot hold a set"):
        checkpoints(tmp_path / "c").write({"x": {1, 2}}, "epoch 1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 4}, "seed was 3 and is 4"),
        ({"config": {"learning_rate": 0.01, "half_lives": [2.0, 5.0]}}, "config.learning_rate was 0.003 and is 0.01"),
        ({"config": {"learning_rate": 0.003, "half_lives": [2.0, 5.0], "new": 1}}, "config.new was None and is 1"),
        ({"data": {"e": "y"}}, "data.e was x and is y"),
    ],
)
def test_another_training_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    checkpoints(tmp_path / "c").write({"x": 1}, "epoch 1")
    with pytest.raises(ResumeError, match=named) as refused:
        checkpoints(tmp_path / "c", **changes).read()
    assert "half_lives was" not in str(refused.value)
    assert checkpoints(tmp_path / "c").read() == {"x": 1}


@pytest.mark.parametrize("damage", ["manifest.json", "state.json", "state.safetensors", "cut", "gone"])
def test_damage_is_said(tmp_path: Path, damage: str) -> None:
    checkpoints(tmp_path / "c").write({"x": torch.ones(100)}, "epoch 1")
    file = tmp_path / "c" / ("state.safetensors" if damage in {"cut", "gone"} else damage)
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-50])
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    with pytest.raises((ArtefactError, ResumeError), match=r"c\b.*--resume|is not a checkpoint"):
        checkpoints(tmp_path / "c").read()


def test_another_layout_is_refused(tmp_path: Path) -> None:
    checkpoints(tmp_path / "c").write({"x": 1}, "epoch 1")
    file = tmp_path / "c" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "layout": 0}))
    with pytest.raises(ResumeError, match="not written by this version of thing; train without --resume"):
        checkpoints(tmp_path / "c").read()


def test_a_full_disk_is_an_error_in_the_log_and_the_former_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: list[str]
) -> None:
    store = checkpoints(tmp_path / "c")
    assert store.write({"x": 1}, "epoch 1")

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(BundleWriter, "tensors", full)
        assert not store.write({"x": 2}, "epoch 2")
    assert any("ERROR no checkpoint of epoch 2" in line and "No space left" in line for line in heard)
    assert store.read() == {"x": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["c"]
    assert store.write({"x": 3}, "epoch 3")
    assert store.read() == {"x": 3}


def test_leftovers_of_a_killed_writer_are_removed_and_strangers_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".c.1234abcd.tmp").mkdir()
    (tmp_path / ".other.1234abcd.tmp").mkdir()
    checkpoints(tmp_path / "c")
    assert [entry.name for entry in tmp_path.iterdir()] == [".other.1234abcd.tmp"]
    (tmp_path / "d").mkdir()
    with pytest.raises(ArtefactError, match="is not a checkpoint; move it away"):
        checkpoints(tmp_path / "d")
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match="no checkpoints can be written"):
        checkpoints(tmp_path / "file" / "c")


def test_a_checkpoint_set_aside_can_be_taken_up_again(tmp_path: Path, heard: list[str]) -> None:
    store = checkpoints(tmp_path / "c")
    store.set_aside()
    assert heard == []
    for epoch in (3, 4):
        store.write({"x": epoch}, f"epoch {epoch}, 17 of 40 batches")
        store.set_aside()
    kept = tmp_path / "c.unfinished"
    assert any(f"(epoch 4, 17 of 40 batches) is kept at {kept}" in line and "--resume" in line for line in heard)
    assert not has_checkpoint(tmp_path / "c")
    store.write({"x": 5}, "epoch 1")
    drop_checkpoint(tmp_path / "c")  # as at the end of the new training
    kept.rename(tmp_path / "c")
    assert store.read() == {"x": 4}


def test_a_checkpoint_is_due_after_the_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("training.checkpointing.time.monotonic", lambda: now)
    store = checkpoints(tmp_path / "c")
    assert not store.due
    now += 599
    assert not store.due
    now += 1
    assert store.due
    store.write({}, "epoch 1")
    assert not store.due


def test_generators_go_on_where_they_were(tmp_path: Path) -> None:
    rng, cpu = np.random.default_rng(1), torch.device("cpu")
    rng.permutation(9)
    store = checkpoints(tmp_path / "c")
    store.write({"numpy": generator_states({"a": rng})["a"], "torch": torch_states(cpu)}, "epoch 1")
    expected = rng.permutation(50), torch.rand(5)
    state = store.read()
    other = np.random.default_rng(2)
    other.bit_generator.state = state["numpy"]
    set_torch_states(state["torch"], cpu)
    np.testing.assert_array_equal(other.permutation(50), expected[0])
    assert torch.equal(torch.rand(5), expected[1])
    with pytest.raises(TypeError, match="MT19937"):
        generator_states({"numpy": np.random.Generator(np.random.MT19937(1))})


def test_a_digest_follows_name_type_shape_and_values() -> None:
    one = {"a": np.arange(6), "b": torch.ones(2)}
    others = [
        {"a": np.arange(6), "c": torch.ones(2)},
        {"a": np.arange(6).astype(np.int32), "b": torch.ones(2)},
        {"a": np.arange(6).reshape(2, 3), "b": torch.ones(2)},
        {"a": np.arange(6), "b": torch.tensor([1.0, 2.0])},
        {"a": np.array(["x", "yy"]), "b": torch.ones(2)},
    ]
    assert digest(one) == digest(dict(reversed(one.items())))
    assert len({digest(arrays) for arrays in (one, *others)}) == 6


def test_ctrl_c_waits_and_a_second_one_does_not() -> None:
    before = signal.getsignal(signal.SIGINT)
    with defer_sigint() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGINT)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    with defer_sigint(enabled=False) as asked, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert not asked()


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_minutes_between_checkpoints_are_more_than_none(minutes: float) -> None:
    with pytest.raises(ConfigError, match="checkpoint_minutes must be more than 0"):
        RunOptions(checkpoint_minutes=minutes)


def test_a_chain_trains_on_from_a_checkpoint_of_the_same_training_alone(tmp_path: Path) -> None:
    folder = tmp_path / "c"

    def train(seed: int, options: RunOptions) -> str:
        state = checkpoints(folder, seed=seed).read() if options.resume else None
        return "from the beginning" if state is None else f"after epoch {state['epoch']}"

    resume = RunOptions(resume=True)
    assert train_on(partial(train, 3), folder, resume) == "from the beginning"
    checkpoints(folder).write({"epoch": 2}, "epoch 2")
    assert train_on(partial(train, 3), folder, RunOptions()) == "from the beginning"
    assert train_on(partial(train, 3), folder, resume) == "after epoch 2"
    assert has_checkpoint(folder)
    assert train_on(partial(train, 4), folder, resume) == "from the beginning"
    assert not has_checkpoint(folder)
