"""Bootstrap intervals: coverage, pairing and reproducibility."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evaluation import significance
from evaluation.significance import Interval, bootstrap_mean, bootstrap_means, n_users, paired_bootstrap, sums_by_user
from reccore import DataError


def test_interval_has_its_nominal_coverage() -> None:
    rng = np.random.default_rng(0)
    runs, truth = 400, 0.2
    covered = 0
    for run in range(runs):
        interval = bootstrap_mean((rng.random(150) < truth).astype(np.float32), seed=run, n_resamples=300)
        covered += interval.low <= truth <= interval.high
    # Binomial standard error at .95 and 400 runs is .011; four of them, and a little for the small sample.
    assert 0.90 <= covered / runs <= 0.985


def test_interval_agrees_with_the_normal_one_on_many_users() -> None:
    values = np.random.default_rng(1).exponential(size=5000)
    found = bootstrap_mean(values, seed=3, n_resamples=2000, level=0.9)
    half = stats.norm.ppf(0.95) * values.std(ddof=1) / np.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert found.level == 0.9


def test_identical_queries_of_a_user_tell_no_more_than_one() -> None:
    values, users = np.random.default_rng(8).random(60), np.arange(60)
    shuffled = np.random.default_rng(9).permutation(180)
    three, of_three = np.repeat(values, 3)[shuffled], np.repeat(users, 3)[shuffled]
    one = bootstrap_mean(values, users=users, seed=0)
    found = bootstrap_mean(three, users=of_three, seed=0)
    assert (found.mean, found.low, found.high) == pytest.approx((one.mean, one.low, one.high))
    narrow = bootstrap_mean(three, seed=0)
    assert narrow.high - narrow.low < 0.7 * (one.high - one.low)  # a third of the variance
    one = paired_bootstrap(values, values**2, users=users, seed=0)
    found = paired_bootstrap(three, three**2, users=of_three, seed=0)
    assert (found.mean, found.low, found.high) == pytest.approx((one.mean, one.low, one.high))


@pytest.mark.parametrize("users", [np.arange(50), np.random.default_rng(1).permutation(50), np.full(50, -1)])
def test_users_with_one_query_each_are_drawn_as_queries_are(users: np.ndarray) -> None:
    values = {"a": np.random.default_rng(10).random(50).astype(np.float32), "b": np.arange(50.0)}
    assert bootstrap_means(values, users=users, seed=4) == bootstrap_means(values, seed=4)


def test_users_with_unequal_numbers_of_queries_by_a_loop() -> None:
    users = np.array([5, 5, 2, -1, 5, 2, -1])
    values = np.array([0.0, 1.0, 3.0, 2.0, 0.5, 7.0, 4.0])
    of_user = [[3.0, 7.0], [0.0, 1.0, 0.5], [2.0], [4.0]]  # users ascending, then the unknown ones
    draws = np.concatenate(list(significance.resample_weights(4, seed=2, n_resamples=40)))
    means = []
    for row in draws.astype(int).tolist():
        drawn = [value for times, own in zip(row, of_user, strict=True) for value in times * own]
        means.append(np.mean(drawn))
    found = bootstrap_mean(values, users=users, seed=2, n_resamples=40)
    low, high = np.quantile(means, [0.025, 0.975])
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high))


def test_sums_by_user() -> None:
    values = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [8.0, 80.0]])
    users = np.array([3, -1, 0, 3])
    assert sums_by_user(values, users).tolist() == [[4.0, 40.0], [9.0, 90.0], [2.0, 20.0]]
    assert sums_by_user(values, np.array([3, -1, 0, -1])) is values
    assert (n_users(users), n_users(np.array([-1, -1])), n_users(np.empty(0, dtype=np.int64))) == (3, 2, 0)


def test_identical_systems_have_a_difference_of_exactly_zero() -> None:
    values = np.random.default_rng(2).random(300).astype(np.float32)
    assert paired_bootstrap(values, values.copy(), seed=0) == Interval(0.0, 0.0, 0.0)


def test_pairing_detects_a_small_constant_gain_that_single_intervals_do_not() -> None:
    rng = np.random.default_rng(3)
    a = rng.random(400)
    b = a - 0.01 + rng.normal(scale=0.01, size=400)
    paired = paired_bootstrap(a, b, seed=0)
    assert paired.excludes_zero
    assert paired.low < 0.01 < paired.high
    assert bootstrap_mean(b, seed=0).high > bootstrap_mean(a, seed=0).low  # the single intervals overlap


def test_the_false_positive_rate_is_within_the_level() -> None:
    rng = np.random.default_rng(4)
    claims = sum(
        paired_bootstrap(rng.random(200), rng.random(200), seed=run, n_resamples=200).excludes_zero
        for run in range(300)
    )
    assert claims / 300 <= 0.11


def test_same_seed_same_interval_and_other_seed_another() -> None:
    values = np.random.default_rng(5).random(200)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(6).random(50)
    whole = bootstrap_mean(values, seed=1, n_resamples=101)
    monkeypatch.setattr(significance, "_CELLS_PER_CHUNK", 150)
    chunked = bootstrap_mean(values, seed=1, n_resamples=101)
    assert (chunked.low, chunked.high) == (pytest.approx(whole.low), pytest.approx(whole.high))


def test_metrics_share_their_draws() -> None:
    values = np.random.default_rng(7).random(80)
    found = bootstrap_means({"a": values, "twice": 2 * values}, seed=0)
    assert found["twice"].low == pytest.approx(2 * found["a"].low)
    assert found["twice"].high == pytest.approx(2 * found["a"].high)
    assert found["a"].low == pytest.approx(bootstrap_mean(values, seed=0).low)


def test_one_user_has_an_interval_of_no_width() -> None:
    assert bootstrap_mean(np.array([0.25]), seed=0) == Interval(0.25, 0.25, 0.25)


def test_refuses_empty_nan_and_unequal_input() -> None:
    with pytest.raises(DataError, match="at least one query"):
        bootstrap_mean(np.empty(0), seed=0)
    with pytest.raises(DataError, match="not finite"):
        bootstrap_mean(np.array([1.0, np.nan]), seed=0)
    with pytest.raises(DataError, match="same queries"):
        paired_bootstrap(np.ones(3), np.ones(4), seed=0)
    with pytest.raises(DataError, match="level"):
        bootstrap_mean(np.ones(3), seed=0, level=1.0)
