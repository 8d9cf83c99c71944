"""Channels of vectors: several vectors per query, zero vectors, and items outside the index, against brute force."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from recall.embedding import EmbeddingRecall
from recall.index import INDEXES
from reccore import Candidates, ComponentConfig, Exclusions, Holdout, IdMap, QueryBatch, RunOptions, TrainingData
from reccore.arrays import FloatArray
from tests.helpers import checkerboard

N_ITEMS, DIMENSION = 24, 4


class ThreeVectors(EmbeddingRecall):
    """Small whole numbers as vectors, so that scores are exact and many tie."""

    name: ClassVar[str] = "three_vectors"
    Config: ClassVar[type[ComponentConfig]] = ComponentConfig
    items: ClassVar[FloatArray] = np.random.default_rng(1).integers(-2, 3, (N_ITEMS, DIMENSION)).astype(np.float32)
    n_vectors: ClassVar[int] = 3

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        vectors = self.items if self.indexed is None else self.items[self.indexed.ids]
        self.index = INDEXES["flat"]().build(vectors)

    def encode_queries(self, queries: QueryBatch) -> FloatArray:
        rows = [
            np.random.default_rng(int(user)).integers(-2, 3, (self.n_vectors, DIMENSION)) for user in queries.user_idx
        ]
        return np.array(rows, dtype=np.float32).reshape(len(queries), self.n_vectors, DIMENSION)

    def encode_items(self) -> FloatArray:
        return self.items


class TwoOfThree(ThreeVectors):
    """The first vector of each query is zero, and the queries of even users have no other vector."""

    name = "two_of_three"

    def encode_queries(self, queries: QueryBatch) -> FloatArray:
        vectors = super().encode_queries(queries)
        vectors[:, 0] = 0.0
        vectors[queries.user_idx % 2 == 0] = 0.0
        return vectors


@pytest.fixture
def queries() -> QueryBatch:
    rng = np.random.default_rng(0)
    histories = [rng.integers(-1, N_ITEMS, rng.integers(0, 8)).tolist() for _ in range(40)]
    return QueryBatch.from_histories(histories, user_idx=np.arange(40))


def fitted(cls: type[ThreeVectors], indexed: IdMap | None = None) -> ThreeVectors:
    channel = cls()
    channel.indexed = indexed
    return channel.fit(checkerboard(), options=RunOptions(progress=False, threads=1))


def brute_force(channel: ThreeVectors, queries: QueryBatch) -> list[list[float | None]]:
    """The best inner product of every query with every item, one at a time; None where there is none."""
    vectors = channel.encode_queries(queries)
    known = range(N_ITEMS) if channel.indexed is None else channel.indexed.ids.tolist()
    return [
        [
            max((float(vector @ channel.items[item]) for vector in row if vector.any()), default=None)
            if item in known
            else None
            for item in range(N_ITEMS)
        ]
        for row in vectors
    ]


CASES: dict[str, tuple[type[ThreeVectors], Any]] = {
    "three vectors": (ThreeVectors, None),
    "zero vectors": (TwoOfThree, None),
    "items outside the index": (TwoOfThree, IdMap(np.array([1, 2, 3, 5, 8, 13, 21]))),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [1, 5, N_ITEMS])
def test_the_list_is_that_of_brute_force(case: str, k: int, queries: QueryBatch) -> None:
    channel = fitted(*CASES[case])
    found = channel.retrieve(queries, k)
    found.validate()
    for row, scores in enumerate(brute_force(channel, queries)):
        history = set(queries.select([row]).history_idx.tolist())
        usable = [(-score, item) for item, score in enumerate(scores) if score is not None and item not in history]
        expected = sorted(usable)[:k]
        n = len(expected)
        assert found.item_idx[row].tolist() == [item for _, item in expected] + [-1] * (k - n)
        assert found.score[row, :n].tolist() == [-score for score, _ in expected]


@pytest.mark.parametrize("case", CASES)
def test_the_score_is_the_best_over_the_vectors(case: str, queries: QueryBatch) -> None:
    channel = fitted(*CASES[case])
    every_item = np.tile(np.arange(N_ITEMS), (len(queries), 1))
    found = channel.score(queries, Candidates(every_item, np.zeros(every_item.shape, dtype=np.float32)))
    np.testing.assert_array_equal(found, np.array(brute_force(channel, queries), dtype=np.float32))


def test_one_search_for_each_vector_that_is_not_zero(queries: QueryBatch) -> None:
    channel = fitted(*CASES["items outside the index"])
    vectors, exclude = channel.index_queries(channel.encode_queries(queries), Exclusions.of_history(queries))
    odd = np.arange(1, 40, 2)
    expected = channel.encode_queries(queries.select(odd))[:, 1:].reshape(-1, DIMENSION)
    np.testing.assert_array_equal(vectors, expected[expected.any(axis=1)])
    assert len(exclude) == len(vectors)
    row = exclude.rows(0, 1).item_idx
    history = queries.select([1]).history_idx
    np.testing.assert_array_equal(row, channel.indexed.encode(history))  # type: ignore[union-attr]


def test_no_queries(queries: QueryBatch) -> None:
    channel = fitted(ThreeVectors)
    nobody = queries.select([])
    assert channel.prepare(nobody).shape == (0, 3, DIMENSION)
    assert channel.retrieve(nobody, 5, prepared=channel.prepare(nobody)).item_idx.shape == (0, 5)
