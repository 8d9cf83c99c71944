"""Behaviour aggregation: by hand for each pooling, cold users, dropped events, and every option of its channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recall.neural.encoders.aggregation import AggregationConfig, AggregationEncoder
from recall.neural.item_encoder import large_embedding
from recall.neural.user_codes import UserCodes
from recall.simplex import SimpleX
from reccore import ConfigError, QueryBatch, RunOptions, TrainingData
from tests.helpers import nested
from tests.recall.neural.tiny import TINY

SMALL = {name: value for name, value in TINY.items() if name not in ("encoder__kind", "encoder__hidden_size")}
QUERIES = QueryBatch.from_histories([[0, 5, 3], [7], []], user_idx=[2, 59, -1])


def encoder_of(board: TrainingData, **config: Any) -> tuple[AggregationEncoder, Any]:
    torch.manual_seed(0)
    codes = UserCodes.fit(board, query_time=False)
    encoder = AggregationEncoder(AggregationConfig(**config), codes, board.items, 6).eval()
    torch.nn.init.normal_(encoder.project.weight)
    return encoder, large_embedding(25, 6)


def user_of(encoder: AggregationEncoder, row: int) -> Tensor:
    inputs = encoder.inputs(QUERIES)
    user = int(inputs.user[row])
    vector = encoder.users.weight[user if user >= 0 else 60]
    for column, table in enumerate(encoder.code_tables):
        vector = vector + table.weight[int(inputs.codes[row, column])]
    return vector


@pytest.mark.parametrize("pooling", ["mean", "self_attention", "user_attention"])
def test_by_hand(board: TrainingData, pooling: str) -> None:
    encoder, items = encoder_of(board, pooling=pooling, gate=0.3)
    found = encoder(encoder.inputs(QUERIES), items, None)
    for row, history in enumerate([[0, 5, 3], [7], []]):
        user, pool = user_of(encoder, row), torch.zeros(6)
        if history and encoder.keys is None:
            pool = items.weight[history].mean(dim=0)
        elif history:
            query = user if encoder.query is None else encoder.query
            weights = [torch.exp(query @ torch.tanh(encoder.keys(items.weight[item]))) for item in history]
            pool = sum(w * items.weight[item] for w, item in zip(weights, history, strict=True)) / sum(weights)
        expected = F.normalize(0.3 * user + 0.7 * encoder.project.weight @ pool, dim=0)
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)


def test_the_pool_decays_with_age(board: TrainingData) -> None:
    encoder, items = encoder_of(board, half_life=2.0, gate=0.3)
    found = encoder(encoder.inputs(QUERIES), items, None)
    weights = torch.tensor([0.5, 0.5**0.5, 1.0])[:, None]  # of ages 2, 1 and 0
    pool = (weights * items.weight[[0, 5, 3]]).sum(dim=0) / weights.sum()
    expected = F.normalize(0.3 * user_of(encoder, 0) + 0.7 * encoder.project.weight @ pool, dim=0)
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "self_attention"])
def test_dropped_events_are_left_out(board: TrainingData, pooling: str) -> None:
    encoder, items = encoder_of(board, pooling=pooling, user_dropout=0.0, history_dropout=0.5)
    inputs = encoder.inputs(QueryBatch.from_histories([[0, 5, 3]] * 200))
    found = encoder.train()(inputs, items, torch.Generator().manual_seed(0))
    draws = torch.rand(inputs.history.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    kept = [[item for item, gone in zip([0, 5, 3], row, strict=True) if not gone] for row in draws[:, :3].tolist()]
    # As many events, so that the codes of activity agree; what is dropped is hidden from the pool alone.
    hidden = torch.where(draws, -1, inputs.history)
    expected = encoder.eval()(type(inputs)(hidden, *list(vars(inputs).values())[1:]), items, None)
    torch.testing.assert_close(found, expected)
    assert {len(row) for row in kept} == {0, 1, 2, 3}


@pytest.mark.parametrize("pooling", ["mean", "user_attention"])
def test_where_every_user_id_is_dropped_none_is_read_in_use(board: TrainingData, pooling: str) -> None:
    encoder, items = encoder_of(board, pooling=pooling, user_dropout=1.0)
    inputs = encoder.inputs(QUERIES)
    unknown = replace(inputs, user=torch.full_like(inputs.user, -1))
    assert torch.equal(encoder(inputs, items, None), encoder(unknown, items, None))
    encoder.share_unknown_rows(np.zeros(60, dtype=bool))
    assert encoder.users.num_embeddings == 1


def test_users_without_events_get_what_was_learnt_for_unknown_ones(board: TrainingData) -> None:
    encoder, _ = encoder_of(board)
    encoder.share_unknown_rows(np.arange(60) != 2)
    assert torch.equal(encoder.users.weight[2], encoder.users.weight[60])
    assert not torch.equal(encoder.users.weight[3], encoder.users.weight[60])


CHANGED: list[tuple[str, Any]] = [
    ("encoder__pooling", "self_attention"),
    ("encoder__pooling", "user_attention"),
    ("encoder__half_life", 1.0),
    ("encoder__gate", 0.2),
    ("encoder__history_length", 2),
    ("encoder__history_dropout", 0.5),
    ("encoder__user_dropout", 0.0),
    ("encoder__query_time", True),
    ("loss__margin", 0.1),
    ("loss__negative_weight", 2.0),
    ("negatives__in_batch", True),
]


def test_every_option_of_the_encoder_is_tried() -> None:
    tried = {name.removeprefix("encoder__") for name, _ in CHANGED if name.startswith("encoder__")}
    assert tried == set(AggregationConfig.model_fields) - {"kind", "features"}  # features have a test of their own


@pytest.mark.parametrize(("option", "value"), CHANGED)
def test_every_option_changes_the_answers(board: TrainingData, options: RunOptions, option: str, value: Any) -> None:
    one, other = (SimpleX(nested(SMALL, more)).fit(board, options=options) for more in ({}, {option: value}))
    assert np.abs(one.encode_items() - other.encode_items()).max() > 1e-4


def test_it_has_neither_temperature_nor_correction() -> None:
    with pytest.raises(ConfigError, match="ccl reads plain cosines: leave temperature out"):
        SimpleX({"temperature": 0.1})
    with pytest.raises(ConfigError, match="ccl has no logQ correction"):
        SimpleX({"negatives": {"in_batch": True, "logq": {"kind": "counts"}}})
    with pytest.raises(ConfigError, match=r"encoder\.gate"):
        SimpleX({"encoder": {"gate": 1.0}})


def test_attention_has_no_half_life() -> None:
    with pytest.raises(ConfigError, match="self_attention learns its weights; leave half_life out"):
        SimpleX({"encoder": {"pooling": "self_attention", "half_life": 3.0}})


def test_own_columns_of_the_user_are_read(board: TrainingData, options: RunOptions) -> None:
    plan = np.arange(board.users.n_users, dtype=np.float32)
    users = replace(board.users, numbers={"plan": plan})
    data = replace(board, users=users)
    one, other = (
        SimpleX(nested(SMALL, more)).fit(data, options=options) for more in ({}, {"encoder__features": ["plan"]})
    )
    queries = board.interactions.queries()
    assert np.any(one.encode_queries(queries) != other.encode_queries(queries))
    assert other.network.query_encoder.user_content is not None
