"""A network that learns the events before the ranker's labels first, and goes on from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loguru import logger

from dataprep.prepare import Prepared
from pipeline.train_channel import train_channel
from pipeline.train_ranker import train_ranker
from pipeline.window_refits import LabelCut
from recall import CHANNELS
from reccore import ConfigError, Workspace
from tests.pipeline import small
from tests.pipeline.small import PIPELINE, QUIET
from tests.scripts.conftest import Command, command

__all__ = ["command"]

TOWER = {**small.CHANNELS["two_tower"], "epochs": 4}
CUT = LabelCut(max_queries=100)


def fitted_again(own: Workspace, max_queries: int) -> list[str]:
    """Train a ranker; returns the channels that it had to fit again."""
    lines: list[str] = []
    number = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    try:
        train_ranker(own, "lambdamart", {"trees": 5}, PIPELINE, max_queries=max_queries, options=QUIET)
    finally:
        logger.remove(number)
    return [line.split()[1] for line in lines if line.startswith("fitting ")]


def test_the_ranker_finds_the_model_that_it_would_have_fitted_itself(
    own: Workspace, prepared: Prepared, tmp_path: Path
) -> None:
    result = train_channel(own, "two_tower", TOWER, labels=CUT, options=QUIET)
    assert result["validation"] is not None
    early, served = (CHANNELS.load(own.models / name) for name in (".two_tower.label_window", "two_tower"))
    known = prepared.training_data(CUT.before(prepared, QUIET))
    assert known.interactions.n_events < prepared.training_data().interactions.n_events
    np.testing.assert_array_equal(early.encode_items(), served.refit(known, QUIET).encode_items())
    later = early.update(prepared.training_data(), known.interactions, QUIET)
    np.testing.assert_array_equal(served.encode_items(), later.encode_items())
    assert (served.encode_items() != early.encode_items()).any()
    assert "two_tower" not in fitted_again(own, 100)
    assert "two_tower" in fitted_again(own, 20)  # of fewer users who play new ones, so the label window is another


def refused(own: Workspace, model: str, settings: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as raised:
        train_channel(own, model, settings, labels=CUT, options=QUIET)
    return str(raised.value)


def test_what_cannot_train_on_is_refused(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "mf does not train on from what it has learnt" in refused(own, "mf", small.CHANNELS["mf"])
    graph = {**TOWER, "item": {"hidden_size": 16, "graph": {}}}
    assert "two_tower does not train on" in refused(own, "two_tower", graph)
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.window_refits.n_ranks", lambda: 2)
        assert "several ranks do not train around labels" in refused(own, "two_tower", TOWER)


def test_the_command_reads_the_cut_from_the_rankers_settings(command: Command, own: Workspace, tmp_path: Path) -> None:
    (tmp_path / "ranker.toml").write_text('model = "lambdamart"\ntrees = 5\nmax_queries = 100\n')
    lines = ['model = "two_tower"', "epochs = 1", f'before_labels_of = "{tmp_path / "ranker.toml"}"']
    (tmp_path / "tower.toml").write_text("\n".join(lines))
    ended = command("train_recall", "--data_dir", own.root, "--config", tmp_path / "tower.toml")
    assert ended.code == 0, ended.err
    assert "events come before the label window" in ended.err
    assert "two_tower" not in fitted_again(own, 100)
    root = ("--data_dir", own.root)
    argv = ("train_recall", *root, "--model", "two_tower", "--before_labels_of")
    assert "none.toml" in command(*argv, tmp_path / "none.toml").sentence
    (tmp_path / "ranker.toml").write_text("short_histories = 2\n")
    assert "short_histories" in command(*argv, tmp_path / "ranker.toml").sentence
    assert (
        "which --engine spark does not train" in command(*argv, tmp_path / "ranker.toml", "--engine", "spark").sentence
    )
