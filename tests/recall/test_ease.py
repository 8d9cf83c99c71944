"""EASE: each item's weights are a ridge regression on the other items, solved here by least squares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import recall.ease
from recall.ease import EASE, EASEConfig
from reccore import ConfigError, DataError, Interactions, QueryBatch, RunOptions
from reccore.arrays import offsets_from_lengths
from tests.helpers import nested, training_data

N_ITEMS = 17
UNSEEN = (15, 16)
REG = 3.0


def random_events(seed: int = 0, n_users: int = 40) -> Interactions:
    """Histories with repeated films; the last two films have no events."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 12, n_users)
    items = (rng.beta(0.6, 1.5, lengths.sum()) * (N_ITEMS - len(UNSEEN))).astype(np.int64)
    return Interactions(offsets_from_lengths(lengths), items, N_ITEMS)


def seen_matrix(events: Interactions) -> np.ndarray:
    """(U, N) zeros and ones."""
    seen = np.zeros((events.n_users, events.n_items))
    seen[events.user_idx, events.item_idx] = 1.0
    return seen


def regression(seen: np.ndarray, item: int, sources: np.ndarray, reg: float) -> np.ndarray:
    """(N,) argmin |x_item − X_S·b|² + reg·|b|², as least squares with √reg·I below X_S."""
    rows = np.concatenate([seen[:, sources], np.sqrt(reg) * np.eye(len(sources))])
    wanted = np.concatenate([seen[:, item], np.zeros(len(sources))])
    weights = np.zeros(seen.shape[1])
    weights[sources] = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    return weights


def most_similar(seen: np.ndarray, item: int, n: int) -> np.ndarray:
    """The ``n`` items of greatest cosine with ``item`` among those that occur with it, ties by item."""
    together = seen.T @ seen
    norm = np.sqrt(np.diag(together))
    cosine = np.divide(together[item], norm, out=np.zeros(len(norm)), where=norm > 0)
    cosine[item] = 0.0
    order = np.lexsort((np.arange(len(norm)), -cosine))[:n]
    return np.sort(order[cosine[order] > 0])


def fitted(options: RunOptions, events: Interactions | None = None, **config: Any) -> EASE:
    config = {"reg": REG, **config}
    return EASE(nested(config)).fit(training_data(events or random_events()), options=options)


def weights_of(channel: EASE) -> np.ndarray:
    matrix = channel.similarity
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


@pytest.mark.parametrize("reg", [0.5, 30.0])
def test_exact_weights_are_regressions_on_all_other_items(reg: float, options: RunOptions) -> None:
    events = random_events()
    seen = seen_matrix(events)
    expected = [regression(seen, item, np.delete(np.arange(N_ITEMS), item), reg) for item in range(N_ITEMS)]
    found = weights_of(fitted(options, events, reg=reg))
    np.testing.assert_allclose(found, np.transpose(expected), rtol=1e-5, atol=1e-6)
    assert found.min() < -1e-3


@pytest.mark.parametrize("cooccurring", [1, 3, 6])
def test_truncated_weights_are_regressions_on_the_most_similar_items(cooccurring: int, options: RunOptions) -> None:
    events = random_events(1)
    seen = seen_matrix(events)
    expected = [regression(seen, i, most_similar(seen, i, cooccurring), REG) for i in range(N_ITEMS)]
    found = fitted(options, events, solver__kind="truncated", solver__cooccurring=cooccurring)
    assert np.count_nonzero(weights_of(found), axis=0).max() == cooccurring
    np.testing.assert_allclose(weights_of(found), np.transpose(expected), rtol=1e-5, atol=1e-6)


def test_truncated_at_all_items_is_exact(options: RunOptions) -> None:
    events = Interactions(np.array([0, 9, 15, 24]), np.array([*range(9), *range(6), *range(9)]), 9)  # all co-occur
    exact = fitted(options, events)
    truncated = fitted(options, events, solver__kind="truncated", solver__cooccurring=9)
    np.testing.assert_allclose(weights_of(truncated), weights_of(exact), rtol=1e-5, atol=1e-7)


