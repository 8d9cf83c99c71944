"""Co-occurrence within a window of the history, against pairs counted one by one."""

from __future__ import annotations

import numpy as np
import pytest

from recall.cooccurrence import top_neighbours
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
    found = top_neighbours(
        offsets, items, weight=weight, norm=norm, neighbours=N_ITEMS, window=window, shrinkage=shrinkage
    )
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
        offsets, items, weight=weight, norm=norm, neighbours=N_ITEMS, window=window, pair_weight=by_distance
    )
    np.testing.assert_allclose(
        found.toarray(), counted(offsets, items, weight, window, by_distance), rtol=1e-5, atol=1e-7
    )


def test_the_most_similar_are_kept_ties_by_item_index() -> None:
    offsets, items = random_histories(2)
    ones = np.ones(len(offsets) - 1, dtype=np.float32)
    norm = np.ones(N_ITEMS, dtype=np.float32)
    everything = counted(offsets, items, ones, 3)
    found = top_neighbours(offsets, items, weight=ones, norm=norm, neighbours=4, window=3)
    for item in range(N_ITEMS):
        best = [other for other in np.argsort(-everything[item], kind="stable")[:4] if everything[item, other] > 0]
        assert found[item].indices.tolist() == sorted(best)


def test_without_pairs_the_matrix_is_empty() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    ones = np.ones(3, dtype=np.float32)
    empty = top_neighbours(np.zeros(4, dtype=np.int64), nothing, weight=ones, norm=ones, neighbours=5, window=2)
    assert (empty.shape, empty.nnz) == ((3, 3), 0)
    alone = top_neighbours(np.array([0, 1, 2, 3]), np.array([0, 1, 0]), weight=ones, norm=ones, neighbours=5, window=2)
    assert alone.nnz == 0
