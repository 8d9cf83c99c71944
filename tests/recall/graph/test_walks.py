"""Random walks: every step is an edge, and steps are uniform over neighbours."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from recall.graph.walks import bipartite_walks
from reccore import Interactions

# User 0 (node 5): films 0, 1, 2, film 0 twice. User 1 (node 6): film 2. User 2 (node 7) has none; nor film 4.
EVENTS = Interactions(np.array([0, 4, 5, 5, 6]), np.array([0, 1, 2, 0, 2, 3]), 5)
EDGES = {(0, 5), (1, 5), (2, 5), (2, 6), (3, 8)}


def walks_of(rounds: int, length: int, seed: int = 0) -> np.ndarray:
    return bipartite_walks(EVENTS, rounds, length, np.random.default_rng(seed))


def test_each_step_is_an_edge_and_each_node_with_edges_starts_once_a_round() -> None:
    found = walks_of(4, 9)
    assert found.shape == (4 * 7, 9)
    for walk in found.tolist():
        for left, right in pairwise(walk):
            assert (min(left, right), max(left, right)) in EDGES
    for starts in found[:, 0].reshape(4, 7).tolist():
        assert sorted(starts) == [0, 1, 2, 3, 5, 6, 8]


def test_steps_are_uniform_over_the_neighbours() -> None:
    found = walks_of(3000, 3)
    after_user = found[found[:, 0] == 5][:, 1]
    np.testing.assert_allclose(np.bincount(after_user, minlength=3) / 3000, np.full(3, 1 / 3), atol=0.03)
    after_film = found[found[:, 0] == 2][:, 1]
    np.testing.assert_allclose((after_film == 6).mean(), 1 / 2, atol=0.03)


def test_the_generator_decides_the_walks() -> None:
    np.testing.assert_array_equal(walks_of(3, 6), walks_of(3, 6))
    assert np.any(walks_of(3, 6) != walks_of(3, 6, seed=1))
