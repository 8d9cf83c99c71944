"""Evaluations and comparisons on a small holdout whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evaluation.evaluate import Evaluation, RunningEvaluation, compare, evaluate_candidates, leaderboard
from reccore import Candidates, ConfigError, DataError, Holdout, QueryBatch

COUNTS = np.array([9, 5, 3, 1, 0, 0])
GENRES = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1], [0, 0]], dtype=np.float32)


def ranked(rows: list[list[int]]) -> Candidates:
    item_idx = np.array(rows, dtype=np.int64)
    order = -np.arange(item_idx.shape[1], dtype=np.float32)
    return Candidates(item_idx, np.where(item_idx >= 0, order, -np.inf).astype(np.float32))


def holdout(targets: list[int], tied: list[bool] | None = None) -> Holdout:
    queries = QueryBatch.from_histories([[0]] * len(targets), user_idx=np.arange(len(targets)))
    return Holdout.single(queries, np.array(targets), None if tied is None else np.array(tied))


def measured(name: str, rows: list[list[int]], targets: list[int], ks: tuple[int, ...] = (1, 3)) -> Evaluation:
    return evaluate_candidates(
        name, ranked(rows), holdout(targets), item_counts=COUNTS, item_vectors=GENRES, ks=ks, n_resamples=200
    )


ROWS = [[1, 2, 3], [1, 3, 4], [-1, -1, -1], [2, 1, -1]]
TARGETS = [1, 4, 2, -1]


def test_unanswered_queries_and_unknown_targets_count_as_misses() -> None:
    found = evaluate_candidates(
        "x", ranked(ROWS), holdout(TARGETS, [True, False, False, False]), item_counts=COUNTS, ks=(3, 1, 3)
    )
    assert (found.queries, found.unanswered, found.targets, found.unknown_targets) == (4, 1, 4, 1)
    assert found.tied_share == 0.25
    assert found.ks == (1, 3)
    assert found.curve("hit_rate") == {1: 0.25, 3: 0.5}
    assert found.mean("ndcg@3") == pytest.approx((1 + 1 / math.log2(4)) / 4)
    assert found.metrics["hit_rate@3"].low <= 0.5 <= found.metrics["hit_rate@3"].high
    assert "diversity@1" not in found.lists


def test_intervals_draw_users_with_all_their_queries() -> None:
    targets, rows = [1, 4, 2, 1, 3, 2], [[1], [1], [2], [3], [3], [5]]

    def of(times: int, name: str, answers: list[list[int]]) -> Evaluation:
        queries = QueryBatch.from_histories([[0]] * 6 * times, user_idx=np.repeat(np.arange(6), times))
        held = Holdout.single(queries, np.repeat(targets, times))
        return evaluate_candidates(name, ranked([a for a in answers for _ in range(times)]), held, item_counts=COUNTS)

    once, thrice = ([of(times, "a", rows), of(times, "b", rows[::-1])] for times in (1, 3))
    assert once[0].users is None
    assert thrice[0].users is not None
    for metric in ("hit_rate@10", "ndcg@10"):
        for one, three in zip(once, thrice, strict=True):
            assert vars(three.metrics[metric]) == pytest.approx(vars(one.metrics[metric]))
        one, three = (compare(*pair, metric).difference for pair in (once, thrice))
        assert one.low < one.high
        assert vars(three) == pytest.approx(vars(one))


def test_properties_of_the_lists() -> None:
    found = measured("x", ROWS, TARGETS)
    assert found.mean("coverage@1") == pytest.approx(2 / 6)
    assert found.mean("coverage@3") == pytest.approx(4 / 6)
    assert found.mean("popularity@1") == pytest.approx((5 + 5 + 3) / 3)  # the empty row is left out
    # With one event added per item the total is 24: item 1 has 6, item 2 has 4.
    assert found.mean("novelty@1") == pytest.approx((2 + 2 + math.log2(6)) / 3)
    assert math.isnan(found.mean("diversity@1"))  # one item makes no pair
    assert found.tied_share is None


def test_compare_is_paired_and_signed() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(6, size=60).tolist()
    good = measured("good", [[t, (t + 1) % 6, (t + 2) % 6] for t in targets], targets)
    poor = measured("poor", [[(t + 1) % 6, (t + 2) % 6, t] for t in targets], targets)
    found = compare(good, poor, "ndcg@3")
    assert found.difference.mean == pytest.approx(0.5)
    assert (found.difference.low, found.difference.high) == (pytest.approx(0.5), pytest.approx(0.5))
    assert (found.verdict, compare(poor, good, "ndcg@3").verdict) == ("better", "worse")
    assert found.relative == pytest.approx(1.0)
    assert "good − poor, ndcg@3: +0.5000" in str(found)
    same = compare(good, good, "ndcg@3")
    assert (same.difference.low, same.difference.high, same.verdict) == (0.0, 0.0, "no clear difference")
    assert compare(good, poor, "hit_rate@3").relative == 0.0


def test_compare_refuses_other_users_and_unmeasured_metrics() -> None:
    a, b = measured("a", ROWS, TARGETS), measured("b", ROWS, [1, 4, 2, 0])
    with pytest.raises(DataError, match="different users or targets"):
        compare(a, b, "ndcg@3")
    with pytest.raises(ConfigError, match="ndcg@10"):
        compare(a, a)
    with pytest.raises(ConfigError, match="known: hit_rate@1"):
        a.mean("ndcg@10")


def test_leaderboard_is_sorted_and_ties_go_by_name() -> None:
    best = measured("z", [[1, 2, 3], [4, 2, 3], [2, 1, 3], [1, 2, 3]], TARGETS)
    b, a = measured("b", ROWS, TARGETS), measured("a", ROWS, TARGETS)
    assert [e.name for e in leaderboard([b, a, best], by="ndcg@3")] == ["z", "a", "b"]


def test_refuses_candidates_outside_the_catalogue() -> None:
    with pytest.raises(DataError, match="index 6 is outside"):
        measured("x", [[6]], [0])
    with pytest.raises(DataError, match="item vectors"):
        evaluate_candidates("x", ranked([[0]]), holdout([0]), item_counts=COUNTS, item_vectors=GENRES[:3])


def test_parts_must_be_all_queries_of_the_holdout() -> None:
    running = RunningEvaluation("mine", item_counts=COUNTS, ks=(1,))
    running.add(ranked([[0]]), holdout([0]))
    with pytest.raises(DataError, match="candidates of 1 queries for a holdout of 2"):
        running.result(holdout([0, 1]))
