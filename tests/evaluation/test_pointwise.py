"""Metrics of scored rows against hand-computed cases and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss, roc_auc_score

from evaluation.pointwise import (
    Reliability,
    auc,
    auc_interval,
    auc_per_query,
    calibration_error,
    gauc,
    log_losses,
    ratio_interval,
    totals_by_group,
)
from evaluation.significance import bootstrap_mean
from reccore import DataError

NAN = np.nan


def test_auc_by_hand() -> None:
    # Pairs of positive (3, 1) and negative (2, 1): 3 > 2, 3 > 1, 1 < 2, 1 = 1 → 2.5 of 4.
    assert auc(np.array([3.0, 1.0, 2.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.0])) == pytest.approx(2.5 / 4)
    assert np.isnan(auc(np.array([1.0, 2.0]), np.array([1.0, 1.0])))
    assert np.isnan(auc(np.array([1.0, 2.0]), np.array([0.0, 0.0])))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_auc_is_that_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, labels = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    if len(np.unique(labels)) == 2:
        assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_gauc_by_hand() -> None:
    scores = np.array([[3.0, 2.0, 1.0, 0.0], [1.0, 5.0, 9.0, 9.0], [1.0, 2.0, 3.0, 4.0], [7.0, 8.0, 9.0, -np.inf]])
    labels = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, NAN, NAN], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, NAN, NAN]])
    # Query 0: 3 beats 2 and 1, 0 beats none: 2 of 4. Query 1: 1 of 1, its unlabelled candidates take no part.
    # Query 2 has no positive, query 3 no negative: neither has an AUC.
    np.testing.assert_allclose(auc_per_query(scores, labels), [0.5, 1.0, NAN, NAN])
    assert gauc(scores, labels) == pytest.approx(0.75)
    assert gauc(scores, labels, weighted=True) == pytest.approx((0.5 * 4 + 1.0 * 2) / 6)
    assert np.isnan(gauc(scores[2:], labels[2:]))


def test_auc_per_query_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (50, 12)).astype(np.float32)
    labels = np.where(rng.random((50, 12)) < 0.2, NAN, rng.random((50, 12)) < 0.4)
    for row, value in enumerate(auc_per_query(scores, labels)):
        known = ~np.isnan(labels[row])
        assert value == pytest.approx(roc_auc_score(labels[row, known], scores[row, known]))


def test_log_loss_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    p, y = rng.random(200), (rng.random(200) < 0.3).astype(np.float64)
    assert log_losses(p, y).mean() == pytest.approx(log_loss(y, p))
    assert log_losses(np.array([0.25]), np.array([1.0]))[0] == pytest.approx(np.log(4))
    assert np.isfinite(log_losses(np.array([0.0, 1.0]), np.array([1.0, 0.0]))).all()  # certain, and wrong


@pytest.mark.parametrize("bins", [1, 5, 15])
@pytest.mark.parametrize("decimals", [9, 1])  # 1: many equal probabilities
def test_the_reliability_curve_is_that_of_scikit_learn(bins: int, decimals: int) -> None:
    rng = np.random.default_rng(2)
    p = rng.random(998).round(decimals)  # 997 is prime, so that no quantile falls on a row
    y = (rng.random(998) < p**2).astype(np.float64)
    observed, predicted = calibration_curve(y, p, n_bins=bins, strategy="quantile")
    curve = Reliability.of(p, y, bins)
    np.testing.assert_allclose(curve.predicted, predicted)
    np.testing.assert_allclose(curve.observed, observed)
    assert curve.count.sum() == 998
    assert calibration_error(p, y, bins) == pytest.approx(np.abs(observed - predicted) @ curve.count / 998)


def test_calibration_error_by_hand() -> None:
    # Two bins of two rows: |.15 − 0| and |.75 − .5|, each half of the mass.
    p, y = np.array([0.1, 0.2, 0.6, 0.9]), np.array([0.0, 0.0, 1.0, 0.0])
    assert calibration_error(p, y, bins=2) == pytest.approx(0.5 * 0.15 + 0.5 * 0.25)
    with pytest.raises(DataError, match="0 rows and 15 bins"):
        calibration_error(p[:0], y[:0])


def test_the_interval_of_auc_draws_groups_and_agrees_with_repeating_their_rows() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), 8)
    labels = (rng.random(240) < 0.4).astype(np.float64)
    scores = (labels + rng.normal(0, 1.5, 240)).round(1)  # some ties
    interval = auc_interval(scores, labels, groups, seed=5, n_resamples=200)
    draws = np.random.default_rng(5).integers(30, size=(200, 30), dtype=np.int32)
    repeated = [np.concatenate([np.flatnonzero(groups == group) for group in drawn]) for drawn in draws]
    values = [roc_auc_score(labels[rows], scores[rows]) for rows in repeated]
    assert interval.mean == pytest.approx(roc_auc_score(labels, scores))
    np.testing.assert_allclose([interval.low, interval.high], np.quantile(values, [0.025, 0.975]))
    with pytest.raises(DataError, match="a positive and a negative"):
        auc_interval(scores, np.ones(240), groups, seed=5)


def test_the_interval_of_a_mean_over_rows() -> None:
    rng = np.random.default_rng(4)
    values, groups = rng.random(60), np.repeat(np.arange(20), 3)
    totals, counts = totals_by_group(values, groups, 20), totals_by_group(np.ones(60), groups, 20)
    equal = bootstrap_mean(values.reshape(20, 3).mean(axis=1), seed=1)  # groups of one size: a mean of means
    found = ratio_interval(totals, counts, seed=1)
    np.testing.assert_allclose([found.mean, found.low, found.high], [equal.mean, equal.low, equal.high])
    unequal = ratio_interval(np.array([1.0, 30.0]), np.array([1.0, 10.0]), seed=1)
    assert unequal.mean == pytest.approx(31 / 11)
    assert (unequal.low, unequal.high) == (1.0, 3.0)
    with pytest.raises(DataError, match="at least one row"):
        ratio_interval(np.zeros(2), np.zeros(2), seed=1)
