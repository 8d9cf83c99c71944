"""The choice of features: what is taken out again, options of one feature, and the sets under ``configs/features``."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking import RANKERS
from ranking.features import Choice, FeatureEncoder, FeatureOptions
from ranking.features.choice import check_names
from reccore import ConfigError, Labels, QueryBatch, RunOptions
from scripts._settings import read_toml
from tests.ranking.samples import NEURAL, Setting, board_setting, candidates_of, options_of

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
SMALL: dict[str, Any] = {"epochs": 1, "hidden": [8, 4], "embedding_size": 4}
FOLDER = Path(__file__).parents[2] / "configs" / "features"
SETS = sorted(FOLDER.glob("*.toml"))


@pytest.fixture(scope="module")
def setting() -> Setting:
    return board_setting()


def encoder_of(setting: Setting, *choices: Choice) -> FeatureEncoder:
    return FeatureEncoder.fit(setting.samples, setting.items, setting.users, features=choices)


def names(setting: Setting, *choices: Choice) -> list[str]:
    return [field.name for field in encoder_of(setting, *choices).schema.fields]


def test_later_choices_take_out_and_put_in_again(setting: Setting) -> None:
    default = names(setting, "default")
    assert names(setting, "default", "!item.genres") == [name for name in default if name != "item.genres"]
    assert names(setting, "default", "!recall.*") == [name for name in default if not name.startswith("recall.")]
    rest = names(setting, "*", "!default")
    assert set(rest).isdisjoint(default)
    assert "user.id" in rest
    assert names(setting, "recall.*", "!recall.mf.*", "recall.mf.score")[-1] == "recall.mf.score"
    without_bucket = names(setting, "item.year", "item.log_count", "!item.year")
    assert without_bucket == ["item.log_count", "item.log_count.bucket"]


def test_hiding_users_is_for_rankers_that_know_them() -> None:
    def config(*features: Any, **values: Any) -> Any:
        return RANKERS["deepfm"]({"features": features, **values}).config

    for features in (["user.id"], ["default", "user.*"], ["!user.id", "*"], [{"name": "user.id", "embedding_size": 4}]):
        assert config(*features, user_dropout=0.2).user_dropout == 0.2
    for features in (["default"], ["user.id", "!user.*"], ["item.*"]):
        with pytest.raises(ConfigError, match=r"user_dropout has no effect, since user.id is not among the features"):
            config(*features, user_dropout=0.2)
        assert config(*features, user_dropout=0.5).user_dropout == 0.5  # the default, as a stored ranker gives it


def test_wrong_choices(setting: Setting) -> None:
    with pytest.raises(ConfigError, match=r"'recal\.\*' matches no feature"):
        encoder_of(setting, "default", "!recal.*")
    with pytest.raises(ConfigError, match=r"\['item.id', '!item.\*'\] leave no feature"):
        encoder_of(setting, "item.id", "!item.*")
    with pytest.raises(ValueError, match=r"unknown feature 'cross.genre_mach'"):
        check_names(["!cross.genre_mach"])
    with pytest.raises(ConfigError, match=r"options are of one feature; 'item.\*' is a wildcard"):
        RANKERS["deepfm"]({"features": [{"name": "item.*", "boundaries": [1]}]})
    with pytest.raises(ConfigError, match=r"boundaries must increase, got \[1\.0, 1\.0\]"):
        RANKERS["deepfm"]({"features": [{"name": "item.year", "boundaries": [1, 1]}]})
    for name in ("item.genres", "cross.year_gap_recent"):
        with pytest.raises(ConfigError, match=rf"feature {name} takes no boundaries"):
            encoder_of(setting, FeatureOptions(name=name, boundaries=(1.0,)))


def test_boundaries_by_hand(setting: Setting) -> None:
    encoder = encoder_of(setting, FeatureOptions(name="item.year", boundaries=(1982.0, 1990.0)))
    year, bucket = encoder.schema.fields
    assert (year.name, bucket.name, bucket.size) == ("item.year", "item.year.bucket", 4)
    # Films 0, 1, 2, … are of 1980, 1981, 1982, …; row 0 is no film, and has the code of unknown values.
    codes = encoder.item_block.categories[:, 0].tolist()
    assert codes[:12] == [0, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3]
    assert max(codes) == 3


def test_boundaries_give_a_number_without_buckets_some(setting: Setting) -> None:
    encoder = encoder_of(setting, "default", FeatureOptions(name="user.mean_rating", boundaries=(4.0,)))
    assert "user.mean_rating.bucket" not in names(setting, "default")
    queries = QueryBatch.from_histories([[0], [0], [0], [0]], ratings=[[3], [4], [5], [float("nan")]])
    block = encoder.encode(queries, candidates_of(np.array([[1]] * 4))).query
    assert block.categories[:, encoder.schema.column("user.mean_rating.bucket")].tolist() == [1, 2, 2, 0]


@pytest.mark.parametrize("model", NEURAL)
def test_boundaries_reach_the_network_and_are_stored_with_it(model: str, setting: Setting, tmp_path: Path) -> None:
    tables: Any = setting.tables()

    def scores(*features: Any) -> tuple[Any, np.ndarray]:
        ranker = RANKERS[model]({**options_of(model, SMALL), "features": ["default", *features]})
        ranker.fit(setting.samples, options=QUIET, **tables)
        return ranker, ranker.score(setting.valid.queries, setting.valid.candidates)

    ranker, found = scores({"name": "item.year", "boundaries": [1985, 1990]})
    assert np.abs(found - scores()[1]).max() > 1e-6
    assert np.abs(found - scores({"name": "item.year", "boundaries": [1985, 1995]})[1]).max() > 1e-6
    ranker.save(tmp_path / "model")
    again: Any = RANKERS.load(tmp_path / "model")
    assert again.config == ranker.config
    assert again._encoder.state["item.year.bucket"]["boundaries"].tolist() == [1985, 1990]
    np.testing.assert_array_equal(again.score(setting.valid.queries, setting.valid.candidates), found)


def shop(setting: Setting) -> Setting:
    """The setting with the own columns that ``own_columns.toml`` reads."""
    rng = np.random.default_rng(0)
    n_items, n_users = setting.items.n_items, setting.users.n_users
    brand = Labels(("a", "b"), np.arange(n_items + 1), np.arange(n_items) % 2)
    items = replace(
        setting.items,
        labels={"brand": brand},
        numbers={"price": np.where(np.arange(n_items) % 3, rng.uniform(1, 60, n_items), np.nan).astype(np.float32)},
        vectors={"cover": rng.normal(size=(n_items, 6)).astype(np.float32)},
        own=frozenset({"brand", "price", "cover"}),
    )
    wishes = Labels(("b", "c"), np.arange(n_users + 1), np.arange(n_users) % 2)
    return replace(setting, items=items, users=replace(setting.users, labels={"wishes": wishes}))


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_sets_of_the_project_train(path: Path, setting: Setting) -> None:
    setting = shop(setting) if path.stem == "own_columns" else setting
    ranker = RANKERS["deepfm"]({**SMALL, **read_toml(path)})
    ranker.fit(setting.samples, options=QUIET, **setting.tables())  # type: ignore[arg-type]
    assert np.isfinite(ranker.score(setting.valid.queries, setting.valid.candidates)).all()


def test_what_the_sets_hold(setting: Setting) -> None:
    def of(stem: str) -> Sequence[str]:
        return names(setting, *RANKERS["fm"](read_toml(FOLDER / f"{stem}.toml")).config.features)

    assert {path.stem for path in SETS} == {"default", "dense", "history", "ids", "no_recall", "own_columns"}
    assert of("default") == names(setting, "default")
    assert of("ids") == ["item.id", "recall.merged.log_rank", "user.id"]
    assert not any(name.startswith("recall.") for name in of("no_recall"))
    assert set(of("history")) - set(of("default")) == {"item.id", "history.id"}
    kinds = {
        field.kind
        for field in encoder_of(
            shop(setting), *RANKERS["fm"](read_toml(FOLDER / "own_columns.toml")).config.features
        ).schema.fields
    }
    assert kinds == {"category", "bag", "vector", "labels", "sequence", "number"}
    assert {
        field.side for field in encoder_of(setting, *read_toml(FOLDER / "dense.toml")["features"]).schema.fields
    } == {"pair"}


def test_a_ranker_file_extends_a_set(tmp_path: Path) -> None:
    path = tmp_path / "ranker.toml"
    path.write_text(f'extends = "{FOLDER / "dense.toml"}"\nepochs = 3\n', encoding="utf-8")
    config: Any = RANKERS["deepfm"](read_toml(path)).config
    assert (config.features, config.epochs) == (("recall.*", "cross.*"), 3)


def test_the_page_shows_the_set_of_own_columns() -> None:
    page = (FOLDER.parents[1] / "docs" / "ranking.md").read_text(encoding="utf-8")
    blocks = [tomllib.loads(block.split("```")[0]) for block in page.split("```toml\n")[1:]]
    assert read_toml(FOLDER / "own_columns.toml") in blocks
    keys = {line.split("`")[1] for line in page.split("| key | meaning")[1].split("\n\n")[0].splitlines()[2:]}
    assert keys == set(FeatureOptions.model_fields)
