"""What the towers read and compute: codes by hand, pools by hand, and the same inputs in training and serving."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.examples import TrainingExamples, query_inputs
from recall.two_tower.features import ItemInputs, UserEncoder, year_codes
from recall.two_tower.network import TwoTowerNetwork
from recall.two_tower.towers import UserInputs

from reccore import ItemTable, QueryBatch, TrainingData, UserTable
from reccore.buckets import bucket_boundaries

SMALL: dict[str, Any] = {
    "user_encoder": "mlp",
    "embedding_size": 6,
    "hidden_size": 10,
    "history_length": 4,
    "half_lives": (1.0, 4.0),
}


def network_of(board: TrainingData, **config: Any) -> tuple[TwoTowerNetwork, UserEncoder]:
    torch.manual_seed(0)
    encoder = UserEncoder(bucket_boundaries(np.array([3.5, 4.0, 4.5], dtype=np.float32)), board.users)
    settings = TwoTowerConfig(**{**SMALL, **config})
    network = TwoTowerNetwork(ItemInputs.of(board.items), encoder, settings)
    for tower in (network.item_tower, network.user_tower):  # as if trained: no part stays silent
        torch.nn.init.normal_(tower.out.weight, std=0.5)
    return network.eval(), encoder


# Codes ---------------------------------------------------------------------------------------------------


def test_year_codes_by_hand() -> None:
    years = np.array([0, 1874, 1900, 1901, 1902, 1995, 2024, 2500])
    assert year_codes(ItemTable(8, year=years)).tolist() == [0, 1, 1, 1, 2, 48, 63, 99]
    assert year_codes(ItemTable(8)) is None


def test_item_inputs_have_the_columns_the_table_has() -> None:
    bare = ItemInputs.of(ItemTable(3))
    assert (bare.genres.shape, bare.codes.shape, bare.sizes) == ((3, 0), (3, 0), ())
    count = np.array([0, 5, np.nan], dtype=np.float32)
    table = ItemTable(
        3,
        year=np.array([1999, 0, 1950]),
        genre_names=("A", "B"),
        genre_offsets=np.array([0, 2, 2, 3]),
        genre_idx=np.array([0, 1, 1]),
        statistics={"count": count},
    )
    found = ItemInputs.of(table)
    assert found.genres.tolist() == [[0.5, 0.5], [0, 0], [0, 1]]
    assert found.sizes == (100, 11)
    assert found.codes[:, 0].tolist() == [50, 0, 26]
    assert found.codes[2, 1] == 0  # no statistic
    assert found.codes[1, 1] > found.codes[0, 1] > 0


def test_user_codes_by_hand() -> None:
    users = UserTable(2, {"gender": np.array([1, -1])}, {"gender": ("F", "M")})
    encoder = UserEncoder(np.arange(1, 10, dtype=np.float32), users)
    assert encoder.sizes == (11, 18, 3)
    rating = np.array([np.nan, 0.5, 3.2, 9.5], dtype=np.float32)
    found = encoder.codes(np.array([-1, 0, 1, 7]), np.array([0, 1, 6, 2**40]), rating)
    assert found.tolist() == [[0, 0, 0], [1, 1, 2], [4, 2, 0], [10, 17, 0]]
    unrated = encoder.codes(np.array([0]), np.array([3]), None)
    assert unrated.tolist() == [[0, 2, 2]]
    assert UserEncoder(None, UserTable(2)).codes(np.array([0]), np.array([3]), None).tolist() == [[2]]


# Inputs --------------------------------------------------------------------------------------------------


def test_training_reads_what_serving_reads(board: TrainingData) -> None:
    """Every event's inputs in training are those of a query with the history before it."""
    _, encoder = network_of(board)
    events = board.interactions
    examples = TrainingExamples(events, board.items, encoder, TwoTowerConfig(user_encoder="mlp", history_length=4))
    every = np.random.default_rng(0).permutation(len(examples))
    found, targets = examples.batch(every)
    users = events.user_idx[every]
    prefixes = events.queries(users, every - events.user_offsets[users])
    expected = query_inputs(prefixes, board.items, encoder, 4)
    for name in ("history", "lengths", "user", "codes", "top_genres"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
        assert getattr(found, name).dtype == torch.int64
    np.testing.assert_array_equal(targets, events.item_idx[every])


def test_users_the_model_does_not_know_are_unknown(board: TrainingData) -> None:
    _, encoder = network_of(board)
    queries = QueryBatch.from_histories([[1], [1], [1]], user_idx=[59, 60, -1])
    assert query_inputs(queries, board.items, encoder, 4).user.tolist() == [59, -1, -1]


# Towers --------------------------------------------------------------------------------------------------


def inputs_of(histories: list[list[int]], length: int = 4, **other: Any) -> UserInputs:
    padded = QueryBatch.from_histories(histories).padded(length)
    n = len(histories)
    return UserInputs(
        torch.from_numpy(padded.item_idx),
        torch.from_numpy(padded.lengths),
        other.get("user", torch.full((n,), -1)),
        other.get("codes", torch.zeros((n, 3), dtype=torch.int64)),
        other.get("top_genres", torch.full((n, 3), -1)),
    )


def test_pools_by_hand(board: TrainingData) -> None:
    network, _ = network_of(board)
    ids = network.item_tower.ids
    pools = network.user_tower._pools(inputs_of([[3, 5, 8], [], [7, 1, 2, 4, 6]]), ids, None)
    e = ids.weight.detach()
    one = (0.25 * e[3] + 0.5 * e[5] + e[8]) / 1.75
    four = (2**-0.5 * e[3] + 2**-0.25 * e[5] + e[8]) / (2**-0.5 + 2**-0.25 + 1)
    torch.testing.assert_close(pools[0], torch.stack([one, four]))
    assert not pools[1].any()
    latest = (0.125 * e[1] + 0.25 * e[2] + 0.5 * e[4] + e[6]) / 1.875  # of five events the latest four
    torch.testing.assert_close(pools[2, 0], latest)


def test_vectors_are_of_unit_length(board: TrainingData) -> None:
    network, encoder = network_of(board)
    queries = network.queries(query_inputs(board.interactions.queries(), board.items, encoder, 4))
    for vectors in (network.catalogue(), queries):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))


