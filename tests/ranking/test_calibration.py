"""Calibration of scores: against scikit-learn and a closed form, monotone, stored with the ranker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from evaluation.pointwise import calibration_error
from ranking import RANKERS
from ranking.calibration import Calibration, sigmoid
from ranking.deepfm import DeepFM
from reccore import ConfigError, RunOptions
from tests.ranking.samples import Setting, board_setting

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
KINDS: tuple[Any, ...] = ("isotonic", "platt")


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose logit is 2·s − 1, and their labels."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n)
    return scores, (rng.random(n) < sigmoid(2 * scores - 1)).astype(np.float64)


def test_sigmoid_does_not_overflow() -> None:
    np.testing.assert_allclose(sigmoid(np.array([-1e4, -1.0, 0.0, 1e4])), [0.0, 1 / (1 + np.e), 0.5, 1.0])


def test_isotonic_by_hand() -> None:
    # Labels 0 1 0 1 pool the middle two to ½; the ends stay 1/6 away from 0 and 1.
    calibration = Calibration.fit("isotonic", np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 0.0, 1.0]))
    np.testing.assert_allclose(calibration(np.array([-9.0, 1.0, 2.0, 2.5, 3.0, 3.5, 99.0])),
                               [1 / 6, 1 / 6, 0.5, 0.5, 0.5, (0.5 + 5 / 6) / 2, 5 / 6])  # fmt: skip


def test_isotonic_is_the_regression_of_scikit_learn() -> None:
    scores, labels = drawn(500)
    fitted = IsotonicRegression(y_min=1 / 502, y_max=501 / 502, out_of_bounds="clip").fit(scores, labels)
    at = np.linspace(-4, 4, 101)
    np.testing.assert_allclose(Calibration.fit("isotonic", scores, labels)(at), fitted.predict(at))


def test_platt_is_the_maximum_likelihood_of_slope_and_intercept() -> None:
    scores, labels = drawn(500)
    scores = 100 * scores + 3000  # far from standardised

    def loss(parameters: np.ndarray) -> float:
        logits = parameters[0] * (scores - 3000) / 100 + parameters[1]
        return float(np.logaddexp(0, logits).sum() - labels @ logits)

    a, b = minimize(loss, np.zeros(2), tol=1e-10).x
    at = np.linspace(2600, 3400, 9)
    np.testing.assert_allclose(
        Calibration.fit("platt", scores, labels)(at), sigmoid(a * (at - 3000) / 100 + b), atol=1e-5
    )


def test_platt_of_scores_that_put_negatives_first_is_the_share_of_positives() -> None:
    scores, labels = drawn(300)
    found = Calibration.fit("platt", -scores, labels)(np.array([-5.0, 5.0]))
    np.testing.assert_allclose(found, labels.mean())


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-50, 50, width=32), st.booleans()), min_size=2, max_size=30), st.sampled_from(KINDS)
)
def test_probabilities_never_fall_with_the_score(rows: list[tuple[float, bool]], kind: Any) -> None:
    scores, labels = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    if len(np.unique(labels)) < 2:
        return
    found = Calibration.fit(kind, scores, labels)(np.sort(np.concatenate([scores, np.linspace(-60, 60, 50)])))
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_counts_as_so_many_rows(kind: Any) -> None:
    scores, labels = drawn(400)
    times = np.where(labels == 0.0, 3, 1)
    at = np.linspace(-2, 2, 21)
    weighted = Calibration.fit(kind, scores, labels, times.astype(np.float32))(at)
    repeated = Calibration.fit(kind, np.repeat(scores, times), np.repeat(labels, times))(at)
    np.testing.assert_allclose(weighted, repeated, atol=2e-3)  # the margin of isotonic regression is of the rows
    assert np.abs(weighted - Calibration.fit(kind, scores, labels)(at)).max() > 0.05
    upside_down = Calibration.fit("platt", -scores, labels, times.astype(np.float32))(at)
    np.testing.assert_allclose(upside_down, np.repeat(labels, times).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_calibration_lowers_the_error_on_other_rows(kind: Any) -> None:
    scores, labels = drawn(5000, seed=1)
    others, truth = drawn(5000, seed=2)
    before = calibration_error(sigmoid(others), truth)
    after = calibration_error(Calibration.fit(kind, scores, labels)(others), truth)
    assert after < 0.03 < 0.1 < before


@pytest.fixture(scope="module")
def setting() -> Setting:
    return board_setting()


def ranker_with(setting: Setting, kind: str, *, valid: bool = True) -> DeepFM:
    ranker = DeepFM({"epochs": 2, "batch_size": 16, "hidden": [8], "embedding_size": 4, "calibration": kind})
    given = setting.valid if valid else None
    return ranker.fit(setting.samples, valid=given, options=QUIET, **setting.tables())  # type: ignore[arg-type]


def test_every_kind_gives_other_probabilities_and_the_same_order(setting: Setting, tmp_path: Path) -> None:
    queries, candidates = setting.valid.queries, setting.valid.candidates
    found = []
    for kind in KINDS:
        ranker = ranker_with(setting, kind)
        probability, score = ranker.probability(queries, candidates), ranker.score(queries, candidates)
        assert probability.shape == candidates.item_idx.shape
        by_score = np.take_along_axis(probability, np.argsort(-score, axis=1), axis=1)
        assert (np.diff(by_score, axis=1) <= 0).all()
        # Over the rows they were fitted on, probabilities add up to the positives.
        assert probability.sum() == pytest.approx(len(queries), rel=0.01)
        ranker.save(tmp_path / kind)
        np.testing.assert_array_equal(RANKERS.load(tmp_path / kind).probability(queries, candidates), probability)
        found.append(probability)
    assert not np.allclose(*found, atol=1e-3)


def test_new_users_do_not_move_the_probabilities_of_others(setting: Setting) -> None:
    """Their positives are all later events, so that they have many more of them."""
    valid, new = setting.valid, np.arange(0, len(setting.valid), 2)
    user_idx = valid.queries.user_idx.copy()
    user_idx[new] = -1
    labels = valid.labels["click"].copy()
    labels[new] = np.where(np.isnan(labels[new]), np.nan, 1.0)
    mixed = replace(valid, queries=replace(valid.queries, user_idx=user_idx), labels={**valid.labels, "click": labels})
    ranker = ranker_with(replace(setting, valid=mixed), "isotonic")
    others = valid.select(np.setdiff1d(np.arange(len(valid)), new))
    assert ranker.probability(others.queries, others.candidates).sum() == pytest.approx(len(others), rel=0.05)


def test_padding_has_probability_zero(setting: Setting) -> None:
    candidates = setting.valid.candidates.take(np.tile([0, 1, -1], (len(setting.valid), 1)))
    probability = ranker_with(setting, "platt").probability(setting.valid.queries, candidates)
    assert (probability[:, 2] == 0).all()
    assert (probability[:, :2] > 0).all()


def test_without_calibration_there_is_no_probability(setting: Setting, tmp_path: Path) -> None:
    for ranker in (ranker_with(setting, "none"), ranker_with(setting, "isotonic", valid=False)):
        assert not ranker.is_calibrated
        with pytest.raises(ConfigError, match="deepfm were not calibrated; train it with calibration = isotonic"):
            ranker.probability(setting.valid.queries, setting.valid.candidates)
    ranker.save(tmp_path / "plain")
    assert not RANKERS.load(tmp_path / "plain").is_calibrated
