"""The GRU4Rec channel: against the equations of a GRU, causal, and trained on the checkerboard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from recall.gru4rec import GRU4Rec, GRU4RecConfig
from recall.neural.encoders.gru import GRUEncoder
from recall.neural.network import NeuralNetwork
from recall.neural.user_codes import UserCodes
from reccore import ConfigError, QueryBatch, RunOptions, TrainingData
from tests.helpers import nested, training_data
from tests.recall.neural.test_windows import random_events
from tests.recall.neural.tiny import TINY, last_events

SMALL: dict[str, Any] = {
    "embedding_size": 8,
    "item__hidden_size": 12,
    "encoder__hidden_size": 6,
    "encoder__history_length": 5,
    "encoder__history_dropout": 0.0,
    "encoder__dropout": 0.0,
}
GRU: dict[str, Any] = {**TINY, "encoder__kind": "gru"}


def network_of(data: TrainingData, **changes: Any) -> NeuralNetwork:
    torch.manual_seed(0)
    config = GRU4RecConfig.parse(nested(SMALL, changes))
    codes = UserCodes.fit(data, query_time=False)
    network = NeuralNetwork(config, GRUEncoder, data.items, codes)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4)
    return network.double().eval()


def vectors_at(network: NeuralNetwork, inputs: Any) -> np.ndarray:
    with torch.no_grad():
        return network.queries(inputs).numpy()


def gru_by_hand(gru: nn.GRU, x: np.ndarray) -> np.ndarray:
    """(L, D) → (L, H): r, z, n = σ(..), σ(..), tanh(W x + b + r ⊙ (U h + c)); h' = (1 − z) ⊙ n + z ⊙ h."""
    of_x, of_h, bias_x, bias_h = (p.detach().numpy() for p in gru.parameters())
    size = of_h.shape[1]
    h, states = np.zeros(size), []
    for row in x:
        a, b = of_x @ row + bias_x, of_h @ h + bias_h
        r, z = (1 / (1 + np.exp(-(a + b)[part * size : (part + 1) * size])) for part in (0, 1))
        h = (1 - z) * np.tanh(a[2 * size :] + r * b[2 * size :]) + z * h
        states.append(h)
    return np.array(states)


@pytest.mark.parametrize("layers", [1, 2])
def test_its_states_are_those_of_the_equations(layers: int) -> None:
    network = network_of(training_data(random_events([5])), encoder__layers=layers)
    encoder = network.query_encoder
    assert isinstance(encoder, GRUEncoder)
    x = torch.randn(2, 4, 8, dtype=torch.float64)
    with torch.no_grad():
        found = encoder._read(x, None, None).numpy()
    for row in range(2):
        states = x[row].numpy()
        for layer in encoder.layers:
            states = gru_by_hand(layer, states)
        out = encoder.out.weight.detach().numpy(), encoder.out.bias.detach().numpy()
        np.testing.assert_allclose(found[row], x[row].numpy() + states @ out[0].T + out[1], atol=1e-12)


def test_no_position_reads_a_later_event_or_padding() -> None:
    data = training_data(random_events([5, 5]))
    network = network_of(data, encoder__layers=2)
    inputs, _ = network.query_encoder.examples(data.interactions, 16).batch(np.array([[0, 0, 5], [1, 0, 3]]))
    before = vectors_at(network, inputs)
    inputs.history[0, 3] = (inputs.history[0, 3] + 1) % 40  # an event late in window 0
    inputs.ratings[1, 2:] = 1  # padding of window 1
    inputs.gaps[1, 2:] = 1
    same = np.isclose(before, vectors_at(network, inputs), atol=1e-12).all(axis=1)
    assert same.tolist() == [True, True, True, True, False, True, True, True]


def test_a_history_is_read_alike_alone_and_beside_longer_ones() -> None:
    network = network_of(training_data(random_events([4])))
    histories = [[], [3], [1, 2, 3, 4]]
    together = vectors_at(network, network.query_encoder.inputs(QueryBatch.from_histories(histories)))
    for row, history in enumerate(histories):
        alone = vectors_at(network, network.query_encoder.inputs(QueryBatch.from_histories([history])))
        np.testing.assert_allclose(alone[0], together[row], atol=1e-12)


def test_dropout_is_for_training_only_and_follows_the_generator() -> None:
    data = training_data(random_events([5, 5]))
    network = network_of(data, encoder__dropout=0.5, encoder__layers=2, item__id_dropout=0.0)
    inputs = network.query_encoder.inputs(data.interactions.queries())
    before = vectors_at(network, inputs)
    network.train()
    drawn = [network(inputs, torch.arange(3), torch.Generator().manual_seed(seed))[0] for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])
    assert not np.allclose(drawn[0].detach().numpy(), before)
    network.eval()
    np.testing.assert_array_equal(vectors_at(network, inputs), before)


def test_it_trains_and_finds_the_colour(board: TrainingData, options: RunOptions) -> None:
    data, valid = last_events(board)
    channel = GRU4Rec(nested(GRU, epochs=12)).fit(data, valid=valid, options=options)
    assert channel.log.loss[-1] < channel.log.loss[0] - 0.2
    assert len(channel.log.validation) > 0
    users = board.interactions.queries()
    found = channel.retrieve(users, 3)
    assert (found.item_idx % 2 == (users.user_idx % 2)[:, None]).mean() > 0.9


def test_it_reads_the_order_of_the_history(board: TrainingData, options: RunOptions) -> None:
    channel = GRU4Rec(nested(GRU)).fit(board, options=options)
    users = board.interactions.queries()
    events = users.history_idx.reshape(60, 8)
    turned = events[:, [0, 1, 2, 3, 5, 4, 6, 7]].ravel()  # among the latest four, and not the last
    one = channel.encode_queries(users)
    other = channel.encode_queries(replace(users, history_idx=turned))
    assert np.abs(one - other).max() > 1e-4


def test_it_knows_its_own_options_alone() -> None:
    assert GRU4Rec(nested(encoder__layers=2)).config.encoder.layers == 2
    with pytest.raises(ConfigError, match=r"encoder\.blocks: no such option"):
        GRU4Rec(nested(encoder__blocks=2))
    with pytest.raises(ConfigError, match=r"encoder\.kind"):
        GRU4Rec(nested(encoder__kind="mlp"))
