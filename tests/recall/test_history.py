"""Weights of the events of histories."""

from __future__ import annotations

import numpy as np
import pytest

from recall.history import HALF_LIVES, history_matrix, latest_first, merged_events, within_half_lives
from reccore import QueryBatch

N_ITEMS = 12


@pytest.fixture
def queries() -> QueryBatch:
    return QueryBatch.from_histories([[3, 1, 3, 7], [], list(range(N_ITEMS)) * 20, [5]])


@pytest.mark.parametrize("half_life", [None, 0.5, 3.0, 1e300, 1e-300])
def test_latest_first_holds_the_weights_of_the_history(queries: QueryBatch, half_life: float | None) -> None:
    found = latest_first(queries, N_ITEMS, half_life)
    expected = history_matrix(queries, N_ITEMS, half_life).toarray()
    np.testing.assert_allclose(found.to_csr().toarray(), expected, rtol=1e-6, atol=2.0**-HALF_LIVES)
    assert found.columns[:4].tolist()[: len(found[:1].columns)] == [7, 3, 1, 3][: len(found[:1].columns)]
    for row in range(len(queries)):
        assert (np.diff(found[row : row + 1].values) <= 0).all()


def test_events_older_than_forty_half_lives_are_left_out(queries: QueryBatch) -> None:
    assert within_half_lives(queries, 3.0).lengths.tolist() == [4, 0, 120, 1]
    assert within_half_lives(queries, 1e-300).lengths.tolist() == [1, 0, 1, 1]
    assert within_half_lives(queries, None) is queries
    assert within_half_lives(queries, 6.0) is queries


@pytest.mark.parametrize("half_life", [None, 3.0])
def test_merged_events_hold_each_item_once(queries: QueryBatch, half_life: float | None) -> None:
    found = merged_events(queries, N_ITEMS, half_life)
    expected = history_matrix(queries, N_ITEMS, half_life)
    np.testing.assert_allclose(found.to_csr().toarray(), expected.toarray(), rtol=1e-6)
    assert np.diff(found.offsets).tolist() == np.diff(expected.indptr).tolist() == [3, 0, N_ITEMS, 1]
    assert found[:1].columns.tolist() == [3, 1, 7]
