"""Item tables: their columns by hand, through arrays and back, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reccore import ItemTable

FULL: dict[str, Any] = {
    "title": np.array(["Élan", ""], dtype=object),
    "year": np.array([1999, 0]),
    "genre_names": ("A", "B"),
    "genre_offsets": np.array([0, 1, 1]),
    "genre_idx": np.array([1]),
    "tag_names": ("dark", "très bon"),
    "tag_offsets": np.array([0, 2, 2]),
    "tag_idx": np.array([1, 0]),
    "vectors": {"title": np.array([[0.6, 0.8], [0, 0]], dtype=np.float32), "plot": np.ones((2, 3), dtype=np.float32)},
    "statistics": {"count": np.array([4, np.nan], dtype=np.float32)},
}


def test_labels_of_an_item() -> None:
    table = ItemTable(2, **FULL)
    assert (table.genres_of(0), table.genres_of(1)) == (["B"], [])
    assert (table.tags_of(0), table.tags_of(1)) == (["très bon", "dark"], [])
    assert (table.n_genres, table.n_tags) == (2, 2)
    assert (ItemTable(2).tags_of(0), ItemTable(2).n_tags) == ([], 0)


def test_through_arrays_and_back() -> None:
    table = ItemTable(2, **FULL)
    again = ItemTable.from_arrays(table.to_arrays(), 2)
    for name, values in FULL.items():
        found = getattr(again, name)
        if isinstance(values, dict):
            assert list(found) == list(values)
            for key, rows in values.items():
                np.testing.assert_array_equal(found[key], rows)
        else:
            assert list(found) == list(values)
    assert all(values.dtype != object for values in table.to_arrays().values())  # no pickle


def test_absent_columns_stay_absent() -> None:
    assert set(ItemTable(2).to_arrays()) == {"genre_names"}
    again = ItemTable.from_arrays(ItemTable(2).to_arrays(), 2)
    assert (again.tag_names, again.tag_offsets, dict(again.vectors)) == ((), None, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tag_idx": None}, "tag_offsets and tag_idx come together"),
        ({"tag_offsets": np.array([0, 2])}, "tag_offsets must have 3 entries, got 2"),
        ({"tag_idx": np.array([0, 2])}, r"tag_idx must lie in 0…1"),
        ({"genre_idx": np.array([-1])}, r"genre_idx must lie in 0…1"),
        ({"vectors": {"title": np.zeros((3, 2), dtype=np.float32)}}, r"vectors title must have shape \(2, D\)"),
        ({"vectors": {"title": np.zeros(2, dtype=np.float32)}}, r"vectors title must have shape \(2, D\)"),
    ],
)
def test_misshapen_columns_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ItemTable(2, **{**FULL, **change})
