"""Candidates, exact top-k and exclusions, against slow definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reccore import Candidates, Exclusions, QueryBatch, top_k
from reccore.arrays import offsets_from_lengths
from reccore.candidates import concatenate

VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, -np.inf, float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)]),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def exclusions(rows: list[list[int]]) -> Exclusions:
    flat = [item for row in rows for item in row]
    return Exclusions(offsets_from_lengths(np.array([len(row) for row in rows])), np.array(flat, dtype=np.int64))


@given(
    scores=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12), elements=VALUES),
    k=st.integers(1, 15),
)
def test_top_k_equals_a_slow_sort(scores: np.ndarray, k: int) -> None:
    given_scores = scores.copy()
    found = top_k(scores, k)
    found.validate()
    assert found.item_idx.shape == (len(scores), min(k, scores.shape[1]))
    for row, values in enumerate(scores.tolist()):
        offered = [item for item, value in enumerate(values) if value != -np.inf]
        best = sorted(offered, key=lambda item: (-values[item], item))[:k]
        assert found.item_idx[row, : len(best)].tolist() == best
        assert found.counts[row] == len(best)
        assert found.score[row, : len(best)].tolist() == [values[item] for item in best]
    np.testing.assert_array_equal(scores, given_scores)


def test_minus_zero_ties_with_zero() -> None:
    assert top_k(np.array([[-0.0, 0.0, -0.0]], dtype=np.float32), 3).item_idx.tolist() == [[0, 1, 2]]


def test_top_k_at_a_size_where_partition_matters() -> None:
    scores = np.random.default_rng(0).integers(0, 50, (5, 5000)).astype(np.float32)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :300]
    np.testing.assert_array_equal(top_k(scores, 300).item_idx, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_top_k_refuses_nan_and_infinity(bad: float) -> None:
    with pytest.raises(ValueError, match="scores must be finite or −inf"):
        top_k(np.array([[0.0, bad]], dtype=np.float32), 1)


SAMPLE = Candidates(
    item_idx=np.array([[4, 2, 9, -1], [1, -1, -1, -1]]),
    score=np.array([[3, 2, 1, -np.inf], [5, -np.inf, -np.inf, -np.inf]], dtype=np.float32),
    features={"f": np.array([[40, 20, 90, np.nan], [10, np.nan, np.nan, np.nan]], dtype=np.float32)},
)


def test_keep_moves_items_left_with_their_features() -> None:
    kept = SAMPLE.keep(np.array([[False, True, True, True], [False] * 4]))
    kept.validate()
    assert kept.item_idx.tolist() == [[2, 9, -1, -1], [-1] * 4]
    np.testing.assert_array_equal(kept.features["f"], [[20, 90, np.nan, np.nan], [np.nan] * 4])


def test_take_and_head_and_select() -> None:
    taken = SAMPLE.take(np.array([[2, 0], [0, -1]]))
    assert taken.item_idx.tolist() == [[9, 4], [1, -1]]
    np.testing.assert_array_equal(taken.score, [[1, 3], [5, -np.inf]])
    np.testing.assert_array_equal(taken.features["f"], [[90, 40], [10, np.nan]])
    np.testing.assert_array_equal(SAMPLE.head(2).features["f"], [[40, 20], [10, np.nan]])
    assert SAMPLE.head(2).item_idx.tolist() == [[4, 2], [1, -1]]
    assert SAMPLE.select(np.array([1])).item_idx.tolist() == [[1, -1, -1, -1]]


def test_reordered_puts_non_finite_scores_last_and_breaks_ties_by_item() -> None:
    scores = np.array([[7, 7, np.nan, 99], [np.inf, 0, 0, 0]], dtype=np.float32)
    new = SAMPLE.reordered(scores)
    new.validate()
    assert new.item_idx.tolist() == [[2, 4, 9, -1], [1, -1, -1, -1]]
    lowest = np.finfo(np.float32).min
    np.testing.assert_array_equal(new.score[:, :3], [[7, 7, lowest], [lowest, -np.inf, -np.inf]])
    np.testing.assert_array_equal(new.features["f"][0], [20, 40, 90, np.nan])
    for broken in (np.inf, -np.inf, np.nan, 1e300):  # 1e300 is no float32
        assert SAMPLE.reordered(np.array([[broken, -5, -4, 0], [0, 0, 0, 0]])).item_idx[0].tolist() == [9, 2, 4, -1]


def test_concatenate_pads_and_joins_features() -> None:
    narrow = Candidates(np.array([[3]]), np.ones((1, 1), dtype=np.float32), {"g": np.ones((1, 1), dtype=np.float32)})
    both = concatenate([SAMPLE, narrow], 3)
    assert both.item_idx.tolist() == [[4, 2, 9], [1, -1, -1], [3, -1, -1]]
    np.testing.assert_array_equal(both.score[2], [1, -np.inf, -np.inf])
    np.testing.assert_array_equal(both.features["f"][1:], [[10, np.nan, np.nan], [np.nan] * 3])
    np.testing.assert_array_equal(both.features["g"], [[np.nan] * 3, [np.nan] * 3, [1, np.nan, np.nan]])
    assert concatenate([], 4).item_idx.shape == (0, 4)


@pytest.mark.parametrize(
    ("item_idx", "score", "message"),
    [
        ([[-1, 2]], [[-np.inf, 1]], "valid slots must come first"),
        ([[2, 2]], [[1, 1]], "an item occurs twice"),
        ([[2, -1]], [[np.nan, -np.inf]], "scores must be finite"),
        ([[2, -1]], [[1, 0]], "−inf on padding"),
    ],
)
def test_validate(item_idx: list, score: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Candidates(np.array(item_idx), np.array(score, dtype=np.float32)).validate()


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"must both be \(B, K\)"):
        Candidates(np.zeros((1, 2), dtype=np.int64), np.zeros((1, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="feature f must have shape"):
        SAMPLE.with_features({"f": np.zeros((2, 1), dtype=np.float32)})


EXCLUDED = st.lists(st.lists(st.integers(-6, 14), max_size=8), min_size=1, max_size=5)


@given(rows=EXCLUDED, data=st.data())
def test_exclusions_equal_sets(rows: list[list[int]], data: st.DataObject) -> None:
    excluded = exclusions(rows)
    width = data.draw(st.integers(0, 6))
    items_of_row = data.draw(hnp.arrays(np.int64, (len(rows), width), elements=st.integers(-1, 14)))
    wanted = [
        [item >= 0 and item in row for item in items] for items, row in zip(items_of_row.tolist(), rows, strict=True)
    ]
    assert excluded.contains(items_of_row).tolist() == wanted
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr("reccore.exclusions.LARGEST_TABLE", 0)  # sorted instead of marked in a table
        assert excluded.contains(items_of_row).tolist() == wanted
    scores = np.zeros((len(rows), 10), dtype=np.float32)
    excluded.mask_scores(scores)
    assert np.isneginf(scores).tolist() == [[item in row for item in range(10)] for row in rows]
    order = data.draw(st.lists(st.integers(-1, len(rows) - 1), max_size=6))
    chosen = excluded.select(np.array(order, dtype=np.int64))
    parts = np.split(chosen.item_idx, chosen.offsets[1:-1]) if order else []
    assert [part.tolist() for part in parts] == [rows[row] for row in order]
    start = data.draw(st.integers(0, len(rows)))
    assert excluded.rows(start, len(rows)).item_idx.tolist() == [item for row in rows[start:] for item in row]


def test_the_whole_history_is_excluded_and_huge_ids_are_ignored() -> None:
    queries = QueryBatch.from_histories([list(range(50)), [7]])
    assert Exclusions.of_history(queries).lengths.tolist() == [50, 1]
    far = exclusions([[2**62, 3], [-(2**62)]])
    assert far.contains(np.array([[3, 1], [3, 1]])).tolist() == [[True, False], [False, False]]
    assert not Exclusions.nothing(2).contains(np.array([[3], [1]])).any()
