"""Item ids that start from the factors of ALS."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from recall.neural.warm_start import WarmStartConfig, als_vectors
from reccore import RunOptions, TrainingData
from reccore.arrays import FloatArray
from tests.recall.neural.tiny import fitted

REG, ALPHA = 0.05, 5.0


def exact_half_step(events: FloatArray, factors: FloatArray) -> FloatArray:
    """(R, D) float64 argmin_x Σ_i c_i (p_i − x·y_i)² + reg·|x|² for each row of 0 and 1 (R, N)."""
    found = np.empty((len(events), factors.shape[1]))
    for row, preference in enumerate(events):
        confidence = np.where(preference > 0, 1 + ALPHA, 1.0)
        left = (factors.T * confidence) @ factors + REG * np.eye(factors.shape[1])
        found[row] = np.linalg.solve(left, (factors.T * confidence) @ preference)
    return found


def test_vectors_solve_the_normal_equations(board: TrainingData, options: RunOptions) -> None:
    """A further pass in float64 leaves the converged item factors as they are, up to the scale that was divided out."""
    vectors = als_vectors(board, 2, WarmStartConfig(epochs=300, reg=REG, alpha=ALPHA), options).astype(np.float64)
    events = np.asarray(board.interactions.to_csr().todense(), dtype=np.float64)
    scales = np.geomspace(0.05, 5.0, 400)

    def error(scale: float) -> float:
        again = exact_half_step(events.T, exact_half_step(events, scale * vectors))
        return float(np.abs(again / scale - vectors).max())

    errors = [error(scale) for scale in scales]
    assert min(errors) < 0.02 < max(errors)


def test_lengths_and_items_without_events(board: TrainingData, options: RunOptions) -> None:
    events = board.interactions
    kept = events.item_idx != 5
    lengths = np.bincount(events.user_idx[kept], minlength=events.n_users)
    without = replace(
        events,
        user_offsets=np.concatenate([[0], np.cumsum(lengths)]),
        item_idx=events.item_idx[kept],
        rating=None if events.rating is None else events.rating[kept],
        timestamp=None if events.timestamp is None else events.timestamp[kept],
    )
    vectors = als_vectors(replace(board, interactions=without), 3, WarmStartConfig(), options)
    assert vectors.shape == (24, 3)
    assert not vectors[5].any()
    assert math.isclose(np.linalg.norm(np.delete(vectors, 5, axis=0), axis=1).mean(), 1.0, rel_tol=1e-5)


def test_the_first_epoch_begins_there(board: TrainingData, options: RunOptions) -> None:
    still = {"learning_rate": 1e-30, "epochs": 1, "item__id_dropout": 0.0}
    started = fitted(board, options, item__warm_start={}, **still).network.item_encoder.ids.weight.detach().numpy()
    random = fitted(board, options, **still).network.item_encoder.ids.weight.detach().numpy()
    vectors = als_vectors(board, 8, WarmStartConfig(), options)
    assert vectors.any(axis=1).all()
    np.testing.assert_allclose(started[:-1], vectors * 0.05 * math.sqrt(8), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(started[-1], random[-1])  # the unknown film
