"""The ensemble: a hand-computed average, one member alone, seeds, and a resumed training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking import RANKERS
from ranking.boosting import Boosting
from ranking.ensemble import Ensemble
from reccore import ConfigError, RunOptions
from reccore.arrays import FloatArray
from reccore.bundle import read_manifest
from tests.ranking.samples import Setting, board_setting

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
TREES: dict[str, Any] = {
    "model": "lambdamart", "trees": 10, "trees_per_round": 5, "num_leaves": 4, "min_data_in_leaf": 5, "negatives": 6,
}  # fmt: skip
NETWORK: dict[str, Any] = {
    "model": "deepfm", "epochs": 2, "batch_size": 16, "learning_rate": 0.02, "hidden": [8], "embedding_size": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def setting() -> Setting:
    return board_setting()


def fitted(setting: Setting, *members: dict[str, Any], options: RunOptions = QUIET, **settings: Any) -> Ensemble:
    tables: Any = setting.tables()
    ranker = Ensemble({"members": members, **settings})
    return ranker.fit(setting.samples, valid=setting.valid, options=options, **tables)


def scores(ranker: Any, setting: Setting) -> FloatArray:
    found: FloatArray = ranker.score(setting.valid.queries, setting.valid.candidates)
    return found


@pytest.fixture(scope="module")
def mixed(setting: Setting) -> Ensemble:
    return fitted(setting, {**TREES, "seeds": 2, "weight": 3.0}, NETWORK)


def test_the_average_by_hand(setting: Setting, mixed: Ensemble) -> None:
    """Trees weigh 3 together, the network 1; a score counts in units of its member's mean spread within a query."""
    each = [scores(member, setting).astype(np.float64) for member in mixed.members]
    spreads = [np.mean([np.std(row) for row in values]) for values in each]
    common = (1.5 * spreads[0] + 1.5 * spreads[1] + 1.0 * spreads[2]) / 4
    expected = common * (1.5 * each[0] / spreads[0] + 1.5 * each[1] / spreads[1] + each[2] / spreads[2]) / 4
    np.testing.assert_allclose(scores(mixed, setting), expected, rtol=1e-4, atol=1e-5)


def test_scale_none_is_the_plain_mean(setting: Setting) -> None:
    plain = fitted(setting, {**TREES, "seeds": 2, "weight": 3.0}, NETWORK, scale="none")
    one, two, three = (scores(member, setting).astype(np.float64) for member in plain.members)
    expected = (1.5 * one + 1.5 * two + three) / 4
    np.testing.assert_allclose(scores(plain, setting), expected, rtol=1e-5, atol=1e-6)


