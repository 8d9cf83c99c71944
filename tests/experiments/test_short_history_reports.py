"""A channel that serves short histories alone: no report ranks it among the channels of users with long ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dataprep.prepare import Prepared
from experiments.compare_ranking import compare_ranking
from experiments.evaluate_pipeline import evaluate_pipeline
from experiments.evaluate_ranking import evaluate_ranking
from experiments.runs import Row
from pipeline import load
from pipeline.builder import PIPELINE as NAME
from pipeline.explain import explain
from pipeline.train_ranker import train_ranker
from ranking import RANKERS
from reccore import RankingSamples, Workspace
from tests.pipeline.small import PIPELINE, QUIET, RANKER, movie_id, user_id

CHANNELS = ["popularity", "mf", "two_tower"]
PLAIN: dict[str, Any] = {**PIPELINE, "channels": CHANNELS}
RULED: dict[str, Any] = {**PLAIN, "short_history": {"below": 5, "channel": "itemcf"}}


@pytest.fixture
def ruled(own: Workspace) -> Workspace:
    """A root whose users have 18 events and more, and a pipeline with a channel for fewer than 5."""
    train_ranker(own, "deepfm", RANKER, RULED, options=QUIET)
    return own


def test_reports_rank_the_channels_of_all_users(ruled: Workspace) -> None:
    evaluated = {evaluation.name for evaluation in evaluate_pipeline(ruled).evaluations}
    assert evaluated == {"after recall", "after ranking", "after reranking", *CHANNELS}
    systems = {system.name for system in evaluate_ranking(ruled, options=QUIET).systems}
    assert systems == {"deepfm", "after recall", *CHANNELS}


def test_it_changes_no_candidate_of_a_long_history(ruled: Workspace) -> None:
    rows = [Row.parse("deepfm", {"model": "deepfm", **RANKER}, source="here", registry=RANKERS)]
    found = [
        compare_ranking(ruled, rows, settings, seeds=(0,), max_queries=20, name=name, options=QUIET)[0]
        for name, settings in (("plain", PLAIN), ("ruled", RULED))
    ]
    plain, with_rule = ({result.row.name: result for result in each.results} for each in found)
    assert set(plain) == set(with_rule)
    for name in ("after recall", found[0].channel):
        np.testing.assert_array_equal(plain[name].per_query("ndcg@100"), with_rule[name].per_query("ndcg@100"))


def test_an_explanation_shows_it_to_whom_it_serves(ruled: Workspace) -> None:
    pipeline = load(ruled.model(NAME))
    film = movie_id(9)
    short = explain(pipeline, film, history=[movie_id(4), movie_id(8)])
    assert [view.name for view in short.channels] == [*CHANNELS, "itemcf"]
    long = explain(pipeline, film, user=user_id(2))
    assert [view.name for view in long.channels] == CHANNELS


def test_the_leak_alarm_compares_users_who_are_not_new(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries of new users have many positives: their AUC does not compare with that of validation."""
    compared: list[RankingSamples] = []
    monkeypatch.setattr(
        "pipeline.train_ranker.check_for_leak", lambda ranker, stop, *rest, **more: compared.append(stop)
    )
    result = train_ranker(own, "deepfm", RANKER, PLAIN, short_histories=0.3, options=QUIET)
    (stop,) = compared
    assert (stop.queries.user_idx >= 0).all()
    assert 0 < len(stop) < result["stopping_queries"]


def test_without_new_users_every_user_has_a_window(own: Workspace, prepared: Prepared) -> None:
    counts = [train_ranker(own, "deepfm", RANKER, PLAIN, short_histories=share, options=QUIET) for share in (0.0, 0.3)]
    n_queries = [result["training_queries"] + result["stopping_queries"] for result in counts]
    n_users, n_playing = prepared.split.interactions.n_users, int(prepared.split.interactions.n_users * 0.3)
    assert n_queries == [n_users * 3, (n_users - n_playing) * 3 + n_playing * 10]
