"""ItemCF against its formula in dense NumPy and against other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from implicit.nearest_neighbours import CosineRecommender
from scipy import sparse
from sklearn.metrics.pairwise import cosine_similarity

import recall.cooccurrence
from recall.itemcf import ItemCF, ItemCFConfig, item_similarity
from reccore import ConfigError, Interactions, QueryBatch, RunOptions
from reccore.arrays import offsets_from_lengths
from tests.helpers import training_data

N_ITEMS = 17


def random_events(seed: int = 0, n_users: int = 40, longest: int = 25) -> Interactions:
    """Histories of very different lengths with repeated films; a few films without events."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest, n_users)
    items = (rng.beta(0.6, 1.5, lengths.sum()) * (N_ITEMS - 2)).astype(np.int64)
    return Interactions(offsets_from_lengths(lengths), items, N_ITEMS)


def events_of(*histories: list[int], n_items: int = N_ITEMS) -> Interactions:
    lengths = np.array([len(history) for history in histories])
    return Interactions(offsets_from_lengths(lengths), np.concatenate(histories).astype(np.int64), n_items)


def similarity(events: Interactions, *, pair_half_life: float | None = None, **config: Any) -> np.ndarray:
    return item_similarity(events, ItemCFConfig(pair_half_life=pair_half_life, **config)).toarray()


def dense_formula(events: Interactions, damping: float, shrinkage: float, cap: int) -> np.ndarray:
    """Σ w_u / (√(Σ w_u · Σ w_u) + shrinkage) over the distinct films among the latest ``cap`` events, float64."""
    seen = np.zeros((events.n_users, events.n_items))
    for user in range(events.n_users):
        seen[user, events.history(user)[-cap:]] = 1.0
    weight = np.log1p(np.maximum(seen.sum(axis=1), 1.0)) ** -damping
    together = (seen * weight[:, None]).T @ seen
    norm = np.sqrt(np.diag(together))
    denominator = norm[:, None] * norm[None, :] + shrinkage
    values = np.divide(together, denominator, out=np.zeros_like(together), where=denominator > 0)
    np.fill_diagonal(values, 0.0)
    return values


@pytest.mark.parametrize("damping", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize(("shrinkage", "cap"), [(0.0, 500), (2.5, 500), (0.0, 6), (1.0, 2)])
def test_similarities_are_the_formula(damping: float, shrinkage: float, cap: int) -> None:
    events = random_events()
    config = {"user_damping": damping, "shrinkage": shrinkage, "history_cap": cap}
    np.testing.assert_allclose(
        similarity(events, neighbours=N_ITEMS, **config),
        dense_formula(events, damping, shrinkage, cap),
        rtol=2e-6,
        atol=1e-9,
    )


def test_without_damping_it_is_the_cosine_of_others() -> None:
    events = random_events(1)
    rows = events.to_csr()
    rows.data[:] = 1.0
    found = similarity(events, neighbours=N_ITEMS, user_damping=0)
    by_sklearn = cosine_similarity(rows.T.toarray())
    other = CosineRecommender(K=N_ITEMS)
    other.fit(rows, show_progress=False)
    for expected in (by_sklearn, other.similarity.toarray()):
        np.fill_diagonal(expected, 0.0)
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-9)


def test_recommendations_are_those_of_implicit() -> None:
    events = random_events(2)
    rows = events.to_csr()
    rows.data[:] = 1.0
    other = CosineRecommender(K=N_ITEMS)
    other.fit(rows, show_progress=False)
    distinct = [np.unique(events.history(user)).tolist() for user in range(events.n_users)]
    config = {"neighbours": N_ITEMS, "user_damping": 0, "half_life": None, "pair_half_life": None}
    channel = ItemCF(config).fit(training_data(events), options=RunOptions(progress=False))
    found = channel.retrieve(QueryBatch.from_histories(distinct), N_ITEMS)
    for user, history in enumerate(distinct):
        n = found.counts[user]
        ids, scores = other.recommend(user, rows[user], N=N_ITEMS, filter_already_liked_items=False)
        # implicit counts an item as its own neighbour; the other neighbours must agree.
        expected = {int(i): s for i, s in zip(ids, scores, strict=True) if i not in history and s > 0}
        assert set(found.item_idx[user, :n].tolist()) == set(expected)
        np.testing.assert_allclose(
            found.score[user, :n], [expected[i] for i in found.item_idx[user, :n].tolist()], rtol=1e-5
        )


