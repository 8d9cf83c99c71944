"""Short trainings in one process or in several ranks, broken off and resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ranking.deepfm import DeepFM
from recall.two_tower import TwoTower
from reccore import ConfigError, RunOptions
from tests.helpers import checkerboard, nested
from tests.ranking.samples import board_setting
from tests.recall.neural.tiny import TINY, last_events
from training import Trainer, ranks

EPOCHS = 6
TOWER: dict[str, Any] = {**TINY, "epochs": EPOCHS, "patience": 2}
RANKER: dict[str, Any] = {
    "epochs": EPOCHS, "batch_size": 13, "hidden": [8], "embedding_size": 4, "negatives": 12, "dropout": 0.0,
    "learning_rate": 0.02, "patience": 2,
}  # fmt: skip


class Broken(Exception):
    """Ends a training in the middle."""


def train(model: str, folder: Path, *, steps: int | None = None, resume: bool = False) -> dict[str, Any]:
    """The log of a training whose checkpoints are in ``folder``; Broken after ``steps``."""
    options = RunOptions(
        device="cpu",
        progress=False,
        threads=1,
        checkpoint_dir=folder / "c",
        checkpoint_minutes=1e-9,
        log_dir=folder / "runs",
        resume=resume,
    )
    with broken_after(steps):
        if model == "two_tower":
            data, valid = last_events(checkerboard())
            return asdict(TwoTower(nested(TOWER)).fit(data, valid=valid, options=options).log)
        setting: Any = board_setting()
        ranker = DeepFM(RANKER).fit(setting.samples, valid=setting.valid, options=options, **setting.tables())
        return asdict(ranker.log)


@contextmanager
def broken_after(steps: int | None) -> Iterator[None]:
    step, done = Trainer._step, 0

    def counted(self: Trainer, batch: Any) -> tuple[int, float, float]:
        nonlocal done
        done += 1
        if steps is not None and done > steps:
            raise Broken
        return step(self, batch)

    Trainer._step = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Trainer._step = step  # type: ignore[method-assign]


def train_in_ranks(folder: Path) -> None:
    """What ``tests/training/test_ranks.py`` compares, one file for each rank."""
    logs = {model: train(model, folder / model) for model in ("two_tower", "deepfm")}
    try:
        train("two_tower", folder / "begun_by_two", steps=10)
    except Broken:
        logs["broken"] = {}
    logs["resumed"] = train("two_tower", folder / "begun_by_one", resume=True)
    try:
        data = checkerboard(n_users=1)
        TwoTower(nested(TOWER)).fit(data, options=RunOptions(device="cpu", progress=False))
    except ConfigError as error:
        logs["too few users"] = {"error": str(error)}
    (folder / f"logs.{ranks.rank()}").write_text(json.dumps(logs), encoding="utf-8")
