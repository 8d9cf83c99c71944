"""Item tables: columns by hand, round trips through arrays, and invalid columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reccore import ItemTable, Labels, UserTable

FULL: dict[str, Any] = {
    "title": np.array(["Élan", ""], dtype=object),
    "year": np.array([1999, 0]),
    "genre_names": ("A", "B"),
    "genre_offsets": np.array([0, 1, 1]),
    "genre_idx": np.array([1]),
    "labels": {"tag": Labels(("dark", "très bon"), np.array([0, 2, 2]), np.array([1, 0]))},
    "numbers": {"runtime": np.array([np.nan, 97], dtype=np.float32)},
    "vectors": {"title": np.array([[0.6, 0.8], [0, 0]], dtype=np.float32), "plot": np.ones((2, 3), dtype=np.float32)},
    "statistics": {"count": np.array([4, np.nan], dtype=np.float32)},
}


def test_labels_of_an_item() -> None:
    table = ItemTable(2, **FULL)
    assert (table.genres_of(0), table.genres_of(1)) == (["B"], [])
    assert (table.labels["tag"].of(0), table.labels["tag"].of(1)) == (["très bon", "dark"], [])
    assert (table.n_genres, len(table.labels["tag"])) == (2, 2)
    assert (ItemTable(2).genres_of(0), ItemTable(2).genres) == ([], None)


def test_labels_as_rectangles() -> None:
    labels = Labels(("a", "b", "c"), np.array([0, 2, 2, 3]), np.array([2, 0, 1]))
    assert labels.padded().tolist() == [[2, 0], [-1, -1], [1, -1]]
    assert labels.matrix().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert Labels((), np.zeros(3, dtype=np.int64), np.zeros(0, dtype=np.int64)).padded().shape == (2, 0)


def test_only_the_named_optional_columns() -> None:
    table = ItemTable(2, **FULL).with_columns(("tag", "plot", "nothing of the kind"))
    assert (list(table.labels), list(table.numbers), list(table.vectors)) == (["tag"], [], ["plot"])
    assert (table.n_genres, list(table.statistics)) == (2, ["count"])


def test_round_trip_through_arrays() -> None:
    table = ItemTable(2, **FULL)
    again = ItemTable.from_arrays(table.to_arrays(), 2)
    for name, values in FULL.items():
        found = getattr(again, name)
        if isinstance(values, dict):
            assert list(found) == list(values)
            for key, rows in values.items():
                if isinstance(rows, Labels):
                    assert found[key].names == rows.names
                    np.testing.assert_array_equal(found[key].offsets, rows.offsets)
                    np.testing.assert_array_equal(found[key].idx, rows.idx)
                else:
                    np.testing.assert_array_equal(found[key], rows)
        else:
            assert list(found) == list(values)
    assert all(values.dtype != object for values in table.to_arrays().values())  # no pickle


def test_which_columns_are_own_is_kept() -> None:
    table = ItemTable(2, **FULL, own=frozenset({"tag", "plot"}))
    assert ItemTable.from_arrays(table.to_arrays(), 2).own == {"tag", "plot"}
    assert table.with_columns(["plot", "runtime"]).own == {"plot"}
    assert "own" not in ItemTable(2, **FULL).to_arrays()


def test_users_with_own_columns() -> None:
    columns = {name: FULL[name] for name in ("labels", "numbers", "vectors")}
    table = UserTable(2, {"gender": np.array([1, -1])}, {"gender": ("F", "M")}, **columns)
    assert table.own == {"tag", "runtime", "title", "plot"}
    assert table.known(np.array([-1, 1, 2])).tolist() == [False, True, False]
    few = UserTable.from_arrays(table.with_columns(["tag", "runtime", "plot"]).to_arrays(), 2)
    assert (few.labels["tag"].of(1), list(few.categories), few.own) == ([], ["gender"], {"tag", "runtime", "plot"})
    np.testing.assert_array_equal(few.numbers["runtime"], [np.nan, 97])
    np.testing.assert_array_equal(few.vectors["plot"], np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"numbers runtime must have shape \(3,\)"):
        UserTable(3, numbers=FULL["numbers"])


def test_absent_columns_stay_absent() -> None:
    assert set(ItemTable(2).to_arrays()) == {"genre_names"}
    assert UserTable(2).to_arrays() == {}
    again = ItemTable.from_arrays(ItemTable(2).to_arrays(), 2)
    assert (dict(again.labels), dict(again.numbers), dict(again.vectors)) == ({}, {}, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"genre_idx": None}, "genre_offsets and genre_idx come together"),
        ({"labels": {"tag": Labels(("a",), np.array([0, 1]), np.array([0]))}}, "tag_offsets must have 3 entries"),
        ({"labels": {"tag": Labels(("a",), np.array([0, 1, 1]), np.array([1]))}}, r"tag_idx must lie in 0…0"),
        ({"numbers": {"runtime": np.zeros(3, dtype=np.float32)}}, r"numbers runtime must have shape \(2,\)"),
        ({"genre_idx": np.array([-1])}, r"genre_idx must lie in 0…1"),
        ({"vectors": {"title": np.zeros((3, 2), dtype=np.float32)}}, r"vectors title must have shape \(2, D\)"),
        ({"vectors": {"title": np.zeros(2, dtype=np.float32)}}, r"vectors title must have shape \(2, D\)"),
    ],
)
def test_misshapen_columns_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ItemTable(2, **{**FULL, **change})