def test_every_user_input_moves_the_vector(board: TrainingData) -> None:
    network, _ = network_of(board)
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
    network, _ = network_of(board)
    tower = network.item_tower

    def vector(item: int = 3, genre: int = 0, year: int = 5, count: int = 2, rating: int = 2) -> torch.Tensor:
        genres = torch.nn.functional.one_hot(torch.tensor([genre]), 2).float()
        content = network.content.of_items(torch.tensor([item]))
        content = replace(content, genres=genres, codes=torch.tensor([[year, count, rating]]))
        return tower(torch.tensor([item]), content, None)

    for change in ({"item": 4}, {"genre": 1}, {"year": 6}, {"count": 3}, {"rating": 3}):
        assert (vector(**change) - vector()).abs().max() > 1e-4


def test_dropped_ids_are_the_unknown_film(board: TrainingData) -> None:
    network, _ = network_of(board, id_dropout=0.5)
    every = torch.arange(24)
    whole = network.items(every)
    unknown = network.item_tower(torch.full((24,), 24), network.content, None)
    drawn = network.train().items(every, torch.Generator().manual_seed(0))
    kept = (drawn == whole).all(dim=1)
    assert 4 <= int(kept.sum()) <= 20
    torch.testing.assert_close(drawn[~kept], unknown[~kept])


@pytest.mark.parametrize("option", ["user_dropout", "history_dropout"])
def test_dropout_is_for_training_alone(board: TrainingData, option: str) -> None:
    off = {"user_dropout": 0.0, "history_dropout": 0.0, "id_dropout": 0.0}
    network, _ = network_of(board, **{**off, option: 0.9})
    some = inputs_of([[3, 5, 2, 1]] * 8, user=torch.arange(8))
    generator = torch.Generator().manual_seed(0)
    before = network.queries(some)
    assert torch.equal(before, network.queries(some))
    assert not torch.equal(before, network.train().queries(some, generator))
    assert torch.equal(before, network.eval().queries(some))


def test_a_history_dropped_whole_is_still_answered(board: TrainingData) -> None:
    network, _ = network_of(board, history_dropout=0.99)
    vectors = network.train().queries(inputs_of([[3, 5]] * 50), torch.Generator().manual_seed(0))
    assert torch.isfinite(vectors).all()


@pytest.mark.parametrize("half_lives", [(), (0.0,), (2.0, -1.0), (float("nan"),), (float("inf"),)])
def test_half_lives_must_be_positive_numbers(half_lives: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="half_lives"):
        TwoTowerConfig(user_encoder="mlp", half_lives=half_lives)


def test_users_and_items_without_an_event_take_the_unknown_row(board: TrainingData) -> None:
    encoder = UserEncoder(None, board.users)
    content = ItemInputs.of(board.items)
    seen_users = np.arange(board.users.n_users) != 1
    seen_items = np.arange(board.items.n_items) != 2
    for dropout, shared in ((0.5, True), (0.0, False)):
        config = TwoTowerConfig(user_encoder="mlp", embedding_size=4, id_dropout=dropout, user_dropout=dropout)
        network = TwoTowerNetwork(content, encoder, config)
        before = network.item_tower.ids.weight.clone()
        network.share_unknown_rows(seen_users, seen_items)
        items, users = network.item_tower.ids.weight, network.user_tower.users.weight
        assert torch.equal(items[2], items[-1]) == shared
        assert torch.equal(users[1], users[-1]) == shared
        assert torch.equal(items[3:], before[3:])  # all others keep their own
