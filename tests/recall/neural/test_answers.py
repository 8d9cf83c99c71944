"""What a neural channel answers: by any index, in chunks, and for unknown users."""

from __future__ import annotations

import numpy as np
import pytest

from recall.index import INDEXES
from recall.two_tower import TwoTower
from reccore import Exclusions, QueryBatch, RunOptions, TrainingData
from tests.recall.neural.tiny import fitted


@pytest.fixture(scope="module")
def plain(board: TrainingData) -> TwoTower:
    return fitted(board, RunOptions(device="cpu", progress=False, threads=1))


@pytest.mark.parametrize("index", ["flat", "brute_force", "ivf", "hnsw", "pq"])
def test_each_index_finds_every_film_at_its_own_row(board: TrainingData, options: RunOptions, index: str) -> None:
    channel = fitted(board, options, index__kind=index)
    assert isinstance(channel.index, INDEXES[index])
    items = channel.encode_items()
    found = channel.index.search(items, 1, Exclusions.nothing(24))
    assert found.item_idx[:, 0].tolist() == list(range(24))
    np.testing.assert_allclose(found.score, 1.0, atol=1e-5)


def test_answers_are_the_inner_products_of_the_towers(board: TrainingData, plain: TwoTower) -> None:
    queries = board.interactions.queries()
    scores = plain.encode_queries(queries) @ plain.encode_items().T
    found = plain.retrieve(queries, 24)
    seen = Exclusions.of_history(queries)
    np.testing.assert_allclose(
        found.score[:, 0], np.where(seen.contains(np.tile(np.arange(24), (60, 1))), -9, scores).max(1), atol=1e-5
    )
    for row in (0, 31):
        n = found.counts[row]
        np.testing.assert_allclose(found.score[row, :n], scores[row, found.item_idx[row, :n]], atol=1e-5)
        assert n == 24 - 8


def test_one_query_is_encoded_as_in_a_batch(board: TrainingData, plain: TwoTower) -> None:
    queries = board.interactions.queries()
    together = plain.encode_queries(queries)
    for row in (0, 17, 59):
        np.testing.assert_allclose(plain.encode_queries(queries.select([row]))[0], together[row], atol=1e-6)


@pytest.mark.parametrize("encoder", ["mlp", "transformer"])
def test_queries_are_encoded_in_chunks_each_to_its_own_row(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch, encoder: str
) -> None:
    queries = board.interactions.queries()
    channel = fitted(board, options, encoder__kind=encoder, epochs=1)
    together, seen = channel.encode_queries(queries), []
    query_encoder, frozen = type(channel.network.query_encoder), channel._frozen
    inputs = query_encoder.inputs
    monkeypatch.setattr(query_encoder, "queries_per_chunk", 7)
    if frozen is None:
        monkeypatch.setattr(query_encoder, "inputs", lambda self, part: (seen.append(len(part)), inputs(self, part))[1])
    else:
        monkeypatch.setattr(channel, "_frozen", lambda part: (seen.append(len(part)), frozen(part))[1])
    np.testing.assert_allclose(channel.encode_queries(queries), together, atol=1e-6)
    assert sum(seen) == 60
    assert max(seen) <= 7


def test_strangers_and_empty_histories_are_answered(plain: TwoTower) -> None:
    queries = QueryBatch.from_histories([[], [], [3, 5], []], user_idx=[-1, 4, -1, 999])
    found = plain.retrieve(queries, 24)
    assert found.counts.tolist() == [24, 24, 22, 24]
    assert found.item_idx[0].tolist() == found.item_idx[3].tolist()  # a number beyond the table is a stranger
    assert np.abs(found.score[0] - found.score[1]).max() > 1e-4  # something is known of user 4


def test_only_the_latest_events_are_pooled(plain: TwoTower) -> None:
    # The first two trade places: same genre, so that only the pools could tell.
    one, other = plain.encode_queries(QueryBatch.from_histories([[0, 2, 4, 6, 8, 10], [2, 0, 4, 6, 8, 10]]))
    np.testing.assert_array_equal(one, other)
    recent = plain.encode_queries(QueryBatch.from_histories([[0, 2, 4, 6, 10, 8]]))[0]
    assert np.abs(recent - one).max() > 1e-4
