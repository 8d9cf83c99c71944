"""A training that is broken off and resumed ends with the same weights and figures, to the bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recall.two_tower import TwoTower
from reccore import Holdout, ResumeError, RunOptions, TrainingData
from tests.helpers import nested
from tests.recall.neural.tiny import TINY, last_events
from tests.training.interruption import Killed, stop_after
from training.curves import BATCHES_PER_POINT

ROOT = Path(__file__).resolve().parents[3]
BATCHES = 7  # 420 events
LEARNED: dict[str, Any] = {"negatives__logq__kind": "streaming", "temperature__bounds": (0.02, 0.4)}
KINDS: dict[str, dict[str, Any]] = {
    "mlp": LEARNED,
    "bank and mined": {
        "negatives__bank__size": 32,
        "negatives__mined__per_batch": 4,
        "negatives__mined__every": 3,
    },
    "transformer": {"encoder__kind": "transformer"},
    "averaged": {**LEARNED, "average__decay": 0.9, "average__every": 3},
    "ligr": {
        "encoder__kind": "transformer",
        "encoder__block": "ligr",
        "encoder__position_bias": True,
        "encoder__time_bias": True,
    },
}


@pytest.fixture(scope="module")
def split(board: TrainingData) -> tuple[TrainingData, Holdout]:
    return last_events(board)


def fitted(split: tuple[TrainingData, Holdout], options: RunOptions, **config: Any) -> TwoTower:
    return TwoTower(nested(TINY, {"epochs": 3}, config)).fit(split[0], valid=split[1], options=options)


def result(channel: TwoTower) -> dict[str, Any]:
    log = channel.log
    return {"loss": log.loss, "validation": log.validation, "best": log.best_epoch, **channel.network.state_dict()}


def assert_same(one: TwoTower, other: TwoTower) -> None:
    for name, value in result(one).items():
        found = result(other)[name]
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value, name


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_break_anywhere_changes_nothing(
    split: tuple[TrainingData, Holdout], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, threads: int
) -> None:
    plain = RunOptions(device="cpu", progress=False, threads=threads)
    # Five breaks: right after the first batch, within epochs, at an epoch's end, before the last batch.
    kept = replace(plain, checkpoint_dir=tmp_path / "c", checkpoint_minutes=1e-9, resume=True)
    expected = fitted(split, plain, **KINDS[kind])
    for steps in (1, 4, 2, 7, 6):
        with monkeypatch.context() as patched:
            stop_after(patched, steps)
            with pytest.raises(Killed):
                fitted(split, kept, **KINDS[kind])
    with monkeypatch.context() as patched:
        stop_after(patched, 2)  # 21 batches − 1 − 4 − 2 − 7 − 6 = 1 is left
        assert_same(fitted(split, kept, **KINDS[kind]), expected)


def test_checkpoints_change_nothing_and_each_break_loses_what_came_after_one(
    split: tuple[TrainingData, Holdout], options: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fitted(split, options)
    kept = replace(options, checkpoint_dir=tmp_path / "c")  # every ten minutes: at the ends of epochs alone
    assert_same(fitted(split, kept), expected)
    with monkeypatch.context() as patched:
        stop_after(patched, BATCHES + 3)
        with pytest.raises(Killed):
            fitted(split, kept)
    with monkeypatch.context() as patched:
        stop_after(patched, 2 * BATCHES)  # no more steps than two epochs are taken
        assert_same(fitted(split, replace(kept, resume=True)), expected)
    with monkeypatch.context() as patched:
        stop_after(patched, 0)  # nothing is left to do
        assert_same(fitted(split, replace(kept, resume=True)), expected)
        with pytest.raises(Killed):
            fitted(split, kept)  # without resume all begins anew


def test_early_stopping_counts_on_across_a_break(
    split: tuple[TrainingData, Holdout], options: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = [0.3, 0.5, 0.4, 0.4, 0.4, 0.9]
    seen: list[float] = []

    def scripted(channel: TwoTower, valid: Holdout) -> float:
        seen.append(figures[len(seen)])
        return seen[-1]

    monkeypatch.setattr(TwoTower, "_validation_ndcg", scripted)
    kept = replace(options, checkpoint_dir=tmp_path / "c", resume=True)
    with monkeypatch.context() as patched:
        stop_after(patched, 3 * BATCHES + 2)
        with pytest.raises(Killed):
            fitted(split, kept, epochs=6, patience=2)
    channel = fitted(split, kept, epochs=6, patience=2)
    assert (channel.log.validation, channel.log.best_epoch) == ([0.3, 0.5, 0.4, 0.4], 2)


@pytest.mark.parametrize(
    ("changes", "seed", "named"),
    [
        ({"learning_rate": 0.01}, 0, "config.learning_rate was 0.02 and is 0.01"),
        ({"epochs": 4}, 0, "config.epochs was 3 and is 4"),
        ({}, 1, "seed was 0 and is 1"),
    ],
)
def test_another_config_or_seed_is_refused(
    split: tuple[TrainingData, Holdout],
    options: RunOptions,
    tmp_path: Path,
    changes: dict[str, Any],
    seed: int,
    named: str,
) -> None:
    kept = replace(options, checkpoint_dir=tmp_path / "c")
    fitted(split, kept)
    with pytest.raises(ResumeError, match=named):
        fitted(split, replace(kept, resume=True, seed=seed), **changes)


def test_other_data_is_refused(split: tuple[TrainingData, Holdout], options: RunOptions, tmp_path: Path) -> None:
    data, valid = split
    kept = replace(options, checkpoint_dir=tmp_path / "c")
    fitted(split, kept)
    fewer = replace(data, interactions=data.interactions.first(data.interactions.lengths - 1))
    with pytest.raises(ResumeError, match=r"data\.events was"):
        fitted((fewer, valid), replace(kept, resume=True))
    others = Holdout.single(valid.queries, valid.target_idx[::-1].copy())
    with pytest.raises(ResumeError, match=r"another training: data\.validation was"):
        fitted((data, others), replace(kept, resume=True))


def test_ctrl_c_writes_a_checkpoint_of_the_batch_before(
    split: tuple[TrainingData, Holdout], options: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = replace(options, checkpoint_dir=tmp_path / "c")
    with monkeypatch.context() as patched:
        stop_after(patched, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            fitted(split, kept)
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    assert manifest["where"] == "epoch 1, 3 of 7 batches"  # the batch under way was finished
    assert_same(fitted(split, replace(kept, resume=True)), fitted(split, options))


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves as TensorBoard reads them."""
    (run,) = folder.iterdir()
    read = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    return {tag: [(point.step, point.value) for point in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_curves_are_means_and_go_on_after_a_break_without_a_double(
    split: tuple[TrainingData, Holdout], options: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**LEARNED, "batch_size": 4, "epochs": 2}  # 105 batches an epoch
    whole = fitted(split, replace(options, log_dir=tmp_path / "whole"), **config)
    kept = replace(options, log_dir=tmp_path / "broken", checkpoint_dir=tmp_path / "c", resume=True)
    with monkeypatch.context() as patched:
        stop_after(patched, 105 + 70)
        with pytest.raises(Killed):
            fitted(split, kept, **config)
    time.sleep(1.1)  # event files are ordered by their second
    fitted(split, kept, **config)
    expected, found = points(tmp_path / "whole"), points(tmp_path / "broken")
    names = {"loss", "gradient_norm", "learning_rate", "temperature", "samples_per_second"}
    assert set(found) == set(expected) == {f"train/{n}" for n in names} | {"epoch/loss", "epoch/validation"}
    for tag in expected:
        if tag != "train/samples_per_second":
            assert found[tag] == expected[tag]
    steps = [BATCHES_PER_POINT, 2 * BATCHES_PER_POINT, 105, 155, 205, 210]
    assert [step for step, _ in found["train/loss"]] == steps
    mean = sum(value * n for (_, value), n in zip(found["train/loss"][:3], (50, 50, 5), strict=True)) / 105
    assert mean == pytest.approx(whole.log.loss[0], rel=1e-5)
    assert [value for _, value in found["epoch/validation"]] == pytest.approx(whole.log.validation)


PROGRAM = """
import sys
import time
from pathlib import Path
from reccore import RunOptions
from tests.helpers import checkerboard
from tests.recall.neural.test_resume import LEARNED, fitted, last_events
from training import Trainer

out, folder, slow = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
step = Trainer._step
def slowly(self, rows):
    print("step", flush=True)
    time.sleep(slow)
    return step(self, rows)
Trainer._step = slowly
options = RunOptions(
    device="cpu", progress=False, threads=1, checkpoint_dir=folder, checkpoint_minutes=1e-9, resume=True
)
fitted(last_events(checkerboard()), options, **LEARNED).save(out)
"""


def test_killed_again_and_again_the_process_ends_with_the_same_model(
    split: tuple[TrainingData, Holdout], options: RunOptions, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "model"), str(tmp_path / "c")]
    where = {**os.environ, "PYTHONPATH": str(ROOT)}
    moments = random.Random(7)
    for steps in (2, 4):  # SIGKILL some milliseconds after so many steps: in a step, or while a checkpoint is written
        with subprocess.Popen([*command, "0.01"], cwd=ROOT, env=where, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(steps):
                assert process.stdout.readline() == b"step\n"
            time.sleep(moments.uniform(0, 0.03))
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "model").exists()
    ended = subprocess.run([*command, "0"], cwd=ROOT, env=where, stdout=subprocess.PIPE, check=True)
    assert ended.stdout.count(b"step") < 3 * BATCHES  # it did go on
    assert_same(TwoTower.load(tmp_path / "model"), saved_and_loaded(fitted(split, options, **LEARNED), tmp_path))


def saved_and_loaded(channel: TwoTower, folder: Path) -> TwoTower:
    channel.save(folder / "expected")
    return TwoTower.load(folder / "expected")
