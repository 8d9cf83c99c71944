"""Training that goes on from the weights at hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from evaluation.metrics import per_query_metrics
from recall import CHANNELS
from recall.base import BaseRecall
from recall.neural import channel as subject
from recall.neural.encoders.prefix import PrefixExamples
from recall.neural.encoders.windows import WindowCodes, WindowExamples
from recall.neural.updating import LaterEvents
from recall.neural.user_codes import UserCodes
from reccore import Holdout, Interactions, RunOptions, TrainingData
from reccore.aligned import aligned_items, aligned_users
from reccore.labels import Labels
from tests.helpers import nested, training_data

QUIET = RunOptions(seed=3, device="cpu", progress=False, threads=1)
N_USERS, N_ITEMS, N_EVENTS, N_FIRST, LATE_USERS, LATE_ITEMS = 240, 84, 16, 11, 12, 4


def world() -> Interactions:
    """Users of four tastes, who watch films of their taste; the last users and the last films come later."""
    rng = np.random.default_rng(0)
    taste = np.arange(N_ITEMS) % 4
    rows = []
    for user in range(N_USERS):
        weight = np.where(taste == user % 4, 12.0, 1.0) / (1.0 + (np.arange(N_ITEMS) // 4) % 17)
        weight[N_ITEMS - LATE_ITEMS :] = 0.0
        first = rng.choice(N_ITEMS, N_FIRST, replace=False, p=weight / weight.sum())
        weight[first] = 0.0
        if user % 3 == 0:  # comes back when the late films are there
            weight[N_ITEMS - LATE_ITEMS :] = np.where(taste[N_ITEMS - LATE_ITEMS :] == user % 4, 8.0, 0.5)
        rows += [first, rng.choice(N_ITEMS, N_EVENTS - N_FIRST, replace=False, p=weight / weight.sum())]
    item_idx = np.concatenate(rows)
    return Interactions(np.arange(N_USERS + 1) * N_EVENTS, item_idx, N_ITEMS, timestamp=np.arange(len(item_idx)))


def states() -> tuple[TrainingData, TrainingData, Holdout]:
    """The first state, all events but the last of each user, and these as targets."""
    events = world()
    kept = np.where(np.arange(N_USERS) % 3 == 0, N_FIRST, N_EVENTS - 1)
    known = events.first(kept).first(np.where(np.arange(N_USERS) < N_USERS - LATE_USERS, N_EVENTS, 0))
    old = Interactions(
        known.user_offsets[: N_USERS - LATE_USERS + 1],
        known.item_idx,
        N_ITEMS - LATE_ITEMS,
        timestamp=known.timestamp,
    )
    stops = np.full(N_USERS, N_EVENTS - 1)
    held = Holdout(
        events.queries(np.arange(N_USERS), stops), np.arange(N_USERS + 1), events.item_idx[N_EVENTS - 1 :: N_EVENTS]
    )
    genres = np.arange(N_ITEMS) % 2
    return training_data(old, genres[: old.n_items]), training_data(events.first(stops), genres), held


def ndcg(channel: BaseRecall, held: Holdout) -> float:
    values = per_query_metrics(channel.retrieve(held.queries, 10), held, (10,))
    return float(np.mean(values["ndcg@10"]))


TOWER: dict[str, Any] = {
    "embedding_size": 16,
    "batch_size": 128,
    "epochs": 10,
    "learning_rate": 0.01,
    "encoder__history_length": 12,
    "negatives__uniform": 32,
}


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("mf", {"embedding_size": 8}),
        ("two_tower", nested(TOWER)),
        pytest.param("sasrec", nested(TOWER), marks=pytest.mark.slow),
    ],
)
def test_an_update_is_as_good_as_a_full_fit(name: str, config: dict[str, Any]) -> None:
    """NDCG@10 of all users is at most .03 below that of a fit on all events, whose own is .15 to .25."""
    old, whole, held = states()
    first = CHANNELS[name](config).fit(old, options=QUIET)
    updated = first.update(whole, old.interactions, QUIET)
    full = CHANNELS[name](config).fit(whole, options=QUIET)
    assert ndcg(updated, held) > ndcg(full, held) - 0.03


def test_films_that_came_later_are_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    old, whole, held = states()
    first = CHANNELS["two_tower"](nested(TOWER)).fit(old, options=QUIET)
    late = held.select(np.flatnonzero(held.target_idx >= N_ITEMS - LATE_ITEMS))
    assert len(late) > 10
    updated = ndcg(first.update(whole, old.interactions, QUIET), late)
    monkeypatch.setattr(subject, "LEARNING_RATE_SHARE", 0.0)
    assert updated > 2 * ndcg(first.update(whole, old.interactions, QUIET), late)


def test_only_weights_of_new_rows_are_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    old, whole, _ = states()
    first = CHANNELS["two_tower"](nested(TOWER, epochs=1)).fit(old, options=QUIET)
    monkeypatch.setattr(subject, "UPDATE_STEPS", 1)
    monkeypatch.setattr(subject, "LEARNING_RATE_SHARE", 0.0)
    updated = first.update(whole, old.interactions, QUIET)
    was, now = (each.network.state_dict() for each in (first, updated))  # type: ignore[attr-defined]
    for name in was:
        n = len(was[name]) - 1 if name.endswith(("item_encoder.ids.weight", "query_encoder.users.weight")) else None
        torch.testing.assert_close(now[name][:n], was[name][:n], msg=name)
    ids, unknown = now["item_encoder.ids.weight"], was["item_encoder.ids.weight"][-1]
    assert len(ids) == N_ITEMS + 1
    assert (ids[N_ITEMS - LATE_ITEMS :] == unknown).all()
    assert updated.log is first.log  # type: ignore[attr-defined]


@pytest.mark.parametrize("given", [False, True])
def test_a_graph_is_that_of_all_events_or_the_given_one_with_isolated_films(given: bool) -> None:
    old, whole, held = states()
    if given:
        chain = sparse.diags([np.ones(old.interactions.n_items - 1)], [1])
        old = replace(old, item_graph=chain)
    first = CHANNELS["two_tower"](nested(TOWER, epochs=1, item__graph={})).fit(old, options=QUIET)
    updated = first.update(whole, old.interactions, QUIET)
    edges = updated._graph.n_edges  # type: ignore[attr-defined]
    assert updated._graph.n_items == N_ITEMS  # type: ignore[attr-defined]
    assert edges == first._graph.n_edges if given else edges > first._graph.n_edges  # type: ignore[attr-defined]
    assert updated.retrieve(held.queries, 10).item_idx.min() >= 0


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_loaded_and_updated_models_keep_the_codes_of_their_scale(name: str, tmp_path: Path) -> None:
    old, whole, held = states()
    old, whole = rated(old, 10), rated(whole, 12)
    first = CHANNELS[name](nested(TOWER, epochs=1)).fit(old, options=QUIET)
    first.save(tmp_path / "model")
    loaded = CHANNELS.load(tmp_path / "model")
    updated = loaded.update(whole, old.interactions, QUIET)
    ratings = np.arange(1, 13, dtype=np.float32)
    expected = [*range(1, 11), 10, 10]
    for channel in (first, loaded, updated):
        assert channel._codes.event_ratings(ratings).tolist() == expected  # type: ignore[attr-defined]
    score = np.full(len(held.queries.history_idx), 10, dtype=np.float32)
    high, low = (replace(held.queries, history_rating=np.full_like(score, rating)) for rating in (10, 6))
    one, other, again = (channel.encode_queries(q) for channel, q in ((first, high), (first, low), (loaded, high)))
    assert (one != other).any(axis=1).all()  # half stars from 0 to 5 would take 6 and 10 for 5
    np.testing.assert_array_equal(one, again)


def rated(data: TrainingData, highest: int) -> TrainingData:
    """The same events, rated from 1 to ``highest``."""
    events = data.interactions
    ratings = 1 + np.arange(events.n_events, dtype=np.float32) % highest
    return replace(data, interactions=replace(events, rating=ratings))


def test_later_events_by_hand() -> None:
    before = Interactions(np.array([0, 3, 5, 7]), np.array([1, 2, 3, 1, 2, 4, 4]), 5)
    after = Interactions(np.array([0, 3, 7, 9, 10, 10]), np.array([1, 2, 3, 1, 0, 2, 4, 4, 4, 2]), 6)
    later = LaterEvents.of(after, before, np.random.default_rng(0))
    # user 1 has new events from the second on, user 3 is new, users 0 and 2 are replayed, user 4 has no events
    assert later.since.tolist() == [1, 1, 0, 0, 0]
    assert later.interactions.lengths.tolist() == [3, 4, 2, 1, 0]
    assert len(later) == 2 + 3 + 2 + 1
    assert len(LaterEvents.of(before, before, np.random.default_rng(0))) == 0


def test_examples_since_an_event() -> None:
    events = world()
    rng = np.random.default_rng(1)
    since = np.minimum(rng.integers(0, 40, N_USERS), N_EVENTS)
    data = training_data(events)
    codes = UserCodes.fit(data, query_time=False)
    position = np.tile(np.arange(N_EVENTS), N_USERS)
    wanted = np.flatnonzero(position >= np.repeat(since, N_EVENTS))
    prefix = PrefixExamples(events, data.items, codes, 5, 64, since)
    drawn = np.sort(np.concatenate(prefix.batches(np.random.default_rng(0))))
    np.testing.assert_array_equal(drawn, wanted)
    assert len(prefix) == len(wanted)
    windows = WindowExamples(events, WindowCodes(codes), 5, 64, since)
    for seed in range(3):
        batches = windows.batches(np.random.default_rng(seed))
        assert len(batches) == windows.n_batches
        seen = np.concatenate([windows.events(rows) for rows in batches])
        assert len(np.unique(seen)) == len(seen) == len(windows)
        assert np.isin(wanted, seen).all()
        extra = np.setdiff1d(seen, wanted)  # fill the window of a user with fewer later events
        assert (position[extra] >= N_EVENTS - 5).all()


def test_tables_in_the_terms_of_old_ones() -> None:
    old, whole, _ = states()
    n, more = old.interactions.n_items, whole.interactions.n_items
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(more, 3)).astype(np.float32)
    turned = (axes @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + 0.5).astype(np.float32)
    turned[2] = turned[-1] = 0.0
    labels = Labels(("b", "a"), np.array([0, 2, *[2] * (n - 1)]), np.array([0, 1]))
    items = replace(old.items, vectors={"title": axes[:n], "gone": axes[:n]}, labels={"tag": labels})
    grown = replace(
        whole.items,
        genre_names=("New", *reversed(whole.items.genre_names)),
        genre_idx=np.where(np.arange(more) % 7 == 6, 0, 2 - np.asarray(whole.items.genre_idx)),
        vectors={"title": turned, "new": turned},
        labels={"tag": Labels(("a", "c", "b"), np.array([0, 1, *[2] * (more - 2), 3]), np.array([0, 1, 2]))},
    )
    got = aligned_items(grown, items)
    assert got.genre_names == items.genre_names
    for item in range(more):
        assert got.genres_of(item) == ([] if item % 7 == 6 else whole.items.genres_of(item))
    assert got.labels["tag"].names == ("b", "a")
    assert [got.labels["tag"].of(item) for item in (0, 1, more - 1)] == [["a"], [], ["b"]]
    np.testing.assert_array_equal(got.vectors["title"][:n], axes[:n])
    np.testing.assert_allclose(got.vectors["title"][n:-1], axes[n:-1], atol=1e-4)  # the map is undone
    assert not got.vectors["title"][-1].any()
    assert set(got.vectors) == {"title", "gone"}
    assert not got.vectors["gone"][n:].any()
    people = replace(
        whole.users, categories={"gender": np.arange(N_USERS) % 3 - 1}, category_names={"gender": ("X", "F")}
    )
    known = replace(old.users, category_names={"gender": ("F", "M")})
    assert aligned_users(people, known).categories["gender"][:3].tolist() == [-1, -1, 0]
    assert aligned_users(replace(people, categories={}, category_names={}), known).categories["gender"].max() == -1
