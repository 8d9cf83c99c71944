"""A neural channel whose item vectors are propagated over a graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from recall.graph.item_graph import ItemGraph, cooccurrence_graph
from recall.graph.propagation import OWN_SHARE
from recall.neural.network import NeuralNetwork
from recall.two_tower import TwoTower
from reccore import ConfigError, Exclusions, Interactions, RunOptions, TrainingData
from tests.helpers import nested, training_data

GRAPH: dict[str, Any] = {
    "embedding_size": 8,
    "item__hidden_size": 8,
    "encoder__hidden_size": 8,
    "encoder__history_length": 4,
    "batch_size": 64,
    "epochs": 2,
    "negatives__uniform": 8,
    "learning_rate": 0.02,
    "item__graph__layers": 2,
    "item__graph__neighbours": 3,
}
TRANSFORMER: dict[str, Any] = {"encoder__kind": "transformer", "epochs": 1}


def fitted(data: TrainingData, options: RunOptions, **config: Any) -> TwoTower:
    return TwoTower(nested(GRAPH, config)).fit(data, options=options)


def with_ring(board: TrainingData) -> TrainingData:
    """A given graph: a ring over the even films."""
    even = np.arange(0, 24, 2)
    ring = sparse.coo_matrix((np.ones(12), (even, np.roll(even, 1))), shape=(24, 24)).tocsr()
    return replace(board, item_graph=ring.maximum(ring.T).tocsr())


def own_vectors(channel: TwoTower) -> np.ndarray:
    """(N, D) float64 of the item encoder alone."""
    with torch.no_grad():
        return channel.network._own_vectors(torch.arange(channel.network.n_items)).double().numpy()


def dense_graph(channel: TwoTower) -> np.ndarray:
    graph = channel.network.propagation
    matrix = np.zeros((channel.network.n_items,) * 2)
    for item in range(len(matrix)):
        row = slice(int(graph.indptr[item]), int(graph.indptr[item + 1]))
        matrix[item, graph.indices[row].numpy()] = graph.weights[row].numpy()
    return matrix


@pytest.fixture(scope="module")
def channel(board: TrainingData) -> TwoTower:
    return fitted(board, RunOptions(device="cpu", progress=False, threads=1))


def test_the_index_is_built_from_the_propagated_vectors(channel: TwoTower) -> None:
    own, graph = own_vectors(channel), dense_graph(channel)
    shares = channel.network.propagation.shares().detach().double().numpy()
    mixed = shares[0] * own + shares[1] * graph @ own + shares[2] * graph @ graph @ own
    expected = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    np.testing.assert_allclose(channel.encode_items(), expected, atol=1e-6)
    found = channel.index.search(expected.astype(np.float32), 1, Exclusions.nothing(24))
    np.testing.assert_allclose(found.score, 1.0, atol=1e-5)
    assert np.abs(expected - own).max() > 1e-3


def test_the_graph_is_that_of_the_fit_split(channel: TwoTower, board: TrainingData) -> None:
    graph = cooccurrence_graph(board.interactions, neighbours=3, window=50)
    for name, values in graph.to_arrays().items():
        np.testing.assert_array_equal(getattr(channel.network.propagation, name).numpy(), values)


def test_a_training_step_sees_the_vectors_of_the_index(channel: TwoTower) -> None:
    some = torch.tensor([5, 3, 3, 20])
    with torch.no_grad():
        np.testing.assert_allclose(channel.network.items(some).numpy(), channel.encode_items()[some], atol=1e-6)


def test_the_shares_are_learned_and_not_decayed(board: TrainingData, options: RunOptions, channel: TwoTower) -> None:
    assert abs(channel.network.propagation.shares()[0].item() - OWN_SHARE) > 1e-3
    still = fitted(board, options, epochs=1, learning_rate=1e-9, weight_decay=1e8)
    assert still.network.propagation.shares()[0].item() == pytest.approx(OWN_SHARE, abs=1e-4)
    assert float(still.network.item_encoder.hidden.weight.detach().abs().max()) < 0.9 * 8**-0.5  # others are


def test_a_saved_channel_carries_the_given_graph(board: TrainingData, options: RunOptions, tmp_path: Path) -> None:
    data = with_ring(board)
    given = fitted(data, options)
    assert data.item_graph is not None
    expected = ItemGraph.of(data.item_graph)
    given.save(tmp_path / "model")
    loaded = TwoTower.load(tmp_path / "model")
    for name, values in expected.to_arrays().items():
        np.testing.assert_array_equal(getattr(loaded.network.propagation, name).numpy(), values)
    queries = board.interactions.queries()
    one, other = given.retrieve(queries, 5), loaded.retrieve(queries, 5)
    np.testing.assert_array_equal(one.item_idx, other.item_idx)
    np.testing.assert_array_equal(one.score, other.score)
    np.testing.assert_array_equal(given.encode_items(), loaded.encode_items())


def test_a_given_graph_is_taken(board: TrainingData, options: RunOptions) -> None:
    """Odd films are not in it, so each keeps what the item encoder gives it."""
    given = fitted(with_ring(board), options)
    change = np.abs(given.encode_items() - own_vectors(given)).max(axis=1)
    assert (change[::2] > 1e-4).all()
    np.testing.assert_allclose(change[1::2], 0.0, atol=1e-6)


def test_a_given_graph_is_read_by_channels_with_a_graph_alone(board: TrainingData, options: RunOptions) -> None:
    without = {name: value for name, value in GRAPH.items() if not name.startswith("item__graph")}
    one, other = (TwoTower(nested(without)).fit(data, options=options) for data in (board, with_ring(board)))
    assert one.network.propagation is other.network.propagation is None
    np.testing.assert_array_equal(one.encode_items(), other.encode_items())


def test_films_without_events_are_new_films(options: RunOptions) -> None:
    """No edges, and the id row of the unknown film: those of the same content share a vector."""
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.permutation(9)[:6] for _ in range(40)]).astype(np.int64)
    events = Interactions(6 * np.arange(41, dtype=np.int64), items, 70)
    channel = fitted(training_data(events), options)
    vectors = channel.encode_items()
    assert channel.network.propagation.indptr[9:].diff().sum() == 0
    np.testing.assert_allclose(vectors[10], vectors[40], atol=1e-6)  # years repeat every 30 films
    assert np.abs(vectors[10] - vectors[12]).max() > 1e-4


def test_a_single_event_is_enough(options: RunOptions) -> None:
    one = Interactions(np.array([0, 1]), np.array([2]), 5)
    assert np.isfinite(fitted(training_data(one), options).encode_items()).all()


def test_a_transformer_reads_the_propagated_vectors(
    board: TrainingData, options: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = fitted(board, options, **TRANSFORMER)
    queries = board.interactions.queries()
    before = channel.encode_queries(queries)
    # Taken from the catalogue's vectors, which are worked out once; the same as by propagation to these items alone.
    with monkeypatch.context() as patched:
        patched.setattr(NeuralNetwork, "items", None)
        patched.setattr(NeuralNetwork, "catalogue", None)
        np.testing.assert_array_equal(channel.encode_queries(queries), before)
    with torch.no_grad():
        direct = channel.network.queries(channel.network.query_encoder.inputs(queries))
        np.testing.assert_allclose(before, direct.numpy(), atol=1e-6)
        channel.network.propagation.logits[0] = -5.0
    channel.save(tmp_path / "changed")
    assert np.abs(TwoTower.load(tmp_path / "changed").encode_queries(queries) - before).max() > 1e-3


def test_fitted_again_it_reads_the_vectors_it_has_then(board: TrainingData, options: RunOptions) -> None:
    channel = fitted(board, options, **TRANSFORMER)
    queries = board.interactions.queries()
    channel.encode_queries(queries)
    again = channel.fit(board, options=replace(options, seed=5)).encode_queries(queries)
    fresh = TwoTower(channel.config.model_dump()).fit(board, options=replace(options, seed=5)).encode_queries(queries)
    np.testing.assert_array_equal(again, fresh)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"item__graph__layers": 0}, "item.graph.layers"),
        ({"item__graph__neighbours": 0}, "item.graph.neighbours"),
        ({"item__graph__window": 0}, "item.graph.window"),
        ({"item__graph__file": "ring.parquet"}, "item.graph.file: no such option"),
        ({"item__layers": 2}, "item.layers: no such option"),  # without a graph there is no place for its options
    ],
)
def test_wrong_options(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        TwoTower(nested(wrong))
