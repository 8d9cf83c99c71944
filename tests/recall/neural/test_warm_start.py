"""Item ids that start from co-occurrence."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from scipy import sparse

from recall.neural.warm_start import WarmStartConfig, cooccurrence_vectors, ppmi
from reccore import Interactions, RunOptions, TrainingData
from reccore.arrays import offsets_from_lengths
from tests.recall.neural.tiny import fitted

HISTORIES = [[0, 1, 2], [0, 1], [1, 2, 3], [2, 3], [3, 0, 4], [4, 3], [0, 1, 4]]
N_ITEMS = 6
"""The last item has no event."""


def histories() -> Interactions:
    lengths = np.array([len(history) for history in HISTORIES])
    return Interactions(offsets_from_lengths(lengths), np.concatenate(HISTORIES), N_ITEMS)


def information(window: int) -> np.ndarray:
    """(N, N) the formula pair by pair, in Python numbers."""
    counts = np.zeros((N_ITEMS, N_ITEMS))
    for history in HISTORIES:
        for first, second in combinations(range(len(history)), 2):
            if second - first <= window:
                counts[history[first], history[second]] += 1
                counts[history[second], history[first]] += 1
    degree = counts.sum(axis=1)
    found = np.zeros_like(counts)
    for i in range(N_ITEMS):
        for j in range(N_ITEMS):
            if counts[i, j] > 0:
                ratio = counts[i, j] * sum(d**0.75 for d in degree) / (degree[i] * degree[j] ** 0.75)
                found[i, j] = max(0.0, math.log(ratio))
    return found


def test_information_is_the_formula() -> None:
    counts = np.array([[0, 3, 1], [3, 0, 0], [1, 0, 0]])
    ratio = 1 * (4**0.75 + 3**0.75 + 1) / (4 * 1)  # of items 0 and 2
    assert math.isclose(ppmi(sparse.csr_matrix(counts))[0, 2], math.log(ratio), rel_tol=1e-12)
    assert ppmi(sparse.csr_matrix(counts)).min() >= 0


def test_inner_products_are_the_absolute_value_of_the_information() -> None:
    for window in (1, 50):
        vectors = cooccurrence_vectors(histories(), N_ITEMS, WarmStartConfig(window=window), seed=0)
        matrix = information(window)
        products = vectors.astype(np.float64) @ vectors.T
        values, directions = np.linalg.eigh(matrix @ matrix.T)
        expected = (directions * np.sqrt(np.maximum(values, 0))) @ directions.T  # U S Uᵀ
        scale = products.max() / expected.max()
        np.testing.assert_allclose(products, expected * scale, atol=2e-5)


def test_lengths_and_items_without_events() -> None:
    vectors = cooccurrence_vectors(histories(), 3, WarmStartConfig(), seed=0)
    assert vectors.shape == (N_ITEMS, 3)
    assert not vectors[5].any()
    assert math.isclose(np.linalg.norm(vectors[:5], axis=1).mean(), 1.0, rel_tol=1e-6)
    wide = cooccurrence_vectors(histories(), 9, WarmStartConfig(), seed=0)
    assert not wide[:, N_ITEMS:].any()
    assert np.isfinite(wide).all()
    alone = Interactions(np.array([0, 1, 2]), np.array([0, 1]), 2)
    assert not cooccurrence_vectors(alone, 3, WarmStartConfig(), seed=0).any()


def test_the_first_epoch_begins_there(board: TrainingData, options: RunOptions) -> None:
    still = {"learning_rate": 1e-30, "epochs": 1, "item__id_dropout": 0.0}
    started = fitted(board, options, item__warm_start={}, **still).network.item_encoder.ids.weight.detach().numpy()
    random = fitted(board, options, **still).network.item_encoder.ids.weight.detach().numpy()
    vectors = cooccurrence_vectors(board.interactions, 8, WarmStartConfig(), seed=options.seed)
    assert vectors.any(axis=1).all()
    np.testing.assert_allclose(started[:-1], vectors * 0.05 * math.sqrt(8), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(started[-1], random[-1])  # the unknown film
