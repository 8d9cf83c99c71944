"""The DPP against determinants computed from scratch, an exhaustive search, and each of its options."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from reccore import Candidates, ConfigError, ItemTable
from rerank.dpp import DPP
from tests.rerank.lists import candidates_of, genre_table, no_history, vocabulary

N_ITEMS = 14


def build(vectors: np.ndarray, **config: object) -> DPP:
    return DPP(config).fit(ItemTable(len(vectors)), vectors.astype(np.float32), vocabulary(len(vectors)))


def kernel(vectors: np.ndarray, jitter: float) -> np.ndarray:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0)
    similarity = (1 + unit @ unit.T) / 2
    np.fill_diagonal(similarity, 1 + jitter)
    return similarity


def log_det(matrix: np.ndarray, items: list[int]) -> float:
    return float(np.linalg.slogdet(matrix[np.ix_(items, items)])[1]) if items else 0.0


def by_determinants(row: list[int], relevance: list[float], matrix: np.ndarray, trade_off: float, k: int) -> list[int]:
    """The greedy steps with the determinant of every extended list."""
    chosen: list[int] = []
    while len(chosen) < min(k, len(row)):
        gain = {
            item: trade_off * value + (1 - trade_off) * (log_det(matrix, [*chosen, item]) - log_det(matrix, chosen))
            for item, value in zip(row, relevance, strict=True)
            if item not in chosen
        }
        chosen.append(max(gain, key=lambda item: round(gain[item], 9)))
    return chosen


@pytest.mark.parametrize("trade_off", [0.0, 0.4, 0.8, 1.0])
@pytest.mark.parametrize("dimensions", [2, 6])
def test_greedy_steps_equal_those_by_determinants(trade_off: float, dimensions: int) -> None:
    rng = np.random.default_rng(dimensions)
    vectors = rng.normal(size=(N_ITEMS, dimensions))
    vectors[3] = 0.0
    matrix = kernel(vectors, 0.01)
    for _ in range(20):
        row = rng.permutation(N_ITEMS)[:10].tolist()
        relevance = np.sort(rng.random(10))[::-1]
        relevance = (relevance - relevance[-1]) / (relevance[0] - relevance[-1])
        found = build(vectors, trade_off=trade_off).rerank(no_history(1), candidates_of([row], [relevance.tolist()]), 8)
        assert found.item_idx[0].tolist() == by_determinants(row, relevance.tolist(), matrix, trade_off, 8)
        total = trade_off * relevance[[row.index(i) for i in found.item_idx[0]]].sum()
        total += (1 - trade_off) * log_det(matrix, found.item_idx[0].tolist())
        assert found.score.sum() == pytest.approx(total, abs=1e-4)  # the gains add up to the objective
        assert (np.diff(found.score[0]) <= 1e-6).all()


def test_the_objective_is_the_determinant_of_the_kernel_weighted_by_quality() -> None:
    rng = np.random.default_rng(1)
    vectors, relevance, trade_off = rng.normal(size=(5, 3)), np.array([1.0, 0.8, 0.5, 0.2, 0.0]), 0.6
    matrix = kernel(vectors, 0.01)
    quality = np.exp(relevance) ** (trade_off / (2 * (1 - trade_off)))
    weighted = quality[:, None] * matrix * quality
    given = candidates_of([list(range(5))], [relevance.tolist()])
    found = build(vectors, trade_off=trade_off).rerank(no_history(1), given, 3)
    assert found.score.sum() == pytest.approx((1 - trade_off) * log_det(weighted, found.item_idx[0].tolist()), abs=1e-5)


def test_greedy_is_near_the_best_of_all_lists() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(9, 4))
    matrix = kernel(vectors, 0.01)
    found = build(vectors, trade_off=0.0).rerank(no_history(1), candidates_of([list(range(9))]), 4).item_idx[0]
    best = max(log_det(matrix, list(items)) for items in combinations(range(9), 4))
    # e^(log det) of the greedy list is at least a tenth of the best list's
    assert best - np.log(10) <= log_det(matrix, found.tolist()) <= best


def test_by_hand() -> None:
    # Items 0 and 1 are alike, 2 is orthogonal to them: d² of 1 is 1.01 − 1/1.01 ≈ 0.0199, that of 2 is 1.01 − .25/1.01.
    vectors = np.array([[1, 0], [1, 0], [0, 1]])
    found = build(vectors, trade_off=0.5).rerank(no_history(1), candidates_of([[0, 1, 2]], [[2, 1, 0]]), 2)
    assert found.item_idx.tolist() == [[0, 2]]
    np.testing.assert_allclose(found.score, [[0.5 + 0.5 * np.log(1.01), 0.5 * np.log(1.01 - 0.25 / 1.01)]], rtol=1e-6)


def test_only_relevance_keeps_the_order_and_duplicates_follow_by_relevance() -> None:
    rng = np.random.default_rng(3)
    given = candidates_of([rng.permutation(N_ITEMS).tolist()])
    kept = build(rng.normal(size=(N_ITEMS, 3)), trade_off=1.0).rerank(no_history(1), given, N_ITEMS)
    np.testing.assert_array_equal(kept.item_idx, given.item_idx)
    alike = build(np.ones((N_ITEMS, 3)), trade_off=0.0).rerank(no_history(1), given, N_ITEMS)
    np.testing.assert_array_equal(alike.item_idx, given.item_idx)
    assert np.isfinite(alike.score).all()


def test_lower_jitter_punishes_duplicates_harder() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]])
    given = candidates_of([[0, 1, 2]], [[1, 0.9, 0]])

    def order(jitter: float) -> list[int]:
        return build(vectors, trade_off=0.5, jitter=jitter).rerank(no_history(1), given, 3).item_idx[0].tolist()

    assert order(1.0) == [0, 1, 2]
    assert order(1e-4) == [0, 2, 1]


def test_similarity_pool_and_relevance_change_the_list() -> None:
    items = genre_table([[0], [0], [1], [1]])
    vectors = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=np.float32)
    given = candidates_of([[0, 1, 2, 3]], [[10, 9.9, 9.8, 0]])

    def order(given: Candidates = given, **config: object) -> list[int]:
        reranker = DPP({"trade_off": 0.3, **config}).fit(items, vectors, vocabulary(4))
        return reranker.rerank(no_history(1), given, 4).item_idx[0].tolist()

    assert order()[:2] == [0, 1]
    assert order(similarity={"kind": "genres"})[:2] == [0, 2]
    assert order(similarity={"kind": "genres"}, pool=2) == [0, 1, 2, 3]
    assert order(trade_off=0.9, similarity={"kind": "genres"})[3] == 3  # by gaps item 3 is worthless
    # Item 2 repeats item 0 and comes next by gaps; by rank item 1 is near enough to take its place.
    twins = candidates_of([[0, 2, 1, 3]], [[10, 9.99, 0, 0]])
    options: dict[str, object] = {"trade_off": 0.97, "jitter": 1e-6}
    assert order(twins, **options, relevance="min_max")[:2] == [0, 2]
    assert order(twins, **options, relevance="rank")[:2] == [0, 1]


def test_bad_options() -> None:
    for wrong in ({"jitter": 0}, {"jitter": 2}, {"trade_off": -1}, {"similarity": {"kind": "titles"}}):
        with pytest.raises(ConfigError):
            DPP(wrong)
