"""Figures within candidates: by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss, ndcg_score, roc_auc_score

from evaluation.significance import groups_of
from evaluation.within_candidates import WEIGHTED, first_ranks, measure_within
from reccore import DataError

NAN = np.nan


def test_by_hand() -> None:
    scores = np.array([[0.1, 0.9, 0.5, 0.7], [0.3, 0.2, 0.1, -np.inf], [0.5, 0.4, 0.3, 0.2]], dtype=np.float32)
    labels = np.array([[1, 0, 0, NAN], [0, 1, NAN, NAN], [0, 0, 0, 0]], dtype=np.float32)
    item_idx = np.array([[4, 5, 6, 7], [1, 2, 3, -1], [8, 9, 10, 11]])
    found = measure_within("x", scores, labels, item_idx, np.array([0, 1, 2]), ks=(1, 3))
    # Query 0: its positive is third of three labelled candidates; the unlabelled one takes no place. Query 1: second.
    # Query 2 has no positive and counts only for AUC over all rows.
    assert found.per_query["mrr"].tolist() == pytest.approx([1 / 3, 1 / 2])
    assert found.per_query["ndcg@1"].tolist() == [0.0, 0.0]
    assert found.per_query["ndcg@3"].tolist() == pytest.approx([0.5, 1 / np.log2(3)])
    assert found.per_query["gauc"].tolist() == [0.0, 0.0]
    assert (found.rows, found.queries) == (9, 2)
    labelled = ~np.isnan(labels)
    assert found.metrics["auc"].mean == pytest.approx(roc_auc_score(labels[labelled], scores[labelled]))
    assert "logloss" not in found.metrics


def test_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((40, 12)) < 0.25).astype(np.float32)
    labels[:, 0], labels[:, 1] = 1.0, 0.0
    labels[rng.random((40, 12)) < 0.1] = NAN
    labels[:, 0], labels[:, 1] = 1.0, 0.0
    scores = rng.normal(size=(40, 12)).astype(np.float32)
    p = rng.random((40, 12)).astype(np.float32)
    item_idx = np.tile(np.arange(12), (40, 1))
    found = measure_within(
        "x", scores, labels, item_idx, np.arange(40), probabilities=p, raw_probabilities=p**2, ks=(5,)
    )
    known = ~np.isnan(labels)
    per_query = [roc_auc_score(labels[row, known[row]], scores[row, known[row]]) for row in range(40)]
    assert found.metrics["gauc"].mean == pytest.approx(np.mean(per_query))
    assert found.metrics[WEIGHTED].mean == pytest.approx(np.average(per_query, weights=known.sum(axis=1)))
    ndcg = [ndcg_score([labels[row, known[row]]], [scores[row, known[row]]], k=5) for row in range(40)]
    assert found.metrics["ndcg@5"].mean == pytest.approx(np.mean(ndcg))
    assert found.metrics["logloss"].mean == pytest.approx(log_loss(labels[known], p[known].astype(np.float64)))
    assert found.reliability is not None
    assert found.raw_reliability is not None
    assert found.reliability.count.sum() == known.sum()
    assert found.reliability.error != found.raw_reliability.error
    for interval in found.metrics.values():
        assert interval.low < interval.mean < interval.high


def test_first_ranks_break_ties_by_item() -> None:
    ranks = first_ranks(np.array([[1.0, 1.0, 1.0]]), np.array([[1.0, 0.0, 0.0]]), np.array([[9, 3, 5]]))
    assert ranks.tolist() == [1 / 3]


def test_queries_of_one_user_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.random((30, 8), dtype=np.float32), (rng.random((30, 8)) < 0.3).astype(np.float32)
    labels[:, :2] = [1.0, 0.0]
    labels[3] = 0.0  # has no place in GAUC, NDCG and MRR
    item_idx = np.tile(np.arange(8), (30, 1))
    one = measure_within("x", scores, labels, item_idx, np.arange(30), probabilities=scores)
    thrice = (np.repeat(values, 3, axis=0) for values in (scores, labels, item_idx, np.arange(30)))
    three = measure_within("x", *thrice, probabilities=np.repeat(scores, 3, axis=0))
    assert len(one.metrics) == 6
    for name, interval in one.metrics.items():
        assert vars(three.metrics[name]) == pytest.approx(vars(interval)), name
    assert three.user_idx.tolist() == np.repeat(np.delete(np.arange(30), 3), 3).tolist()


def test_groups_of_users_by_hand() -> None:
    assert groups_of(np.array([7, -1, 7, 3, -1])).tolist() == [1, 2, 1, 0, 3]


def test_without_a_positive_there_is_nothing_to_rank() -> None:
    with pytest.raises(DataError, match="nothing to rank"):
        measure_within("x", np.ones((2, 2)), np.zeros((2, 2)), np.ones((2, 2), dtype=np.int64), np.arange(2))
