"""Co-occurrence within a window of the history, against pairs counted one by one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from recall.cooccurrence import NeighbourRule, neighbours_of_block, top_neighbours
from reccore.arrays import FloatArray, IntArray, offsets_from_lengths

N_ITEMS = 13


def random_histories(seed: int = 0, n_users: int = 25) -> tuple[IntArray, IntArray]:
    """Offsets and items of histories of different lengths, some empty, some with repeated films."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 15, n_users)
    return offsets_from_lengths(lengths), rng.integers(0, N_ITEMS - 1, lengths.sum())


def counted(
    offsets: IntArray, items: IntArray, weight: FloatArray, window: int, pair_weight: FloatArray | None = None
) -> np.ndarray:
    """Σ w_u, times the weight of the distance, over ordered pairs of events of two films at most ``window`` apart."""
    total = np.zeros((N_ITEMS, N_ITEMS))
    for user in range(len(offsets) - 1):
        history = items[offsets[user] : offsets[user + 1]]
        for a, one in enumerate(history):
            for b, other in enumerate(history):
                if abs(a - b) <= window and one != other:
                    total[one, other] += weight[user] * (1 if pair_weight is None else pair_weight[abs(a - b)])
    return total


@pytest.mark.parametrize("window", [1, 2, 5, 100, 2**62])
@pytest.mark.parametrize("shrinkage", [0.0, 2.5])
def test_pairs_within_the_window_are_counted(window: int, shrinkage: float) -> None:
    offsets, items = random_histories()
    rng = np.random.default_rng(1)
    weight = rng.uniform(0.5, 2.0, len(offsets) - 1).astype(np.float32)
    norm = rng.uniform(0.5, 2.0, N_ITEMS).astype(np.float32)
    found = top_neighbours(offsets, items, weight=weight, norm=norm, pairs=NeighbourRule(N_ITEMS, window, shrinkage))
    expected = counted(offsets, items, weight, window) / (np.outer(norm, norm) + shrinkage)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-5, atol=1e-7)
    assert found.has_sorted_indices


@pytest.mark.parametrize("window", [1, 4, 20])
def test_pairs_count_by_their_distance(window: int) -> None:
    offsets, items = random_histories(3)
    weight = np.random.default_rng(2).uniform(0.5, 2.0, len(offsets) - 1).astype(np.float32)
    norm = np.ones(N_ITEMS, dtype=np.float32)
    by_distance = (1.0 / np.arange(1, window + 2)).astype(np.float32)
    found = top_neighbours(
        offsets, items, weight=weight, norm=norm, pairs=NeighbourRule(N_ITEMS, window, pair_weight=by_distance)
    )
    np.testing.assert_allclose(
        found.toarray(), counted(offsets, items, weight, window, by_distance), rtol=1e-5, atol=1e-7
    )


def test_the_most_similar_are_kept_ties_by_item_index() -> None:
    offsets, items = random_histories(2)
    ones = np.ones(len(offsets) - 1, dtype=np.float32)
    norm = np.ones(N_ITEMS, dtype=np.float32)
    everything = counted(offsets, items, ones, 3)
    found = top_neighbours(offsets, items, weight=ones, norm=norm, pairs=NeighbourRule(4, 3))
    for item in range(N_ITEMS):
        best = [other for other in np.argsort(-everything[item], kind="stable")[:4] if everything[item, other] > 0]
        assert found[item].indices.tolist() == sorted(best)


def test_without_pairs_the_matrix_is_empty() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    ones = np.ones(3, dtype=np.float32)
    empty = top_neighbours(np.zeros(4, dtype=np.int64), nothing, weight=ones, norm=ones, pairs=NeighbourRule(5, 2))
    assert (empty.shape, empty.nnz) == ((3, 3), 0)
    alone = top_neighbours(
        np.array([0, 1, 2, 3]), np.array([0, 1, 0]), weight=ones, norm=ones, pairs=NeighbourRule(5, 2)
    )
    assert alone.nnz == 0


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (4, 9), (9, N_ITEMS)])
def test_a_block_needs_only_the_histories_of_users_who_have_its_items(start: int, stop: int) -> None:
    offsets, items = random_histories(5)
    rng = np.random.default_rng(3)
    weight = rng.uniform(0.5, 2.0, len(offsets) - 1).astype(np.float32)
    norm, pairs = rng.uniform(0.5, 2.0, N_ITEMS).astype(np.float32), NeighbourRule(3, 4)
    whole = top_neighbours(offsets, items, weight=weight, norm=norm, pairs=pairs).toarray()
    rows = [items[a:b] for a, b in pairwise(offsets)]
    have = [user for user, row in enumerate(rows) if np.any((row >= start) & (row < stop))]
    assert 0 < len(have) < len(rows)
    part = offsets_from_lengths([len(rows[user]) for user in have]), np.concatenate([rows[user] for user in have])
    found, values = neighbours_of_block(start, stop, *part, weight=weight[have], norm=norm, pairs=pairs)
    expected = np.zeros((stop - start, N_ITEMS), dtype=np.float32)
    at, slot = np.nonzero(found >= 0)
    expected[at, found[at, slot]] = values[at, slot]
    np.testing.assert_array_equal(expected, whole[start:stop])
