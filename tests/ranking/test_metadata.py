"""Features of TMDb in the rankers: encoded by hand, each of use, only those named are read, the bundle carries them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking import RANKERS
from ranking.features import FeatureEncoder
from reccore import ConfigError, DataError, ItemTable, Labels, QueryBatch, RankingSamples, RunOptions
from reccore.buckets import N_BUCKETS
from tests.dataprep.tmdb_tables import NAMES, NUMBERS, with_every_feature
from tests.ranking.samples import Setting, board_setting, labelled

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
SMALL: dict[str, Any] = {"epochs": 1, "batch_size": 16, "learning_rate": 0.02, "hidden": [8], "embedding_size": 4}


@pytest.fixture(scope="module")
def setting() -> Setting:
    plain = board_setting()
    return replace(plain, items=with_every_feature(plain.items))


def scores(setting: Setting, model: str, *metadata: str) -> np.ndarray:
    tables: Any = setting.tables()
    ranker = RANKERS[model]({**SMALL, "metadata": metadata}).fit(setting.samples, options=QUIET, **tables)
    return ranker.score(setting.valid.queries, setting.valid.candidates)


def test_item_block_by_hand() -> None:
    setting = board_setting()
    n = setting.items.n_items
    offsets = np.minimum(np.array([0, 2, *[3] * (n - 1)]), 3)
    items = ItemTable(
        n,
        labels={"cast": Labels(("a", "b", "c"), offsets, np.array([2, 0, 1]))},
        numbers={"budget": np.array([0.0, np.e**2 - 1, *[np.nan] * (n - 2)], dtype=np.float32)},
        vectors={"overview": np.array([[-1.0, 2.0], *[[0.0, 0.0]] * (n - 1)], dtype=np.float32)},
    )
    encoder = FeatureEncoder.fit(setting.samples, items, setting.users)
    schema, block = encoder.schema, encoder.item_block
    assert [field.size for field in schema.of("item", "labels")] == [4]
    assert block.labels[0][:4].tolist() == [[0, 0], [3, 1], [2, 0], [0, 0]]  # the first row is no item
    assert block.bags[0][:3].tolist() == [[0, 0], [-1, 2], [0, 0]]
    budget = block.numbers[:, schema.column("item.log_budget")].numpy()
    np.testing.assert_allclose(budget[:4], [0, -1, 1, 0], atol=1e-6)  # log 1 = 0 and 2 around their mean of 1
    bucket = block.categories[:, schema.column("item.log_budget.bucket")].tolist()
    assert bucket[:4] == [0, 1, N_BUCKETS, 0]


@pytest.mark.parametrize("model", ["deepfm", "din"])
def test_none_is_read_unless_named(model: str, setting: Setting) -> None:
    assert RANKERS[model]().config.metadata == ()
    np.testing.assert_array_equal(scores(setting, model), scores(board_setting(), model))


def test_each_changes_the_outcome(setting: Setting) -> None:
    plain = scores(setting, "deepfm")
    for name in NAMES:
        assert np.abs(scores(setting, "deepfm", name) - plain).max() > 1e-6, name
    assert np.abs(scores(setting, "din", *NAMES) - scores(setting, "din")).max() > 1e-6


def half_of_the_board(setting: Setting, part: RankingSamples, first: bool) -> RankingSamples:
    """Users without a history choose all films of their colour, among candidates of one half of the catalogue."""
    half = part.candidates.item_idx < setting.items.n_items // 2
    offered = np.where(half == first, part.candidates.item_idx, -1)
    item_idx = np.take_along_axis(offered, np.argsort(offered < 0, axis=1, kind="stable"), axis=1)
    users = np.arange(len(item_idx))
    own = (item_idx % 2 == users[:, None] % 2) & (item_idx >= 0)
    queries = QueryBatch.from_histories([[]] * len(users), user_idx=users)
    samples = labelled(queries, item_idx, own.argmax(axis=1))
    samples.labels["click"][own] = 1.0
    return samples.select(np.flatnonzero(own.any(axis=1) & (~own & (item_idx >= 0)).any(axis=1)))


def test_what_an_actor_says_of_films_holds_for_films_never_trained_on() -> None:
    """Nothing is known of films but an actor that tells their colour, and of users but a gender that tells theirs."""
    setting = board_setting()
    n = setting.items.n_items
    items = ItemTable(n, labels={"cast": Labels(("even", "odd"), np.arange(n + 1), np.arange(n) % 2)})
    users = replace(setting.users, categories={"gender": np.arange(setting.users.n_users) % 2})
    known, asked = (
        half_of_the_board(setting, part, first) for part, first in ((setting.samples, True), (setting.valid, False))
    )

    def hits(**config: Any) -> float:
        ranker = RANKERS["deepfm"]({**SMALL, "epochs": 30, "learning_rate": 0.05, **config})
        ranker.fit(known, items=items, users=users, vocabulary=setting.vocabulary, options=QUIET)
        best = ranker.score(asked.queries, asked.candidates).argmax(axis=1)
        return float((asked.labels["click"][np.arange(len(best)), best] == 1.0).mean())

    assert hits(metadata=["cast"]) > 0.9
    assert hits() < 0.8


@pytest.mark.parametrize("model", ["deepfm", "din"])
def test_the_bundle_needs_no_tables_and_carries_what_it_read(model: str, setting: Setting, tmp_path: Path) -> None:
    tables: Any = setting.tables()
    config = {**SMALL, "metadata": ["cast", "budget", "overview"]}
    ranker = RANKERS[model](config).fit(setting.samples, options=QUIET, **tables)
    ranker.save(tmp_path / "model")
    with np.load(tmp_path / "model" / "items.npz", allow_pickle=False) as arrays:
        optional = {name for name in arrays.files if name.startswith(("labels.", "numbers.", "vectors."))}
    labels = {f"labels.cast.{part}" for part in ("names", "offsets", "idx")}
    assert optional == {*labels, "numbers.budget", "vectors.overview"}
    again = RANKERS.load(tmp_path / "model")
    assert again.config.metadata == ("cast", "budget", "overview")
    expected = ranker.score(setting.valid.queries, setting.valid.candidates)
    np.testing.assert_array_equal(again.score(setting.valid.queries, setting.valid.candidates), expected)


def test_every_number_has_a_bucket_too(setting: Setting) -> None:
    schema = FeatureEncoder.fit(setting.samples, setting.items, setting.users).schema
    for name in NUMBERS:
        assert f"item.log_{name}" in schema
        assert f"item.log_{name}.bucket" in schema


def test_named_without_such_data() -> None:
    with pytest.raises(DataError, match=r"metadata cast is not in this data.*run first: .*run_batch_crawl"):
        scores(board_setting(), "deepfm", "cast")
    with pytest.raises(ConfigError, match="actors"):
        RANKERS["din"]({"metadata": ["actors"]})