def test_the_spread_is_measured_in_training_samples_without_validation(setting: Setting) -> None:
    tables: Any = setting.tables()
    ranker = Ensemble({"members": [TREES, NETWORK]}).fit(setting.samples, options=QUIET, **tables)
    asked = (setting.samples.queries, setting.samples.candidates)
    each = [member.score(*asked).astype(np.float64) for member in ranker.members]
    one, two = (np.mean([np.std(row) for row in values]) for values in each)
    expected = (each[0] / one + each[1] / two) / 2 * (one + two) / 2
    np.testing.assert_allclose(ranker.score(*asked), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("member", [TREES, NETWORK], ids=["lambdamart", "deepfm"])
def test_an_ensemble_of_one_is_its_member(setting: Setting, member: dict[str, Any]) -> None:
    alone = fitted(setting, member)
    np.testing.assert_array_equal(scores(alone, setting), scores(alone.members[0], setting))
    seed = int(QUIET.generator("members").integers(2**31 - 1, size=1)[0])
    tables: Any = setting.tables()
    settings = {name: value for name, value in member.items() if name != "model"}
    single = RANKERS[member["model"]](settings)
    single.fit(setting.samples, valid=setting.valid, options=replace(QUIET, seed=seed), **tables)
    np.testing.assert_array_equal(scores(alone, setting), scores(single, setting))


def test_members_have_seeds_of_their_own(setting: Setting, mixed: Ensemble) -> None:
    first, second, _ = (scores(member, setting) for member in mixed.members)
    assert not np.allclose(first, second, atol=1e-3)
    assert [member.name for member in mixed.members] == ["lambdamart", "lambdamart", "deepfm"]
    assert mixed.tasks == ("click",)


def test_contributions_are_those_of_the_members_and_sum_to_the_score(setting: Setting, mixed: Ensemble) -> None:
    asked = (setting.valid.queries, setting.valid.candidates)
    found = mixed.contributions(*asked)
    np.testing.assert_allclose(np.sum(list(found.values()), axis=0), scores(mixed, setting), atol=0.01)
    *trees, network = (member.contributions(*asked) for member in mixed.members)
    in_all = {*trees[0], *trees[1], *network}
    assert set(found) == in_all
    assert {"item", "item.genres"} <= in_all  # the network's and the trees' names of what is known of the item
    one, two, three = mixed._factors
    expected = one * trees[0]["item.genres"] + two * trees[1]["item.genres"]
    np.testing.assert_allclose(found["item.genres"], expected, atol=1e-6)
    np.testing.assert_allclose(found["item"], three * network["item"], atol=1e-6)


def test_a_member_can_be_loaded_alone(setting: Setting, mixed: Ensemble, tmp_path: Path) -> None:
    mixed.save(tmp_path / "model")
    np.testing.assert_array_equal(
        scores(RANKERS.load(tmp_path / "model" / "member2"), setting), scores(mixed.members[2], setting)
    )
    manifest = read_manifest(tmp_path / "model") or {}
    assert [len(training["loss"]) for training in manifest["training"]] == [2, 2, 2]


def test_wrong_members_are_named() -> None:
    with pytest.raises(ConfigError, match=r"members\.0: no ranker that can be a member: 'gbdt'; known: .*lambdamart"):
        Ensemble({"members": [{"model": "gbdt"}]})
    with pytest.raises(ConfigError, match="no ranker that can be a member: 'ensemble'"):
        Ensemble({"members": [{"model": "ensemble"}]})
    with pytest.raises(ConfigError, match=r"leafs.*Known options: .*num_leaves"):
        Ensemble({"members": [{"model": "lambdamart", "leafs": 3}]})
    with pytest.raises(ConfigError, match="members"):
        Ensemble({"members": []})


def test_members_that_learn_likes_have_one_least_rating() -> None:
    likes, others = {"model": "ple", "liked_from": 8}, {"model": "lambdamart"}
    assert Ensemble({"members": [others, likes]}).liked_from == 8
    assert Ensemble({"members": [others]}).liked_from is None
    with pytest.raises(ConfigError, match="liked_from must be one for all, got 8, 4"):
        Ensemble({"members": [likes, {"model": "mmoe"}]})


class Killed(Exception):
    """Stands for the end of the process."""


def test_a_break_in_any_member_changes_nothing(
    setting: Setting, mixed: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = ({**TREES, "seeds": 2, "weight": 3.0}, NETWORK)
    kept = replace(QUIET, checkpoint_dir=tmp_path / "c")
    grow, rounds = Boosting._grow_round, 0

    def counted(self: Boosting) -> int:
        nonlocal rounds
        rounds += 1
        if rounds in (4, 5):  # the second round of the second member, and again right after the resume
            raise Killed
        return grow(self)

    monkeypatch.setattr(Boosting, "_grow_round", counted)
    for resume in (False, True):
        with pytest.raises(Killed):
            fitted(setting, *members, options=replace(kept, resume=resume))
    assert read_manifest(tmp_path / "c")["where"] == "member 2 of 3"  # type: ignore[index]
    found = fitted(setting, *members, options=replace(kept, resume=True))
    assert rounds == 6  # the first member was not trained again
    np.testing.assert_array_equal(scores(found, setting), scores(mixed, setting))
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
