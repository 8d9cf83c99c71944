"""MF: the fold-in against its closed form and against implicit's own answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares

from recall.index import INDEXES
from recall.mf import MF, MFConfig
from reccore import ConfigError, DataError, Interactions, QueryBatch, RunOptions
from reccore.arrays import offsets_from_lengths
from tests.helpers import training_data

N_ITEMS = 30
UNSEEN = (28, 29)
CONFIG = {"embedding_size": 6, "epochs": 5, "reg": 0.3, "alpha": 4.0}


def random_events(seed: int = 0, n_users: int = 50) -> Interactions:
    """Histories with repeated films; the last two films have no events."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 15, n_users)
    items = (rng.random(lengths.sum()) ** 2 * (N_ITEMS - len(UNSEEN))).astype(np.int64)
    return Interactions(offsets_from_lengths(lengths), items, N_ITEMS)


def fitted(options: RunOptions, events: Interactions | None = None, **config: Any) -> MF:
    return MF({**CONFIG, **config}).fit(training_data(events or random_events()), options=options)


def closed_form(
    factors: np.ndarray, history: list[int], alpha: float, reg: float, half_life: float | None
) -> np.ndarray:
    """argmin_x Σ_i c_i (p_i − x·y_i)² + reg·|x|² in float64, c_i = 1 + alpha · Σ of the weights of i's events."""
    y = factors.astype(np.float64)
    weight = np.zeros(len(y))
    for age, item in enumerate(reversed(history)):
        weight[item] += 1.0 if half_life is None else 0.5 ** (age / half_life)
    confidence = 1.0 + alpha * weight
    preference = (weight > 0).astype(np.float64)
    left = (y * confidence[:, None]).T @ y + reg * np.eye(y.shape[1])
    return np.linalg.solve(left, y.T @ (confidence * preference))


@pytest.mark.parametrize("half_life", [None, 3.0])
@pytest.mark.parametrize(("alpha", "reg"), [(4.0, 0.3), (40.0, 0.01)])
def test_fold_in_is_the_closed_form(options: RunOptions, half_life: float | None, alpha: float, reg: float) -> None:
    channel = fitted(options, alpha=alpha, reg=reg, half_life=half_life)
    histories = [[3], [0, 1, 2, 10], [5, 5, 5, 7, 5], list(range(28)), [29, 4]]
    found = channel.encode_queries(QueryBatch.from_histories(histories))
    expected = [closed_form(channel.encode_items(), history, alpha, reg, half_life) for history in histories]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)


def implicit_model(events: Interactions, epochs: int) -> AlternatingLeastSquares:
    confidence = events.to_csr()
    confidence.data = 1.0 + CONFIG["alpha"] * confidence.data
    model = AlternatingLeastSquares(
        factors=CONFIG["embedding_size"], regularization=CONFIG["reg"], alpha=1.0, iterations=epochs, random_state=0
    )
    model.fit(confidence, show_progress=False)
    return model


def test_item_factors_are_those_of_implicit(options: RunOptions) -> None:
    events = random_events()
    expected = implicit_model(events, CONFIG["epochs"]).item_factors.copy()
    expected[list(UNSEEN)] = 0.0
    np.testing.assert_allclose(fitted(options, events).encode_items(), expected, rtol=1e-5, atol=1e-6)


def test_known_users_fold_in_to_the_factors_they_were_trained_with(options: RunOptions) -> None:
    events = random_events()
    epochs = 300  # until converged, so that both sides solve the same equations
    users = implicit_model(events, epochs).user_factors
    channel = fitted(options, events, epochs=epochs, half_life=None)
    np.testing.assert_allclose(channel.encode_queries(events.queries()), users, atol=5e-3)
    assert np.abs(users).max() > 0.5


def test_scores_are_inner_products(options: RunOptions) -> None:
    channel = fitted(options)
    queries = QueryBatch.from_histories([[1, 2], [9]])
    found = channel.retrieve(queries, 5)
    scores = channel.encode_queries(queries) @ channel.encode_items().T
    np.testing.assert_allclose(found.score, np.take_along_axis(scores, found.item_idx, axis=1), rtol=1e-5)


def test_films_without_events_are_never_offered(options: RunOptions) -> None:
    channel = fitted(options)
    found = channel.retrieve(QueryBatch.from_histories([[0, 1], [28, 3]]), N_ITEMS)
    assert not np.isin(found.item_idx, UNSEEN).any()
    n_rated = len(np.unique(random_events().item_idx))
    assert found.counts.tolist() == [n_rated - 2, n_rated - 1]


def test_a_history_without_known_films_gets_an_empty_row(options: RunOptions) -> None:
    found = fitted(options).retrieve(QueryBatch.from_histories([[], [28, 29], [-1], [28, 1]]), 5)
    assert found.counts.tolist() == [0, 0, 0, 5]


def test_recent_events_weigh_more(options: RunOptions) -> None:
    channel = fitted(options, half_life=1.0)
    there, back = channel.encode_queries(QueryBatch.from_histories([[0, 20], [20, 0]])) @ channel.encode_items().T
    assert there[20] > back[20]
    assert back[0] > there[0]


@pytest.mark.parametrize("kind", [kind for kind in INDEXES if kind != "flat"])
def test_any_index_gives_the_same_lists(kind: str, options: RunOptions) -> None:
    queries = random_events().queries()
    flat, other = fitted(options), fitted(options, index={"kind": kind})
    assert other.index.name == kind
    found, expected = (channel.retrieve(queries, N_ITEMS) for channel in (other, flat))
    np.testing.assert_array_equal(found.item_idx, expected.item_idx)
    np.testing.assert_array_equal(found.score, expected.score)


def test_items_without_events_are_not_in_the_index(options: RunOptions, tmp_path: Path) -> None:
    channel = fitted(options)
    known = np.unique(random_events().item_idx)
    channel.save(tmp_path / "mf")
    for model in (channel, MF.load(tmp_path / "mf")):
        assert model.indexed is not None
        assert model.indexed.ids.tolist() == known.tolist()
        np.testing.assert_array_equal(model.index.vectors, channel.item_factors[known])
        np.testing.assert_array_equal(model.encode_items(), channel.item_factors)
    assert INDEXES.load(tmp_path / "mf" / "index").vocabulary.items.ids.tolist() == (7 * known + 5).tolist()


def test_without_events_there_is_nothing_to_learn_from(options: RunOptions) -> None:
    nothing = Interactions(np.zeros(4, dtype=np.int64), np.zeros(0, dtype=np.int64), N_ITEMS)
    with pytest.raises(DataError, match="mf needs at least one event"):
        fitted(options, nothing)


CHANGED = {"embedding_size": 5, "epochs": 1, "reg": 9.0, "alpha": 0.5, "half_life": 1.0}


def test_every_option_has_a_test_value() -> None:
    assert {*CHANGED, "index"} == set(MFConfig.model_fields)


@pytest.mark.parametrize("option", CHANGED)
def test_every_option_changes_the_answers(option: str, options: RunOptions) -> None:
    queries = random_events().queries()
    plain, changed = fitted(options), fitted(options, **{option: CHANGED[option]})
    assert not np.allclose(plain.retrieve(queries, 5).score, changed.retrieve(queries, 5).score, rtol=1e-3)


def test_another_seed_starts_from_other_factors(options: RunOptions) -> None:
    other = RunOptions(seed=1, progress=False, threads=1)
    assert np.any(fitted(options).encode_items() != fitted(other).encode_items())


def test_without_regularisation_there_is_no_unique_answer() -> None:
    with pytest.raises(ConfigError, match="reg"):
        MF({"reg": 0})
