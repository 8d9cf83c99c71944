"""The transformer encoder: against PyTorch's own layer, causal, and the same in training and serving."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from recall.neural.encoders.blocks import PreNormBlock
from recall.neural.encoders.sequence import shared_dropout
from recall.neural.encoders.transformer import TransformerEncoder
from recall.neural.encoders.windows import WindowExamples, WindowInputs
from recall.neural.network import NeuralNetwork
from recall.neural.query_time import QueryTime
from recall.neural.user_codes import UserCodes
from recall.two_tower import TwoTowerConfig
from reccore import Interactions, QueryBatch, TrainingData
from tests.helpers import nested, training_data
from tests.recall.neural.test_windows import random_events

SMALL: dict[str, Any] = {
    "embedding_size": 8,
    "item__hidden_size": 12,
    "item__id_dropout": 0.0,
    "encoder__kind": "transformer",
    "encoder__hidden_size": 12,
    "encoder__history_length": 5,
    "encoder__history_dropout": 0.0,
    "encoder__dropout": 0.0,
}


def network_of(data: TrainingData, **changes: Any) -> NeuralNetwork:
    torch.manual_seed(0)
    query_time = QueryTime.of(data.interactions) if changes.get("encoder__query_time") else None
    boundaries = np.linspace(1, 5, 9, dtype=np.float32)
    codes = UserCodes(boundaries, data.users, longest=9, typical_rating=3.0, typical_gap=7, query_time=query_time)
    config = TwoTowerConfig.parse(nested(SMALL, changes))
    network = NeuralNetwork(config, TransformerEncoder, data.items, codes)
    for parameter in network.parameters():  # as if trained: no part stays silent
        nn.init.normal_(parameter, std=0.3)
    return network.double().eval()


def windows_of(network: NeuralNetwork, events: Interactions) -> WindowExamples:
    return network.query_encoder.examples(events, 16)


def vectors_at(network: NeuralNetwork, inputs: WindowInputs) -> np.ndarray:
    with torch.no_grad():
        return network.queries(inputs).numpy()


# The encoder ---------------------------------------------------------------------------------------------


def test_a_block_is_the_pre_norm_layer_of_pytorch() -> None:
    torch.manual_seed(0)
    block = PreNormBlock(8, 12, heads=2, dropout=0.0, depth=2).double().eval()
    reference = nn.TransformerEncoderLayer(8, 2, 12, 0.0, "gelu", batch_first=True, norm_first=True).double().eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    pairs = {
        "attention_norm": "norm1", "hidden_norm": "norm2", "qkv": "self_attn.in_proj", "mix": "self_attn.out_proj",
        "hidden": "linear1", "out": "linear2",
    }  # fmt: skip
    state = {}
    for ours, theirs in pairs.items():
        for kind in ("weight", "bias"):
            name = f"{theirs}_{kind}" if theirs.endswith("in_proj") else f"{theirs}.{kind}"
            state[name] = block.state_dict()[f"{ours}.{kind}"]
    reference.load_state_dict(state)
    x = torch.randn(3, 7, 8, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(7, dtype=torch.float64)
    torch.testing.assert_close(block(x, None, None), reference(x, src_mask=mask, is_causal=True))


def test_no_position_reads_a_later_event_or_padding() -> None:
    data = training_data(random_events([5, 5]))
    network = network_of(data)
    examples = windows_of(network, data.interactions)
    inputs, targets = examples.batch(np.array([[0, 0, 5], [1, 0, 3]]))
    assert targets.tolist() == [*data.interactions.history(0), *data.interactions.history(1)[:3]]
    before = vectors_at(network, inputs)
    inputs.history[0, 3] = (inputs.history[0, 3] + 1) % 40  # an event late in window 0
    inputs.ratings[1, 2:] = 1  # padding of window 1
    inputs.gaps[1, 2:] = 1
    after = vectors_at(network, inputs)
    same = np.isclose(before, after, atol=1e-12).all(axis=1)
    assert same.tolist() == [True, True, True, True, False, True, True, True]


def test_a_window_trains_exactly_the_queries_that_are_asked() -> None:
    data = training_data(random_events([5, 1, 4, 0, 3]))
    network = network_of(data)
    events = data.interactions
    examples = windows_of(network, events)
    windows = np.array([[0, 0, 5], [1, 0, 1], [2, 0, 4], [4, 0, 3]])
    inputs, targets = examples.batch(windows)
    users = np.repeat(windows[:, 0], windows[:, 2])
    stops = np.concatenate([np.arange(n) for n in windows[:, 2]])
    asked = network.query_encoder.inputs(events.queries(users, stops))
    np.testing.assert_allclose(vectors_at(network, inputs), vectors_at(network, asked), atol=1e-12)
    np.testing.assert_array_equal(targets, events.item_idx[events.user_offsets[users] + stops])
    window = inputs.query_positions // (inputs.history.shape[1] + 1)
    np.testing.assert_array_equal(window, np.repeat(np.arange(4), windows[:, 2]))


def test_in_a_window_each_query_is_asked_when_its_target_happened() -> None:
    data = training_data(random_events([5, 1, 4, 0, 9]))
    network = network_of(data, encoder__query_time=True)
    events = data.interactions
    examples = windows_of(network, events)
    # Whole histories, and a window that begins at the sixth event of a user: it reads one event before.
    inputs, targets = examples.batch(np.array([[0, 0, 5], [1, 0, 1], [2, 0, 4], [4, 5, 6]]))
    users, stops = np.repeat([0, 1, 2, 4], [5, 1, 4, 1]), np.array([*range(5), 0, *range(4), 5])
    target = events.user_offsets[users] + stops
    np.testing.assert_array_equal(targets, events.item_idx[target])
    queries = replace(events.queries(users, stops), as_of=events.timestamp[target])
    asked = network.query_encoder.inputs(queries)
    np.testing.assert_array_equal(inputs.times, asked.times)
    whole = stops < 5
    found, expected = vectors_at(network, inputs), vectors_at(network, asked)
    np.testing.assert_allclose(found[whole], expected[whole], atol=1e-12)
    untold = vectors_at(network, network.query_encoder.inputs(events.queries(users, stops)))
    assert np.abs(untold - expected).max(axis=1)[stops > 0].min() > 1e-3  # as of the latest event: another query


def test_the_time_of_a_target_reaches_its_own_query_alone() -> None:
    data = training_data(random_events([5, 5]))
    network = network_of(data, encoder__query_time=True)
    events = data.interactions
    windows = np.array([[0, 0, 5], [1, 0, 5]])
    before, _ = windows_of(network, events).batch(windows)
    for row in range(10):  # the codes of one query
        inputs = replace(before, times=before.times.clone())
        inputs.times[row] = torch.tensor([33 - inputs.times[row, 0], 31 - inputs.times[row, 1]])
        moved = np.abs(vectors_at(network, inputs) - vectors_at(network, before)).max(axis=1)
        assert np.flatnonzero(moved > 0).tolist() == [row]
    # The time of the last event of user 0 itself: it is read by nobody, and predicted by the fifth query.
    later = events.timestamp.copy()
    later[4] += 10**7
    moved_events = replace(events, timestamp=later)
    inputs, _ = windows_of(network, moved_events).batch(windows)
    moved = np.abs(vectors_at(network, inputs) - vectors_at(network, before)).max(axis=1)
    assert np.flatnonzero(moved > 0).tolist() == [4]
    # That of an event within: its own query, and those that have read it.
    later = events.timestamp.copy()
    later[2] = (later[1] + 3 * later[2]) // 4
    inputs, _ = windows_of(network, replace(events, timestamp=later)).batch(windows)
    moved = np.abs(vectors_at(network, inputs) - vectors_at(network, before)).max(axis=1)
    assert set(np.flatnonzero(moved > 0)) <= {2, 3, 4}


def test_a_training_step_encodes_history_and_samples_as_they_are_encoded_apart() -> None:
    data = training_data(random_events([5, 3]))
    network = network_of(data)
    inputs, targets = windows_of(network, data.interactions).batch(np.array([[0, 0, 5], [1, 0, 3]]))
    queries, items = network(inputs, targets, torch.Generator())
    torch.testing.assert_close(queries, network.queries(inputs))
    torch.testing.assert_close(items, network.items(targets))


def test_long_histories_are_read_from_their_end() -> None:
    data = training_data(random_events([9]))
    network = network_of(data)
    queries = data.interactions.queries()
    inputs = network.query_encoder.inputs(queries)
    np.testing.assert_array_equal(inputs.history[0], data.interactions.history(0)[-5:])
    assert inputs.continued.tolist() == [1]
    cut = windows_of(network, data.interactions)
    _, targets = cut.batch(np.array([[0, 5, 9]]))
    assert targets.tolist() == data.interactions.history(0)[5:].tolist()
    trained, _ = cut.batch(np.array([[0, 5, 9]]))
    assert trained.history[0].tolist() == data.interactions.history(0)[4:8].tolist()
    assert trained.query_positions.tolist() == [1, 2, 3, 4]
    assert trained.continued.tolist() == [1]


@pytest.mark.parametrize("part", ["order", "rating", "time", "fact", "continued", "gap asked", "moment asked"])
def test_everything_it_is_said_to_read_matters(part: str) -> None:
    data = training_data(random_events([4, 4, 4, 4]))
    network = network_of(data, encoder__query_time=True)
    inputs = network.query_encoder.inputs(data.interactions.queries())
    before = vectors_at(network, inputs)
    if part.endswith("asked"):
        column = ("gap asked", "moment asked").index(part)
        inputs.times[:, column] = network.query_encoder.codes.time_sizes[column] - 1 - inputs.times[:, column]
    elif part == "order":
        inputs.history[:] = inputs.history[:, [1, 0, 2, 3]]
    elif part == "rating":
        inputs.ratings[:, 1] = 11 - inputs.ratings[:, 1]
    elif part == "time":
        inputs.gaps[:, 1] = 31 - inputs.gaps[:, 1]
    elif part == "fact":
        inputs.facts[:] = 3 - inputs.facts
    else:
        inputs.continued[:] = 1
    assert np.abs(vectors_at(network, inputs) - before).max(axis=1).min() > 1e-4


def test_events_without_ratings_or_times_and_empty_histories() -> None:
    queries = QueryBatch.from_histories([[], [3], [1, 2, 3]])
    data = training_data(random_events([4]))
    network = network_of(data)
    vectors = vectors_at(network, network.query_encoder.inputs(queries))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0)
    for row, history in enumerate([[], [3], [1, 2, 3]]):
        alone = vectors_at(network, network.query_encoder.inputs(QueryBatch.from_histories([history])))
        np.testing.assert_allclose(alone[0], vectors[row], atol=1e-12)


def test_dropout_draws_one_mask_for_all_positions() -> None:
    x = torch.ones(4, 6, 8)
    dropped = shared_dropout(x, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert shared_dropout(x, 0.0, None) is x


@pytest.mark.parametrize("option", ["encoder__dropout", "encoder__history_dropout"])
def test_dropout_is_for_training_only(option: str) -> None:
    data = training_data(random_events([5, 5]))
    network = network_of(data, **{option: 0.9})
    inputs = network.query_encoder.inputs(data.interactions.queries())
    before = vectors_at(network, inputs)
    network.train()
    generator = torch.Generator().manual_seed(0)
    in_training, _ = network(inputs, torch.arange(3), generator)
    assert not np.allclose(in_training.detach().numpy(), before)
    network.eval()
    np.testing.assert_array_equal(vectors_at(network, inputs), before)


def test_every_part_learns() -> None:
    data = training_data(random_events([9, 7]))
    network = network_of(data, encoder__history_dropout=0.3, encoder__query_time=True)
    network.train()
    examples = windows_of(network, data.interactions)
    inputs, targets = examples.batch(np.concatenate(examples.batches(np.random.default_rng(0))))
    queries, items = network(inputs, targets, torch.Generator().manual_seed(0))
    (queries * items).sum().backward()
    silent = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    assert silent == set()