def test_the_size_of_the_blocks_changes_nothing(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    solvers: list[dict[str, Any]] = [{}, {"solver__kind": "truncated", "solver__cooccurring": 4}]
    whole = [weights_of(fitted(options, **solver)) for solver in solvers]
    monkeypatch.setattr(recall.ease, "ITEMS_PER_BLOCK", 3)
    for solver, expected in zip(solvers, whole, strict=True):
        np.testing.assert_array_equal(weights_of(fitted(options, **solver)), expected)


@pytest.mark.parametrize("kind", ["exact", "truncated"])
def test_scores_are_decayed_sums_of_weights_also_after_loading(kind: str, options: RunOptions, tmp_path: Path) -> None:
    channel = fitted(options, half_life=2.0, solver__kind=kind)
    channel.save(tmp_path / "ease")
    expected = 2.0**-1 * weights_of(channel)[3] + 2.0**-0.5 * weights_of(channel)[0] + weights_of(channel)[5]
    for model in (channel, EASE.load(tmp_path / "ease")):
        assert sparse.issparse(model.similarity) == (kind == "truncated")
        found = model.retrieve(QueryBatch.from_histories([[3, 0, 5]]), N_ITEMS)
        n = found.counts[0]
        assert set(found.item_idx[0, :n]) == set(np.flatnonzero(expected)) - {0, 3, 5}
        np.testing.assert_allclose(found.score[0, :n], expected[found.item_idx[0, :n]], rtol=1e-5)


@pytest.mark.parametrize("kind", ["exact", "truncated"])
def test_a_repeated_event_counts_once(kind: str, options: RunOptions) -> None:
    once = Interactions(np.array([0, 2, 4]), np.array([0, 1, 1, 2]), 3)
    often = Interactions(np.array([0, 5, 7]), np.array([0, 1, 0, 0, 1, 1, 2]), 3)
    left, right = (weights_of(fitted(options, events, solver__kind=kind)) for events in (once, often))
    np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("kind", ["exact", "truncated"])
def test_films_without_events_are_never_offered(kind: str, options: RunOptions) -> None:
    found = fitted(options, solver__kind=kind).retrieve(QueryBatch.from_histories([[0, 1], [15], []]), N_ITEMS)
    assert not np.isin(found.item_idx, UNSEEN).any()
    assert found.counts.tolist()[1:] == [0, 0]


@pytest.mark.parametrize("kind", ["exact", "truncated"])
def test_one_user(kind: str, options: RunOptions) -> None:
    """With X a row of three ones, b = (1 + λ·…): G = 1·1ᵀ, so both weights are 1 / (2 + λ)."""
    found = weights_of(fitted(options, Interactions(np.array([0, 3]), np.array([0, 1, 2]), 4), solver__kind=kind))
    expected = np.zeros((4, 4))
    expected[:3, :3] = (1 - np.eye(3)) / (2 + REG)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["exact", "truncated"])
def test_a_single_film_has_no_weights(kind: str, options: RunOptions) -> None:
    channel = fitted(options, Interactions(np.array([0, 1, 2]), np.array([0, 0]), 1), solver__kind=kind)
    assert channel.retrieve(QueryBatch.from_histories([[], [0]]), 3).counts.tolist() == [0, 0]


def test_without_events_there_is_nothing_to_learn_from(options: RunOptions) -> None:
    with pytest.raises(DataError, match="ease needs at least one event"):
        fitted(options, Interactions(np.zeros(4, dtype=np.int64), np.zeros(0, dtype=np.int64), N_ITEMS))


def test_a_catalogue_beyond_the_limit_is_refused_with_a_way_out(options: RunOptions) -> None:
    match = r"exact EASE of 17 items takes .* GB .*max_items is 16; set solver.kind=truncated"
    with pytest.raises(ConfigError, match=match):
        fitted(options, solver__max_items=16)
    fitted(options, solver__max_items=17)


def test_an_option_of_the_other_solver_is_refused() -> None:
    with pytest.raises(ConfigError, match="cooccurring"):
        EASE({"solver": {"cooccurring": 5}})


CHANGED = {"reg": 90.0, "half_life": 1.0, "solver": {"kind": "truncated", "cooccurring": 2}}


def test_every_option_has_a_test_value() -> None:
    assert set(CHANGED) == set(EASEConfig.model_fields)


@pytest.mark.parametrize("option", CHANGED)
def test_every_option_changes_the_answers(option: str, options: RunOptions) -> None:
    queries = random_events().queries()
    plain, changed = fitted(options), fitted(options, **{option: CHANGED[option]})
    assert np.any(plain.retrieve(queries, 8).score != changed.retrieve(queries, 8).score)
