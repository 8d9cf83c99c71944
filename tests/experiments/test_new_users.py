"""New users: who is kept out, what the refitted channels know, targets by hand, and the report."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest

from dataprep.prepare import Prepared
from evaluation.metrics import per_query_metrics
from experiments import new_users as subject
from experiments.new_users import evaluate_new_users, first_events, new_users, without_users
from pipeline.train_channel import train_channel
from recall.base import BaseRecall
from recall.popularity import Popularity
from reccore import ConfigError, DataError, Interactions, RunOptions, TrainingData, Workspace
from tests.pipeline import small
from tests.pipeline.small import N_RATINGS, N_USERS, QUIET

EVENTS = Interactions(
    user_offsets=np.array([0, 4, 7]),
    item_idx=np.array([3, 1, 4, 0, 2, 0, 1]),
    n_items=5,
    rating=np.array([5, 2, 4, 3, 1, 5, 4], dtype=np.float32),
    timestamp=np.array([10, 20, 30, 40, 5, 6, 7]),
)


def test_queries_and_targets_by_hand() -> None:
    holdout = first_events(EVENTS, np.array([0, 1]), 2, None)
    queries = holdout.queries
    assert queries.user_idx.tolist() == [-1, -1]
    assert (queries.history_idx.tolist(), queries.history_offsets.tolist()) == ([3, 1, 2, 0], [0, 2, 4])
    assert queries.as_of.tolist() == [20, 6]
    assert (holdout.target_idx.tolist(), holdout.target_offsets.tolist()) == ([4, 0, 1], [0, 2, 3])
    liked = first_events(EVENTS, np.array([0, 1]), 1, 4.0)
    assert (liked.target_idx.tolist(), liked.target_offsets.tolist()) == ([4, 0, 1], [0, 1, 3])
    unrated = Interactions(EVENTS.user_offsets, EVENTS.item_idx, 5)
    with pytest.raises(DataError, match="--min_rating needs ratings"):
        first_events(unrated, np.array([0]), 1, 4.0)


def test_users_of_valid_and_test_differ_and_the_seed_draws_them() -> None:
    lengths = np.full(50, 8)
    lengths[:20] = 3
    events = Interactions(np.append(0, np.cumsum(lengths)), np.zeros(lengths.sum(), dtype=np.int64), 1)
    options = RunOptions(seed=3)
    valid, test = (new_users(events, 5, split, options) for split in ("valid", "test"))
    assert (len(valid), len(test)) == (5, 5)
    assert not set(valid) & set(test)
    assert min(*valid, *test) >= 20  # the others have too few events
    assert test.tolist() == new_users(events, 5, "test", options).tolist()
    assert test.tolist() != new_users(events, 5, "test", RunOptions(seed=4)).tolist()
    with pytest.raises(DataError, match="0 of 50 users have more than 8 events"):
        new_users(events, 8, "test", options)


def test_training_knows_nothing_of_the_users_kept_out(prepared: Prepared) -> None:
    users = np.array([2, 5])
    others = without_users(prepared, users)
    data = others.training_data()
    lengths = prepared.split.fit_stop.copy()
    lengths[users] = 0
    assert data.interactions.lengths.tolist() == lengths.tolist()
    np.testing.assert_array_equal(data.items.statistics["count"], data.interactions.item_counts())
    assert not others.split.interactions.lengths[users].any()
    assert not np.isin(users, others.split.valid().queries.user_idx).any()


def test_the_figures_are_those_of_refitted_channels(
    own: Workspace, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Popularity again in plain NumPy, over the users that training did not get."""
    seen: list[TrainingData] = []
    refit = BaseRecall.refit

    def recorded(channel: BaseRecall, data: TrainingData, options: Any = None) -> BaseRecall:
        seen.append(data)
        return refit(channel, data, options)

    monkeypatch.setattr(BaseRecall, "refit", recorded)
    result = evaluate_new_users(own, (3, 1), names=["popularity", "itemcf"], options=QUIET)
    assert result.lengths == (1, 3)
    assert len(seen) == 2
    users = np.flatnonzero(seen[0].interactions.lengths == 0)
    assert len(users) == N_USERS // 10
    events = prepared.split.interactions
    counts = seen[0].interactions.item_counts()
    for n in (1, 3):
        ndcg = []
        for user in users:
            history, targets = events.history(user)[:n], set(events.history(user)[n:].tolist())
            order = [i for i in np.lexsort((np.arange(len(counts)), -counts)).tolist() if i not in history][:10]
            gain = sum(1 / np.log2(r + 2) for r, item in enumerate(order) if item in targets)
            ndcg.append(gain / sum(1 / np.log2(r + 2) for r in range(min(10, len(targets)))))
        found = result.evaluations[n]["popularity"]
        np.testing.assert_allclose(found.per_query["ndcg@10"], ndcg, atol=1e-6)
        assert found.targets == len(users) * (N_RATINGS - n)
    assert {path.name for path in own.reports.glob("new_users*")} == {f"new_users{e}" for e in (".md", ".json", ".png")}
    report = json.loads((own.reports / "new_users.json").read_text())
    assert report == result.to_dict()
    assert [c["b"] for part in report["new_users"] for c in part["comparisons"]] == ["popularity"] * 2
    assert result.table() in (own.reports / "new_users.md").read_text()


