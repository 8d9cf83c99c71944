"""BPR: factors are implicit's own; the fold-in against a loop over plain lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from implicit.cpu.bpr import BayesianPersonalizedRanking

from recall.bpr import BPR, BPRConfig
from reccore import DataError, Interactions, QueryBatch, RunOptions
from reccore.arrays import offsets_from_lengths
from tests.helpers import training_data
from tests.recall.factor_cosines import assert_compares_by_factors

N_ITEMS = 30
UNSEEN = (28, 29)
CONFIG = {"embedding_size": 6, "epochs": 8, "learning_rate": 0.1, "reg": 0.02}


def random_events(seed: int = 0, n_users: int = 50) -> Interactions:
    """Histories with repeated films; the last two films have no events."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 15, n_users)
    items = (rng.random(lengths.sum()) ** 2 * (N_ITEMS - len(UNSEEN))).astype(np.int64)
    return Interactions(offsets_from_lengths(lengths), items, N_ITEMS)


def fitted(options: RunOptions, events: Interactions | None = None, **config: Any) -> BPR:
    return BPR({**CONFIG, **config}).fit(training_data(events or random_events()), options=options)


def implicit_model(events: Interactions) -> BayesianPersonalizedRanking:
    model = BayesianPersonalizedRanking(
        factors=6, iterations=8, learning_rate=0.1, regularization=0.02, num_threads=1, random_state=0
    )
    model.fit(events.to_csr(), show_progress=False)
    return model


def test_item_factors_and_biases_are_those_of_implicit(options: RunOptions) -> None:
    events = random_events()
    expected = implicit_model(events).item_factors.copy()
    expected[list(UNSEEN)] = 0.0
    np.testing.assert_array_equal(fitted(options, events).encode_items(), expected)


def test_the_scale_brings_means_closest_to_the_users_of_implicit(options: RunOptions) -> None:
    events = random_events()
    model = implicit_model(events)
    channel = fitted(options, events)
    users = [user for user in range(events.n_users) if events.lengths[user]]
    mean = np.concatenate([model.item_factors[events.history(user), :-1].mean(axis=0) for user in users])
    scale, *_ = np.linalg.lstsq(mean[:, None], model.user_factors[users, :-1].ravel(), rcond=None)
    assert channel.scale == pytest.approx(float(scale[0]), rel=1e-4)
    assert abs(channel.scale - 1.0) > 0.1  # so that the number matters


def test_the_score_is_the_scaled_mean_times_the_item_plus_its_bias(options: RunOptions, tmp_path: Path) -> None:
    channel = fitted(options, half_life=2.0)
    channel.save(tmp_path / "bpr")
    factors, bias = channel.item_factors[:, :-1], channel.item_factors[:, -1]
    mean = (2.0**-1 * factors[3] + 2.0**-0.5 * factors[0] + factors[5]) / (2.0**-1 + 2.0**-0.5 + 1)
    expected = channel.scale * factors @ mean + bias
    for model in (channel, BPR.load(tmp_path / "bpr")):
        for history in ([3, 0, 5], [28, 3, 0, 5]):  # film 28 has no factors and does not count
            found = model.retrieve(QueryBatch.from_histories([history]), N_ITEMS)
            ids = found.item_idx[0, : found.counts[0]]
            assert set(ids.tolist()) == set(range(28)) - {0, 3, 5} - (set(range(28)) - set(random_events().item_idx))
            np.testing.assert_allclose(found.score[0, : len(ids)], expected[ids], rtol=1e-4, atol=1e-6)


def test_items_are_compared_without_the_bias(options: RunOptions, tmp_path: Path) -> None:
    assert_compares_by_factors(fitted(options), tmp_path, size=6, width=7)


def test_histories_without_factors_get_an_empty_row(options: RunOptions) -> None:
    found = fitted(options).retrieve(QueryBatch.from_histories([[], [28, 29], [-1], [28, 1]]), 5)
    assert found.counts.tolist() == [0, 0, 0, 5]


def test_one_user_who_has_seen_everything(options: RunOptions) -> None:
    channel = fitted(options, Interactions(np.array([0, 3]), np.array([0, 1, 2]), 3))
    assert channel.retrieve(QueryBatch.from_histories([[0], []]), 3).counts.tolist() == [2, 0]


def test_without_events_there_is_nothing_to_learn_from(options: RunOptions) -> None:
    with pytest.raises(DataError, match="bpr needs at least one event"):
        fitted(options, Interactions(np.zeros(4, dtype=np.int64), np.zeros(0, dtype=np.int64), N_ITEMS))


CHANGED = {"embedding_size": 5, "epochs": 1, "learning_rate": 0.01, "reg": 0.9, "half_life": 1.0}


def test_every_option_has_a_test_value() -> None:
    assert {*CHANGED, "index"} == set(BPRConfig.model_fields)


@pytest.mark.parametrize("option", CHANGED)
def test_every_option_changes_the_answers(option: str, options: RunOptions) -> None:
    queries = random_events().queries()
    plain, changed = fitted(options), fitted(options, **{option: CHANGED[option]})
    assert np.any(plain.retrieve(queries, 5).score != changed.retrieve(queries, 5).score)
