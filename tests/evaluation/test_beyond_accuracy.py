"""Coverage, popularity, diversity and calibration against hand-computed and pairwise values."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from evaluation import beyond_accuracy
from evaluation.beyond_accuracy import (
    calibration_error,
    catalogue_coverage,
    intra_list_diversity,
    mean_of_answered,
    mean_popularity,
    self_information,
)
from reccore import DataError, QueryBatch

LISTS = np.array([[0, 1, 2], [0, 3, -1], [-1, -1, -1]])


def test_coverage_counts_items_of_the_first_k() -> None:
    assert catalogue_coverage(LISTS, 8, 1) == pytest.approx(1 / 8)
    assert catalogue_coverage(LISTS, 8, 2) == pytest.approx(3 / 8)
    assert catalogue_coverage(LISTS, 8, 99) == pytest.approx(4 / 8)


def test_mean_popularity_by_hand() -> None:
    counts = np.array([10, 4, 1, 0])
    np.testing.assert_allclose(mean_popularity(LISTS, counts, 3), [5, 5, np.nan])
    np.testing.assert_allclose(mean_popularity(LISTS, counts, 1), [10, 10, np.nan])


def test_self_information_by_hand() -> None:
    counts = np.array([3, 1, 0, 0])  # with one added: 4, 2, 1, 1 of 8
    np.testing.assert_allclose(self_information(LISTS, counts, 3), [(1 + 2 + 3) / 3, (1 + 3) / 2, np.nan])


def test_diversity_equals_the_mean_over_pairs() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 5)).astype(np.float32)
    vectors[[3, 7]] = 0.0  # no vector for these two
    lists = np.argsort(rng.random((12, 20)), axis=1)[:, :6]
    lists[0, 4:] = -1
    found = intra_list_diversity(lists, vectors, 6)
    for row, items in enumerate(lists):
        known = [vectors[i].astype(float) for i in items if i >= 0 and vectors[i].any()]
        pairs = [1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in combinations(known, 2)]
        assert found[row] == pytest.approx(np.mean(pairs), abs=1e-6)


def test_diversity_of_equal_disjoint_and_short_lists() -> None:
    genres = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], dtype=np.float32)
    lists = np.array([[0, 1], [0, 2], [0, 3], [0, -1]])
    np.testing.assert_allclose(intra_list_diversity(lists, genres, 2), [0, 1, np.nan, np.nan], atol=1e-7)


def test_diversity_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    vectors, lists = rng.random((9, 4)).astype(np.float32), np.argsort(rng.random((11, 9)), axis=1)[:, :5]
    whole = intra_list_diversity(lists, vectors, 5)
    monkeypatch.setattr(beyond_accuracy, "_FLOATS_PER_CHUNK", 60)
    np.testing.assert_array_equal(intra_list_diversity(lists, vectors, 5), whole)


def test_calibration_error_by_hand() -> None:
    genres = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], dtype=np.float32)
    queries = QueryBatch.from_histories([[0, 1], [0, 0, -1], [2], [3], [0]])
    lists = np.array([[0, 1], [1, 3], [2, -1], [0, 1], [3, -1]])
    found = calibration_error(lists, queries, genres, 2)
    # The second history has only the first genre, its list only the other: q̃ is .01 for the first.
    np.testing.assert_allclose(found, [0, math.log(1 / 0.01), 0, np.nan, np.nan], rtol=1e-6, atol=1e-9)
    with pytest.raises(DataError, match="smoothing"):
        calibration_error(lists, queries, genres, 2, smoothing=0.0)


def test_mean_of_answered_ignores_nan() -> None:
    assert mean_of_answered(np.array([1.0, np.nan, 3.0])) == 2.0
    assert math.isnan(mean_of_answered(np.array([np.nan])))
