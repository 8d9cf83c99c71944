"""What the item encoder reads beside ids, by hand."""

from __future__ import annotations

import numpy as np
import torch

from recall.neural.item_content import ItemContent, year_codes
from reccore import ItemTable, Labels


def test_year_codes_by_hand() -> None:
    years = np.array([0, 1874, 1900, 1901, 1902, 1995, 2024, 2500])
    assert year_codes(ItemTable(8, year=years)).tolist() == [0, 1, 1, 1, 2, 48, 63, 99]
    assert year_codes(ItemTable(8)) is None


def test_item_inputs_have_the_columns_the_table_has() -> None:
    bare = ItemContent.of(ItemTable(3))
    assert (bare.genres.shape, bare.codes.shape, bare.sizes) == ((3, 0), (3, 0), ())
    count = np.array([0, 5, np.nan], dtype=np.float32)
    table = ItemTable(
        3,
        year=np.array([1999, 0, 1950]),
        genre_names=("A", "B"),
        genre_offsets=np.array([0, 2, 2, 3]),
        genre_idx=np.array([0, 1, 1]),
        statistics={"count": count},
    )
    found = ItemContent.of(table)
    assert found.genres.tolist() == [[0.5, 0.5], [0, 0], [0, 1]]
    assert found.sizes == (100, 11)
    assert found.codes[:, 0].tolist() == [50, 0, 26]
    assert found.codes[2, 1] == 0  # no statistic
    assert found.codes[1, 1] > found.codes[0, 1] > 0


def test_statistics_for_the_rankers_are_no_inputs() -> None:
    """Otherwise every statistic that a ranking feature needs would change the item encoder and its figures."""
    count, recent = np.array([1, 2], dtype=np.float32), np.array([2, 1], dtype=np.float32)
    known = {"recent_count": recent, "count": count}
    more = {"previous_count": count, **known, "rating_variance": recent}
    codes = [ItemContent.of(ItemTable(2, statistics=statistics)).codes.tolist() for statistics in (known, more)]
    assert codes == [[[1, 10], [10, 1]]] * 2


def test_inputs_hold_what_the_table_holds() -> None:
    table = ItemTable(
        3,
        labels={
            "tag": Labels(("a", "b", "c"), np.array([0, 2, 2, 3]), np.array([2, 0, 1])),
            "cast": Labels(("d",), np.array([0, 0, 0, 1]), np.array([0])),
        },
        numbers={"runtime": np.array([90, np.nan, 150], dtype=np.float32)},
        vectors={"z": np.array([[1], [2], [3]], dtype=np.float32), "y": np.zeros((3, 2), dtype=np.float32)},
    )
    found = ItemContent.of(table)
    assert [labels.tolist() for labels in found.labels] == [[[-1], [-1], [0]], [[2, 0], [-1, -1], [1, -1]]]
    assert found.label_sizes == (1, 3)
    assert (found.codes[:, 0].tolist(), found.sizes) == ([1, 0, 10], (11,))
    assert found.vectors.tolist() == [[0, 0, 1], [0, 0, 2], [0, 0, 3]]
    assert found.of_items(torch.tensor([2, 0])).labels[1].tolist() == [[1, -1], [2, 0]]
