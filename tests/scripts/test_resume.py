"""A training command that is killed continues with --resume and ends with the model of an unbroken training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reccore import Workspace
from scripts._settings import deep_merge
from tests.helpers import as_flags
from tests.pipeline import small
from tests.scripts.conftest import Command
from training.checkpointing import has_checkpoint

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 120


TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {
    "two_tower": (
        "train_recall",
        deep_merge(small.CHANNELS["two_tower"], {"epochs": 3, "negatives": {"logq": {"kind": "streaming"}}}),
    ),
    "deepfm": ("train_ranking", {**small.RANKER, "epochs": 4, "pipeline": small.PIPELINE}),
    "lambdamart": (
        "train_ranking",
        {"trees": 100, "trees_per_round": 1, "patience": 100, "min_data_in_leaf": 5, "pipeline": small.PIPELINE},
    ),
}


@pytest.mark.parametrize("model", TRAININGS)
def test_a_killed_training_continues_with_resume(command: Command, own: Workspace, model: str) -> None:
    script, settings = TRAININGS[model]
    argv = ["--data_dir", str(own.root), "--model", model, "--device", "cpu", "--checkpoint_minutes", "1e-6"]
    argv += as_flags(settings)
    whole = command(script, *argv, "--name", "whole")
    assert whole.code == 0, whole.err

    where = {**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    program = [sys.executable, f"scripts/{script}.py", *argv, "--name", "killed"]
    with subprocess.Popen(program, cwd=REPOSITORY, env=where, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + SECONDS
        while not has_checkpoint(own.checkpoint("killed")):
            assert process.poll() is None, "it ended before its first checkpoint"
            assert time.monotonic() < until, f"no checkpoint within {SECONDS} s"
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not own.model("killed").exists()

    resumed = command(script, *argv, "--name", "killed", "--resume")
    assert resumed.code == 0, resumed.err
    assert "resumed: " in resumed.err
    if model == "lambdamart":
        one, other = ((own.model(name) / "trees.txt").read_text() for name in ("whole", "killed"))
        assert one == other
    else:
        one, other = (load_file(own.model(name) / "network.safetensors") for name in ("whole", "killed"))
        assert one.keys() == other.keys()
        for name, values in one.items():
            assert torch.equal(values, other[name]), name
    logs = [json.loads((own.model(name) / "manifest.json").read_text())["training"] for name in ("whole", "killed")]
    assert logs[0]["loss"] == logs[1]["loss"]
    assert not has_checkpoint(own.checkpoint("killed"))


@pytest.mark.parametrize("model", ["popularity", "mf", "bpr", "word2vec"])
def test_resume_of_a_channel_without_checkpoints_says_so_and_trains(
    command: Command, own: Workspace, model: str
) -> None:
    argv = ["--data_dir", str(own.root), "--model", model, "--name", "anew", "--json"]
    ended = command("train_recall", *argv, "--resume")
    assert f"{model} keeps no checkpoint, so --resume changes nothing" in ended.err
    assert "training starts from the beginning" not in ended.err
    assert not own.checkpoint("anew").exists()
    assert ended.json["validation"] == command("train_recall", *argv).json["validation"]


def test_resume_without_a_checkpoint_starts_from_the_beginning(command: Command, own: Workspace) -> None:
    argv = ["--data_dir", own.root, "--model", "rating_mf", "--epochs", "1", "--name", "anew"]
    ended = command("train_recall", *argv, "--resume")
    assert ended.code == 0
    assert f"there is no checkpoint at {own.checkpoint('anew')}: training starts from the beginning" in ended.err
    assert "keeps no checkpoint" not in ended.err
