"""Options of one feature: defaults by hand, errors that name the feature, and their way through every ranker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking import RANKERS
from ranking.dense import DenseFeatures
from ranking.features import FeatureEncoder, FeatureOptions
from ranking.lambdamart import LambdaMART
from reccore import ConfigError, ItemTable, Labels, QueryBatch, RunOptions, UserTable
from reccore.tables import UNKNOWN_YEAR
from tests.ranking.samples import NEURAL, Setting, labelled, options_of
from tests.ranking.test_own_features import own_setting

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
SMALL: dict[str, Any] = {"epochs": 1, "batch_size": 16, "learning_rate": 0.05, "hidden": [8, 4], "embedding_size": 4}
ITEMS = ItemTable(
    4,
    year=np.array([1990, UNKNOWN_YEAR, 2000, 2010]),
    genre_offsets=np.array([0, 1, 3, 3, 4]),
    genre_idx=np.array([0, 0, 1, 1]),
    genre_names=("comedy", "drama"),
    labels={"cast": Labels(("a", "b"), np.array([0, 2, 2, 3, 3]), np.array([1, 0, 0]))},
)
USERS = UserTable(3, {"gender": np.array([1, -1, 0])}, {"gender": ("F", "M")})
SAMPLES = labelled(
    QueryBatch.from_histories([[0], [2], []], ratings=[[4], [float("nan")], []], user_idx=[0, 1, -1]),
    np.array([[2, 0, 1], [1, 2, -1], [3, 1, -1]]),
    np.array([0, 1, 0]),
)


def encoder_of(*features: Any, items: ItemTable = ITEMS) -> FeatureEncoder:
    return FeatureEncoder.fit(SAMPLES, items, USERS, features=features)


def with_default(name: str, default: float | str, **options: Any) -> FeatureEncoder:
    return encoder_of(FeatureOptions(name=name, default=default, **options))


def test_default_of_an_item_number() -> None:
    encoder = with_default("item.year", 2000, boundaries=(1995.0, 2005.0))
    block = encoder.item_block  # its first row is no item
    filled = np.array([1990, 2000, 2000, 2010])
    np.testing.assert_allclose(block.numbers[1:, 0], (filled - filled.mean()) / filled.std(), rtol=1e-5)
    assert block.categories[:, 0].tolist() == [0, 1, 2, 2, 3]
    # Trees take what is missing without a default as missing.
    assert np.isnan(DenseFeatures(encoder_of("item.year"), [], 9)._items.numpy()[2, 0])
    assert DenseFeatures(encoder, [], 9)._items[2, 0] == block.numbers[2, 0]


def test_default_of_a_query_number_also_where_the_column_is_absent() -> None:
    encoder = with_default("user.mean_rating", 3)
    filled = np.array([4, 3, 3])
    rows = encoder.encode(SAMPLES.queries, SAMPLES.candidates).query.numbers[:, 0]
    np.testing.assert_allclose(rows, (filled - filled.mean()) / filled.std(), rtol=1e-5)
    unrated = encoder.encode(replace(SAMPLES.queries, history_rating=None), SAMPLES.candidates).query.numbers[:, 0]
    np.testing.assert_allclose(unrated, rows[[1, 1, 1]])


def test_default_of_a_pair_number() -> None:
    encoder = with_default("cross.year_gap_recent", 5)
    pair = encoder.encode(SAMPLES.queries, SAMPLES.candidates).pair[:, :, 0].numpy()
    # Histories end in 1990, 2000 and nothing; item 1 has no year, and slots of -1 hold no item.
    filled = np.array([[10, 0, 5], [5, 0, 5], [5, 5, 5]])
    np.testing.assert_allclose(pair, (filled - filled.mean()) / filled.std(), rtol=1e-4)


def test_default_of_categories_labels_and_genres() -> None:
    inputs = with_default("user.gender", "F").encode(SAMPLES.queries, SAMPLES.candidates)
    assert inputs.query.categories[:, 0].tolist() == [2, 1, 1]
    assert with_default("item.cast", "b").item_block.labels[0].tolist() == [[0, 0], [2, 1], [2, 0], [1, 0], [2, 0]]
    genres = with_default("item.genres", "drama").item_block.bags[0].tolist()
    assert genres == [[0, 0], [1, 0], [0.5, 0.5], [0, 1], [0, 1]]
    assert encoder_of("item.genres").item_block.bags[0].tolist()[3] == [0, 0]
    history = with_default("history.cast", "a", length=2).encode(SAMPLES.queries, SAMPLES.candidates).query.labels[0]
    assert history.tolist() == [[2, 0], [1, 0], [1, 0]]
    nowhere = replace(ITEMS, labels={"cast": Labels(("a", "b"), np.zeros(5, dtype=np.int64), np.zeros(0, np.int64))})
    empty = encoder_of(FeatureOptions(name="item.cast", default="b"), items=nowhere)
    assert empty.item_block.labels[0][1:].tolist() == [[2]] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "item.year", "boundaries": [1, 1]}, r"feature item.year: boundaries must increase, got \[1.0, 1.0\]"),
        ({"name": "item.year", "embedding_size": 0}, r"feature item.year: embedding_size: .* greater than 0 \(got 0\)"),
        ({"name": "item.year", "boundary": [1]}, r"feature item.year: boundary: no such option .*boundaries"),
        ({"name": "item.id", "pooling": {"kind": "max"}}, r"feature item.id: pooling.*unknown kind 'max'; .*decayed"),
        (
            {"name": "item.id", "pooling": {"kind": "sum", "half_life": 1}},
            r"feature item.id: pooling.sum.half_life: no",
        ),
        (
            {"name": "item.id", "pooling": {"kind": "decayed", "half_life": 0}},
            r"feature item.id: .*half_life: .*than 0",
        ),
        ({"name": "item.id", "shared_with": "user.id", "embedding_size": 2}, r"feature item.id: .*to that feature"),
        ({"name": "item.id", "shared_with": "item.id"}, r"feature item.id: shared_with names the feature itself"),
        ({"name": "item.id"}, r"feature item.id: the table has no option; write the name alone"),
        ({"boundaries": [1]}, r"feature without a name: name: Field required"),
        (5, r"features.1.options: must be the name of a feature, or a table of options with one"),
        ({"name": "history.id", "shared_with": "film.id"}, r"unknown feature 'film.id'; known: default, .*item.id"),
    ],
)
def test_wrong_options_name_the_feature(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RANKERS["deepfm"]({"features": ["default", options]})


def test_options_twice_are_refused() -> None:
    twice = [{"name": "item.year", "boundaries": [1]}, {"name": "item.year", "embedding_size": 2}]
    with pytest.raises(ConfigError, match=r"feature item.year has options twice"):
        RANKERS["deepfm"]({"features": twice})


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([{"name": "item.genres", "pooling": {}}], "feature item.genres takes no pooling: it is a bag, and only those"),
        ([{"name": "item.id", "length": 3}], "feature item.id takes no length: it is a category"),
        ([{"name": "item.year", "shared_with": "item.id"}], "feature item.year takes no shared_with: it is a number"),
        ([{"name": "user.mean_rating", "embedding_size": 2}], "feature user.mean_rating takes no embedding_size"),
        ([{"name": "cross.genre_match", "embedding_size": 2}], "feature cross.genre_match takes no embedding_size"),
        ([{"name": "history.id", "shared_with": "item.id"}], "history.id shares .*'item.id', which is none of"),
        (["item.id", {"name": "user.id", "shared_with": "item.id"}], "feature user.id cannot share .* of item.id:"),
        (["item.id", {"name": "item.cast", "shared_with": "item.id"}], "feature item.cast cannot share .* of item.id"),
        (["item.genres", {"name": "item.cast", "shared_with": "item.genres"}], "item.cast cannot share .*item.genres"),
        (["item.cast", {"name": "user.gender", "shared_with": "item.cast"}], "no value in common, F, M and a, b"),
        (
            ["item.cast", {"name": "history.cast", "shared_with": "user.gender"},
             {"name": "user.gender", "shared_with": "item.cast"}],
            "feature history.cast shares the table of user.gender, which itself shares that of item.cast",
        ),
        ([{"name": "item.year", "default": "old"}], "feature item.year: its default must be a number, got 'old'"),
        ([{"name": "user.gender", "default": "X"}], "feature user.gender: default 'X' is none of its values F, M"),
        ([{"name": "user.gender", "default": 1}], "feature user.gender: default 1.0 is none of its values F, M"),
        ([{"name": "history.id", "default": 1}], "feature history.id takes no default: its values have no names"),
    ],
)  # fmt: skip
def test_options_that_a_feature_cannot_have(features: list[Any], message: str) -> None:
    config = RANKERS["deepfm"]({"features": features}).config  # known only with the data
    with pytest.raises(ConfigError, match=message):
        encoder_of(*config.features)


def test_a_missing_vector_takes_no_default() -> None:
    setting = own_setting()
    options = FeatureOptions(name="item.plot", default=1)
    with pytest.raises(ConfigError, match=r"feature item.plot takes no default: a missing vector is a row of zeros"):
        FeatureEncoder.fit(setting.samples, setting.items, setting.users, features=[options])


@pytest.mark.parametrize(
    ("model", "option", "reason"),
    [
        ("lr", {"embedding_size": 2}, "this ranker embeds no field"),
        ("lr", {"shared_with": "item.id"}, "this ranker embeds no field"),
        ("lambdamart", {"embedding_size": 2}, "trees embed no field"),
        ("lambdamart", {"shared_with": "item.id"}, "trees embed no field"),
        ("lambdamart", {"boundaries": [1]}, "trees cut numbers themselves"),
    ],
)
def test_a_ranker_refuses_what_has_no_effect_in_it(model: str, option: dict[str, Any], reason: str) -> None:
    (name,) = option
    with pytest.raises(ConfigError, match=f"feature history.id: {name} has no effect, since {reason}"):
        RANKERS[model]({"features": ["item.id", {"name": "history.id", **option}]})


def test_trees_see_the_weights_of_a_pool() -> None:
    options = FeatureOptions.model_validate({"name": "history.cast", "pooling": {"kind": "decayed", "half_life": 1}})
    samples = replace(SAMPLES, queries=QueryBatch.from_histories([[0, 2, 2], [1], [2, 0]]))
    features = DenseFeatures(FeatureEncoder.fit(samples, ITEMS, USERS, features=[options]), [], 9)
    assert features.names == ["history.cast=1", "history.cast=2"]
    first = np.array([[True, False, False]] * 3)
    # Items 0 and 2 begin with b and a: the last two events are a's, the one before b's.
    found = features.matrix(samples.queries, samples.candidates, first)
    np.testing.assert_allclose(found, [[6 / 7, 1 / 7], [0, 0], [1 / 3, 2 / 3]], rtol=1e-5)


@pytest.fixture(scope="module")
def setting() -> Setting:
    return own_setting()


FEATURES = ["default", "item.id", "item.parts", "item.plot", "user.parts", "history.id"]
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "size of a category": ("item.id", {"embedding_size": 2}),
    "size of a vector": ("item.plot", {"embedding_size": 1}),
    "size of a bag": ("item.genres", {"embedding_size": 2}),
    "shared ids": ("history.id", {"shared_with": "item.id"}),
    "shared names": ("user.parts", {"shared_with": "item.parts"}),
    "sum": ("history.id", {"pooling": {"kind": "sum"}}),
    "half-life": ("history.id", {"pooling": {"kind": "decayed", "half_life": 1}}),
    "length": ("history.id", {"length": 2}),
    "default of a number": ("item.year", {"default": 2050}),
    "default of labels": ("item.parts", {"default": "b"}),
}


def fitted(model: str, setting: Setting, *features: Any) -> Any:
    tables: Any = setting.tables()
    config = options_of(model, {**SMALL, "trees": 20, "min_data_in_leaf": 2, "features": features})
    return RANKERS[model](config).fit(setting.samples, options=QUIET, **tables)


def outcome(ranker: Any, asked: Any) -> np.ndarray:
    """Scores; of LambdaMART the columns, since trees are the same for values in the same order."""
    if isinstance(ranker, LambdaMART):
        return ranker._features.matrix(*asked, asked[1].mask)
    return ranker.score(*asked)


@pytest.mark.parametrize("model", [*NEURAL, "lambdamart"])
def test_every_option_changes_the_scores_and_is_stored(model: str, setting: Setting, tmp_path: Path) -> None:
    missing_year = np.where(np.arange(setting.items.n_items) % 3 == 0, UNKNOWN_YEAR, setting.items.year)
    setting = replace(setting, items=replace(setting.items, year=missing_year))
    asked = (setting.valid.queries, setting.valid.candidates)
    plain = outcome(fitted(model, setting, *FEATURES), asked)
    refused = RANKERS[model].Config.without_effect
    for case, (name, option) in OPTIONS.items():
        if set(option) & set(refused):
            continue
        features = [*(each for each in FEATURES if each != name), {"name": name, **option}]
        found = outcome(fitted(model, setting, *features), asked)
        assert found.shape != plain.shape or np.nanmax(np.abs(found - plain)) > 1e-7, case
    together: dict[str, dict[str, Any]] = {}
    for name, option in OPTIONS.values():
        together.setdefault(name, {"name": name}).update({k: v for k, v in option.items() if k not in refused})
    options = [option for option in together.values() if len(option) > 1]
    ranker = fitted(model, setting, *FEATURES, *options)
    found = ranker.score(*asked)
    for row in (0, 31):
        alone = ranker.score(asked[0].select([row]), asked[1].select(slice(row, row + 1)))
        np.testing.assert_allclose(alone[0], found[row], atol=1e-5)
    ranker.save(tmp_path / "model")
    again: Any = RANKERS.load(tmp_path / "model")
    assert (again.config, again._encoder.schema) == (ranker.config, ranker._encoder.schema)
    np.testing.assert_array_equal(again.score(*asked), found)


@pytest.mark.parametrize("model", ["fm", "deepfm", "din"])
def test_a_shared_table_learns_from_both(model: str, setting: Setting) -> None:
    """The state of the network holds the table once, and each of its two readers moves it."""
    ranker = fitted(model, setting, "recall.*", "item.id", {"name": "history.id", "shared_with": "item.id"})
    names = [name for name in ranker._network.state_dict() if not name.startswith("linear")]
    assert "item.codes" in names
    assert not [name for name in names if name.startswith(("query.labels", "query.own"))]
