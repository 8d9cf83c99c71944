"""Own columns in the prepared tables: aligned with the vocabulary, standardised, stored, and asked for by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprep import own_features
from dataprep.own_features import own_to_read, with_own_items
from dataprep.prepare import Prepared, prepare, prepare_file
from dataprep.preprocess import preprocess_own
from dataprep.protocols import NoSplit
from dataprep.readers.own import EventFile, SideFile
from reccore import ConfigError, DataError, IdMap, ItemTable, Workspace
from tests.dataprep.miniatures import QUIET

ITEMS = {
    "itemId": [30, 10, 20],  # 40 has events and no row; 50 has neither
    "price": [-2.0, None, 1e39],
    "brand": ["x", "y", "x"],
    "parts": [["a", "b", "a"], ["b", "", "c"], ["c"]],
    "plot": [[6.0, 0.0], [0.0, 0.0], None],
}
USERS = {"userId": [2, 3, 1], "income": [1.0, 5.0, 3.0], "segment": ["s", "s", "t"], "plan": [True, False, True]}


def prepared(folder: Path, items: Any = ITEMS, users: Any = USERS) -> tuple[Workspace, Prepared]:
    space = Workspace(folder)
    for name, columns in (("e", {"userId": [1, 1, 2, 2], "itemId": [10, 20, 30, 40]}), ("i", items), ("u", users)):
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    events, listed, people = (folder / f"{name}.parquet" for name in "eiu")
    preprocess_own(EventFile(events), SideFile(listed), SideFile(people), space.processed, options=QUIET)
    return space, prepare(space)


def test_columns_by_hand(tmp_path: Path) -> None:
    items, users = prepared(tmp_path)[1].items, prepared(tmp_path)[1].users
    assert items.own == {"price", "brand", "parts", "plot"}
    np.testing.assert_array_equal(items.numbers["price"], [np.nan, np.nan, -2, np.nan])  # 1e39 is no float32
    assert [items.labels["brand"].of(item) for item in range(4)] == [[], ["x"], ["x"], []]  # y is on one item
    assert [items.labels["parts"].of(item) for item in range(4)] == [["b", "c"], ["c"], ["b"], []]
    # Around their mean (3, 0) the vectors are ±(3, 0), of the root mean square length 3.
    np.testing.assert_allclose(items.vectors["plot"], [[-1, 0], [0, 0], [1, 0], [0, 0]], atol=1e-7)
    assert users.own == {"income", "plan"}  # no segment is on two users that have events
    assert [users.labels["plan"].of(user) for user in range(2)] == [["true"], ["true"]]
    np.testing.assert_array_equal(users.numbers["income"], [3, 1])


def test_stored_and_loaded(tmp_path: Path) -> None:
    space, made = prepared(tmp_path)
    made.save(space.prepared)
    again = Prepared.load(space.prepared)
    for before, after in ((made.items, again.items), (made.users, again.users)):
        first, second = before.to_arrays(), after.to_arrays()
        assert list(first) == list(second)
        for name, values in first.items():
            np.testing.assert_array_equal(values, second[name])
    assert again.training_data().items.own == made.items.own


def test_other_events_get_the_columns_of_their_items(tmp_path: Path) -> None:
    space, _ = prepared(tmp_path)
    pq.write_table(pa.table({"userId": [3, 9], "movieId": [20, 99]}), tmp_path / "more.parquet")
    made = prepare_file(EventFile(tmp_path / "more.parquet"), space, NoSplit())
    assert made.vocabulary.items.ids.tolist() == [10, 20, 30, 40, 99]
    assert made.items.labels["brand"].of(1) == ["x"]
    np.testing.assert_array_equal(made.users.numbers["income"], [5, np.nan])


def test_the_most_frequent_values_and_the_first_of_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_features, "MAX_LABELS", 2)
    monkeypatch.setattr(own_features, "MAX_PER_ROW", 1)
    lists = [["c", "a"], ["c", "b"], ["b", "c"], ["a"]]
    items = prepared(tmp_path, {"itemId": [10, 20, 30, 40], "parts": lists})[1].items
    assert items.labels["parts"].names == ("c", "a")
    assert [items.labels["parts"].of(item) for item in range(4)] == [["c"], ["c"], ["c"], ["a"]]


def test_equal_vectors_say_nothing(tmp_path: Path) -> None:
    items = prepared(tmp_path, {"itemId": [10, 20], "plot": [[1.0, 2.0], [1.0, 2.0]]})[1].items
    assert not items.vectors["plot"].any()


def test_unknown_names_and_what_there_is(tmp_path: Path) -> None:
    made = prepared(tmp_path)[1]
    assert own_to_read(made.items, ["brand"], "item.features") == ("brand",)
    with pytest.raises(
        ConfigError, match=r"item.features: no own column size, year of items.*: brand, parts, plot, pr"
    ):
        own_to_read(made.items, ["brand", "size", "year"], "item.features")
    with pytest.raises(ConfigError, match=r"no own column x of users.*there are: income, plan\. .*--user_vectors"):
        own_to_read(made.users, ["x"], "encoder.features")
    with pytest.raises(ConfigError, match="there are: none"):
        own_to_read(ItemTable(2), ["x"], "item.features")


def test_the_name_of_a_feature_of_tmdb(tmp_path: Path) -> None:
    prepared(tmp_path)
    items = ItemTable(2, numbers={"price": np.zeros(2, dtype=np.float32)})
    with pytest.raises(DataError, match="the own columns price of the items have the names of features of TMDb"):
        with_own_items(items, IdMap.of(np.array([10, 20])), tmp_path / "processed")
