"""A model trained on rated, timed events answers histories without ratings or times by codes that it has learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recall.neural.encoders.mlp import MLPEncoder
from recall.neural.encoders.transformer import TransformerEncoder
from recall.two_tower import TwoTower
from reccore import QueryBatch, RunOptions, TrainingData
from tests.recall.neural.tiny import fitted

QUIET = RunOptions(device="cpu", progress=False, threads=1)
# Short, longer than what is read, and empty ones.
HISTORIES = [[0, 2, 4], [1], [], [3, 5, 7, 9, 11, 13, 1], [0, 1, 2, 3]]


@pytest.fixture(scope="module", params=["mlp", "transformer"])
def channel(request: pytest.FixtureRequest, board: TrainingData) -> TwoTower:
    return fitted(board, QUIET, encoder__kind=request.param)


def ids_only(user_idx: list[int] | None = None) -> QueryBatch:
    return QueryBatch.from_histories(HISTORIES, user_idx=user_idx)


def rated(queries: QueryBatch, rating: float) -> QueryBatch:
    return replace(queries, history_rating=np.full(len(queries.history_idx), rating, dtype=np.float32))


def timed(queries: QueryBatch, gap: int) -> QueryBatch:
    within = np.arange(len(queries.history_idx)) - np.repeat(queries.history_offsets[:-1], queries.lengths)
    return replace(queries, history_time=10**9 + gap * within)


@pytest.mark.parametrize("user_idx", [None, [0, 1, 2, 3, 4]])
def test_without_ratings_and_times_is_with_typical_ones(channel: TwoTower, user_idx: list[int] | None) -> None:
    codes, plain = channel._codes, ids_only(user_idx)
    assert codes.typical_gap is not None
    expected = channel.encode_queries(plain)
    np.testing.assert_array_equal(channel.encode_queries(rated(plain, codes.typical_rating)), expected)
    np.testing.assert_array_equal(channel.encode_queries(timed(plain, codes.typical_gap)), expected)
    both = timed(rated(plain, codes.typical_rating), codes.typical_gap)
    np.testing.assert_array_equal(channel.encode_queries(both), expected)
    np.testing.assert_array_equal(channel.encode_queries(rated(plain, np.nan)), expected)


def test_other_ratings_and_gaps_are_other_queries(channel: TwoTower) -> None:
    plain = ids_only()
    expected = channel.encode_queries(plain)
    read = plain.lengths > 0
    moved = np.abs(channel.encode_queries(rated(plain, 1.0)) - expected).max(axis=1)
    assert (moved > 1e-5).tolist() == read.tolist()
    if isinstance(channel.network.query_encoder, TransformerEncoder):
        moved = np.abs(channel.encode_queries(timed(plain, 10**7)) - expected).max(axis=1)
        assert (moved > 1e-5).tolist() == (plain.lengths > 1).tolist()


def test_some_events_without_a_rating_are_typical_events(board: TrainingData) -> None:
    channel = fitted(board, QUIET, encoder__kind="transformer", epochs=1)
    typical = channel._codes.typical_rating
    ratings = np.linspace(3, 5, len(ids_only().history_idx)).astype(np.float32)
    ratings[::2] = np.nan
    given = replace(ids_only(), history_rating=ratings)
    filled = replace(given, history_rating=np.where(np.isnan(ratings), np.float32(typical), ratings))
    np.testing.assert_array_equal(channel.encode_queries(given), channel.encode_queries(filled))


def test_every_code_of_such_a_history_was_learnt(channel: TwoTower, board: TrainingData) -> None:
    encoder = channel.network.query_encoder
    examples = encoder.examples(board.interactions, 64)
    inputs = encoder.inputs(ids_only())
    if isinstance(encoder, MLPEncoder):
        learnt, _ = examples.batch(np.arange(480))
        with_history = learnt.lengths > 0
        seen = set(learnt.codes[with_history, 0].tolist())
        assert set(inputs.codes[inputs.lengths > 0, 0].tolist()) <= seen
        assert 0 not in seen
        return
    batches = [examples.batch(rows)[0] for rows in examples.batches(np.random.default_rng(0))]
    for name in ("ratings", "gaps"):
        seen = {int(code) for batch in batches for code in getattr(batch, name)[batch.history >= 0].unique()}
        found = getattr(inputs, name)[inputs.history >= 0]
        assert set(found.tolist()) <= seen
        assert torch.equal(getattr(inputs, name)[inputs.history < 0], torch.zeros((inputs.history < 0).sum()).long())