@pytest.mark.parametrize(("half_life", "cap"), [(0.5, 500), (3.0, 500), (3.0, 6), (1e6, 500)])
def test_pairs_decay_with_their_distance_in_the_history(half_life: float, cap: int) -> None:
    events, damping, shrinkage = random_events(10), 0.5, 1.5
    together, norm2 = np.zeros((N_ITEMS, N_ITEMS)), np.zeros(N_ITEMS)
    for user in range(events.n_users):
        history = events.history(user)[-cap:].tolist()
        # The latest event of each film, in the order of the history.
        films = [film for at, film in enumerate(history) if film not in history[at + 1 :]]
        weight = np.log1p(max(len(films), 1)) ** -damping
        for a, one in enumerate(films):
            norm2[one] += weight
            for b, other in enumerate(films):
                if a != b:
                    together[one, other] += weight * 2.0 ** (-abs(a - b) / half_life)
    expected = together / (np.sqrt(np.outer(norm2, norm2)) + shrinkage)
    config = {"user_damping": damping, "shrinkage": shrinkage, "history_cap": cap, "neighbours": N_ITEMS}
    found = similarity(events, pair_half_life=half_life, **config)
    # Pairs beyond twenty half-lives are left out: each adds less than 1e-6 of a user's weight.
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)


def test_pairs_beyond_twenty_half_lives_are_left_out() -> None:
    events = events_of([1, *range(2, 12), 0])
    near, far = similarity(events, pair_half_life=0.5)[1], similarity(events, pair_half_life=0.6)[1]
    assert near[0] == 0 < far[0]  # films 1 and 0 lie 11 events apart


@pytest.mark.parametrize("neighbours", [1, 3, 8])
def test_only_the_most_similar_are_kept(neighbours: int) -> None:
    events = random_events(3)
    full, kept = similarity(events, neighbours=N_ITEMS), similarity(events, neighbours=neighbours)
    assert np.count_nonzero(kept, axis=1).tolist() == np.minimum(np.count_nonzero(full, axis=1), neighbours).tolist()
    for item in range(N_ITEMS):
        best = np.lexsort((np.arange(N_ITEMS), -full[item]))[:neighbours]
        expected = np.zeros(N_ITEMS, dtype=np.float32)
        expected[best] = full[item, best]
        np.testing.assert_array_equal(kept[item], expected)


def test_of_equal_similarities_the_lower_item_index_is_kept() -> None:
    everything = events_of([9, 4, 7, 2, 5], [5, 9, 7, 4, 2])
    kept = similarity(everything, neighbours=2)
    assert np.flatnonzero(kept[9]).tolist() == [2, 4]
    assert np.flatnonzero(kept[2]).tolist() == [4, 5]
    # Film 9 occurs with 7 at an earlier user than with 2.
    apart = similarity(events_of([7, 9], [2, 9]), neighbours=1)
    assert np.flatnonzero(apart[9]).tolist() == [2]


def test_only_the_latest_events_form_pairs() -> None:
    events = random_events(4)
    capped = similarity(events, history_cap=5)
    np.testing.assert_array_equal(capped, similarity(events.latest(5)))
    assert np.any(capped != similarity(events))
    one = similarity(events_of([1, 2, 3, 4]), history_cap=2)
    assert sorted(zip(*np.nonzero(one), strict=True)) == [(3, 4), (4, 3)]


def test_a_repeated_event_counts_once() -> None:
    once, often = events_of([0, 1], [1, 2]), events_of([0, 1, 0, 0, 1], [1, 2, 2])
    for half_life in (None, 3.0):
        np.testing.assert_array_equal(
            similarity(often, pair_half_life=half_life), similarity(once, pair_half_life=half_life)
        )


