"""The MIND channel: its routing against the formulas in NumPy, the number of interests, and training with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from evaluation.metrics import per_query_metrics
from recall.mind import MIND, MINDConfig
from recall.neural.encoders.mind import MINDEncoder
from recall.neural.network import NeuralNetwork
from recall.neural.objective import closest_interest
from recall.neural.user_codes import UserCodes
from reccore import QueryBatch, RunOptions, TrainingData
from tests.helpers import nested, training_data
from tests.recall.neural.test_windows import random_events
from tests.recall.neural.tiny import TINY, last_events

SMALL: dict[str, Any] = {
    "embedding_size": 8,
    "item__hidden_size": 12,
    "item__id_dropout": 0.0,
    "encoder__hidden_size": 6,
    "encoder__history_length": 9,
    "encoder__history_dropout": 0.0,
    "encoder__interests": 3,
}
BOARD: dict[str, Any] = {**TINY, "encoder__kind": "mind", "encoder__history_length": 8, "encoder__interests": 3}


def network_of(data: TrainingData, **changes: Any) -> NeuralNetwork:
    torch.manual_seed(0)
    config = MINDConfig.parse(nested(SMALL, changes))
    network = NeuralNetwork(config, MINDEncoder, data.items, UserCodes.fit(data, query_time=False))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.7)
    return network.double().eval()


def vectors_at(network: NeuralNetwork, queries: QueryBatch) -> np.ndarray:
    with torch.no_grad():
        return network.queries(network.query_encoder.inputs(queries)).numpy()


def squash_by_hand(z: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(z)
    return np.zeros_like(z) if length == 0 else length**2 / (1 + length**2) * z / length


def routed_by_hand(events: np.ndarray, logits: np.ndarray, iterations: int) -> np.ndarray:
    """Algorithm 1 of the paper for mapped events (n, D) and first logits (K, n)."""
    b = logits.copy()
    for _ in range(iterations):
        w = np.exp(b) / np.exp(b).sum(axis=0)  # of each event, over the interests
        interests = np.array(
            [squash_by_hand(sum(w[k, i] * events[i] for i in range(len(events)))) for k in range(len(b))]
        )
        b = b + interests @ events.T
    return interests


@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_interests_are_those_of_the_paper_s_algorithm(iterations: int) -> None:
    data = training_data(random_events([9, 4, 9]))
    network = network_of(data, encoder__iterations=iterations)
    encoder = network.query_encoder
    events = torch.randn(3, 9, 8, dtype=torch.float64)
    events[1, 4:] = 0.0  # padding
    present = encoder._present(torch.tensor([9, 4, 9]))
    found = encoder._route(events, present).numpy()
    logits = encoder.logits.numpy()
    for row, (n, interests) in enumerate([(9, 3), (4, 2), (9, 3)]):
        expected = routed_by_hand(events[row, :n].numpy(), logits[:interests, :n], iterations)
        np.testing.assert_allclose(found[row, :interests], expected, atol=1e-9)
        assert not found[row, interests:].any()


@pytest.mark.parametrize("half_life", [None, 2.0])
def test_a_vector_is_the_mlp_of_an_interest_and_the_user_s_codes(half_life: float | None) -> None:
    data = training_data(random_events([9]))
    network = network_of(data, encoder__half_life=half_life)
    encoder = network.query_encoder
    queries = data.interactions.queries()
    inputs = encoder.inputs(queries)
    items = network.items(inputs.history[0]).detach()
    age = torch.arange(8, -1, -1, dtype=torch.float64)[:, None]
    weight = 1.0 if half_life is None else 0.5 ** (age / half_life)
    x = encoder._route(weight * encoder.map(items)[None], torch.ones(1, 3, dtype=torch.bool))[0]
    x = x + sum(table.weight[code] for table, code in zip(encoder.code_tables, inputs.codes[0], strict=True))
    x = x + F.linear(
        F.gelu(F.linear(x, encoder.hidden.weight, encoder.hidden.bias)), encoder.out.weight, encoder.out.bias
    )
    expected = (x / x.norm(dim=1, keepdim=True)).detach().numpy()
    np.testing.assert_allclose(vectors_at(network, queries)[0], expected, atol=1e-9)


def test_a_history_of_n_events_gets_at_most_log2_n_interests() -> None:
    network = network_of(training_data(random_events([9])))
    lengths = [0, 1, 2, 3, 4, 7, 8, 9]
    vectors = vectors_at(network, QueryBatch.from_histories([list(range(n)) for n in lengths]))
    assert vectors.any(axis=2).sum(axis=1).tolist() == [1, 1, 1, 1, 2, 2, 3, 3]
    norms = np.linalg.norm(vectors, axis=2)
    np.testing.assert_allclose(norms[norms > 0], 1.0)


def test_a_history_is_read_alike_alone_and_beside_longer_ones() -> None:
    network = network_of(training_data(random_events([4])))
    histories = [[], [3], [1, 2, 3, 4, 5], list(range(9))]
    together = vectors_at(network, QueryBatch.from_histories(histories))
    for row, history in enumerate(histories):
        alone = vectors_at(network, QueryBatch.from_histories([history]))
        np.testing.assert_allclose(alone[0], together[row], atol=1e-12)


def test_an_example_reads_what_its_query_reads() -> None:
    data = training_data(random_events([7, 3]))
    network = network_of(data)
    inputs, targets = network.query_encoder.examples(data.interactions, 16).batch(np.arange(10))
    users, stops = np.repeat([0, 1], [7, 3]), np.array([*range(7), *range(3)])
    np.testing.assert_array_equal(targets, data.interactions.item_idx)
    with torch.no_grad():
        trained = network.queries(inputs).numpy()
    np.testing.assert_allclose(trained, vectors_at(network, data.interactions.queries(users, stops)), atol=1e-12)


def test_every_part_learns() -> None:
    data = training_data(random_events([9, 7]))
    network = network_of(data).train()
    inputs, targets = network.query_encoder.examples(data.interactions, 16).batch(np.arange(16))
    queries, items = network(inputs, targets, torch.Generator().manual_seed(0))
    (closest_interest(queries, items.detach()) * items).sum().backward()
    silent = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    assert silent == set()


def test_history_dropout_is_for_training_only() -> None:
    data = training_data(random_events([9, 7]))
    network = network_of(data, encoder__history_dropout=0.5)
    queries = data.interactions.queries()
    before = vectors_at(network, queries)
    network.train()
    dropped, _ = network(network.query_encoder.inputs(queries), torch.arange(3), torch.Generator().manual_seed(0))
    assert not np.allclose(dropped.detach().numpy(), before)
    network.eval()
    np.testing.assert_array_equal(vectors_at(network, queries), before)


def test_a_zero_vector_is_no_interest() -> None:
    queries = torch.tensor([[[-1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert closest_interest(queries, targets).tolist() == [[-1.0, 0.0], [0.0, 0.0]]


@pytest.fixture(scope="module")
def channel(board: TrainingData) -> MIND:
    data, valid = last_events(board)
    options = RunOptions(device="cpu", progress=False, threads=1)
    return MIND(nested(BOARD, epochs=10)).fit(data, valid=valid, options=options)


def test_it_trains_and_finds_the_colour(board: TrainingData, channel: MIND) -> None:
    assert channel.log.loss[-1] < channel.log.loss[0] - 0.2
    found = channel.retrieve(board.interactions.queries(), 3)
    assert (found.item_idx % 2 == (np.arange(60) % 2)[:, None]).mean() > 0.9


def test_validation_ignores_the_vectors_that_are_zero(board: TrainingData, channel: MIND) -> None:
    _, valid = last_events(board)
    short = replace(valid, queries=QueryBatch.from_histories([[item] for item in valid.target_idx[::-1]]))
    assert (~channel.encode_queries(short.queries).any(axis=2)).sum(axis=1).tolist() == [2] * 60
    expected = per_query_metrics(channel.retrieve(short.queries, 10), short, (10,))["ndcg@10"].mean()
    assert channel._validation_ndcg(short) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("option", "value"),
    [("interests", 2), ("iterations", 1), ("half_life", 1.0), ("logit_scale", 0.1), ("history_length", 4)],
)
def test_every_option_changes_the_answers(board: TrainingData, options: RunOptions, option: str, value: Any) -> None:
    queries = board.interactions.queries()
    one, other = (
        MIND(nested(BOARD, {"epochs": 1}, change)).fit(board, options=options).retrieve(queries, 5).score
        for change in ({}, {f"encoder__{option}": value})
    )
    assert np.abs(one - other).max() > 1e-4


def test_own_columns_of_the_user_are_read(board: TrainingData, options: RunOptions) -> None:
    users = replace(board.users, numbers={"plan": np.arange(board.users.n_users, dtype=np.float32)})
    data = replace(board, users=users)
    one, other = (
        MIND(nested(SMALL, more)).fit(data, options=options) for more in ({}, {"encoder__features": ["plan"]})
    )
    queries = board.interactions.queries()
    assert np.any(one.encode_queries(queries) != other.encode_queries(queries))
    beyond = QueryBatch.from_histories([[0, 2], [0, 2]], user_idx=[-1, 10**6])
    unknown = other.encode_queries(beyond)
    np.testing.assert_array_equal(unknown[0], unknown[1])
