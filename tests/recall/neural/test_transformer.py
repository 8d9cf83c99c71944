"""The transformer user tower: against PyTorch's own layer, causal, and the same in training and serving."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.features import ItemInputs, UserEncoder
from recall.two_tower.network import TwoTowerNetwork
from recall.two_tower.query_time import QueryTime
from recall.two_tower.transformer import Block, SequenceInputs
from recall.two_tower.windows import WindowExamples, gap_codes, rating_codes, sequence_inputs
from torch import Tensor, nn

from reccore import Interactions, QueryBatch, TrainingData
from reccore.arrays import offsets_from_lengths
from tests.helpers import training_data

SMALL: dict[str, Any] = {
    "user_encoder": "transformer",
    "embedding_size": 8,
    "hidden_size": 12,
    "history_length": 5,
    "batch_size": 16,
    "history_dropout": 0.0,
    "id_dropout": 0.0,
    "dropout": 0.0,
}


def config_of(**changes: Any) -> TwoTowerConfig:
    return TwoTowerConfig(**{**SMALL, **changes})


def random_events(lengths: list[int], n_items: int = 40, seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    return Interactions(
        user_offsets=offsets_from_lengths(np.array(lengths)),
        item_idx=rng.integers(0, n_items, n),
        n_items=n_items,
        rating=rng.integers(1, 11, n).astype(np.float32) / 2,
        timestamp=np.sort(rng.integers(0, 10**8, n)),
    )


def network_of(data: TrainingData, **changes: Any) -> tuple[TwoTowerNetwork, UserEncoder]:
    torch.manual_seed(0)
    query_time = QueryTime.of(data.interactions) if changes.get("query_time") else None
    encoder = UserEncoder(np.linspace(1, 5, 9, dtype=np.float32), data.users, has_times=True, query_time=query_time)
    network = TwoTowerNetwork(ItemInputs.of(data.items), encoder, config_of(**changes))
    for parameter in network.parameters():  # as if trained: no part stays silent
        nn.init.normal_(parameter, std=0.3)
    return network.double().eval(), encoder


def vectors_at(network: TwoTowerNetwork, inputs: SequenceInputs) -> np.ndarray:
    with torch.no_grad():
        return network.queries(inputs).numpy()


# Codes ---------------------------------------------------------------------------------------------------


def test_rating_codes_by_hand() -> None:
    ratings = np.array([np.nan, 0.5, 1.0, 3.0, 3.5, 5.0, 99.0], dtype=np.float32)
    assert rating_codes(ratings).tolist() == [0, 2, 3, 7, 8, 11, 11]


def test_gap_codes_by_hand() -> None:
    time = np.array([100, 100, 101, 104, 50, 50 + 2**20, 7])
    assert gap_codes(time, np.array([0, 4, 4, 6, 7])).tolist() == [0, 1, 2, 3, 0, 21, 0]
    assert gap_codes(np.empty(0, dtype=np.int64), np.array([0, 0])).tolist() == []


# The tower -----------------------------------------------------------------------------------------------


def test_a_block_is_the_pre_norm_layer_of_pytorch() -> None:
    torch.manual_seed(0)
    block = Block(config_of(heads=2)).double().eval()
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
    torch.testing.assert_close(block(x, None), reference(x, src_mask=mask, is_causal=True))


def test_no_position_reads_a_later_event_or_padding() -> None:
    data = training_data(random_events([5, 5]))
    network, encoder = network_of(data)
    examples = WindowExamples(data.interactions, encoder, config_of())
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
    network, encoder = network_of(data)
    events = data.interactions
    examples = WindowExamples(events, encoder, config_of())
    windows = np.array([[0, 0, 5], [1, 0, 1], [2, 0, 4], [4, 0, 3]])
    inputs, targets = examples.batch(windows)
    users = np.repeat(windows[:, 0], windows[:, 2])
    stops = np.concatenate([np.arange(n) for n in windows[:, 2]])
    asked = sequence_inputs(events.queries(users, stops), encoder, 5)
    np.testing.assert_allclose(vectors_at(network, inputs), vectors_at(network, asked), atol=1e-12)
    np.testing.assert_array_equal(targets, events.item_idx[events.user_offsets[users] + stops])
    np.testing.assert_array_equal(inputs.owner, np.repeat(np.arange(4), windows[:, 2]))


def test_in_a_window_each_query_is_asked_when_its_target_happened() -> None:
    data = training_data(random_events([5, 1, 4, 0, 9]))
    network, encoder = network_of(data, query_time=True)
    events = data.interactions
    examples = WindowExamples(events, encoder, config_of())
    # Whole histories, and a window that begins at the sixth event of a user: it reads one event before.
    inputs, targets = examples.batch(np.array([[0, 0, 5], [1, 0, 1], [2, 0, 4], [4, 5, 6]]))
    users, stops = np.repeat([0, 1, 2, 4], [5, 1, 4, 1]), np.array([*range(5), 0, *range(4), 5])
    target = events.user_offsets[users] + stops
    np.testing.assert_array_equal(targets, events.item_idx[target])
    queries = replace(events.queries(users, stops), as_of=events.timestamp[target])
    asked = sequence_inputs(queries, encoder, 5)
    np.testing.assert_array_equal(inputs.when, asked.when)
    whole = stops < 5
    found, expected = vectors_at(network, inputs), vectors_at(network, asked)
    np.testing.assert_allclose(found[whole], expected[whole], atol=1e-12)
    untold = vectors_at(network, sequence_inputs(events.queries(users, stops), encoder, 5))
    assert np.abs(untold - expected).max(axis=1)[stops > 0].min() > 1e-3  # as of the latest event: another query


def test_the_time_of_a_target_reaches_its_own_query_alone() -> None:
    data = training_data(random_events([5, 5]))
    network, encoder = network_of(data, query_time=True)
    events = data.interactions
    windows = np.array([[0, 0, 5], [1, 0, 5]])
    before, _ = WindowExamples(events, encoder, config_of()).batch(windows)
    for row in range(10):  # the codes of one query
        inputs = replace(before, when=before.when.clone())
        inputs.when[row] = torch.tensor([33 - inputs.when[row, 0], 31 - inputs.when[row, 1]])
        moved = np.abs(vectors_at(network, inputs) - vectors_at(network, before)).max(axis=1)
        assert np.flatnonzero(moved > 0).tolist() == [row]
    # The time of the last event of user 0 itself: it is read by nobody, and predicted by the fifth query.
    later = events.timestamp.copy()
    later[4] += 10**7
    moved_events = replace(events, timestamp=later)
    inputs, _ = WindowExamples(moved_events, encoder, config_of()).batch(windows)
    moved = np.abs(vectors_at(network, inputs) - vectors_at(network, before)).max(axis=1)
    assert np.flatnonzero(moved > 0).tolist() == [4]
    # That of an event within: its own query, and those that have read it.
    later = events.timestamp.copy()
    later[2] = (later[1] + 3 * later[2]) // 4
    inputs, _ = WindowExamples(replace(events, timestamp=later), encoder, config_of()).batch(windows)
    moved = np.abs(vectors_at(network, inputs) - vectors_at(network, before)).max(axis=1)
    assert set(np.flatnonzero(moved > 0)) <= {2, 3, 4}


def test_a_training_step_encodes_history_and_samples_as_they_are_encoded_apart() -> None:
    data = training_data(random_events([5, 3]))
    network, encoder = network_of(data)
    inputs, targets = WindowExamples(data.interactions, encoder, config_of()).batch(np.array([[0, 0, 5], [1, 0, 3]]))
    queries, items = network(inputs, targets, torch.Generator())
    torch.testing.assert_close(queries, network.queries(inputs))
    torch.testing.assert_close(items, network.items(targets))


def test_long_histories_are_read_from_their_end() -> None:
    data = training_data(random_events([9]))
    _, encoder = network_of(data)
    queries = data.interactions.queries()
    inputs = sequence_inputs(queries, encoder, 5)
    np.testing.assert_array_equal(inputs.history[0], data.interactions.history(0)[-5:])
    assert inputs.continued.tolist() == [1]
    cut = WindowExamples(data.interactions, encoder, config_of())
    _, targets = cut.batch(np.array([[0, 5, 9]]))
    assert targets.tolist() == data.interactions.history(0)[5:].tolist()
    trained, _ = cut.batch(np.array([[0, 5, 9]]))
    assert trained.history[0].tolist() == data.interactions.history(0)[4:8].tolist()
    assert trained.asked.tolist() == [1, 2, 3, 4]
    assert trained.continued.tolist() == [1]


@pytest.mark.parametrize("part", ["order", "rating", "time", "fact", "continued", "gap asked", "moment asked"])
def test_everything_it_is_said_to_read_matters(part: str) -> None:
    data = training_data(random_events([4, 4, 4, 4]))
    network, encoder = network_of(data, query_time=True)
    inputs = sequence_inputs(data.interactions.queries(), encoder, 5)
    before = vectors_at(network, inputs)
    if part.endswith("asked"):
        column = ("gap asked", "moment asked").index(part)
        inputs.when[:, column] = encoder.when_sizes[column] - 1 - inputs.when[:, column]
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
    network, encoder = network_of(data)
    vectors = vectors_at(network, sequence_inputs(queries, encoder, 5))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0)
    for row, history in enumerate([[], [3], [1, 2, 3]]):
        alone = vectors_at(network, sequence_inputs(QueryBatch.from_histories([history]), encoder, 5))
        np.testing.assert_allclose(alone[0], vectors[row], atol=1e-12)


def test_dropout_draws_one_mask_for_all_positions() -> None:
    block = Block(config_of(dropout=0.5)).train()
    x = torch.ones(4, 6, 8)
    thinned = block._thinned(x, torch.Generator().manual_seed(0))
    assert torch.equal(thinned, thinned[:, :1].expand_as(thinned))
    assert set(thinned.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(block.eval()._thinned(x, None), x)


@pytest.mark.parametrize("option", ["dropout", "history_dropout"])
def test_dropout_is_for_training_only(option: str) -> None:
    data = training_data(random_events([5, 5]))
    network, encoder = network_of(data, **{option: 0.9})
    inputs = sequence_inputs(data.interactions.queries(), encoder, 5)
    before = vectors_at(network, inputs)
    network.train()
    generator = torch.Generator().manual_seed(0)
    assert not np.allclose(network.queries(inputs, generator).detach().numpy(), before)
    network.eval()
    np.testing.assert_array_equal(vectors_at(network, inputs), before)


# The examples of an epoch --------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch_size", "history_length"), [(7, 5), (64, 5), (3, 50), (1000, 3)])
def test_every_event_is_a_target_once_an_epoch(batch_size: int, history_length: int) -> None:
    lengths = [0, 1, 2, 5, 6, 10, 11, 23, 40, 0, 3]
    events = random_events(lengths, n_items=10_000)
    events = Interactions(events.user_offsets, np.arange(events.n_events), 10_000)
    encoder = UserEncoder(None, training_data(events).users)
    examples = WindowExamples(events, encoder, config_of(batch_size=batch_size, history_length=history_length))
    shuffle = np.random.default_rng(0)
    epochs = []
    for _ in range(3):
        batches = examples.batches(shuffle)
        assert len(batches) == examples.n_batches
        assert min(len(windows) for windows in batches) > 0
        targets = [examples.batch(windows)[1] for windows in batches]
        assert sorted(torch.cat(targets).tolist()) == list(range(len(examples)))
        epochs.append(np.concatenate(batches).tolist())
    assert epochs[0] != epochs[1]


def test_batches_are_even_and_hold_windows_of_like_length() -> None:
    rng = np.random.default_rng(0)
    events = random_events(rng.integers(1, 60, 400).tolist())
    encoder = UserEncoder(None, training_data(events).users)
    examples = WindowExamples(events, encoder, config_of(batch_size=256, history_length=30))
    sizes, padding = [], []
    for windows in examples.batches(rng):
        inputs, targets = examples.batch(windows)
        sizes.append(len(targets))
        padding.append(float((inputs.history < 0).float().mean()))
    assert max(sizes) <= 256 + 2 * 30
    assert min(sizes) >= 256 - 3 * 30
    assert np.mean(padding) < 0.15  # random batches of these windows are about half padding


def test_masks_and_windows_follow_the_seed() -> None:
    data = training_data(random_events([30, 40]))
    _, encoder = network_of(data)
    examples = WindowExamples(data.interactions, encoder, config_of())
    one, other = (np.concatenate(examples.batches(np.random.default_rng(3))) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def gradient_norms(network: TwoTowerNetwork) -> dict[str, Tensor]:
    return {name: p.grad.norm() for name, p in network.named_parameters() if p.grad is not None}


def test_every_part_learns() -> None:
    data = training_data(random_events([9, 7]))
    network, encoder = network_of(data, history_dropout=0.3, query_time=True)
    network.train()
    examples = WindowExamples(data.interactions, encoder, config_of())
    inputs, targets = examples.batch(np.concatenate(examples.batches(np.random.default_rng(0))))
    queries, items = network(inputs, targets, torch.Generator().manual_seed(0))
    (queries * items).sum().backward()
    silent = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    assert silent == set()
