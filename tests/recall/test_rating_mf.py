"""RatingMF: gradient and fold-in against their closed forms, ratings of a known model recovered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recall.rating_mf import RatingMF, RatingMFConfig, RatingNetwork, RatingTask
from reccore import ConfigError, DataError, Interactions, QueryBatch, RunOptions
from reccore.arrays import offsets_from_lengths
from tests.helpers import training_data
from tests.recall.factor_cosines import assert_compares_by_factors

N_ITEMS = 12
UNRATED = 11
CONFIG = {"embedding_size": 3, "epochs": 3, "batch_size": 32, "reg": 0.02, "learning_rate": 0.02}


def rated_events(seed: int = 0, n_users: int = 40) -> Interactions:
    """Each user rates 7 of 11 films: 3 + b_u + b_i + one taste + noise; film 11 has no events."""
    rng = np.random.default_rng(seed)
    items = np.concatenate([rng.permutation(UNRATED)[:7] for _ in range(n_users)])
    users = np.repeat(np.arange(n_users), 7)
    taste = rng.choice([-1.0, 1.0], n_users)[users] * rng.choice([-1.0, 1.0], N_ITEMS)[items]
    rating = 3 + rng.normal(0, 0.4, n_users)[users] + rng.normal(0, 0.4, N_ITEMS)[items] + taste
    return Interactions(
        offsets_from_lengths(np.full(n_users, 7)),
        items,
        N_ITEMS,
        (rating + rng.normal(0, 0.05, len(users))).astype("f4"),
    )


def fitted(options: RunOptions, events: Interactions | None = None, **config: Any) -> RatingMF:
    return RatingMF({**CONFIG, **config}).fit(training_data(events or rated_events()), options=options)


@pytest.mark.parametrize("half_life", [None, 2.0])
def test_fold_in_is_the_weighted_ridge_regression(half_life: float | None, options: RunOptions, tmp_path: Path) -> None:
    channel = fitted(options, half_life=half_life, reg=0.3)
    channel.save(tmp_path / "rating_mf")
    ratings = [4.5, float("nan"), 1.0, 2.0]
    query = QueryBatch.from_histories([[3, UNRATED, 0, 5]], ratings=[ratings])
    kept = [3, 0, 5]
    weight = np.array([1.0, 1.0, 1.0] if half_life is None else [2.0**-1.5, 2.0**-0.5, 1.0])
    factors, bias = channel.item_factors[:, :3].astype(np.float64), channel.item_factors[:, 3].astype(np.float64)
    inputs = np.column_stack([factors[kept], np.ones(3)])
    wanted = np.array([4.5, 1.0, 2.0]) - channel.mean - bias[kept]
    rows = np.concatenate([inputs * np.sqrt(weight)[:, None], np.sqrt(0.3 * weight.sum()) * np.eye(4)])
    solved = np.linalg.lstsq(rows, np.concatenate([wanted * np.sqrt(weight), np.zeros(4)]), rcond=None)[0]
    expected = channel.mean + solved[3] + bias + factors @ solved[:3]
    for model in (channel, RatingMF.load(tmp_path / "rating_mf")):
        found = model.retrieve(query, N_ITEMS)
        ids = found.item_idx[0, : found.counts[0]]
        assert set(ids.tolist()) == set(range(11)) - {0, 3, 5}
        np.testing.assert_allclose(found.score[0, : len(ids)], expected[ids], rtol=1e-5)


def test_a_missing_rating_counts_as_the_mean(options: RunOptions) -> None:
    channel = fitted(options)
    without = QueryBatch.from_histories([[1, 2]])
    nan = QueryBatch.from_histories([[1, 2]], ratings=[[float("nan"), channel.mean]])
    np.testing.assert_array_equal(channel.encode_queries(without), channel.encode_queries(nan))
    liked = QueryBatch.from_histories([[1, 2]], ratings=[[5.0, 5.0]])
    assert channel.retrieve(liked, 3).score.min() > channel.retrieve(without, 3).score.max()


def test_the_gradient_is_the_closed_form(options: RunOptions) -> None:
    """∂/∂x_u = Σ 2(λ·x_u − e·y_i) / B and ∂/∂b_i = Σ 2(λ·b_i − e) / B with e = r − r̂, in float64."""
    events = rated_events()
    network = RatingNetwork(events.n_users, N_ITEMS, 3, mean=3.0).double()
    columns = (events.user_idx, events.item_idx, events.rating)
    task = RatingTask(network, columns, columns, RatingMFConfig.parse(CONFIG), options)
    batch = torch.arange(20)
    loss, _ = task.loss(batch)
    loss.backward()
    users, items = (table.weight.detach().numpy() for table in (network.users, network.items))
    expected_users, expected_items = np.zeros_like(users), np.zeros_like(items)
    for u, i, rating in zip(*(column[:20].tolist() for column in columns), strict=True):
        error = rating - 3.0 - users[u, 3] - items[i, 3] - users[u, :3] @ items[i, :3]
        expected_users[u] += 2 * (0.02 * users[u] - error * np.append(items[i, :3], 1.0)) / 20
        expected_items[i] += 2 * (0.02 * items[i] - error * np.append(users[u, :3], 1.0)) / 20
    np.testing.assert_allclose(network.users.weight.grad.numpy(), expected_users, atol=1e-12)
    np.testing.assert_allclose(network.items.weight.grad.numpy(), expected_items, atol=1e-12)


def test_ratings_of_a_known_model_are_recovered(options: RunOptions) -> None:
    events = rated_events(n_users=150)
    channel = fitted(options, events, epochs=25, reg=0.01, learning_rate=0.03)
    rmse = -max(channel.log.validation)
    assert rmse < 0.5 * events.rating.std()  # the biases alone leave the taste, ±1


def test_items_are_compared_without_bias_and_constant(options: RunOptions, tmp_path: Path) -> None:
    assert_compares_by_factors(fitted(options), tmp_path, size=3, width=5)


def test_histories_without_rated_films_get_an_empty_row(options: RunOptions) -> None:
    found = fitted(options).retrieve(QueryBatch.from_histories([[], [UNRATED], [-1], [UNRATED, 1]]), 5)
    assert found.counts.tolist() == [0, 0, 0, 5]


def test_events_without_a_rating_are_left_out(options: RunOptions) -> None:
    events = rated_events()
    rating = np.where(events.item_idx == 4, np.nan, events.rating).astype(np.float32)
    channel = fitted(options, replace(events, rating=rating))
    assert not channel.encode_items()[4].any()
    assert np.isfinite(channel.encode_items()).all()


@pytest.mark.parametrize("rating", [None, np.full(280, np.nan, dtype=np.float32)])
def test_without_ratings_there_is_nothing_to_learn_from(rating: np.ndarray | None, options: RunOptions) -> None:
    with pytest.raises(DataError, match="rating_mf needs at least two events with ratings"):
        fitted(options, replace(rated_events(), rating=rating))


def test_one_user(options: RunOptions) -> None:
    events = Interactions(np.array([0, 3]), np.array([0, 1, 2]), 4, np.float32([5, 1, 3]))
    channel = fitted(options, events)
    assert np.isfinite(channel.encode_items()).all()
    assert channel.retrieve(QueryBatch.from_histories([[3], []]), 4).counts.tolist() == [0, 0]


CHANGED = {
    "embedding_size": 2,
    "half_life": 1.0,
    "batch_size": 64,
    "epochs": 1,
    "learning_rate": 0.1,
    "schedule": "constant",
    "weight_decay": 0.9,
    "reg": 0.9,
    "validation_share": 0.5,
    "average": {"decay": 0.5, "every": 1},
}


def test_every_option_has_a_test_value() -> None:
    assert {*CHANGED, "index", "patience"} == set(RatingMFConfig.model_fields)


@pytest.mark.parametrize("option", CHANGED)
def test_every_option_changes_the_answers(option: str, options: RunOptions) -> None:
    queries = rated_events().queries()
    plain, changed = fitted(options), fitted(options, **{option: CHANGED[option]})
    assert np.any(plain.retrieve(queries, 5).score != changed.retrieve(queries, 5).score)


def test_patience_ends_a_training_that_gets_worse(options: RunOptions) -> None:
    noise = replace(rated_events(), rating=np.random.default_rng(0).normal(3, 1, 280).astype(np.float32))
    lengths = [
        len(fitted(options, noise, epochs=12, reg=1e-4, learning_rate=0.1, patience=p).log.validation) for p in (1, 12)
    ]
    assert lengths[0] < lengths[1] == 12


def test_without_regularisation_there_is_no_unique_answer() -> None:
    with pytest.raises(ConfigError, match="reg"):
        RatingMF({"reg": 0})
