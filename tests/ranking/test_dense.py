"""The matrix of trees: every column by hand, and rows in the order of the chosen candidates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from loguru import logger

from ranking.boosting import CandidateRows
from ranking.dense import DenseFeatures
from ranking.features import FeatureEncoder
from reccore import ConfigError, ItemTable, Labels, UserTable
from reccore.tables import UNKNOWN_YEAR
from tests.ranking.samples import Setting, board_setting, history_batch, labelled

NAN = float("nan")


def small_setting() -> tuple[Any, ItemTable, UserTable]:
    """Two queries with three candidates each over three films, of which film 1 has no year and films 0 and 1 a cast."""
    items = ItemTable(
        3,
        year=np.array([1990, UNKNOWN_YEAR, 2000]),
        genre_offsets=np.array([0, 1, 3, 3]),
        genre_idx=np.array([0, 0, 1]),
        genre_names=("comedy", "drama"),
        labels={"cast": Labels(("a", "b", "c"), np.array([0, 2, 3, 3]), np.array([2, 0, 1]))},
    )
    users = UserTable(2, {"gender": np.array([0, 1])}, {"gender": ("F", "M")})
    item_idx = np.array([[2, 0, 1], [1, 2, -1]])
    samples = labelled(history_batch([[0], []], users=[1, 0]), item_idx, np.array([0, 1]))
    return samples, items, users


def dense(features: list[str], expand: int = 64) -> tuple[DenseFeatures, Any]:
    samples, items, users = small_setting()
    encoder = FeatureEncoder.fit(samples, items, users, features=features)
    return DenseFeatures(encoder, features, expand), samples


def test_every_kind_of_column_by_hand() -> None:
    features, samples = dense(["item.year", "item.genres", "item.cast", "user.gender", "recall.merged.log_rank"])
    assert features.names == [
        "user.gender", "item.year", "item.genres=0", "item.genres=1", "item.cast=1", "item.cast=2", "item.cast=3",
        "recall.merged.log_rank",
    ]  # fmt: skip
    assert features.categorical == [0]
    chosen = np.array([[True, False, True], [True, True, False]])
    found = features.matrix(samples.queries, samples.candidates, chosen)
    log_rank = -np.log([1.0, 2.0, 3.0, 1.0, 2.0])  # of all five candidates
    first, second, third = (log_rank[:3] - log_rank.mean()) / log_rank.std()
    expected = [
        [2, 1, 0.0, 0.0, 0, 0, 0, first],  # film 2: the later of the years around 1995 ± 5
        [2, NAN, 0.5, 0.5, 0, 1, 0, third],  # film 1 has no year, both genres, and b
        [1, NAN, 0.5, 0.5, 0, 1, 0, first],
        [1, 1, 0.0, 0.0, 0, 0, 0, second],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32
    # Film 0, chosen nowhere above, is by a and c.
    film = features.matrix(samples.queries, samples.candidates, np.array([[False, True, False], [False] * 3]))
    np.testing.assert_allclose(film, [[2, -1, 1, 0, 1, 0, 1, second]], atol=1e-5)


def test_what_a_channel_did_not_rank_is_missing() -> None:
    features, samples = dense(["recall.mf.log_rank"])
    rank = samples.candidates.features["recall_rank.mf"]
    mask = samples.candidates.mask
    assert 0 < np.isnan(rank[mask]).sum() < mask.sum()
    found = features.matrix(samples.queries, samples.candidates, mask)
    np.testing.assert_array_equal(np.isnan(found[:, 0]), np.isnan(rank[mask]))


def test_the_encoder_of_networks_keeps_the_mean_for_missing_numbers() -> None:
    features, _ = dense(["item.year"])
    assert np.isnan(features.encoder.item_block.numbers.numpy()[2, 0])
    again = replace(features.encoder, missing_number=0.0)
    assert again.item_block.numbers.numpy()[:, 0].tolist() == [0, -1, 0, 1]


def test_ids_only_where_named_and_buckets_never() -> None:
    assert "user.log_activity" in dense(["default"])[0].names
    for names in (dense(["default"])[0].names, dense(["default", "*.id"])[0].names):
        assert not {"user.id", "item.id", "item.year.bucket", "user.log_activity.bucket"} & set(names)
    named, _ = dense(["default", "item.id"])
    assert named.names.count("item.id") == 1
    assert "user.id" not in named.names
    assert named.names[named.categorical[-1]] == "item.id"
    with pytest.raises(ConfigError, match="no feature is left"):
        dense(["*.id"])


def test_bags_and_lists_of_many_values_are_left_out_or_refused() -> None:
    said: list[str] = []
    sink = logger.add(lambda message: said.append(str(message)), level="INFO")
    try:
        narrow, _ = dense(["default"], expand=3)
    finally:
        logger.remove(sink)
    assert not any(name.startswith("item.cast") for name in narrow.names)
    assert "item.genres=1" in narrow.names
    assert "more than expand=3 values: item.cast (4 values)" in "".join(said)
    with pytest.raises(ConfigError, match=r"item\.cast has 4 values, more than expand=3; raise expand or leave it out"):
        dense(["default", "item.cast"], expand=3)


@pytest.fixture(scope="module")
def setting() -> Setting:
    return board_setting()


def test_any_slice_of_rows_equals_that_of_the_whole(setting: Setting) -> None:
    encoder = FeatureEncoder.fit(setting.samples, setting.items, setting.users)
    features = DenseFeatures(encoder, ["default"], 64)
    chosen = np.random.default_rng(0).random(setting.samples.candidates.item_idx.shape) < 0.4
    chosen[5] = chosen[17] = chosen[-1] = False  # queries without a row
    whole = features.matrix(setting.samples.queries, setting.samples.candidates, chosen)
    rows = CandidateRows(features, setting.samples, chosen)
    assert len(rows) == len(whole) == chosen.sum()
    for size in (1, 7, 64, 1000):
        pieces = [rows[at : min(at + size, len(rows))] for at in range(0, len(rows), size)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)
