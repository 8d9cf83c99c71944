"""The item graph: by hand, and from events."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from recall.graph.item_graph import ItemGraph, cooccurrence_graph
from reccore import Interactions
from reccore.arrays import offsets_from_lengths

# Over movieIds: weights 1, 4 and 2; 50 stands alone.
GIVEN = {(10, 20): 1.0, (20, 30): 4.0, (30, 40): 2.0}


def dense(graph: ItemGraph) -> np.ndarray:
    shape = (graph.n_items, graph.n_items)
    return sparse.csr_matrix((graph.weights, graph.indices, graph.indptr), shape=shape).toarray()


def expected() -> np.ndarray:
    """Degrees are 1, 5, 6, 2, 0."""
    matrix = np.zeros((5, 5))
    for (a, b), weight in {(0, 1): 1 / 5**0.5, (1, 2): 4 / 30**0.5, (2, 3): 2 / 12**0.5}.items():
        matrix[a, b] = matrix[b, a] = weight
    return matrix


def events_of(*histories: list[int], n_items: int) -> Interactions:
    lengths = np.array([len(history) for history in histories])
    return Interactions(offsets_from_lengths(lengths), np.concatenate(histories).astype(np.int64), n_items)


# Normalising ---------------------------------------------------------------------------------------------


def test_weights_by_hand() -> None:
    raw = np.zeros((5, 5))
    for (a, b), weight in GIVEN.items():
        raw[a // 10 - 1, b // 10 - 1] = weight
    for given in (raw, raw.T, np.maximum(raw, raw.T), raw + 9 * np.eye(5), np.maximum(raw, 0.5 * raw.T)):
        graph = ItemGraph.of(sparse.csr_matrix(given))
        np.testing.assert_allclose(dense(graph), expected(), rtol=1e-6)
        assert (graph.n_edges, graph.n_isolated) == (3, 1)
        assert (graph.indptr.dtype, graph.indices.dtype, graph.weights.dtype) == (np.int64, np.int64, np.float32)


def test_the_greatest_eigenvalue_is_one() -> None:
    """So that layers neither grow nor die out, whatever the weights."""
    graph = ItemGraph.of(sparse.random(60, 60, density=0.1, random_state=0) * 1e3)
    values = np.linalg.eigvalsh(dense(graph))
    assert values.max() == pytest.approx(1.0, abs=1e-6)
    assert values.min() >= -1.0 - 1e-6


def test_arrays_there_and_back() -> None:
    graph = ItemGraph.of(sparse.random(20, 20, density=0.2, random_state=0))
    again = ItemGraph.from_arrays(graph.to_arrays())
    np.testing.assert_array_equal(dense(again), dense(graph))


def test_arrays_that_do_not_fit_are_refused() -> None:
    indptr, indices, weights = np.array([0, 1, 2]), np.array([1, 0]), np.ones(2, dtype=np.float32)
    for wrong in ((indptr[:-1], indices, weights), (indptr, indices + 1, weights), (indptr, indices, weights[:1])):
        with pytest.raises(ValueError):
            ItemGraph(*wrong)


# From events ---------------------------------------------------------------------------------------------


def test_a_graph_of_events_by_hand() -> None:
    events = events_of([0, 1, 2], [1, 0], [2, 3], [], n_items=5)
    # c = 2, 2, 2, 1, 0. One apart: 01 twice, 12 once, 23 once.
    edges = {(0, 1): 1.0, (1, 2): 0.5, (2, 3): 1 / 2**0.5}
    raw = np.zeros((5, 5))
    for (a, b), weight in edges.items():
        raw[a, b] = weight
    graph = cooccurrence_graph(events, neighbours=5, window=1)
    np.testing.assert_allclose(dense(graph), dense(ItemGraph.of(sparse.csr_matrix(raw))), rtol=1e-6)
    wider = cooccurrence_graph(events, neighbours=5, window=2)
    assert (graph.n_edges, wider.n_edges) == (3, 4)  # 0 and 2 lie two apart


def test_each_item_brings_its_heaviest_edges() -> None:
    """A hub keeps all that others bring, and nobody is left without the neighbour they chose."""
    events = events_of(*([[0, other] for other in range(1, 7)] * 3), [5, 6], n_items=7)
    graph = cooccurrence_graph(events, neighbours=1, window=1)
    found = dense(graph) > 0
    assert found[0, 1:].all()
    assert found.sum() == 12


def test_later_events_are_not_looked_at() -> None:
    rng = np.random.default_rng(0)
    events = events_of(*(rng.permutation(12)[:6].tolist() for _ in range(30)), n_items=12)
    stops = events.lengths - 1
    other_last = events.item_idx.copy()
    other_last[events.user_offsets[1:] - 1] = 3  # another film to be predicted
    changed = Interactions(events.user_offsets, other_last, 12)
    one, other = (cooccurrence_graph(e.first(stops), neighbours=3, window=4) for e in (events, changed))
    np.testing.assert_array_equal(dense(one), dense(other))
    whole = cooccurrence_graph(changed, neighbours=3, window=4)
    assert np.abs(dense(whole) - dense(one)).max() > 0


def test_events_that_join_nothing() -> None:
    graph = cooccurrence_graph(events_of([1], [2], n_items=4), neighbours=3, window=9)
    assert (graph.n_items, graph.n_edges, graph.n_isolated) == (4, 0, 4)
