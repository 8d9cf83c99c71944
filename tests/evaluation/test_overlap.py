"""What channels find in common, by hand and against plain sets."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import overlap as overlap_module
from evaluation.overlap import found_targets, hit_overlap
from reccore import Candidates, DataError, Holdout, QueryBatch


def candidates(*rows: list[int]) -> Candidates:
    item_idx = np.array(rows, dtype=np.int64)
    return Candidates(item_idx, np.where(item_idx >= 0, -np.arange(item_idx.shape[1]), -np.inf).astype(np.float32))


# Two targets of the first query, one of the second, and one of the third that is outside the vocabulary.
HOLDOUT = Holdout(QueryBatch.from_histories([[], [], []]), np.array([0, 2, 3, 4]), np.array([7, 8, 5, -1]))
OFFERS = {
    "mf": candidates([7, 8, 1], [1, 2, 5], [1, -1, -1]),
    "itemcf": candidates([7, 1, 2], [5, 1, 2], [-1, -1, -1]),
    "empty": Candidates.empty(3),
}


def test_overlap_by_hand() -> None:
    found = hit_overlap(OFFERS, HOLDOUT, 3)  # mf: 7, 8, 5; itemcf: 7, 5
    assert found.common.tolist() == [[3, 2, 0], [2, 2, 0], [0, 0, 0]]
    assert (found.unique.tolist(), found.found_by_any, found.targets) == ([1, 0, 0], 3, 4)
    np.testing.assert_allclose(found.shares, [[1, 2 / 3, 0], [1, 1, 0], [np.nan] * 3])
    np.testing.assert_allclose(found.unique_shares, [1 / 3, 0, np.nan])
    shorter = hit_overlap(OFFERS, HOLDOUT, 2)  # mf no longer finds 5
    assert (shorter.common.tolist(), shorter.unique.tolist()) == ([[2, 1, 0], [1, 2, 0], [0, 0, 0]], [1, 1, 0])
    assert found.to_dict() == {
        "k": 3,
        "targets": 4,
        "found_by_any": 3,
        "found": {"mf": 3, "itemcf": 2, "empty": 0},
        "unique": {"mf": 1, "itemcf": 0, "empty": 0},
        "common": {
            "mf": {"mf": 3, "itemcf": 2, "empty": 0},
            "itemcf": {"mf": 2, "itemcf": 2, "empty": 0},
            "empty": {"mf": 0, "itemcf": 0, "empty": 0},
        },
    }


def test_equals_plain_sets_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    holdout = Holdout.single(QueryBatch.from_histories([[]] * 50), rng.integers(-1, 40, 50))
    offer = candidates(*(rng.permutation(40)[:12].tolist() for _ in range(50)))
    expected = [int(t) in row[:10].tolist() for t, row in zip(holdout.target_idx, offer.item_idx, strict=True)]
    assert found_targets(offer, holdout, 10).tolist() == expected
    monkeypatch.setattr(overlap_module, "CELLS_PER_CHUNK", 70)
    assert found_targets(offer, holdout, 10).tolist() == expected


def test_wrong_arguments() -> None:
    with pytest.raises(DataError, match="at least one channel"):
        hit_overlap({}, HOLDOUT, 3)
    with pytest.raises(DataError, match="2 rows of candidates for 3 queries"):
        hit_overlap({"mf": Candidates.empty(2)}, HOLDOUT, 3)
