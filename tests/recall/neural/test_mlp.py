"""The MLP encoder and the network around it: pools by hand, dropout, and the same inputs in training and serving."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from recall.neural.encoders.mlp import MLPEncoder
from recall.neural.encoders.prefix import PrefixInputs
from recall.neural.network import NeuralNetwork
from recall.neural.user_codes import UserCodes
from recall.two_tower import TwoTowerConfig
from reccore import ConfigError, QueryBatch, TrainingData
from reccore.buckets import bucket_boundaries
from tests.helpers import nested

SMALL: dict[str, Any] = {
    "embedding_size": 6,
    "item__hidden_size": 10,
    "encoder__kind": "mlp",
    "encoder__hidden_size": 10,
    "encoder__history_length": 4,
    "encoder__half_lives": (1.0, 4.0),
}


def network_of(board: TrainingData, **config: Any) -> NeuralNetwork:
    torch.manual_seed(0)
    codes = UserCodes(bucket_boundaries(np.array([3.5, 4.0, 4.5], dtype=np.float32), 10), board.users, longest=9)
    network = NeuralNetwork(TwoTowerConfig.parse(nested(SMALL, config)), MLPEncoder, board.items, codes)
    for part in (network.item_encoder, network.query_encoder):  # as if trained: no part stays silent
        torch.nn.init.normal_(part.out.weight, std=0.5)
    return network.eval()


# Inputs --------------------------------------------------------------------------------------------------


def test_training_reads_what_serving_reads(board: TrainingData) -> None:
    """Every event's inputs in training are those of a query with the history before it."""
    encoder = network_of(board).query_encoder
    events = board.interactions
    examples = encoder.examples(events, 64)
    every = np.random.default_rng(0).permutation(len(examples))
    found, targets = examples.batch(every)
    users = events.user_idx[every]
    prefixes = events.queries(users, every - events.user_offsets[users])
    expected = encoder.inputs(prefixes)
    for name in ("history", "lengths", "user", "codes", "top_genres"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
        assert getattr(found, name).dtype == torch.int64
    np.testing.assert_array_equal(targets, events.item_idx[every])


def test_users_the_model_does_not_know_are_unknown(board: TrainingData) -> None:
    encoder = network_of(board).query_encoder
    queries = QueryBatch.from_histories([[1], [1], [1]], user_idx=[59, 60, -1])
    assert encoder.inputs(queries).user.tolist() == [59, -1, -1]


# Vectors -------------------------------------------------------------------------------------------------


def inputs_of(histories: list[list[int]], length: int = 4, **other: Any) -> PrefixInputs:
    padded = QueryBatch.from_histories(histories).padded(length)
    n = len(histories)
    return PrefixInputs(
        torch.from_numpy(padded.item_idx),
        torch.from_numpy(padded.lengths),
        other.get("user", torch.full((n,), -1)),
        other.get("codes", torch.zeros((n, 3), dtype=torch.int64)),
        other.get("top_genres", torch.full((n, 3), -1)),
    )


@pytest.mark.parametrize("user_dropout", [0.5, 1.0])
def test_the_frozen_encoder_gives_the_same_vectors(board: TrainingData, user_dropout: float) -> None:
    network = network_of(board, encoder__user_dropout=user_dropout)
    with torch.no_grad():
        for parameter in network.query_encoder.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    queries = QueryBatch.from_histories(
        [[1, 5, 2, 7, 9, 3], [4], []], user_idx=[3, -1, 60], ratings=[[4.0] * 6, [2.0], []]
    )
    inputs = network.query_encoder.inputs(queries)
    with torch.no_grad():
        expected = network.queries(inputs).numpy()
    frozen = network.frozen_queries()
    assert frozen is not None
    np.testing.assert_allclose(frozen(queries), expected, rtol=1e-5, atol=1e-6)
    for row in range(3):
        alone = frozen(queries.select([row]))
        np.testing.assert_allclose(alone[0], expected[row], rtol=1e-5, atol=1e-6)


def test_own_columns_of_users_leave_the_encoder_as_it_is(board: TrainingData) -> None:
    network = network_of(board)
    network.query_encoder.user_content = torch.nn.Identity()
    assert network.frozen_queries() is None


def test_pools_by_hand(board: TrainingData) -> None:
    network = network_of(board)
    ids = network.item_encoder.ids
    pools = network.query_encoder._pools(inputs_of([[3, 5, 8], [], [7, 1, 2, 4, 6]]), ids, None)
    e = ids.weight.detach()
    one = (0.25 * e[3] + 0.5 * e[5] + e[8]) / 1.75
    four = (2**-0.5 * e[3] + 2**-0.25 * e[5] + e[8]) / (2**-0.5 + 2**-0.25 + 1)
    torch.testing.assert_close(pools[0], torch.stack([one, four]))
    assert not pools[1].any()
    latest = (0.125 * e[1] + 0.25 * e[2] + 0.5 * e[4] + e[6]) / 1.875  # of five events the latest four
    torch.testing.assert_close(pools[2, 0], latest)


def test_vectors_are_of_unit_length(board: TrainingData) -> None:
    network = network_of(board)
    queries = network.queries(network.query_encoder.inputs(board.interactions.queries()))
    for vectors in (network.catalogue(), queries):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))


