"""Own columns of items and users in the rankers: encoded by hand, read only where named, the bundle carries them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataprep.readers.own_columns import ITEM_NAMES, USER_NAMES
from ranking import RANKERS
from ranking.features import FEATURES, FeatureEncoder
from reccore import ConfigError, DataError, Labels, QueryBatch, RunOptions
from reccore.buckets import N_BUCKETS
from tests.ranking.samples import Setting, board_setting

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
SMALL: dict[str, Any] = {"epochs": 1, "batch_size": 16, "learning_rate": 0.02, "hidden": [8], "embedding_size": 4}
NAMES = ("parts", "plot", "price")


def columns(n: int) -> dict[str, Any]:
    """Values for the first two rows; of the others every value is missing."""
    return {
        "labels": {"parts": Labels(("a", "b"), np.minimum(np.array([0, 2, *[3] * (n - 1)]), 3), np.array([1, 0, 0]))},
        "numbers": {"price": np.array([-1.0, 3.0, *[np.nan] * (n - 2)], dtype=np.float32)},
        "vectors": {"plot": np.array([[-1.0, 2.0], [4.0, 0.0], *[[0.0, 0.0]] * (n - 2)], dtype=np.float32)},
    }


def own_setting() -> Setting:
    setting = board_setting()
    items = replace(setting.items, **columns(setting.items.n_items), own=frozenset(NAMES))
    return replace(setting, items=items, users=replace(setting.users, **columns(setting.users.n_users)))


def encoder_of(setting: Setting, *features: str) -> FeatureEncoder:
    return FeatureEncoder.fit(setting.samples, setting.items, setting.users, features=features)


def scores(setting: Setting, model: str = "deepfm", *features: str) -> np.ndarray:
    tables: Any = setting.tables()
    ranker = RANKERS[model]({**SMALL, "features": ["default", *features]})
    ranker.fit(setting.samples, options=QUIET, **tables)
    return ranker.score(setting.valid.queries, setting.valid.candidates)


def test_items_by_hand() -> None:
    encoder = encoder_of(own_setting(), "item.price", "item.parts", "item.plot")
    assert [f.name for f in encoder.schema.fields] == ["item.price", "item.price.bucket", "item.parts", "item.plot"]
    block = encoder.item_block  # the first row is no item
    assert block.labels[0][:4].tolist() == [[0, 0], [2, 1], [1, 0], [0, 0]]
    assert block.bags[0][:4].tolist() == [[0, 0], [-1, 2], [4, 0], [0, 0]]
    assert block.numbers[:4, 0].tolist() == [0, -1, 1, 0]  # -1 and 3 around their mean 1, of the deviation 2
    assert block.categories[:4, 0].tolist() == [0, 1, N_BUCKETS, 0]


def test_users_by_hand() -> None:
    setting = own_setting()
    encoder = encoder_of(setting, "user.price", "user.parts", "user.plot")
    assert [f.name for f in encoder.schema.fields] == ["user.parts", "user.price", "user.price.bucket", "user.plot"]
    users = np.array([1, 0, -1, setting.users.n_users - 1, setting.users.n_users])
    queries = QueryBatch.from_histories([[0]] * len(users), user_idx=users)
    block = encoder.encode(queries, setting.valid.candidates.select(np.arange(len(users)))).query
    assert block.labels[0].tolist() == [[1, 0], [2, 1], [0, 0], [0, 0], [0, 0]]
    assert block.bags[0].tolist() == [[4, 0], [-1, 2], [0, 0], [0, 0], [0, 0]]
    mean, deviation = encoder.state["user.price"]["scale"]
    np.testing.assert_allclose(block.numbers[:, 0], [(3 - mean) / deviation, (-1 - mean) / deviation, 0, 0, 0])
    assert block.categories[:, 0].tolist() == [N_BUCKETS, 1, 0, 0, 0]


@pytest.mark.parametrize("model", ["deepfm", "din"])
def test_none_is_read_unless_named(model: str) -> None:
    np.testing.assert_array_equal(scores(own_setting(), model), scores(board_setting(), model))


def test_each_changes_the_outcome() -> None:
    plain = scores(own_setting())
    for name in NAMES:
        for side in ("item", "user"):
            assert np.abs(scores(own_setting(), "deepfm", f"{side}.{name}") - plain).max() > 1e-6, (side, name)


def test_names_and_wildcards() -> None:
    setting = own_setting()
    named = encoder_of(setting, "item.p*", "user.pr*")
    assert {f.name for f in named.schema.fields if not f.bucket_of} == {
        *(f"item.{name}" for name in NAMES),
        "user.price",
    }
    assert (named.tables.items.own, named.tables.users.own) == (set(NAMES), {"price"})
    assert not encoder_of(setting, "default").tables.items.own
    with pytest.raises(ConfigError, match=r"'item.colour' matches no feature of this data; it has .*item\.price"):
        encoder_of(setting, "default", "item.colour")
    own = replace(setting.items, numbers={"budget": setting.items.numbers["price"]}, own=frozenset({"budget"}))
    tables: Any = replace(setting, items=own).tables()
    ranker = RANKERS["deepfm"]({**SMALL, "metadata": ["budget"]})
    with pytest.raises(DataError, match="metadata budget is not in this data"):  # that is TMDb's, and this is not
        ranker.fit(setting.samples, options=QUIET, **tables)


@pytest.mark.parametrize("model", ["deepfm", "din"])
def test_the_bundle_carries_what_it_read(model: str, tmp_path: Path) -> None:
    setting = own_setting()
    tables: Any = setting.tables()
    ranker = RANKERS[model]({**SMALL, "features": ["default", "item.price", "user.parts", "user.plot"]})
    ranker.fit(setting.samples, options=QUIET, **tables)
    ranker.save(tmp_path / "model")
    stored = {}
    for what in ("items", "users"):
        with np.load(tmp_path / "model" / f"{what}.npz", allow_pickle=False) as arrays:
            names = (
                name.split(".")[1] for name in arrays.files if name.startswith(("labels.", "numbers.", "vectors."))
            )
            stored[what] = set(names)
    assert stored == {"items": {"price"}, "users": {"parts", "plot"}}
    again = RANKERS[model].load(tmp_path / "model")
    asked = (setting.valid.queries, setting.valid.candidates)
    np.testing.assert_array_equal(again.score(*asked), ranker.score(*asked))


def test_no_column_can_have_the_name_of_another_feature() -> None:
    """The readers reserve every feature of an item or a user that belongs to no family."""
    ours = [
        f for f in FEATURES.values() if f.compute.__module__.startswith("ranking.features.")
    ]  # tests declare others
    single = {feature.name for feature in ours if feature.members is None}
    assert {name.removeprefix("item.") for name in single if name.startswith("item.")} <= ITEM_NAMES
    assert {name.removeprefix("user.") for name in single if name.startswith("user.")} <= USER_NAMES
