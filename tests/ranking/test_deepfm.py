"""DeepFM against its formula, and on a signal that no linear model can see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from ranking import frozen_deepfm
from ranking.config import NeuralRankerConfig
from ranking.deepfm import DeepFM, DeepFMNetwork
from ranking.features import FeatureEncoder
from reccore import IdMap, ItemTable, QueryBatch, RankingSamples, RunOptions, UserTable, Vocabulary
from reccore.arrays import IntArray
from tests.dataprep.tmdb_tables import with_every_feature
from tests.ranking.samples import board_setting, labelled

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)


@pytest.mark.parametrize("items_of", [lambda items: items, with_every_feature], ids=["plain", "metadata"])
def test_network_equals_the_formula_computed_pair_by_pair(items_of: Callable[[ItemTable], ItemTable]) -> None:
    setting = board_setting(n_users=6, k=4)
    encoder = FeatureEncoder.fit(setting.samples, items_of(setting.items), setting.users)
    config = NeuralRankerConfig(embedding_size=3, hidden=(5,), dropout=0.0)
    network = DeepFMNetwork(encoder, config).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    inputs = encoder.encode(setting.samples.queries, setting.samples.candidates)
    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    with torch.no_grad():
        logits = network(to_double(inputs)).numpy()
    for b, k in ((0, 0), (3, 2), (5, 3), (4, 1)):
        query = fields_of(weights, "query", encoder, inputs.query, b)
        item = fields_of(weights, "item", encoder, encoder.item_block, int(inputs.item_row[b, k]))
        pair = inputs.pair[b, k].double().numpy()
        vectors = [v for v, _ in (*query, *item)] + list(pair[:, None] * weights["pair"])
        linear = sum(w for _, w in (*query, *item)) + pair @ weights["linear.pair"]
        fm = sum(one @ other for one, other in combinations(vectors, 2))
        joined = np.concatenate([*(v for v, _ in (*query, *item)), pair])
        hidden = np.maximum(weights["first.weight"] @ joined + weights["first.bias"], 0)
        np.testing.assert_allclose(logits[b, k], linear + fm + weights["deep.out.weight"][0] @ hidden, rtol=1e-6)


@pytest.mark.parametrize("items_of", [lambda items: items, with_every_feature], ids=["plain", "metadata"])
def test_a_frozen_network_has_the_same_logits(
    items_of: Callable[[ItemTable], ItemTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_deepfm, "ITEMS_PER_CHUNK", 7)
    monkeypatch.setattr(frozen_deepfm, "CANDIDATES_PER_CHUNK", 9)  # two queries
    setting = board_setting(n_users=6, k=4)
    encoder = FeatureEncoder.fit(setting.samples, items_of(setting.items), setting.users)
    network = DeepFMNetwork(encoder, NeuralRankerConfig(embedding_size=3, hidden=(5, 4), dropout=0.5)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    item_idx = setting.samples.candidates.item_idx.copy()
    item_idx[2, 1:] = -1
    inputs = encoder.encode(setting.samples.queries, replace(setting.samples.candidates, item_idx=item_idx))
    with torch.no_grad():
        expected = network(inputs)
        network.freeze()
        monkeypatch.setattr(network, "embed", None)  # what only the network as it is trained calls
        np.testing.assert_allclose(network(inputs), expected, rtol=1e-5, atol=1e-5)


def test_a_frozen_network_has_gradients_and_dropout_all_the_same() -> None:
    setting = board_setting(n_users=6, k=4)
    encoder = FeatureEncoder.fit(setting.samples, setting.items, setting.users)
    network = DeepFMNetwork(encoder, NeuralRankerConfig(embedding_size=3, hidden=(5,), dropout=0.5)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_()
    network.freeze()
    inputs = encoder.encode(setting.samples.queries, setting.samples.candidates)
    network(inputs).sum().backward()
    assert network.query.numbers.grad is not None
    assert network.query.numbers.grad.any()
    with torch.no_grad():
        assert not torch.equal(network.train()(inputs), network(inputs))  # dropout draws anew


def to_double(inputs: Any) -> Any:
    block = inputs.query
    query = block.of_parts(lambda part: part.double() if part.is_floating_point() else part)
    return type(inputs)(query, inputs.item_row, inputs.pair.double(), inputs.history)


def fields_of(
    weights: dict[str, np.ndarray], side: Any, encoder: FeatureEncoder, block: Any, row: int
) -> list[tuple[np.ndarray, float]]:
    """(vector, first-order term) of every field of one row, looked up by hand."""
    firsts = vectors_of(weights, f"linear.{side}", side, encoder, block, row)
    return [
        (vector, float(first[0]))
        for vector, first in zip(vectors_of(weights, side, side, encoder, block, row), firsts, strict=True)
    ]


def vectors_of(
    weights: dict[str, np.ndarray], module: str, side: Any, encoder: FeatureEncoder, block: Any, row: int
) -> list[np.ndarray]:
    """The vector of every field of one row by the tables of a ``FieldEmbedding``."""
    found, start = [], 0
    for column, field in enumerate(encoder.schema.of(side, "category")):
        found.append(weights[f"{module}.codes"][start + int(block.categories[row, column])])
        start += field.size
    for number, bag in enumerate(block.bags):
        found.append(bag[row].double().numpy() @ weights[f"{module}.bags.{number}"])
    for number, codes in enumerate(block.labels):
        rows, table = [code for code in codes[row].tolist() if code > 0], weights[f"{module}.labels.{number}"]
        found.append(sum((table[code] for code in rows), 0 * table[0]) / max(len(rows), 1))
    for column, value in enumerate(block.numbers[row].double().tolist()):
        found.append(value * weights[f"{module}.numbers"][column])
    return found


def test_a_cross_effect_is_learnt_that_is_invisible_to_any_linear_model() -> None:
    """Users of gender F choose even items, M odd ones: each alone says nothing, and histories are empty."""
    n_users, n_items, k = 300, 40, 10
    users = UserTable(n_users, {"gender": np.arange(n_users) % 2}, {"gender": ("F", "M")})
    vocabulary = Vocabulary(IdMap(np.arange(n_users)), IdMap(np.arange(n_items)))

    def part(who: IntArray, seed: int) -> RankingSamples:
        rng = np.random.default_rng(seed)
        item_idx = np.argsort(rng.random((len(who), n_items)), axis=1)[:, :k].astype(np.int64)
        own = item_idx % 2 == who[:, None] % 2
        chosen = np.where(own, rng.random(own.shape), -1).argmax(axis=1)  # any of them, whatever its place
        return labelled(QueryBatch.from_histories([[]] * len(who), user_idx=who), item_idx, chosen, seed)

    train, valid = part(np.arange(200), 1), part(np.arange(200, 300), 2)
    config = {"epochs": 15, "learning_rate": 0.03, "batch_size": 32, "embedding_size": 8, "patience": 15,
              "features": ["default", "item.id"]}  # fmt: skip
    ranker = DeepFM(config).fit(
        train, items=ItemTable(n_items), users=users, vocabulary=vocabulary, valid=valid, options=QUIET
    )
    scores = ranker.score(valid.queries, valid.candidates)
    own = valid.candidates.item_idx % 2 == np.arange(200, 300)[:, None] % 2
    assert scores[own].mean() > scores[~own].mean() + 1.0
    assert own[np.arange(100), scores.argmax(axis=1)].mean() > 0.9
