"""The streaming frequency estimate: by hand, against a slow loop, and the paper's simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recall.neural.frequency import FrequencyEstimator
from recall.neural.logq import mixed_log_q

EVERY = torch.arange(4)


def after(batches: list[list[int]], **options: float) -> FrequencyEstimator:
    estimator = FrequencyEstimator(**{"alpha": 0.5, "initial_gap": 10.0, **options})
    for batch in batches:
        estimator.update(torch.tensor(batch, dtype=torch.int64))
    return estimator


def test_gaps_by_hand() -> None:
    # Film 0: 10 → (10 + 1)/2 = 5.5 → (5.5 + 2)/2 = 3.75. Film 1: (10 + 2)/2 = 6. Film 2: 5.5, 3.25, 2.125.
    found = after([[0, 2, 2], [1, 2], [0, 2]]).inclusion(EVERY)
    torch.testing.assert_close(found, 1 / torch.tensor([3.75, 6.0, 2.125, 10.0]))


def test_a_film_counts_once_per_batch() -> None:
    assert torch.equal(after([[0], [0, 1]]).inclusion(EVERY), after([[0, 0, 0], [1, 0, 1, 0]]).inclusion(EVERY))


def test_the_start_is_forgotten_at_the_rate_of_alpha() -> None:
    estimator = after([[0] if step % 4 == 0 else [1] for step in range(1, 41)], alpha=0.2)
    # Ten gaps of 4: δ + (1 − α)^10 (δ₀ − δ)
    assert float(1 / estimator.inclusion(EVERY)[0]) == pytest.approx(4 + 0.8**10 * 6, rel=1e-5)


def test_warmed_up_the_first_gaps_are_averaged() -> None:
    # Film 0 comes at steps 1, 3, 8: gaps 1, 2, 5. With α = .4 the third weighs .4, more than a third.
    batches = [[0], [1], [0], [1], [1], [1], [1], [0]]
    found = [
        after(batches[:n], alpha=alpha, warm_up=True).inclusion(EVERY) for n, alpha in ((3, 0.1), (8, 0.1), (8, 0.4))
    ]
    assert [float(1 / p[0]) for p in found] == pytest.approx([1.5, 8 / 3, 0.6 * 1.5 + 0.4 * 5])
    assert [float(1 / p[2]) for p in found] == pytest.approx([10.0] * 3)  # never seen


@pytest.mark.parametrize("n_hashes", [1, 3])
def test_equals_a_slow_loop_where_buckets_are_shared(n_hashes: int) -> None:
    rng = np.random.default_rng(0)
    estimator = FrequencyEstimator(n_hashes, 7, alpha=0.1, initial_gap=20.0)
    buckets = estimator._buckets(torch.arange(30)).numpy()
    assert buckets.min() >= 0
    assert all(len(set(row)) == 7 for row in buckets.tolist())
    last, gap = np.zeros((n_hashes, 7)), np.full((n_hashes, 7), 20.0)
    for step in range(1, 60):
        batch = rng.integers(30, size=3)
        estimator.update(torch.from_numpy(batch))
        for i in range(n_hashes):
            for bucket in {buckets[i, item] for item in batch}:
                gap[i, bucket] = 0.9 * gap[i, bucket] + 0.1 * (step - last[i, bucket])
                last[i, bucket] = step
    expected = [1 / max(gap[i, buckets[i, item]] for i in range(n_hashes)) for item in range(30)]
    np.testing.assert_allclose(estimator.inclusion(torch.arange(30)), expected, rtol=1e-5)


def test_hashes_are_even_and_independent() -> None:
    buckets = FrequencyEstimator(2, 100)._buckets(torch.arange(100_000)).numpy()
    for row in buckets:
        counts = np.bincount(row, minlength=100)
        assert np.sum((counts - 1000) ** 2 / 1000) < 160  # chi-square with 99 degrees: beyond it 1 in 10,000
    both = np.bincount(buckets[0] * 100 + buckets[1], minlength=10_000)
    assert np.sum((both - 10) ** 2 / 10) < 9_999 + 5 * np.sqrt(2 * 9_999)


def test_the_share_of_draws_by_hand() -> None:
    estimator = after([[0]], initial_gap=3.0)  # film 0: (3 + 1)/2 = 2, p̂ = 1/2
    assert float(estimator.share(EVERY, 4)[0]) == pytest.approx(1 - 0.5**0.25)  # .1591, not p̂/B = .125


def test_an_item_never_seen_has_no_share_of_the_draws() -> None:
    estimator = after([[0], [0]], n_hashes=2, initial_gap=3.0)
    assert estimator.share(EVERY, 4)[1:].tolist() == [0, 0, 0]
    assert float(estimator.share(EVERY, 4)[0]) > 0
    torch.testing.assert_close(estimator.inclusion(EVERY)[1:], torch.full((3,), 1 / 3))
    # Drawn uniformly alone, it is corrected by the uniform part of the mixture, and without one by nothing.
    share = estimator.share(EVERY, 4)
    assert float(mixed_log_q(share, 4, 2)[1].exp()) == pytest.approx(2 / 4 / 6)
    assert float(mixed_log_q(share, 4, 0)[1]) == 0.0


def test_a_film_of_every_batch_has_a_finite_share() -> None:
    estimator = after([[0]] * 200, alpha=0.1)
    assert float(estimator.inclusion(EVERY)[0]) == pytest.approx(1.0)
    assert float(estimator.share(EVERY, 8)[0]) == pytest.approx(1 - 0.1**0.125)  # believed up to 1 − α


def test_the_mixed_correction_comes_near_that_of_the_true_shares() -> None:
    generator = torch.Generator().manual_seed(0)
    share = 1 / torch.arange(1, 51.0)
    share /= share.sum()
    estimator = FrequencyEstimator(2, 5000)
    batches = torch.multinomial(share, 5000 * 16, replacement=True, generator=generator).view(5000, 16)
    for batch in batches:
        estimator.update(batch)
    every = torch.arange(50)
    found = mixed_log_q(estimator.share(every, 16), 16, 8, n_items=50)
    error = (found - mixed_log_q(share, 16, 8)).abs()
    assert float(error.mean()) < 0.08
    uninverted = mixed_log_q(estimator.inclusion(every) / 16, 16, 8, n_items=50)
    assert float((uninverted - mixed_log_q(share, 16, 8))[0]) < -0.5  # the most popular, seen thrice per batch


# The paper's simulation ------------------------------------------------------------------------------------

N_ITEMS, BATCH, SWITCH = 1000, 128, 10_000
Setting = tuple[float, int]  # α, m
ALPHA_TABLE: dict[float, dict[int, float]] = {  # figures of an independent replication, m = 1
    0.1: {10_000: 0.157, 10_500: 0.255, 12_000: 0.202, 20_000: 0.180},
    0.02: {10_000: 0.116, 10_500: 0.432, 12_000: 0.176, 20_000: 0.141},
    0.01: {10_000: 0.108, 10_500: 0.547, 12_000: 0.209, 20_000: 0.137},
    0.001: {10_000: 0.322, 10_500: 0.548, 12_000: 0.520, 20_000: 0.355},
}
HASH_ROW = {1: 0.108, 2: 0.068, 4: 0.046}  # α = .01 at t = 10,000, 5,000 buckets in total


def simulated(seed: int, settings: list[Setting], marks: tuple[int, ...]) -> dict[tuple[float, int, int], float]:
    """Σ|p̂ − p| / (2·128) at each mark: 1,000 films, q ∝ i², turned round after step 10,000."""
    rng = np.random.default_rng(seed)
    rising = np.arange(N_ITEMS, dtype=np.float64) ** 2
    rising /= rising.sum()
    estimators = {(alpha, m): FrequencyEstimator(m, 5000 // m, alpha, 100.0, seed=seed) for alpha, m in settings}
    errors = {}
    for start in range(0, max(marks), 500):
        q = rising if start < SWITCH else rising[::-1]
        # Drawing one by one without replacement: the first 128 of exponential races of rates q.
        with np.errstate(divide="ignore"):
            arrival = rng.standard_exponential((500, N_ITEMS), dtype=np.float32) / q.astype(np.float32)
        batches = torch.from_numpy(np.argpartition(arrival, BATCH, axis=1)[:, :BATCH].copy())
        for estimator in estimators.values():
            for batch in batches:
                estimator.update(batch)
        if start + 500 in marks:
            for (alpha, m), estimator in estimators.items():
                error = np.abs(estimator.inclusion(torch.arange(N_ITEMS)).numpy() - BATCH * q)
                errors[alpha, m, start + 500] = float(error.sum() / (2 * BATCH))
    return errors


def test_the_papers_simulation_before_and_after_the_switch() -> None:
    """One seed up to 10,500; the other α, the recovery and five seeds are in the slow test."""
    found = simulated(0, [(0.1, 1), (0.01, 1), (0.01, 4)], (10_000, 10_500))
    for alpha in (0.1, 0.01):
        for mark in (10_000, 10_500):
            assert found[alpha, 1, mark] == pytest.approx(ALPHA_TABLE[alpha][mark], rel=0.1)
    assert found[0.01, 4, 10_000] == pytest.approx(HASH_ROW[4], rel=0.1)


@pytest.mark.slow
def test_the_papers_simulation_in_full() -> None:
    settings = [(alpha, 1) for alpha in ALPHA_TABLE] + [(0.01, 2), (0.01, 4)]
    runs = [simulated(seed, settings, (10_000, 10_500, 12_000, 20_000)) for seed in range(5)]
    mean = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
    for alpha, row in ALPHA_TABLE.items():
        for mark, figure in row.items():
            assert mean[alpha, 1, mark] == pytest.approx(figure, rel=0.1), (alpha, mark)
    for m, figure in HASH_ROW.items():
        assert mean[0.01, m, 10_000] == pytest.approx(figure, rel=0.1), m
