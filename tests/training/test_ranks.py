"""Two ranks train as one process does on the same global batches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.model_files import check_ranks
from recall import CHANNELS
from recall.neural.encoders.base import Examples
from reccore import ConfigError
from scripts._cli import joined_ranks
from tests.helpers import checkerboard, nested
from tests.recall.neural.tiny import TINY
from tests.training.rank_steps import NO_GRADIENT, Steps, first_steps, run_ranks, steps_of_ranks
from tests.training.rank_trainings import Broken, train, train_in_ranks
from training import ranks

ROOT = Path(__file__).resolve().parents[2]
NEURAL: dict[str, Any] = {**TINY, "batch_size": 51}  # no batch is divisible by two
SEQUENCE: dict[str, Any] = {
    **{name: value for name, value in NEURAL.items() if not name.startswith("encoder__")},
    "encoder__hidden_size": 8,
    "encoder__history_length": 4,
}
RANKER: dict[str, Any] = {
    "batch_size": 13, "hidden": [8], "embedding_size": 4, "negatives": 4, "dropout": 0.0, "learning_rate": 0.02,
    "features": ["default", "user.id"],
}  # fmt: skip
EVERYTHING: dict[str, Any] = {
    "negatives__bank__size": 64,
    "negatives__logq__kind": "streaming",
    "negatives__popular__per_batch": 8,
    "negatives__mined__per_batch": 4,
    "negatives__mined__every": 2,
    "temperature__start": 0.1,
    "temperature__bounds": (0.02, 0.4),
    "reward": "rating",
    "loss__mask_positives": "all",
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "two_tower": ("two_tower", NEURAL),
    f"two_tower {NO_GRADIENT}": ("two_tower", NEURAL),
    "fused": ("two_tower", {**NEURAL, "loss__implementation": "fused", "loss__mask_positives": "history"}),
    "every option": ("two_tower", {**NEURAL, **EVERYTHING}),
    "correction of 2025": ("two_tower", {**NEURAL, "loss__kind": "corrected_softmax"}),
    "graph": ("two_tower", {**NEURAL, "item__graph__neighbours": 3}),
    "sasrec": ("sasrec", SEQUENCE),
    "gru4rec": ("gru4rec", SEQUENCE),
    "dssm": ("dssm", SEQUENCE),
    "mind": ("mind", SEQUENCE),
    "rating_mf": ("rating_mf", {"embedding_size": 4, "batch_size": 51}),
    "deepfm": ("deepfm", RANKER),
    "din": ("din", {**RANKER, "activation": "dice"}),
    "mmoe": ("mmoe", {**RANKER, "hidden": [8, 8], "balance": {"kind": "uncertainty"}}),
    "bias tower": ("deepfm", {**RANKER, "loss": "bce", "debias": {"kind": "bias_tower"}}),
}
SECONDS_TO_NOTICE = 60
"""A killed rank ends the run within this time, on a machine under load; some seconds otherwise."""


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Steps]]:
    return steps_of_ranks(2, CASES, tmp_path_factory.mktemp("steps"))


def distance(one: Steps, other: Steps, kind: str) -> float:
    assert one.keys() == other.keys()
    return max(
        float((one[name] - other[name]).abs().amax()) for name in one if name.startswith(kind) and one[name].numel()
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if not case.endswith(NO_GRADIENT)])
def test_two_ranks_have_the_gradient_of_one_process(case: str, of_ranks: list[dict[str, Steps]]) -> None:
    one, two = first_steps(*CASES[case]), of_ranks[0][case]
    largest = max(float(one[name].abs().amax()) for name in one if name.startswith("gradient"))
    assert largest > 1e-2
    assert distance(one, two, "gradient") <= 1e-9 * largest
    # After four steps with AdamW, which turns a rounding error beside a gradient of 0 into more than itself.
    for kind in ("loss", "weight", "buffer"):
        if any(name.startswith(kind) for name in one):
            assert distance(one, two, kind) < 1e-7
    for name, value in of_ranks[1][case].items():
        assert torch.equal(value, two[name]), name


@pytest.mark.slow
def test_the_gradient_passes_through_the_gather(of_ranks: list[dict[str, Steps]]) -> None:
    cut = of_ranks[0][f"two_tower {NO_GRADIENT}"]
    assert distance(of_ranks[0]["two_tower"], cut, "gradient") > 1e-2


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("trainings")
    with pytest.raises(Broken):
        train("two_tower", folder / "begun_by_one", steps=10)
    run_ranks(train_in_ranks, 2, folder)
    return folder, [json.loads((folder / f"logs.{rank}").read_text()) for rank in range(2)]


def assert_same_curves(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Sums in another order differ by 1e-7 in 32 bits; a swap of two neighbours in a list would show in NDCG."""
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert found["validation"] == pytest.approx(expected["validation"], abs=1e-3)
    assert found["best_epoch"] == expected["best_epoch"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["two_tower", "deepfm"])
