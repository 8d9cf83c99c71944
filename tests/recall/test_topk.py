"""The compiled selection against ``reccore.top_k`` with exclusions masked, on rows of every awkward kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recall import topk as topk_module
from recall.sparse_rows import SparseRows
from recall.topk import RunningTopK, top_k_dense, top_k_of_order, top_k_of_pairs, top_k_sparse
from recall.topk_kernels import SAMPLE
from reccore import Candidates, Exclusions, top_k
from reccore.arrays import FloatArray, offsets_from_lengths

N_ROWS, N_ITEMS = 9, 6000  # long enough for a sampled threshold, and for a buffer that fills where it is too low
SPECIAL = np.array([0.0, -0.0, 1e-45, -1e-45, 1e-40, -1.0, 3e38, -3e38, -np.inf], dtype=np.float32)


def masked_top_k(scores: FloatArray, k: int, exclude: Exclusions) -> Candidates:
    masked = scores.copy()
    exclude.mask_scores(masked)
    return top_k(masked, k)


def assert_same(left: Candidates, right: Candidates) -> None:
    np.testing.assert_array_equal(left.item_idx, right.item_idx)
    np.testing.assert_array_equal(left.score, right.score)
    assert not np.signbit(left.score[left.score == 0.0]).any()


def exclusions(rng: np.random.Generator, n_rows: int, n_items: int, most: int) -> Exclusions:
    """Random items, some twice and some outside the catalogue."""
    lengths = rng.integers(0, most + 1, n_rows)
    return Exclusions(offsets_from_lengths(lengths), rng.integers(-1, n_items + 2, lengths.sum()))


def sampled_in_vain(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """High scores at all sampled places and nowhere else: the estimated threshold is too high."""
    scores = rng.standard_normal(shape).astype(np.float32)
    scores[:, :: shape[1] // SAMPLE] += 100.0
    return scores


ROWS: dict[str, Callable[[np.random.Generator, tuple[int, int]], FloatArray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape).astype(np.float32),
    "few values": lambda rng, shape: np.round(rng.standard_normal(shape)).astype(np.float32),
    "equal": lambda rng, shape: np.ones(shape, dtype=np.float32),
    "ascending": lambda rng, shape: np.sort(rng.standard_normal(shape), axis=1).astype(np.float32),
    "descending": lambda rng, shape: -np.sort(rng.standard_normal(shape), axis=1).astype(np.float32),
    "negative": lambda rng, shape: -rng.random(shape, dtype=np.float32) - 1,
    "special": lambda rng, shape: rng.choice(SPECIAL, shape),
    "mostly without score": lambda rng, shape: np.where(rng.random(shape) < 0.97, -np.inf, 1.0).astype(np.float32),
    "nothing": lambda rng, shape: np.full(shape, -np.inf, dtype=np.float32),
    "sampled in vain": sampled_in_vain,
}


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("k", [1, 10, 300, 2000, N_ITEMS + 1])
def test_dense_rows(rows: str, k: int) -> None:
    rng = np.random.default_rng(k)
    for n_items in (1, 40, N_ITEMS):
        scores = ROWS[rows](rng, (N_ROWS, n_items)) if n_items > 1000 else ROWS["special"](rng, (N_ROWS, n_items))
        exclude = exclusions(rng, N_ROWS, n_items, n_items // 2)
        expected = masked_top_k(scores, k, exclude)
        assert_same(top_k_dense(scores, k, exclude), expected)
        assert_same(top_k_dense(scores, k), top_k(scores, k))
        running = RunningTopK(n_items, k, exclude)
        for start in range(0, n_items, 1700):
            running.push(scores[:, start : start + 1700], start)
        assert_same(running.best(), expected)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("k", [1, 300, N_ITEMS])
def test_sparse_rows_in_any_order(rows: str, k: int) -> None:
    rng = np.random.default_rng(k)
    scores = ROWS[rows](rng, (N_ROWS, N_ITEMS))
    stored = rng.random(scores.shape) < rng.random((N_ROWS, 1))
    order = [rng.permutation(np.flatnonzero(row)) for row in stored]
    matrix = SparseRows(
        offsets_from_lengths(stored.sum(axis=1)),
        np.concatenate(order).astype(np.int32),
        np.concatenate([scores[row, columns] for row, columns in enumerate(order)]),
        N_ITEMS,
    )
    exclude = exclusions(rng, N_ROWS, N_ITEMS, 900)
    dense = np.where(stored & (scores != 0.0), scores, -np.inf).astype(np.float32)
    assert_same(top_k_sparse(matrix, k, exclude), masked_top_k(dense, k, exclude))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_small_rows_of_any_scores(data: st.DataObject) -> None:
    n_items = data.draw(st.integers(1, 12))
    score = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from(SPECIAL.tolist())
    row = st.lists(score, min_size=n_items, max_size=n_items)
    scores = np.array(data.draw(st.lists(row, min_size=1, max_size=3)), dtype=np.float32)
    k = data.draw(st.integers(1, 14))
    excluded = data.draw(st.lists(st.integers(-1, n_items), max_size=n_items))
    exclude = Exclusions(len(excluded) * np.arange(len(scores) + 1), np.array(excluded * len(scores), dtype=np.int64))
    assert_same(top_k_dense(scores, k, exclude), masked_top_k(scores, k, exclude))


@pytest.mark.parametrize("k", [1, 7, 50, 99])
def test_pairs(k: int) -> None:
    rng = np.random.default_rng(k)
    item_idx = np.stack([rng.permutation(1000)[:60] for _ in range(N_ROWS)])
    item_idx[rng.random(item_idx.shape) < 0.2] = -1
    score = rng.choice(SPECIAL, item_idx.shape)
    dense = np.full((N_ROWS, 1001), -np.inf, dtype=np.float32)
    np.put_along_axis(dense, item_idx, score, axis=1)  # −1: the last column
    dense[:, -1] = -np.inf
    assert_same(top_k_of_pairs(item_idx, score, k), top_k(dense, min(k, 60)))


@pytest.mark.parametrize("k", [1, 30, 100])
def test_one_order_for_all_rows(k: int) -> None:
    rng = np.random.default_rng(k)
    score = rng.integers(0, 5, 80).astype(np.float32)
    exclude = exclusions(rng, N_ROWS, 80, 120)
    expected = masked_top_k(np.tile(score, (N_ROWS, 1)), k, exclude)
    assert_same(top_k_of_order(np.argsort(-score, kind="stable"), score, k, exclude), expected)


def test_the_given_scores_stay_unchanged() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((3, 50)).astype(np.float32)
    before = scores.copy()
    top_k_dense(scores, 5, exclusions(rng, 3, 50, 20))
    np.testing.assert_array_equal(scores, before)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    scores, exclude = rng.standard_normal((50, 3000)).astype(np.float32), exclusions(rng, 50, 3000, 90)
    found = []
    for n in (1, 3):
        monkeypatch.setattr(topk_module, "n_threads", lambda n=n: n)
        found.append(top_k_dense(scores, 20, exclude))
    assert_same(*found)
    scores[41, 2000] = np.nan  # an error in a thread reaches the caller
    with pytest.raises(ValueError, match="finite"):
        top_k_dense(scores, 20, exclude)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite(bad: float) -> None:
    scores = np.zeros((2, 3000), dtype=np.float32)
    scores[1, 2999] = bad
    nothing = Exclusions.nothing(2)
    for select in (
        lambda: top_k_dense(scores, 3),
        lambda: top_k_sparse(SparseRows.of(sparse.csr_matrix(scores)), 3, nothing),
        lambda: top_k_of_pairs(np.tile(np.arange(3000), (2, 1)), scores, 3),
    ):
        with pytest.raises(ValueError, match="finite or −inf"):
            select()


def test_no_rows_and_no_items() -> None:
    assert top_k_dense(np.empty((0, 5), dtype=np.float32), 3).item_idx.shape == (0, 3)
    assert top_k_dense(np.empty((2, 0), dtype=np.float32), 3).item_idx.shape == (2, 0)
    no_rows = SparseRows.of(sparse.csr_matrix((0, 5), dtype=np.float32))
    assert top_k_sparse(no_rows, 3, Exclusions.nothing(0)).item_idx.shape == (0, 3)
    assert top_k_of_pairs(np.empty((0, 4), dtype=np.int64), np.empty((0, 4), dtype=np.float32), 3).k == 3
