"""Swing against pairs of users compared one by one."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

import recall.swing
from recall.swing import Swing, SwingConfig, swing_similarity
from reccore import ConfigError, Interactions, QueryBatch, RunOptions
from reccore.arrays import offsets_from_lengths
from tests.helpers import training_data

N_ITEMS = 14


def events_of(*histories: list[int], n_items: int = N_ITEMS) -> Interactions:
    lengths = np.array([len(history) for history in histories])
    return Interactions(offsets_from_lengths(lengths), np.concatenate(histories).astype(np.int64), n_items)


def random_histories(seed: int = 0, n_users: int = 30) -> list[list[int]]:
    """Histories of 0 to 11 events with repeated films; the last film has no event."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, N_ITEMS - 1, rng.integers(0, 12)).tolist() for _ in range(n_users)]


def matrix(events: Interactions, seed: int = 0, **config: Any) -> np.ndarray:
    undamped = {"alpha": 1.0, "source_damping": 0, "popularity_damping": 0}
    return swing_similarity(events, SwingConfig(**(undamped | config)), seed=seed).toarray()


def by_pairs(histories: list[list[int]], alpha: float, smoothing: float, damping: float) -> np.ndarray:
    """The formula in plain Python."""
    sets = [set(history) for history in histories]
    weight = [(max(len(films), 1) + smoothing) ** -damping for films in sets]
    total = np.zeros((N_ITEMS, N_ITEMS))
    for u, v in combinations(range(len(sets)), 2):
        shared = sets[u] & sets[v]
        for one in shared:
            for other in shared - {one}:
                total[one, other] += weight[u] * weight[v] / (alpha + len(shared))
    return total


def test_by_hand() -> None:
    # Films 0 and 1: users a and b share two films, a and c three, b and c two. Films 0 and 2: only a and c.
    events = events_of([0, 1, 2], [0, 1, 3], [2, 1, 0])
    found = matrix(events, alpha=1, user_damping=0)
    assert found[0, 1] == found[1, 0] == pytest.approx(1 / 3 + 1 / 4 + 1 / 3)
    assert found[0, 2] == found[2, 0] == pytest.approx(1 / 4)
    assert not found[3].any()  # one user alone is no pair
    # Every user has three films: each pair weighs (3 + 1)^−½ squared.
    np.testing.assert_allclose(matrix(events, alpha=1, user_smoothing=1, user_damping=0.5), found / 4, rtol=1e-6)


@pytest.mark.parametrize(("alpha", "smoothing", "damping"), [(1.0, 5.0, 0.35), (0.1, 0.0, 1.0), (20.0, 3.0, 0.0)])
def test_similarities_are_the_formula(alpha: float, smoothing: float, damping: float) -> None:
    histories = random_histories()
    found = matrix(events_of(*histories), alpha=alpha, user_smoothing=smoothing, user_damping=damping)
    np.testing.assert_allclose(found, by_pairs(histories, alpha, smoothing, damping), rtol=1e-5)


def test_items_are_damped_by_their_users() -> None:
    histories = random_histories(6)
    n_users = np.bincount(np.concatenate([sorted(set(h)) for h in histories]).astype(int), minlength=N_ITEMS)
    factor = np.maximum(n_users, 1.0)[:, None] ** -2.0 * np.maximum(n_users, 1.0)[None, :] ** -0.5
    found = matrix(events_of(*histories), source_damping=2, popularity_damping=0.5)
    np.testing.assert_allclose(found, by_pairs(histories, 1.0, 5.0, 0.35) * factor, rtol=1e-5)
    capped = matrix(events_of(*histories), users_per_item=4, source_damping=2, popularity_damping=0.5)
    undamped = matrix(events_of(*histories), users_per_item=4)
    np.testing.assert_allclose(capped, undamped * factor, rtol=1e-5)


def test_the_greatest_are_kept_ties_by_item_index() -> None:
    histories = random_histories(1)
    full, kept = matrix(events_of(*histories)), matrix(events_of(*histories), neighbours=4)
    for item in range(N_ITEMS):
        best = [j for j in np.argsort(-full[item], kind="stable")[:4] if full[item, j] > 0]
        assert np.flatnonzero(kept[item]).tolist() == sorted(best)
        np.testing.assert_array_equal(kept[item, best], full[item, best])


def test_only_the_latest_events_are_read() -> None:
    histories = random_histories(2)
    np.testing.assert_array_equal(
        matrix(events_of(*histories), history_cap=3), matrix(events_of(*(h[-3:] for h in histories)))
    )


def test_of_two_drawn_users_their_pair_stands_for_all() -> None:
    # Ten users with the same two films: all pairs are alike, so one of 45 pairs, scaled by 45, is exact.
    events = events_of(*([[0, 1]] * 10))
    np.testing.assert_allclose(matrix(events, users_per_item=2), matrix(events), rtol=1e-6)


def test_drawn_users_follow_the_seed_and_their_sums_are_unbiased() -> None:
    histories = random_histories(3)
    events, exact = events_of(*histories), by_pairs(histories, 1.0, 5.0, 0.35)
    draws = [matrix(events, seed, users_per_item=6) for seed in range(300)]
    np.testing.assert_array_equal(draws[5], matrix(events, 5, users_per_item=6))
    assert np.any(draws[0] != draws[1])
    error = np.abs(np.mean(draws, axis=0) - exact)
    assert (error < 5 * np.std(draws, axis=0) / np.sqrt(len(draws)) + 1e-6).all()


def test_the_size_of_the_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    events = events_of(*random_histories(4))
    whole = matrix(events, users_per_item=5)
    monkeypatch.setattr(recall.swing, "ITEMS_PER_BLOCK", 3)
    np.testing.assert_array_equal(matrix(events, users_per_item=5), whole)


def fitted(events: Interactions, options: RunOptions, **config: Any) -> Swing:
    return Swing(config).fit(training_data(events), options=options)


@pytest.mark.parametrize("histories", [[[0, 1, 2]], [[3], [3]], [[], [0]], [[0], [1], [2]]])
def test_without_pairs_nothing_is_offered(histories: list[list[int]], options: RunOptions) -> None:
    channel = fitted(events_of(*histories), options)
    assert channel.similarity.nnz == 0
    assert channel.retrieve(QueryBatch.from_histories([[0], [3]]), 4).counts.tolist() == [0, 0]


CHANGED = {
    "half_life": 1.0,
    "neighbours": 2,
    "alpha": 0.5,
    "user_smoothing": 0.0,
    "user_damping": 2.0,
    "source_damping": 0.0,
    "popularity_damping": 0.0,
    "history_cap": 4,
    "users_per_item": 4,
}


def test_every_option_has_a_test_value() -> None:
    assert set(CHANGED) == set(SwingConfig.model_fields)


@pytest.mark.parametrize("option", CHANGED)
def test_every_option_changes_the_answers(option: str, options: RunOptions) -> None:
    events = events_of(*random_histories(5))
    plain, changed = fitted(events, options), fitted(events, options, **{option: CHANGED[option]})
    assert np.any(plain.retrieve(events.queries(), 8).score != changed.retrieve(events.queries(), 8).score)


@pytest.mark.parametrize("option", ["alpha", "neighbours", "history_cap", "users_per_item"])
def test_zero_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        Swing({option: 0})
