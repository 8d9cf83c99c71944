"""The SASRec channel with each option of its transformer: causal, blind to padding, trained as it is queried."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from recall.sasrec import SASRec
from recall.two_tower import TwoTower
from reccore import ConfigError, DataError, QueryBatch, RunOptions, TrainingData
from tests.helpers import nested, training_data
from tests.recall.neural.test_transformer import network_of, vectors_at, windows_of
from tests.recall.neural.test_windows import random_events
from tests.recall.neural.tiny import TINY, last_events

OPTIONS: dict[str, dict[str, Any]] = {
    "ligr": {"encoder__block": "ligr"},
    "position bias": {"encoder__position_bias": True},
    "bias alone": {"encoder__position_bias": True, "encoder__positions": False},
    "time bias": {"encoder__time_bias": True},
    "both biases": {"encoder__position_bias": True, "encoder__time_bias": True},
    "no positions": {"encoder__positions": False},
}


@pytest.fixture(params=OPTIONS)
def changes(request: pytest.FixtureRequest) -> dict[str, Any]:
    return OPTIONS[request.param]


def test_no_position_reads_a_later_event_or_padding(changes: dict[str, Any]) -> None:
    data = training_data(random_events([5, 5]))
    network = network_of(data, **changes)
    inputs, _ = windows_of(network, data.interactions).batch(np.array([[0, 0, 5], [1, 0, 3]]))
    before = vectors_at(network, inputs)
    inputs.history[0, 3] = (inputs.history[0, 3] + 1) % 40  # an event late in window 0
    inputs.ratings[1, 2:] = 1  # padding of window 1
    inputs.gaps[1, 2:] = 1
    if inputs.event_times is not None:
        inputs.event_times[0, 3] += 10**7
        inputs.event_times[1, 2:] = 10**9
    same = np.isclose(before, vectors_at(network, inputs), atol=1e-12).all(axis=1)
    assert same.tolist() == [True, True, True, True, False, True, True, True]


def test_a_window_trains_exactly_the_queries_that_are_asked(changes: dict[str, Any]) -> None:
    data = training_data(random_events([5, 1, 4, 0, 3]))
    network = network_of(data, **changes)
    windows = np.array([[0, 0, 5], [1, 0, 1], [2, 0, 4], [4, 0, 3]])
    inputs, _ = windows_of(network, data.interactions).batch(windows)
    users = np.repeat(windows[:, 0], windows[:, 2])
    stops = np.concatenate([np.arange(n) for n in windows[:, 2]])
    asked = network.query_encoder.inputs(data.interactions.queries(users, stops))
    np.testing.assert_allclose(vectors_at(network, inputs), vectors_at(network, asked), atol=1e-12)


def test_a_history_is_read_alike_alone_and_beside_longer_ones(changes: dict[str, Any]) -> None:
    network = network_of(training_data(random_events([4])), **changes)
    histories = [[], [3], [1, 2, 3, 4, 5, 6]]
    together = vectors_at(network, network.query_encoder.inputs(QueryBatch.from_histories(histories)))
    for row, history in enumerate(histories):
        alone = vectors_at(network, network.query_encoder.inputs(QueryBatch.from_histories([history])))
        np.testing.assert_allclose(alone[0], together[row], atol=1e-12)


def test_every_part_learns_and_every_option_is_another_model(changes: dict[str, Any]) -> None:
    data = training_data(random_events([9, 7]))
    network = network_of(data, encoder__history_dropout=0.3, **changes).train()
    examples = windows_of(network, data.interactions)
    inputs, targets = examples.batch(np.concatenate(examples.batches(np.random.default_rng(0))))
    queries, items = network(inputs, targets, torch.Generator().manual_seed(0))
    (queries * items).sum().backward()
    assert not {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    assert network.state_dict().keys() != network_of(data).state_dict().keys()


def test_the_time_of_an_event_reaches_the_queries_that_have_read_it() -> None:
    data = training_data(random_events([5]))
    network = network_of(data, encoder__time_bias=True)
    for event, reads in ((4, []), (3, [4]), (1, [2, 3, 4])):
        inputs, _ = windows_of(network, data.interactions).batch(np.array([[0, 0, 5]]))
        before = vectors_at(network, inputs)
        times = data.interactions.timestamp.copy()
        times[event] = times[event - 1]
        moved, _ = windows_of(network, replace(data.interactions, timestamp=times)).batch(np.array([[0, 0, 5]]))
        changed = np.abs(vectors_at(network, replace(inputs, event_times=moved.event_times)) - before).max(axis=1)
        assert np.flatnonzero(changed > 1e-9).tolist() == reads


def test_histories_without_times_are_read_with_typical_gaps() -> None:
    network = network_of(training_data(random_events([4])), encoder__time_bias=True)
    plain = QueryBatch.from_histories([[1, 2, 3, 4, 5, 6, 7], [], [3, 4]])
    timed = replace(plain, history_time=10**9 + 7 * np.array([0, 1, 2, 3, 4, 5, 6, 0, 1]))
    one, other = (vectors_at(network, network.query_encoder.inputs(queries)) for queries in (plain, timed))
    np.testing.assert_allclose(one, other, atol=1e-12)
    apart = replace(plain, history_time=10**9 + 10**6 * np.array([0, 1, 2, 3, 4, 5, 6, 0, 1]))
    inputs = network.query_encoder.inputs(timed)
    moved = replace(inputs, event_times=network.query_encoder.inputs(apart).event_times)
    difference = np.abs(vectors_at(network, moved) - vectors_at(network, inputs)).max(axis=1)
    assert (difference > 1e-6).tolist() == [True, False, True]


def test_a_time_bias_needs_times(board: TrainingData, options: RunOptions) -> None:
    untimed = replace(board, interactions=replace(board.interactions, timestamp=None))
    with pytest.raises(DataError, match="time_bias needs timestamps"):
        SASRec(nested(TINY, encoder__kind="transformer", encoder__time_bias=True)).fit(untimed, options=options)


def test_it_is_the_two_tower_with_a_transformer(board: TrainingData, options: RunOptions) -> None:
    data, valid = last_events(board)
    config = nested(TINY, encoder__kind="transformer", encoder__block="ligr", encoder__position_bias=True)
    one, other = (cls(config).fit(data, valid=valid, options=options) for cls in (SASRec, TwoTower))
    assert one.log.loss == pytest.approx(other.log.loss, rel=1e-5)
    assert one.network.state_dict().keys() == other.network.state_dict().keys()


def test_it_knows_its_own_options_alone() -> None:
    assert SASRec(nested(encoder__block="ligr")).config.encoder.block == "ligr"
    with pytest.raises(ConfigError, match=r"encoder\.block"):
        SASRec(nested(encoder__block="postnorm"))
    with pytest.raises(ConfigError, match=r"encoder\.layers: no such option"):
        SASRec(nested(encoder__layers=2))
