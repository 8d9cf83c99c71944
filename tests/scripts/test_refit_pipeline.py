"""The command that fits the trained pipeline again on every event, for serving."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataprep.prepare import Prepared, prepare
from dataprep.preprocess import preprocess
from pipeline import Pipeline, load
from pipeline import refitting as subject
from pipeline.builder import open_pipeline
from recall.base import BaseRecall
from reccore import DataError, Workspace
from tests.pipeline.small import N_RATINGS, N_USERS, QUIET, movie_id, user_id
from tests.scripts.conftest import Command

EVERYTHING = N_USERS * N_RATINGS


def counts_of(pipeline: Pipeline) -> Any:
    """(N,) events of each film that the pipeline's channels learnt from."""
    return pipeline.items.statistics["count"]


def test_every_event_is_learnt_from_with_the_settings_of_the_trained_pipeline(
    command: Command, own: Workspace, prepared: Prepared, tmp_path: Path
) -> None:
    before, trained = open_pipeline(own.model("pipeline")).fingerprint, load(own.model("pipeline"))
    ended = command("refit_pipeline", "--data_dir", own.root)
    assert ended.code == 0, ended.err
    assert f"events: {EVERYTHING:,}" in ended.out
    assert open_pipeline(own.model("pipeline")).fingerprint == before
    serving = load(own.model("serving"))
    assert serving.config == trained.config
    np.testing.assert_array_equal(counts_of(serving), prepared.split.interactions.item_counts())
    assert counts_of(trained).sum() == EVERYTHING - 2 * N_USERS
    for new, old in zip(serving.sources, trained.sources, strict=True):
        assert new.channel.config == old.channel.config
    tower, chosen = (each.sources[3].channel.log for each in (serving, trained))  # type: ignore[attr-defined]
    assert len(tower.loss) == chosen.best_epoch
    data = open_pipeline(own.model("serving")).manifest["data"]
    assert (data["protocol"], data["events"]) == ("none", EVERYTHING)
    moved = own.model("serving").rename(tmp_path / "on_a_server")
    shutil.rmtree(own.root)
    answer = command("recommend", "--pipeline", moved, "--user", user_id(4), "--json").json
    assert len(answer["history"]) == N_RATINGS


def test_a_run_that_was_interrupted_repeats_no_channel(
    command: Command, own: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[str] = []
    fit, fit_ranker = BaseRecall.fit, subject.fit_ranker

    def counted(channel: BaseRecall, *given: Any, **options: Any) -> BaseRecall:
        fitted.append(channel.name)
        return fit(channel, *given, **options)

    def fail(*given: Any) -> Any:
        raise DataError("no more power")

    monkeypatch.setattr(BaseRecall, "fit", counted)
    monkeypatch.setattr(subject, "fit_ranker", fail)
    assert "no more power" in command("refit_pipeline", "--data_dir", own.root).sentence
    assert sorted(fitted) == sorted(2 * ["popularity", "itemcf", "mf", "two_tower"])
    assert not own.model("serving").exists()
    monkeypatch.setattr(subject, "fit_ranker", fit_ranker)
    assert command("refit_pipeline", "--data_dir", own.root).code == 0
    assert len(fitted) == 8
    assert load(own.model("serving")).recommend(user=user_id(1), k=3).items


def test_data_that_has_grown_is_learnt_from(command: Command, own: Workspace) -> None:
    ratings, newcomer = own.raw / "ml-tiny" / "ratings.csv", 77_777
    rows = [f"{newcomer},{movie_id(movie)},4.0,{1_100_000_000 + movie}" for movie in range(6)]
    ratings.write_text("\r\n".join([ratings.read_text().rstrip(), *rows, ""]))
    preprocess(own.raw / "ml-tiny", own.processed, options=QUIET)
    prepare(own).save(own.prepared)
    assert f"user {newcomer} is not known" in command("recommend", "--data_dir", own.root, "--user", newcomer).sentence
    assert command("refit_pipeline", "--data_dir", own.root).code == 0
    serving = load(own.model("serving"))
    assert counts_of(serving).sum() == EVERYTHING + 6
    assert serving.recommend(user=newcomer, k=3).history == tuple(map(movie_id, range(6)))


def test_before_training(command: Command, tmp_path: Path) -> None:
    sentence = command("refit_pipeline", "--data_dir", tmp_path).sentence
    assert sentence.endswith(f"scripts/train_ranking.py --data_dir {tmp_path}")
