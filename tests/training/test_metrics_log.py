"""Curves of a training: what is written is what TensorBoard's own reader finds, and no disk ends a training."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from loguru import logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.metrics_log import MetricsLog, new_run


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every curve."""
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(point.step, point.value) for point in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_what_is_written_can_be_read_back(tmp_path: Path) -> None:
    started = time.time()
    with MetricsLog(tmp_path / "run") as log:
        log.scalars(1, {"train/loss": 2.5, "train/speed": 1000.0})
        log.scalars(7, {"train/loss": -0.125})
        log.scalars(2**40, {"train/loss": float("inf")})
    assert curves(tmp_path / "run") == {
        "train/loss": [(1, 2.5), (7, -0.125), (2**40, float("inf"))],
        "train/speed": [(1, 1000.0)],
    }
    read = EventAccumulator(str(tmp_path / "run")).Reload()
    assert started - 1 <= read.Scalars("train/loss")[0].wall_time <= time.time() + 1


def test_after_a_flush_it_can_be_read_while_the_training_goes_on(tmp_path: Path) -> None:
    with MetricsLog(tmp_path) as log:
        log.scalars(3, {"loss": 0.5})
        log.flush()
        assert curves(tmp_path) == {"loss": [(3, 0.5)]}
        log.scalars(4, {"loss": 0.25})
    assert curves(tmp_path) == {"loss": [(3, 0.5), (4, 0.25)]}


def test_a_resumed_training_hides_what_was_written_after_its_checkpoint(tmp_path: Path) -> None:
    with MetricsLog(tmp_path) as log:
        for step in (1, 2, 3, 4):
            log.scalars(step, {"loss": 10.0 * step})
    time.sleep(1.1)  # event files are ordered by their second
    with MetricsLog(tmp_path, after_step=2) as log:
        for step in (3, 4, 5):
            log.scalars(step, {"loss": 10.0 * step + 1})
    assert curves(tmp_path) == {"loss": [(1, 10.0), (2, 20.0), (3, 31.0), (4, 41.0), (5, 51.0)]}


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with MetricsLog(None) as log:
        log.scalars(1, {"loss": 1.0})
        log.flush()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_one_line_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="ERROR")
    try:
        with MetricsLog(tmp_path / "file" / "run") as log:
            for step in range(3):
                log.scalars(step, {"loss": 1.0})
            log.flush()
    finally:
        logger.remove(sink)
    assert len(lines) == 1
    assert f"no training curves from here on, {tmp_path / 'file' / 'run'} cannot be written" in lines[0]


def test_trainings_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    found = []
    for _ in range(3):
        found.append(new_run(tmp_path))
        found[-1].mkdir()
    assert len(set(found)) == 3
    assert {path.parent for path in found} == {tmp_path}