def test_every_user_input_moves_the_vector(board: TrainingData) -> None:
    network = network_of(board)
    plain = network.queries(inputs_of([[3, 5]]))
    codes = torch.zeros((1, 3), dtype=torch.int64)
    others = [
        inputs_of([[5, 3]]),
        inputs_of([[3]]),
        inputs_of([[3, 5]], user=torch.tensor([2])),
        inputs_of([[3, 5]], top_genres=torch.tensor([[1, -1, -1]])),
        *(inputs_of([[3, 5]], codes=codes.index_fill(1, torch.tensor([column]), 1)) for column in range(3)),
    ]
    for other in others:
        assert (network.queries(other) - plain).abs().max() > 1e-4


def test_every_item_column_moves_the_vector(board: TrainingData) -> None:
    network = network_of(board)
    tower = network.item_encoder

    def vector(item: int = 3, genre: int = 0, year: int = 5, count: int = 2, rating: int = 2) -> torch.Tensor:
        genres = torch.nn.functional.one_hot(torch.tensor([genre]), 2).float()
        content = network.content.of_items(torch.tensor([item]))
        content = replace(content, genres=genres, codes=torch.tensor([[year, count, rating]]))
        return tower(torch.tensor([item]), content, None)

    for change in ({"item": 4}, {"genre": 1}, {"year": 6}, {"count": 3}, {"rating": 3}):
        assert (vector(**change) - vector()).abs().max() > 1e-4


def test_dropped_ids_are_the_unknown_film(board: TrainingData) -> None:
    network = network_of(board, item__id_dropout=0.5)
    every = torch.arange(24)
    whole = network.items(every)
    unknown = network.item_encoder(torch.full((24,), 24), network.content, None)
    drawn = network.train().items(every, torch.Generator().manual_seed(0))
    kept = (drawn == whole).all(dim=1)
    assert 4 <= int(kept.sum()) <= 20
    torch.testing.assert_close(drawn[~kept], unknown[~kept])


@pytest.mark.parametrize("option", ["encoder__user_dropout", "encoder__history_dropout"])
def test_dropout_is_for_training_alone(board: TrainingData, option: str) -> None:
    off = {"encoder__user_dropout": 0.0, "encoder__history_dropout": 0.0, "item__id_dropout": 0.0}
    network = network_of(board, **{**off, option: 0.9})
    some = inputs_of([[3, 5, 2, 1]] * 8, user=torch.arange(8))
    generator = torch.Generator().manual_seed(0)
    before = network.queries(some)
    assert torch.equal(before, network.queries(some))
    in_training, _ = network.train()(some, torch.arange(3), generator)
    assert not torch.equal(before, in_training)
    assert torch.equal(before, network.eval().queries(some))


def test_where_every_user_id_is_dropped_none_is_read_in_use(board: TrainingData) -> None:
    """A row that no step of the training touches would be noise in the query."""
    network = network_of(board, encoder__user_dropout=1.0)
    known, unknown = (inputs_of([[3, 5, 2, 1]] * 8, user=user) for user in (torch.arange(8), torch.full((8,), -1)))
    assert torch.equal(network.queries(known), network.queries(unknown))
    assert network.query_encoder.users.num_embeddings == 1
    network.share_unknown_rows(np.zeros(board.users.n_users, dtype=bool), np.ones(board.items.n_items, dtype=bool))
    frozen = network.frozen_queries()
    assert frozen is not None
    histories = [[1, 5, 2]] * 2
    found = frozen(QueryBatch.from_histories(histories, user_idx=[-1, board.users.n_users]))
    np.testing.assert_array_equal(found[0], found[1])


def test_a_history_dropped_whole_is_still_answered(board: TrainingData) -> None:
    network = network_of(board, encoder__history_dropout=0.99)
    vectors, _ = network.train()(inputs_of([[3, 5]] * 50), torch.arange(3), torch.Generator().manual_seed(0))
    assert torch.isfinite(vectors).all()


@pytest.mark.parametrize("half_lives", [(), (0.0,), (2.0, -1.0), (float("nan"),), (float("inf"),)])
def test_half_lives_must_be_positive_numbers(half_lives: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="half_lives"):
        TwoTowerConfig.parse({"encoder": {"kind": "mlp", "half_lives": half_lives}})


def test_users_and_items_without_an_event_take_the_unknown_row(board: TrainingData) -> None:
    seen_users = np.arange(board.users.n_users) != 1
    seen_items = np.arange(board.items.n_items) != 2
    for dropout, shared in ((0.5, True), (0.0, False)):
        network = network_of(board, item__id_dropout=dropout, encoder__user_dropout=dropout)
        before = network.item_encoder.ids.weight.clone()
        network.share_unknown_rows(seen_users, seen_items)
        items, users = network.item_encoder.ids.weight, network.query_encoder.users.weight
        assert torch.equal(items[2], items[-1]) == shared
        assert torch.equal(users[1], users[-1]) == shared
        assert torch.equal(items[3:], before[3:])  # all others keep their own