def test_two_ranks_have_the_curves_of_one_process(
    model: str, trained: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, logs = trained
    expected = train(model, tmp_path)
    assert len(set(expected["validation"])) > 1
    for log in logs:  # the decision to stop is that of one process, on both ranks
        assert_same_curves(log[model], expected)
    assert logs[0][model]["validation"] == logs[1][model]["validation"]
    runs = folder / model / "runs"
    assert len(list(runs.glob("*"))) == len(list(runs.glob("*/*"))) == 1, "rank 0 alone writes curves"


@pytest.mark.slow
def test_a_training_is_resumed_on_another_number_of_ranks(
    trained: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, logs = trained
    expected = train("two_tower", tmp_path)
    assert_same_curves(logs[0]["resumed"], expected)
    assert "broken" in logs[0]
    with pytest.raises(Broken):
        train("two_tower", folder / "begun_by_two", steps=2, resume=True)
    assert_same_curves(train("two_tower", folder / "begun_by_two", resume=True), expected)


@pytest.mark.slow
def test_more_ranks_than_users_are_refused(trained: tuple[Path, list[dict[str, Any]]]) -> None:
    assert "2 ranks share 1 users" in trained[1][1]["too few users"]["error"]


# A killed rank ---------------------------------------------------------------------------------------------


def events_file(folder: Path) -> Path:
    data = checkerboard()
    events = data.interactions
    lines = ["userId,movieId,rating,timestamp"]
    for user, item, time_of in zip(events.user_idx, events.item_idx, events.timestamp, strict=True):  # type: ignore[arg-type]
        lines.append(f"{10 * user + 3},{7 * item + 5},4,{time_of}")
    file = folder / "events.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def command(folder: Path, *further: str, n_ranks: int = 2) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n_ranks}"] if n_ranks > 1 else []
    flags = [f"--set={key}={value}" for key, value in {
        "embedding_size": 8, "item.hidden_size": 8, "encoder.hidden_size": 8, "negatives.uniform": 8,
    }.items()]  # fmt: skip
    return [
        sys.executable, *launcher, "scripts/train_recall.py", "--data_dir", str(folder / "root"),
        "--model", "two_tower", "--input", str(folder / "events.csv"), "--protocol", "leave_one_out",
        "--device", "cpu", "--batch_size", "16", "--epochs", "16", "--set=patience=16", *flags, *further,
    ]  # fmt: skip


def pid_of_rank(launcher: int, number: int) -> int:
    """The process that torchrun, itself process ``launcher``, has started as this rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            environment = (folder / "environ").read_bytes().split(b"\0")
        except (OSError, PermissionError):
            continue
        if parent == launcher and f"RANK={number}".encode() in environment:
            return int(folder.name)
    raise AssertionError(f"torchrun has started no rank {number}")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the ranks in /proc")
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_rank_ends_the_run_and_resume_goes_on(tmp_path: Path, killed: int) -> None:
    events_file(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command(tmp_path), cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    checkpoint = tmp_path / "root" / "checkpoints" / "two_tower" / "manifest.json"
    deadline = time.monotonic() + 300
    while not checkpoint.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(pid_of_rank(run.pid, killed), signal.SIGKILL)
    _, errors = run.communicate(timeout=SECONDS_TO_NOTICE)
    assert run.returncode != 0
    assert "--resume to continue from the last checkpoint" in errors
    assert "lost contact with another rank" in errors or "torchrun ended rank" in errors
    assert not (tmp_path / "root" / "models" / "two_tower").exists()
    done = subprocess.run(
        command(tmp_path, "--resume", "--json", n_ranks=killed + 1),  # on one rank, and on two
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "resumed:" in done.stderr
    assert len(json.loads(done.stdout)["training"]["loss"]) == 16
    assert not checkpoint.exists()


# The parts, in one process ---------------------------------------------------------------------------------


@pytest.fixture
def second_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "n_ranks", lambda: 3)
    monkeypatch.setattr(ranks, "rank", lambda: 1)


@pytest.mark.usefixtures("second_of_three")
def test_a_rank_has_the_rows_of_its_users() -> None:
    share = ranks.share_of(np.array([4, 3, 1, 1, 2, -1, -1]))
    assert share is not None
    assert share.counts
    assert share.rows.tolist() == [0, 2, 3]  # users 1 and 4; unknown users by place: 5 % 3 = 2, 6 % 3 = 0
    assert ranks.share_of(np.array([3, 3, 3, 0, 3])).rows.tolist() == [1, 4]  # no rank goes without rows
    empty = ranks.share_of(np.array([7]))
    assert (empty.rows.tolist(), empty.counts) == ([0], False)


@pytest.mark.usefixtures("second_of_three")
def test_slices_cover_all_rows_once() -> None:
    assert ranks.slice_of(8) == slice(3, 6)
    assert ranks.slice_of(1) == slice(1, 1)


def test_one_process_has_no_share() -> None:
    assert ranks.share_of(np.array([0, 1])) is None
    value = torch.ones(2)
    assert ranks.sum_over_ranks(value) is value
    assert ranks.joined_mean(value, 3.0) is value


def test_rows_draw_what_the_whole_batch_would() -> None:
    whole = ranks.uniform(5, 3, generator=torch.Generator().manual_seed(1))
    base = torch.Generator().manual_seed(1)
    rows = torch.tensor([1, 4])
    drawn = ranks.uniform(2, 3, generator=ranks.RowGenerator(base, rows, 5))
    assert torch.equal(drawn, whole[rows])
    assert torch.equal(
        torch.rand(1, generator=base), ranks.uniform(16, generator=torch.Generator().manual_seed(1))[15:]
    )


@pytest.mark.parametrize("model", ["sasrec", "mind", "youtube_dnn"])
def test_a_part_of_a_batch_is_as_wide_as_the_whole(model: str) -> None:
    data = checkerboard(n_users=9)
    channel = CHANNELS[model](nested(SEQUENCE, epochs=1)).fit(data)
    examples: Examples = channel.network.query_encoder.examples(data.interactions, 20)
    for batch in examples.batches(np.random.default_rng(0)):
        inputs, targets = examples.batch(batch)
        own = np.array([0, len(batch) - 1])
        part, _ = examples.batch(batch[own], width=examples.width(batch))
        assert torch.equal(part.history, inputs.history[own])
        assert torch.equal(examples.items_read(batch), inputs.history.clamp(min=0).unique())
        at = examples.targets_of(batch, own)
        assert np.array_equal(data.interactions.item_idx[examples.events(batch[own])], targets.numpy()[at])
        assert np.array_equal(data.interactions.user_idx[examples.events(batch[own])[0]], examples.users(batch)[0])


@pytest.mark.usefixtures("second_of_three")
def test_wrong_numbers_of_ranks_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 ranks share 2 users; start at most 2 with --nproc_per_node"):
        ranks.check(n_users=2, batch_size=64)
    with pytest.raises(ConfigError, match="3 ranks share 1 samples of a batch"):
        ranks.check(n_users=9, batch_size=1)


def test_what_does_not_train_together_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pipeline.model_files.n_ranks", lambda: 2)
    with pytest.raises(ConfigError, match="itemcf is not trained in epochs by several processes"):
        check_ranks("itemcf", CHANNELS["itemcf"]().config)
    check_ranks("two_tower", CHANNELS["two_tower"]().config)
    for name, value in {"WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="start it with python alone"), joined_ranks([], trains_together=False):
        pass
    (tmp_path / "device.toml").write_text('device = "cuda:1"\n')
    for argv in (["--device", "cuda:1"], ["--set", "device=cuda:1"], ["--config", str(tmp_path / "device.toml")]):
        with pytest.raises(ConfigError, match="a device of its own"), joined_ranks(argv, trains_together=True):
            pass
