"""A stored evaluation is the evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation.evaluate import Evaluation, compare, evaluate_candidates
from evaluation.stored import read_evaluation, write_evaluation
from reccore import ArtefactError, Candidates, Holdout, QueryBatch


def evaluation(users: tuple[int, ...] = (-1, -1, -1)) -> Evaluation:
    queries = QueryBatch.from_histories([[0], [1], []], user_idx=users)
    holdout = Holdout.single(queries, np.array([2, 3, -1]))
    offer = Candidates(
        np.array([[2, 3], [2, 3], [-1, -1]]), np.array([[2, 1], [2, 1], [-np.inf, -np.inf]], dtype=np.float32)
    )
    return evaluate_candidates("mine", offer, holdout, item_counts=np.array([3, 2, 1, 1]), ks=(1, 2))


@pytest.mark.parametrize("users", [(0, 1, 2), (0, 0, 1)])
def test_round_trip(users: tuple[int, ...], tmp_path: Path) -> None:
    one = evaluation(users)
    write_evaluation(tmp_path / "new" / "a.npz", one, {"queries_per_second": 12.5})
    other, facts = read_evaluation(tmp_path / "new" / "a.npz")
    assert facts == {"queries_per_second": 12.5}
    assert other.to_dict() == one.to_dict()
    assert (other.ks, other.holdout_id) == ((1, 2), one.holdout_id)
    for metric, values in one.per_query.items():
        np.testing.assert_array_equal(other.per_query[metric], values)
    assert (other.users is None) == (one.users is None) == (users == (0, 1, 2))
    if one.users is not None:
        np.testing.assert_array_equal(other.users, users)
    assert compare(one, other, "ndcg@2").difference.mean == 0.0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.npz"]


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(ArtefactError, match=r"a\.npz is not a stored evaluation"):
        read_evaluation(path)
    write_evaluation(path, evaluation(), {})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ArtefactError, match=r"a\.npz is not a stored evaluation"):
        read_evaluation(path)
