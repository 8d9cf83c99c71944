"""Tables of features by hand: their size, whom they are shared with, and how vectors of several codes become one."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ranking.config import NeuralRankerConfig
from ranking.deepfm import DeepFMNetwork
from ranking.features import Choice, FeatureEncoder, FeatureOptions, RankingInputs
from ranking.features.options import DecayedPooling, MeanPooling, SumPooling
from ranking.network import FieldNetwork
from reccore import ItemTable, Labels, QueryBatch, RankingSamples, UserTable
from tests.ranking.samples import labelled

N = 6
# Brands of the items: a, b, a, c, none, b. Users like (c, a), (z, b) and nothing; z is no brand of an item.
ITEMS = ItemTable(
    N,
    labels={"brand": Labels(("a", "b", "c"), np.array([0, 1, 2, 3, 4, 4, 5]), np.array([0, 1, 0, 2, 1]))},
    vectors={"plot": np.arange(2 * N, dtype=np.float32).reshape(N, 2) - 3},
    own=frozenset({"brand", "plot"}),
)
USERS = UserTable(
    3,
    labels={"likes": Labels(("z", "b", "c", "a"), np.array([0, 2, 4, 4]), np.array([2, 3, 0, 1]))},
    vectors={"taste": np.array([[1, 0, 2], [0, 0, 0], [-1, 1, 0]], dtype=np.float32)},
)
SHARED = ("item.id", FeatureOptions(name="history.id", shared_with="item.id", pooling=SumPooling()))


def samples() -> RankingSamples:
    """Item 5 is met neither in a history nor as a candidate."""
    queries = QueryBatch.from_histories([[0, 1, 3], [2, 4], []], user_idx=[0, 1, 2])
    return labelled(queries, np.array([[1, 2], [0, 3], [4, -1]]), np.array([0, 1, 0]))


def encoded(*features: Choice) -> tuple[FeatureEncoder, RankingInputs]:
    given = samples()
    encoder = FeatureEncoder.fit(given, ITEMS, USERS, features=features)
    return encoder, encoder.encode(given.queries, given.candidates)


def network(*features: Choice, size: int = 3) -> tuple[FieldNetwork, RankingInputs]:
    """A network with random weights."""
    encoder, inputs = encoded(*features)
    built = FieldNetwork(encoder, size)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return built, inputs


def weights_of(built: FieldNetwork) -> dict[str, np.ndarray]:
    return {name: values.detach().numpy() for name, values in built.named_parameters()}


def test_a_history_is_its_latest_items_the_last_one_first() -> None:
    encoder, inputs = encoded("history.id")
    assert [(field.kind, field.size) for field in encoder.schema.fields] == [("sequence", N + 1)]
    assert inputs.query.labels[0][:, :4].tolist() == [[4, 2, 1, 0], [5, 3, 0, 0], [0, 0, 0, 0]]
    assert inputs.query.labels[0].shape == (3, 50)
    encoder, inputs = encoded(FeatureOptions(name="history.id", length=2))
    assert inputs.query.labels[0].tolist() == [[4, 2], [5, 3], [0, 0]]
    unseen = QueryBatch.from_histories([[0, 5, 3], [5]])  # item 5 is passed over, but it was an event
    latest = encoder.encode(unseen, samples().candidates.select(slice(0, 2))).query.labels[0]
    assert latest.tolist() == [[4, 0], [0, 0]]


def test_a_history_of_labels_holds_the_first_label_of_each_item() -> None:
    encoder, inputs = encoded(FeatureOptions(name="history.brand", length=3))
    assert inputs.query.labels[0].tolist() == [[3, 2, 1], [0, 1, 0], [0, 0, 0]]
    assert encoder.tables.items.own == {"brand"}  # which the bundle must carry
    assert encoder.schema.fields[0].size == 4


def test_items_and_labels_that_come_later_are_unknown() -> None:
    shared = FeatureOptions(name="user.likes", shared_with="item.brand", default="a")
    encoder, _ = encoded("history.id", "item.brand", shared)
    brands = Labels(("d", "c", "b", "a"), np.array([0, 1, 2, 3, 4, 4, 5, 7]), np.array([3, 2, 3, 1, 2, 0, 2]))
    likes = Labels(("a", "d", "b"), np.array([0, 0, 0, 0, 2]), np.array([1, 2]))
    vectors = {"plot": np.zeros((N + 1, 2), dtype=np.float32)}
    later = replace(ITEMS, n_items=N + 1, labels={"brand": brands}, vectors=vectors)
    grown = encoder.grown(later, UserTable(4, labels={"likes": likes}))
    assert grown.item_block.labels[0][:, 0].tolist() == [0, 1, 2, 1, 3, 0, 2, 2]  # of the new item d and b: b
    queries = QueryBatch.from_histories([[0, N], [N, 4]], user_idx=[3, 2])
    inputs = grown.encode(queries, samples().candidates.select(slice(0, 2)))
    history, likes_of = (codes[:, :2].tolist() for codes in inputs.query.labels)
    assert [field.name for field in grown.schema.of("query", "labels")] == ["history.id", "user.likes"]
    assert history == [[0, 1], [5, 0]]
    assert likes_of == [[2], [1]]  # b, since d is unknown; and nothing, for which a stands


@pytest.mark.parametrize(
    ("pooling", "weights"),
    [
        (None, [1 / 3] * 3),
        (MeanPooling(), [1 / 3] * 3),
        (SumPooling(), [1.0] * 3),
        (DecayedPooling(half_life=1), [4 / 7, 2 / 7, 1 / 7]),
        (DecayedPooling(half_life=2), np.array([1, 0.5**0.5, 0.5]) / (1.5 + 0.5**0.5)),
    ],
)
def test_pooling_by_hand(pooling: Any, weights: list[float]) -> None:
    options = FeatureOptions(name="history.id", pooling=pooling, length=9)
    built, inputs = network(options)
    table = weights_of(built)["query.labels.0"]
    found = built.query(inputs.query)[:, 0].detach().numpy()
    np.testing.assert_allclose(found[0], np.array(weights) @ table[[4, 2, 1]], rtol=1e-5)
    assert not found[2].any()


def test_a_list_takes_pooling_and_length_too() -> None:
    built, inputs = network(FeatureOptions(name="user.likes", pooling=DecayedPooling(half_life=1)))
    table = weights_of(built)["query.labels.0"]
    np.testing.assert_allclose(
        built.query(inputs.query)[0, 0].detach().numpy(), (2 * table[3] + table[4]) / 3, rtol=1e-5
    )
    _, inputs = encoded(FeatureOptions(name="user.likes", length=1))
    assert inputs.query.labels[0].tolist() == [[3], [1], [0]]


def test_a_shared_table_is_one_parameter_whose_gradients_add_up() -> None:
    built, inputs = network(*SHARED)
    assert set(weights_of(built)) == {
        *(f"{part}query.{name}" for part in ("", "linear.") for name in ("codes", "numbers")),
        *(f"{part}item.{name}" for part in ("", "linear.") for name in ("codes", "numbers")),
        *("linear.query.labels.0", "linear.pair"),
    }
    table = weights_of(built)["item.codes"]
    of_query = built.query(inputs.query)[:, 0]  # (3, d)
    np.testing.assert_allclose(of_query[0].detach().numpy(), table[[4, 2, 1]].sum(axis=0), rtol=1e-5)
    of_item = built.item(built.item_block.rows(inputs.item_row[0]))[:, 0]  # items 1 and 2
    np.testing.assert_array_equal(of_item.detach().numpy(), table[[2, 3]])
    of_history, of_candidate = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 20.0, 30.0])
    (of_query[0] @ of_history + of_item[0] @ of_candidate).backward()
    gradient = built.item.codes.grad
    assert gradient is not None
    expected = np.zeros((N + 1, 3))
    expected[[4, 2, 1]] += [1, 2, 3]
    expected[2] += [10, 20, 30]  # item 1 is the candidate and in the history
    np.testing.assert_array_equal(gradient.numpy(), expected)


def test_a_copy_of_a_network_shares_its_own_table() -> None:
    built, inputs = network(FeatureOptions(name="item.id", embedding_size=2), SHARED[1])
    again = deepcopy(built).double()
    with torch.no_grad():
        again.item.own_rows[0].zero_()
        assert not again.query(inputs.query).any()
        assert built.query(inputs.query).any()


def test_a_shared_table_is_not_shared_by_the_linear_part() -> None:
    built, _ = network(*SHARED)
    assert built.linear.query.labels[0].shape == built.linear.item.codes.shape == (N + 1, 1)


def test_a_list_and_a_scalar_share_by_name() -> None:
    encoder, inputs = encoded("item.brand", FeatureOptions(name="user.likes", shared_with="item.brand"))
    assert [field.size for field in encoder.schema.fields] == [4, 4]
    assert inputs.query.labels[0].tolist() == [[3, 1], [0, 2], [0, 0]]  # z is unknown
    built, _ = network("item.brand", FeatureOptions(name="user.likes", shared_with="item.brand"))
    table = weights_of(built)["item.labels.0"]
    found = built.query(inputs.query)[:, 0].detach().numpy()
    np.testing.assert_allclose(found, [(table[3] + table[1]) / 2, table[2], 0 * table[0]], rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_table_of_another_size_is_projected(size: int) -> None:
    features = [FeatureOptions(name=name, embedding_size=size) for name in ("item.id", "item.brand", "item.plot")]
    built, inputs = network(*features, "user.taste")
    weights = weights_of(built)
    tables = [weights[f"item.own_rows.{number}"] @ weights[f"item.projections.{number}"] for number in range(3)]
    assert [weights[f"item.own_rows.{number}"].shape for number in range(3)] == [(N + 1, size), (2, size), (4, size)]
    assert built.item.names == ["item.id", "item.plot", "item.brand"]
    found = built.item(built.item_block.rows(torch.tensor([2]))).detach().numpy()[0]
    np.testing.assert_allclose(found, [tables[0][2], ITEMS.vectors["plot"][1] @ tables[1], tables[2][2]], rtol=1e-4)
    taste = built.query(inputs.query)[:, 0].detach().numpy()
    np.testing.assert_allclose(taste, USERS.vectors["taste"] @ weights["query.bags.0"], rtol=1e-5)


def test_the_size_of_the_network_needs_no_projection() -> None:
    built, _ = network(FeatureOptions(name="item.id", embedding_size=3))
    assert not [name for name in weights_of(built) if "projection" in name]


def test_who_shares_a_table_has_its_size_and_its_projection() -> None:
    built, inputs = network(FeatureOptions(name="item.id", embedding_size=2), SHARED[1])
    weights = weights_of(built)
    table = weights["item.own_rows.0"] @ weights["item.projections.0"]
    found = built.query(inputs.query)[0, 0].detach().numpy()
    np.testing.assert_allclose(found, table[[4, 2, 1]].sum(axis=0), rtol=1e-5)
    assert not [name for name in weights if name.startswith("query.own")]


def test_buckets_of_a_number_have_an_embedding_size() -> None:
    given = samples()
    items = replace(ITEMS, numbers={"price": np.arange(N, dtype=np.float32)}, own=frozenset({"price"}))
    options = FeatureOptions(name="item.price", embedding_size=2)
    encoder = FeatureEncoder.fit(given, items, USERS, features=[options])
    number, bucket = encoder.schema.fields
    assert (number.embedding_size, bucket.embedding_size) == (0, 2)


def test_weight_decay_counts_own_tables_and_spares_projections() -> None:
    built, _ = network(FeatureOptions(name="item.id", embedding_size=2))
    shapes = [tuple(table.shape) for table in built.item.tables if table.numel()]
    assert shapes == [(N + 1, 2)]


def test_a_frozen_network_has_the_same_logits_with_every_option() -> None:
    features: list[Choice] = [
        *("recall.*", "item.brand", "user.taste", SHARED[1]),
        FeatureOptions(name="item.id", embedding_size=2),
        FeatureOptions(name="item.plot", embedding_size=1),
        FeatureOptions(name="history.brand", pooling=DecayedPooling()),
        FeatureOptions(name="user.likes", shared_with="item.brand"),
    ]
    encoder, inputs = encoded(*features)
    built = DeepFMNetwork(encoder, NeuralRankerConfig(embedding_size=3, hidden=(5, 4))).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        expected = built(inputs)
        built.freeze()
        assert built._frozen
        np.testing.assert_allclose(built(inputs), expected, rtol=1e-4, atol=1e-4)
