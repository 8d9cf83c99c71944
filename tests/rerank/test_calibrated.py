"""Calibration against a list worked out by hand, an exhaustive search of every greedy step, and each of its options."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.beyond_accuracy import calibration_error
from reccore import Candidates, ConfigError, ItemTable, QueryBatch
from rerank.calibrated import Calibrated
from tests.rerank.lists import candidates_of, genre_table, vocabulary

# a, a, b, a+b, c, and a film without genres
GENRES = [[0], [0], [1], [0, 1], [2], []]


def build(genres: list[list[int]], **config: object) -> Calibrated:
    return Calibrated(config).fit(genre_table(genres), None, vocabulary(len(genres)))


def shares(genres: list[list[int]], items: list[int], weights: list[float], n_genres: int) -> np.ndarray:
    mass = np.zeros(n_genres)
    for item, weight in zip(items, weights, strict=True):
        for g in genres[item]:
            mass[g] += weight / len(genres[item])
    return mass / mass.sum() if mass.sum() else mass


def divergence(p: np.ndarray, q: np.ndarray, smoothing: float) -> float:
    mixed = (1 - smoothing) * q + smoothing * p
    return float(sum(p[g] * np.log(p[g] / mixed[g]) for g in range(len(p)) if p[g] > 0))


def test_by_hand() -> None:
    # The history is half a, half b; with λ = 0 and α = .01 the divergence of nothing is log 100.
    # First: a alone has q̃ = (.995, .005), so KL = .5·log(.5/.995) + .5·log(.5/.005) = 1.9585, as b alone; a+b has 0.
    found = build(GENRES, trade_off=0.0, half_life=None).rerank(
        QueryBatch.from_histories([[1, 2]]), candidates_of([[0, 2, 3, 4]]), 4
    )
    # After a+b: adding a gives q = (.75, .25), KL = .5·log(.5/.7475) + .5·log(.5/.2525) = .1405; then b restores 0.
    assert found.item_idx.tolist() == [[3, 0, 2, 4]]
    expected = [np.log(100), -0.1405, -0.1405, None]
    np.testing.assert_allclose(found.score[0, :2], expected[:2], atol=1e-4)
    assert found.score[0, 2] == found.score[0, 1]  # the gain of b is +.1405, capped by the gain before it


@pytest.mark.parametrize("trade_off", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("half_life", [None, 2.0])
def test_every_step_is_the_best_of_all_extended_lists(trade_off: float, half_life: float | None) -> None:
    rng = np.random.default_rng(int(10 * trade_off))
    n_items, n_genres = 30, 5
    genres = [rng.permutation(n_genres)[: rng.integers(0, 4)].tolist() for _ in range(n_items)]
    genres[0] = [n_genres - 1]
    reranker = build(genres, trade_off=trade_off, half_life=half_life, smoothing=0.05, relevance="rank")
    for _ in range(15):
        history = rng.integers(0, n_items, size=rng.integers(0, 9)).tolist()
        row = rng.permutation(n_items)[:12].tolist()
        relevance = {item: 1 - place / 11 for place, item in enumerate(row)}
        decay = [1.0 if half_life is None else 0.5 ** (age / half_life) for age in range(len(history))][::-1]
        p = shares(genres, history, decay, n_genres)

        def objective(chosen: list[int], p: np.ndarray = p, relevance: dict[int, float] = relevance) -> float:
            q = shares(genres, chosen, [1.0] * len(chosen), n_genres)
            return trade_off * sum(relevance[i] for i in chosen) - (1 - trade_off) * divergence(p, q, 0.05)

        found = reranker.rerank(QueryBatch.from_histories([history]), candidates_of([row]), 8).item_idx[0].tolist()
        for step in range(8):
            others = [item for item in row if item not in found[:step]]
            best = max(objective([*found[:step], item]) for item in others)
            assert objective(found[: step + 1]) == pytest.approx(best, abs=1e-9)


def test_the_calibration_error_falls_with_the_trade_off() -> None:
    rng = np.random.default_rng(5)
    genres = [rng.permutation(6)[: rng.integers(1, 4)].tolist() for _ in range(80)]
    queries = QueryBatch.from_histories([rng.integers(0, 80, size=20).tolist() for _ in range(40)])
    given = Candidates(
        np.argsort(rng.random((40, 80)), axis=1)[:, :60], np.tile(-np.arange(60, dtype=np.float32), (40, 1))
    )
    errors = []
    for trade_off in (1.0, 0.7, 0.2):
        lists = build(genres, trade_off=trade_off, half_life=None).rerank(queries, given, 10)
        errors.append(float(calibration_error(lists, queries, genre_table(genres).genre_matrix(), 10).mean()))
    assert errors[0] > errors[1] > errors[2]


def test_the_latest_events_count_most() -> None:
    reranker = build(GENRES, half_life=1.0)
    p = reranker.history_genres(QueryBatch.from_histories([[0, 2], [2, 0, -1], [], [5]]))
    np.testing.assert_allclose(p[:, :2], [[1 / 3, 2 / 3], [2 / 3, 1 / 3], [0, 0], [0, 0]])
    even = build(GENRES, half_life=None).history_genres(QueryBatch.from_histories([[0, 2, 3]]))
    np.testing.assert_allclose(even[0], [0.5, 0.5, 0.0])


@pytest.mark.parametrize("history", [[], [5], [-1]])
def test_without_genres_in_the_history_the_order_stays(history: list[int]) -> None:
    given = candidates_of([[4, 5, 0, 3, 2, -1]])
    found = build(GENRES, trade_off=0.1).rerank(QueryBatch.from_histories([history]), given, 6)
    np.testing.assert_array_equal(found.item_idx, given.item_idx)


def test_options_change_the_list() -> None:
    queries = QueryBatch.from_histories([[2, 2, 4, 0, 0, 0, 0, 0, 0]])
    given = candidates_of([[0, 1, 2, 4]], [[10, 9.9, 9.8, 0]])

    def order(**config: object) -> list[int]:
        return build(GENRES, **{"trade_off": 0.3, **config}).rerank(queries, given, 4).item_idx[0].tolist()

    assert order(half_life=None) == [0, 2, 1, 4]
    assert order(half_life=0.5)[:2] == [0, 1]
    assert order(half_life=None, pool=2) == [0, 1, 2, 4]
    assert order(half_life=None, trade_off=1.0) == [0, 1, 2, 4]
    assert order(half_life=None, trade_off=0.7, relevance="rank") != order(half_life=None, trade_off=0.7)
    assert order(half_life=None, smoothing=0.9) != order(half_life=None, smoothing=0.01)


def test_refuses_a_catalogue_without_genres_and_bad_options() -> None:
    with pytest.raises(ConfigError, match="'calibrated' needs genres"):
        Calibrated().fit(ItemTable(3), None, vocabulary(3))
    for wrong in ({"smoothing": 0.0}, {"smoothing": 1.0}, {"half_life": 0}, {"pool": 0}):
        with pytest.raises(ConfigError):
            Calibrated(wrong)