def test_the_size_of_the_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    events = random_events(5)
    whole = similarity(events, neighbours=4)
    monkeypatch.setattr(recall.cooccurrence, "ITEMS_PER_BLOCK", 3)
    np.testing.assert_array_equal(similarity(events, neighbours=4), whole)


def fitted(events: Interactions, options: RunOptions, **config: Any) -> ItemCF:
    return ItemCF(config).fit(training_data(events), options=options)


def test_the_score_is_the_recency_weighted_sum_of_similarities(options: RunOptions) -> None:
    events = random_events(6)
    channel = fitted(events, options, half_life=2.0)
    sim = channel.similarity.toarray()
    found = channel.retrieve(QueryBatch.from_histories([[3, 0, 5, 0]]), N_ITEMS)
    # Ages 3, 2, 1, 0 at a half-life of two events; film 0 occurs twice and both events count.
    expected = 2.0**-1.5 * sim[3] + (0.5 + 1.0) * sim[0] + 2.0**-0.5 * sim[5]
    n = found.counts[0]
    assert set(found.item_idx[0, :n]) == set(np.flatnonzero(expected)) - {0, 3, 5}
    np.testing.assert_allclose(found.score[0, :n], expected[found.item_idx[0, :n]], rtol=1e-5)


def test_films_without_similarity_to_the_history_are_not_offered(options: RunOptions) -> None:
    channel = fitted(events_of([0, 1], [2, 3], [4]), options)
    found = channel.retrieve(QueryBatch.from_histories([[0], [4], [16], []]), 5)
    assert found.counts.tolist() == [1, 0, 0, 0]  # film 4 has no neighbours, 16 no events
    assert found.item_idx[0, 0] == 1


def test_a_single_film(options: RunOptions) -> None:
    channel = fitted(events_of([0, 0], [0], n_items=1), options)
    assert channel.retrieve(QueryBatch.from_histories([[], [0]]), 3).counts.tolist() == [0, 0]


CHANGED = {
    "neighbours": 2,
    "user_damping": 0.0,
    "shrinkage": 3.0,
    "pair_half_life": None,
    "history_cap": 3,
    "half_life": 1.0,
}


def test_every_option_has_a_test_value() -> None:
    assert set(CHANGED) == set(ItemCFConfig.model_fields)


@pytest.mark.parametrize("option", CHANGED)
def test_every_option_changes_the_answers(option: str, options: RunOptions) -> None:
    events = random_events(7)
    queries = events.queries()
    plain, changed = fitted(events, options), fitted(events, options, **{option: CHANGED[option]})
    assert np.any(plain.retrieve(queries, 8).score != changed.retrieve(queries, 8).score)


@pytest.mark.parametrize("half_life", [None, 1e-300, 1e300])
def test_extreme_half_lives(half_life: float | None, options: RunOptions) -> None:
    queries = QueryBatch.from_histories([[0, 1, 2] * 1000])
    found = fitted(random_events(8), options, half_life=half_life).retrieve(queries, 5)
    found.validate()
    assert found.mask.any()


@pytest.mark.parametrize("half_life", [0, 1e-9, -1, float("inf")])
def test_a_pair_half_life_without_weights_is_refused(half_life: float) -> None:
    with pytest.raises(ConfigError, match="pair_half_life"):
        ItemCF({"pair_half_life": half_life})


@pytest.mark.parametrize("damping", [-1, 60, float("inf")])
def test_damping_beyond_float32_is_refused(damping: float) -> None:
    with pytest.raises(ConfigError, match="user_damping"):
        ItemCF({"user_damping": damping})


def test_the_matrix_is_sorted_and_sparse() -> None:
    matrix = item_similarity(random_events(9), ItemCFConfig(neighbours=3))
    assert sparse.isspmatrix_csr(matrix)
    assert matrix.dtype == np.float32
    assert matrix.has_sorted_indices
    assert matrix.diagonal().sum() == 0
