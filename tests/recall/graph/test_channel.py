"""The two-tower channel with its item vectors propagated over a graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recall.two_tower import TwoTower
from recall.two_tower.graph import cooccurrence_graph
from recall.two_tower.graph_files import read_item_graph
from recall.two_tower.network import TwoTowerNetwork
from recall.two_tower.propagation import OWN_SHARE
from recall.two_tower.windows import sequence_inputs
from reccore import ConfigError, DataError, Exclusions, Interactions, RunOptions, TrainingData
from scripts import train_recall
from tests.helpers import training_data

GCN: dict[str, Any] = {
    "embedding_size": 8,
    "hidden_size": 8,
    "history_length": 4,
    "batch_size": 64,
    "epochs": 2,
    "uniform_negatives": 8,
    "learning_rate": 0.02,
    "use_gcn": True,
    "gcn_layers": 2,
    "gcn_neighbours": 3,
}


def fitted(data: TrainingData, options: RunOptions, **config: Any) -> TwoTower:
    return TwoTower({**GCN, **config}).fit(data, options=options)


def edges_of(board: TrainingData, folder: Path) -> Path:
    """A ring over the raw ids of the even films."""
    ids = board.vocabulary.items.ids[::2]
    pd.DataFrame({"movieId_1": ids, "movieId_2": np.roll(ids, 1)}).to_parquet(folder / "ring.parquet")
    return folder / "ring.parquet"


def own_vectors(channel: TwoTower) -> np.ndarray:
    """(N, D) float64 of the item tower alone."""
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
    graph = cooccurrence_graph(board.interactions, neighbours=3, window=channel.config.gcn_window)
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
    assert float(still.network.item_tower.hidden.weight.detach().abs().max()) < 0.9 * 8**-0.5  # others are


def test_a_saved_channel_needs_no_graph_file(board: TrainingData, options: RunOptions, tmp_path: Path) -> None:
    edges = edges_of(board, tmp_path)
    given = fitted(board, options, gcn_neighbours=20, item_adj=edges)
    expected = read_item_graph(edges, board.vocabulary.items)
    edges.unlink()
    given.save(tmp_path / "model")
    loaded = TwoTower.load(tmp_path / "model")
    for name, values in expected.to_arrays().items():
        np.testing.assert_array_equal(getattr(loaded.network.propagation, name).numpy(), values)
    queries = board.interactions.queries()
    one, other = given.retrieve(queries, 5), loaded.retrieve(queries, 5)
    np.testing.assert_array_equal(one.item_idx, other.item_idx)
    np.testing.assert_array_equal(one.score, other.score)
    np.testing.assert_array_equal(given.encode_items(), loaded.encode_items())


def test_a_given_graph_is_taken(board: TrainingData, options: RunOptions, tmp_path: Path) -> None:
    """Odd films are not in it, so each keeps what the tower gives it."""
    given = fitted(board, options, gcn_neighbours=20, item_adj=edges_of(board, tmp_path))
    change = np.abs(given.encode_items() - own_vectors(given)).max(axis=1)
    assert (change[::2] > 1e-4).all()
    np.testing.assert_allclose(change[1::2], 0.0, atol=1e-6)


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
    channel = fitted(board, options, user_encoder="transformer", epochs=1)
    queries = board.interactions.queries()
    before = channel.encode_queries(queries)
    # Taken from the catalogue's vectors, which are worked out once; the same as by propagation to these items alone.
    with monkeypatch.context() as patched:
        patched.setattr(TwoTowerNetwork, "items", None)
        patched.setattr(TwoTowerNetwork, "catalogue", None)
        np.testing.assert_array_equal(channel.encode_queries(queries), before)
    with torch.no_grad():
        direct = channel.network.queries(sequence_inputs(queries, channel._encoder, channel.config.history_length))
        np.testing.assert_allclose(before, direct.numpy(), atol=1e-6)
        channel.network.propagation.logits[0] = -5.0
    channel.save(tmp_path / "changed")
    assert np.abs(TwoTower.load(tmp_path / "changed").encode_queries(queries) - before).max() > 1e-3


def test_fitted_again_it_reads_the_vectors_it_has_then(board: TrainingData, options: RunOptions) -> None:
    channel = fitted(board, options, user_encoder="transformer", epochs=1)
    queries = board.interactions.queries()
    channel.encode_queries(queries)
    again = channel.fit(board, options=replace(options, seed=5)).encode_queries(queries)
    fresh = TwoTower(channel.config.model_dump()).fit(board, options=replace(options, seed=5)).encode_queries(queries)
    np.testing.assert_array_equal(again, fresh)


def test_a_wrong_file_is_said_before_training(board: TrainingData, options: RunOptions, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no item graph at"):
        fitted(board, options, gcn_neighbours=20, item_adj=tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"gcn_layers": 2}, "gcn_… options need use_gcn"),
        ({"gcn_window": 2, "use_gcn": False}, "gcn_… options need use_gcn"),
        ({"item_adj": "graph.npz"}, "item_adj needs use_gcn"),
        ({"item_adj": "graph.npz", "use_gcn": True, "gcn_window": 2}, "taken as it is"),
        ({"item_adj": "graph.npz", "use_gcn": True, "gcn_neighbours": 2}, "taken as it is"),
        ({"use_gcn": True, "gcn_layers": 0}, "gcn_layers"),
        ({"use_gcn": True, "gcn_neighbours": 0}, "gcn_neighbours"),
        ({"use_gcn": True, "gcn_window": 0}, "gcn_window"),
    ],
)
def test_contradictions(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        TwoTower(wrong)


def test_the_command_has_flags_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def catch(workspace: Any, model: str, settings: dict[str, Any], **rest: Any) -> dict[str, Any]:
        asked.update(settings)
        raise ConfigError("seen enough")

    monkeypatch.setattr(train_recall, "train_channel", catch)
    with pytest.raises(ConfigError, match="seen enough"):
        train_recall.main(["--model", "two_tower", "--use_gcn", "--item_adj", str(tmp_path / "ring.parquet")])
    config = TwoTower(asked).config
    assert (config.use_gcn, config.item_adj) == (True, tmp_path / "ring.parquet")