def test_popularity_is_measured_even_if_it_is_not_named(own: Workspace, prepared: Prepared) -> None:
    result = evaluate_new_users(own, (1,), names=["mf"], split="valid", min_rating=3.0, options=QUIET)
    assert set(result.evaluations[1]) == {"mf", "popularity"}
    assert "(valid users) · targets: later events rated 3 or more" in result.about
    users = new_users(prepared.split.interactions, 1, "valid", QUIET)
    holdout = first_events(prepared.split.interactions, users, 1, 3.0)
    offer = Popularity().fit(without_users(prepared, users).training_data()).retrieve(holdout.queries, 10)
    np.testing.assert_array_equal(
        result.evaluations[1]["popularity"].per_query["ndcg@10"],
        per_query_metrics(offer, holdout, (10,))["ndcg@10"],
    )


def test_the_options_of_a_trained_popularity_are_measured_even_if_it_is_not_named(
    own: Workspace, prepared: Prepared
) -> None:
    train_channel(own, "popularity", {"half_life_days": 5.0}, options=QUIET)
    unnamed = evaluate_new_users(own, (1,), names=["mf"], options=QUIET).evaluations[1]["popularity"]
    users = new_users(prepared.split.interactions, 1, "test", QUIET)
    holdout = first_events(prepared.split.interactions, users, 1, None)
    data = without_users(prepared, users).training_data()
    decayed, plain = (
        per_query_metrics(Popularity(options).fit(data).retrieve(holdout.queries, 10), holdout, (10,))["ndcg@10"]
        for options in ({"half_life_days": 5.0}, {})
    )
    assert np.any(decayed != plain)
    np.testing.assert_array_equal(unnamed.per_query["ndcg@10"], decayed)
    shutil.rmtree(own.model("popularity"))
    default = evaluate_new_users(own, (1,), names=["mf"], options=QUIET).evaluations[1]["popularity"]
    np.testing.assert_array_equal(default.per_query["ndcg@10"], plain)


def test_users_without_a_target_are_left_out_at_every_length(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rating that nobody gives leaves nothing to measure."""
    with pytest.raises(DataError, match=r"none of the 6 users kept out has a target after 3 events"):
        evaluate_new_users(own, (1, 3), names=["mf"], min_rating=9.0, options=QUIET)
    monkeypatch.setattr(subject, "SHARE", 0.6)
    with pytest.raises(DataError, match="two tenths"):
        evaluate_new_users(own, (1,), names=["mf"], options=QUIET)


def test_channels_that_read_the_query_time_are_left_out(own: Workspace) -> None:
    settings = {**small.CHANNELS["two_tower"], "epochs": 1}
    settings["encoder"] = {**settings["encoder"], "query_time": True}
    train_channel(own, "two_tower", settings, name="timed", options=QUIET)
    with pytest.raises(ConfigError, match="timed reads the query's time"):
        evaluate_new_users(own, (1,), names=["timed", "mf"], options=QUIET)
    assert "timed" not in evaluate_new_users(own, (1,), options=QUIET).evaluations[1]
