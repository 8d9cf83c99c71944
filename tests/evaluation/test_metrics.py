"""Metrics against hand-computed cases, a slow textbook oracle, scikit-learn, and properties."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from evaluation import metrics
from evaluation.metrics import METRICS, ndcg_of_ranks, ndcg_of_scores, per_query_metrics
from reccore import Candidates, DataError, Holdout, QueryBatch
from reccore.arrays import offsets_from_lengths
from reccore.candidates import ranks_of_targets, top_k


def holdout_of(targets: list[list[int]]) -> Holdout:
    lengths = np.array([len(row) for row in targets], dtype=np.int64)
    flat = np.array([item for row in targets for item in row], dtype=np.int64)
    return Holdout(QueryBatch.from_histories([[] for _ in targets]), offsets_from_lengths(lengths), flat)


def oracle(ranked: list[int], targets: list[int], k: int) -> dict[str, float]:
    """The definitions, one rank at a time."""
    wanted = {t for t in targets if t >= 0}
    n_targets = len(wanted) + sum(t < 0 for t in targets)
    hits, precisions, dcg, first = 0, 0.0, 0.0, 0.0
    for rank in range(1, k + 1):
        item = ranked[rank - 1] if rank <= len(ranked) else -1
        if item >= 0 and item in wanted:
            hits += 1
            precisions += hits / rank
            dcg += 1 / math.log2(rank + 1)
            first = first or 1 / rank
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, n_targets) + 1))
    return {
        "hit_rate": float(hits > 0),
        "recall": hits / n_targets,
        "precision": hits / k,
        "ndcg": dcg / ideal,
        "map": precisions / min(k, n_targets),
        "mrr": first,
    }


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    """Ranked lists of equal width with padding at the end, and targets, repeated and unknown ones among them."""
    n_items, width, n_queries = draw(st.integers(1, 12)), draw(st.integers(0, 9)), draw(st.integers(1, 5))
    ranked, targets = [], []
    for _ in range(n_queries):
        items = draw(st.permutations(range(n_items)))[: draw(st.integers(0, width))]
        ranked.append(items + [-1] * (width - len(items)))
        targets.append(draw(st.lists(st.integers(-1, n_items - 1), min_size=1, max_size=6)))
    return ranked, targets


def as_array(ranked: list[list[int]]) -> np.ndarray:
    return np.array(ranked, dtype=np.int64).reshape(len(ranked), -1)


def test_one_target_by_hand() -> None:
    candidates = Candidates(
        np.array([[7, 3, 5], [7, 3, 5], [1, -1, -1]]),
        np.array([[3, 2, 1], [3, 2, 1], [1, -np.inf, -np.inf]], dtype=np.float32),
    )
    found = per_query_metrics(candidates, holdout_of([[3], [9], [1]]), ks=(1, 2, 5))
    assert list(found)[:4] == ["hit_rate@1", "hit_rate@2", "hit_rate@5", "recall@1"]
    np.testing.assert_allclose(found["hit_rate@1"], [0, 0, 1])
    np.testing.assert_allclose(found["hit_rate@2"], [1, 0, 1])
    np.testing.assert_allclose(found["precision@5"], [0.2, 0, 0.2])
    np.testing.assert_allclose(found["ndcg@2"], [1 / math.log2(3), 0, 1], rtol=1e-6)
    np.testing.assert_allclose(found["mrr@5"], [0.5, 0, 1])
    np.testing.assert_allclose(found["map@5"], [0.5, 0, 1])


def test_several_targets_by_hand() -> None:
    # Targets 2, 4, 6 and one unknown item; hits at ranks 1 and 3 of [2, 9, 6, 8].
    found = per_query_metrics(as_array([[2, 9, 6, 8]]), holdout_of([[2, 4, 6, -1]]), ks=(2, 4))
    assert found["recall@4"][0] == pytest.approx(2 / 4)
    assert found["recall@2"][0] == pytest.approx(1 / 4)
    assert found["precision@4"][0] == pytest.approx(2 / 4)
    assert found["map@2"][0] == pytest.approx(1 / 2)
    assert found["map@4"][0] == pytest.approx((1 / 1 + 2 / 3) / 4)
    ideal = 1 + 1 / math.log2(3) + 1 / 2 + 1 / math.log2(5)
    assert found["ndcg@4"][0] == pytest.approx((1 + 1 / 2) / ideal)


def test_unknown_target_is_a_miss_that_stays_in_the_mean() -> None:
    found = per_query_metrics(as_array([[0, 1], [-1, -1]]), holdout_of([[0], [-1]]), ks=(2,))
    for metric in METRICS:
        assert found[f"{metric}@2"].shape == (2,)
        assert found[f"{metric}@2"][1] == 0.0


@given(cases(), st.lists(st.integers(1, 12), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_equals_the_textbook_oracle(case: tuple[list[list[int]], list[list[int]]], ks: list[int]) -> None:
    ranked, targets = case
    found = per_query_metrics(as_array(ranked), holdout_of(targets), ks)
    assert len(found) == len(METRICS) * len(set(ks))
    for k in ks:
        for row, (items, wanted) in enumerate(zip(ranked, targets, strict=True)):
            for metric, value in oracle(items, wanted, k).items():
                assert found[f"{metric}@{k}"][row] == pytest.approx(value, abs=1e-6), (metric, k, row)


@given(cases(), st.integers(1, 8))
@settings(max_examples=80, deadline=None)
def test_properties(case: tuple[list[list[int]], list[list[int]]], k: int) -> None:
    ranked, targets = case
    found = per_query_metrics(as_array(ranked), holdout_of(targets), (k, k + 3))
    for name, values in found.items():
        assert np.isfinite(values).all(), name
        assert ((values >= 0) & (values <= 1 + 1e-6)).all(), name
    for metric in ("hit_rate", "recall", "mrr"):
        assert (found[f"{metric}@{k + 3}"] >= found[f"{metric}@{k}"]).all()
    np.testing.assert_array_equal(found[f"hit_rate@{k}"] > 0, found[f"mrr@{k}"] > 0)
    assert (found[f"hit_rate@{k}"] >= found[f"recall@{k}"]).all()


def test_ndcg_agrees_with_sklearn() -> None:
    rng = np.random.default_rng(0)
    n_queries, n_items, k = 30, 25, 10
    ranked = np.argsort(rng.random((n_queries, n_items)), axis=1)
    relevant = rng.random((n_queries, n_items)) < 0.2
    relevant[np.arange(n_queries), rng.integers(n_items, size=n_queries)] = True
    holdout = holdout_of([list(np.flatnonzero(row)) for row in relevant])
    scores = np.empty((n_queries, n_items))
    np.put_along_axis(scores, ranked, np.broadcast_to(-np.arange(n_items), scores.shape), axis=1)
    found = per_query_metrics(ranked, holdout, ks=(k, n_items))
    for row in range(n_queries):
        truth, predicted = relevant[row].astype(float), scores[row]
        assert found[f"ndcg@{k}"][row] == pytest.approx(ndcg_score([truth], [predicted], k=k), abs=1e-6)
        assert found[f"map@{n_items}"][row] == pytest.approx(average_precision_score(truth, predicted), abs=1e-6)


def test_a_perfect_list_scores_one() -> None:
    found = per_query_metrics(as_array([[4, 2, 0]]), holdout_of([[0, 2, 4]]), ks=(3,))
    assert all(found[f"{metric}@3"][0] == 1.0 for metric in METRICS)


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    ranked = np.argsort(rng.random((50, 30)), axis=1)[:, :12]
    holdout = holdout_of([list(rng.integers(-1, 30, size=rng.integers(1, 5))) for _ in range(50)])
    whole = per_query_metrics(ranked, holdout, (5, 12))
    monkeypatch.setattr(metrics, "_CELLS_PER_CHUNK", 7 * 96)
    for name, values in per_query_metrics(ranked, holdout, (5, 12)).items():
        np.testing.assert_array_equal(values, whole[name])


def test_one_target_per_query_is_a_case_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    ranked = np.argsort(rng.random((60, 20)), axis=1)[:, :9]
    ranked[rng.random(60) < 0.2, 6:] = -1
    holdout = holdout_of([[int(t)] for t in rng.integers(-1, 20, 60)])
    assert (holdout.target_idx < 0).any()
    several = metrics._marked_hits(ranked, holdout)
    for cells in (1 << 26, 40):  # four queries at a time
        monkeypatch.setattr(metrics, "_CELLS_PER_CHUNK", cells)
        for found, expected in zip(metrics._single_hits(ranked, holdout), several, strict=True):
            assert found.tolist() == expected.tolist()


def test_refuses_invalid_input() -> None:
    one = as_array([[0, 1]])
    with pytest.raises(DataError, match="query 1"):
        per_query_metrics(as_array([[0], [1]]), holdout_of([[0], []]))
    with pytest.raises(DataError, match="occurs twice"):
        per_query_metrics(as_array([[3, 1, 3]]), holdout_of([[3]]))
    with pytest.raises(DataError, match="one row per query"):
        per_query_metrics(one, holdout_of([[0], [1]]))
    with pytest.raises(DataError, match="no query"):
        per_query_metrics(one[:0], holdout_of([]))
    for ks in ((), (0, 10)):
        with pytest.raises(DataError, match="K must be"):
            per_query_metrics(one, holdout_of([[0]]), ks)


# NDCG for early stopping ----------------------------------------------------------------------------------


def test_ndcg_of_ranks_by_hand() -> None:
    np.testing.assert_allclose(ndcg_of_ranks(np.array([0, 2, 9, 10, 5000])), [1, 1 / 2, 1 / math.log2(11), 0, 0])
    assert ndcg_of_ranks(np.array([0, 1]), k=1).tolist() == [1, 0]
    assert ndcg_of_ranks(np.array([], dtype=np.int64)).shape == (0,)


def test_ndcg_of_ranks_agrees_with_the_metric_of_retrieved_lists() -> None:
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 9, (200, 30)).astype(np.float32)  # with ties
    targets = rng.integers(0, 30, 200)
    expected = per_query_metrics(top_k(scores, 10), holdout_of([[t] for t in targets]), (10,))["ndcg@10"]
    np.testing.assert_allclose(ndcg_of_ranks(ranks_of_targets(scores, targets)), expected, rtol=1e-6)


def test_ndcg_of_scores_by_hand() -> None:
    nan = math.nan
    scores = np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.2], [1.0, 2.0, 9.0], [1.0, 2.0, 3.0]], dtype=np.float32)
    labels = np.array([[1, 0, 1], [0, 1, nan], [1, 0, nan], [0, 0, 0]], dtype=np.float32)
    items = np.array([[5, 6, 7], [9, 4, 5], [1, 2, -1], [1, 2, 3]])
    first = (1 / math.log2(3) + 1 / 2) / (1 + 1 / math.log2(3))  # positives at ranks 2 and 3
    # Row 1: equal scores, the smaller item index is first. Row 2: padding is last. Row 3: no positive.
    np.testing.assert_allclose(ndcg_of_scores(scores, labels, items), [first, 1, 1 / math.log2(3), 0], rtol=1e-12)
    assert ndcg_of_scores(scores, labels, items, k=1).tolist() == [0, 1, 0, 0]


def test_an_unlabelled_candidate_keeps_its_rank() -> None:
    scores, labels = np.array([[3.0, 2.0]], dtype=np.float32), np.array([[math.nan, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(ndcg_of_scores(scores, labels, np.array([[4, 7]])), [1 / math.log2(3)])


@pytest.mark.parametrize("k", [1, 3, 10, 50])
def test_ndcg_of_scores_agrees_with_a_dense_product(k: int) -> None:
    """Another formula for the same figure, by a dense product over the ranks."""
    rng = np.random.default_rng(k)
    items = np.array([rng.permutation(40)[:25] for _ in range(300)])
    items[rng.random((300, 25)).cumsum(axis=1) > 11] = -1
    labels = rng.choice([0.0, 0.0, 1.0, math.nan], (300, 25)).astype(np.float32)
    labels[items < 0] = math.nan
    scores = rng.integers(0, 12, (300, 25)).astype(np.float32)

    order = np.lexsort((items, -np.where(items >= 0, scores, -np.inf)), axis=1)[:, :k]
    gains = np.take_along_axis((labels == 1) & (items >= 0), order, axis=1)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum((labels == 1).sum(axis=1), k)]
    dcg = gains @ discounts[: order.shape[1]]
    expected = np.divide(dcg, ideal, out=np.zeros_like(dcg), where=ideal > 0)
    np.testing.assert_allclose(ndcg_of_scores(scores, labels, items, k), expected, rtol=0, atol=1e-12)


def test_importing_the_metrics_loads_no_plotting() -> None:
    """Training imports the metrics for early stopping."""
    code = "import sys, evaluation.metrics; print(*sorted({'matplotlib', 'pandas', 'sklearn'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.split() == []
