"""LambdaMART against LightGBM called directly, on signals with a known answer, and its training loop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import torch

from ranking import boosting, lambdamart
from ranking.base import EXPECTED
from ranking.boosting import Boosting
from ranking.lambdamart import LambdaMART
from ranking.losses import listwise_softmax
from reccore import (
    ArtefactError,
    IdMap,
    ItemTable,
    QueryBatch,
    RankingSamples,
    ResumeError,
    RunOptions,
    UserTable,
    Vocabulary,
)
from reccore.arrays import FloatArray
from reccore.tables import UNKNOWN_YEAR
from tests.ranking.samples import Setting, board_setting, labelled

NAN = float("nan")
QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
SMALL: dict[str, Any] = {"trees": 12, "trees_per_round": 3, "num_leaves": 6, "min_data_in_leaf": 5, "l2": 0.0}


@pytest.fixture(scope="module")
def setting() -> Setting:
    return board_setting()


def fitted(setting: Setting, *, valid: bool = True, options: RunOptions = QUIET, **changes: Any) -> LambdaMART:
    tables: Any = setting.tables()
    ranker = LambdaMART({**SMALL, **changes})
    return ranker.fit(setting.samples, valid=setting.valid if valid else None, options=options, **tables)


def scores(ranker: LambdaMART, setting: Setting) -> FloatArray:
    return ranker.score(setting.valid.queries, setting.valid.candidates)


@pytest.mark.parametrize("init", ["merged", "none"])
@pytest.mark.parametrize("trees_per_round", [3, 12])
def test_equals_lightgbm_called_directly(setting: Setting, init: str, trees_per_round: int) -> None:
    """One uninterrupted run over the plain matrix, with LightGBM's own handling of groups and initial scores."""
    ranker = fitted(
        setting, valid=False, init=init, trees_per_round=trees_per_round, column_share=1.0, row_share=1.0, l2=0.5
    )
    samples, everything = setting.samples, setting.samples.candidates.mask
    matrix = ranker._features.matrix(samples.queries, samples.candidates, everything)
    place = np.tile(np.arange(1, 13), len(samples)).astype(float)
    parameters = {
        "objective": "lambdarank", "label_gain": [0, 1], "lambdarank_truncation_level": 30, "learning_rate": 0.05,
        "num_leaves": 6, "min_data_in_leaf": 5, "lambda_l2": 0.5, "verbosity": -1, "num_threads": 1,
        "deterministic": True, "force_col_wise": True,
    }  # fmt: skip
    data = lightgbm.Dataset(
        matrix,
        label=samples.labels["click"].ravel(),
        group=[12] * len(samples),
        init_score=-np.log(place) if init == "merged" else None,
        categorical_feature=[ranker._features.names.index("user.gender")],
        params=parameters,
    )
    booster = lightgbm.train(parameters, data, num_boost_round=12)
    valid = setting.valid
    trees = booster.predict(ranker._features.matrix(valid.queries, valid.candidates, valid.candidates.mask))
    expected = np.asarray(trees).reshape(len(valid), 12)
    if init == "merged":
        expected = expected - np.log(np.arange(1, 13))
    np.testing.assert_allclose(scores(ranker, setting), expected, rtol=1e-5)
    assert ranker._trees.num_trees() == 12


def decided_by_year(year: np.ndarray, best: Any, *, n_queries: int = 200) -> Setting:
    """Users without a history choose, among ten random films, the one that ``best`` of their years names."""
    n_items = len(year)

    def part(seed: int) -> RankingSamples:
        rng = np.random.default_rng(seed)
        item_idx = np.argsort(rng.random((n_queries, n_items)), axis=1)[:, :10].astype(np.int64)
        return labelled(QueryBatch.from_histories([[]] * n_queries), item_idx, best(year[item_idx]), seed)

    vocabulary = Vocabulary(IdMap(np.arange(5)), IdMap(np.arange(n_items)))
    return Setting(part(1), part(2), ItemTable(n_items, year=year), UserTable(5), vocabulary)


def test_one_feature_decides() -> None:
    setting = decided_by_year(np.arange(1950, 1990), lambda years: years.argmax(axis=1))
    ranker = fitted(setting, trees=150, init="none", learning_rate=0.2, patience=50)
    assert ranker.log.best_validation is not None
    assert ranker.log.best_validation > 0.97
    found = ranker.contributions(setting.valid.queries, setting.valid.candidates)
    size = {name: np.abs(values).mean() for name, values in found.items() if name != EXPECTED}
    assert max(size, key=lambda name: size[name]) == "item.year"
    assert sum(size.values()) < 1.5 * size["item.year"]


def test_a_missing_number_is_not_the_mean() -> None:
    """All known years are the same, so the mean of the years in place of a missing one would hide it."""
    year = np.where(np.arange(40) % 4 == 0, UNKNOWN_YEAR, 1980)
    setting = decided_by_year(year, lambda years: (years == UNKNOWN_YEAR).argmax(axis=1))
    kept = [number for number, row in enumerate(setting.samples.candidates.item_idx) if (row % 4 == 0).sum() == 1]
    alone = replace(setting, samples=setting.samples.select(np.array(kept)))
    ranker = fitted(alone, valid=False, features=["item.year"], init="none")
    found = scores(ranker, setting)
    missing = year[setting.valid.candidates.item_idx] == UNKNOWN_YEAR
    assert found[missing].min() > found[~missing].max()


def test_contributions_sum_to_the_score(setting: Setting) -> None:
    ranker = fitted(setting)
    candidates = setting.valid.candidates.head(8)
    columns = np.concatenate([np.tile(np.arange(8), (60, 1)), np.full((60, 2), -1)], axis=1)
    candidates = candidates.take(columns)
    found = ranker.contributions(setting.valid.queries, candidates)
    assert set(found) == {*(column.field for column in ranker._features.columns), EXPECTED}
    assert "item.genres" in found
    total = np.sum([values.astype(np.float64) for values in found.values()], axis=0)
    expected = ranker.score(setting.valid.queries, candidates)
    np.testing.assert_allclose(total[:, :8], expected[:, :8], atol=1e-5)
    assert all((values[:, 8:] == 0).all() for values in found.values())


def test_contributions_of_a_single_split_by_hand() -> None:
    """The feature of the split adds what its leaf differs from the mean of the leaves over the training rows."""
    setting = decided_by_year(np.arange(1950, 1990), lambda years: years.argmax(axis=1))
    one = {
        "trees": 1,
        "num_leaves": 2,
        "init": "none",
        "row_share": 1.0,
        "column_share": 1.0,
        "features": ["item.year", "recall.*"],
    }
    ranker = fitted(setting, valid=False, **one)
    in_training = ranker.score(setting.samples.queries, setting.samples.candidates)
    assert len(np.unique(in_training)) == 2
    found = ranker.contributions(setting.valid.queries, setting.valid.candidates)
    np.testing.assert_allclose(found[EXPECTED], in_training.mean(), rtol=1e-4)
    np.testing.assert_allclose(found["item.year"], scores(ranker, setting) - in_training.mean(), atol=1e-6)
    assert not any(values.any() for name, values in found.items() if name not in (EXPECTED, "item.year"))


@pytest.mark.parametrize(
    "change",
    [
        {"features": ["recall.*"]},
        {"expand": 1},
        {"negatives": 3},
        {"init": "none"},
        {"trees": 11},
        {"trees_per_round": 4},
        {"learning_rate": 0.1},
        {"num_leaves": 3},
        {"min_data_in_leaf": 40},
        {"l2": 5.0},
        {"truncation": 1},
        {"column_share": 0.8},
        {"row_share": 0.3},
    ],
)
def test_every_option_changes_the_outcome(setting: Setting, change: dict[str, Any]) -> None:
    plain, changed = (scores(fitted(setting, valid=False, **options), setting) for options in ({}, change))
    assert not np.allclose(plain, changed, atol=1e-4)


def test_ids_are_read_where_named(setting: Setting) -> None:
    names = fitted(setting, valid=False, features=["default", "item.id"])._features.names
    assert ("item.id" in names, "user.id" in names) == (True, False)


def test_it_learns_the_labels_of_its_task(setting: Setting) -> None:
    last = np.zeros_like(setting.samples.labels["click"])
    last[:, -1] = 1.0
    both = replace(setting, samples=replace(setting.samples, labels={**setting.samples.labels, "watch": last}))
    click, watch = (
        scores(fitted(both, valid=False, task=task, trees=60, learning_rate=0.2), both).argmax(axis=1) == 11
        for task in ("click", "watch")
    )
    assert click.mean() < 0.2
    assert watch.mean() > 0.8


def test_query_weights_count(setting: Setting) -> None:
    weight = np.linspace(0.01, 5, len(setting.samples)).astype(np.float32)
    weighted = replace(setting, samples=replace(setting.samples, weight=weight))
    one, other = (scores(fitted(s, valid=False), setting) for s in (setting, weighted))
    assert not np.allclose(one, other, atol=1e-4)


def by_hand(found: FloatArray, samples: RankingSamples) -> float:
    """Mean NDCG@10 of the labelled candidates, by a loop; a query without a positive counts 0."""
    total = 0.0
    for row, (labels, item_idx) in enumerate(zip(samples.labels["click"], samples.candidates.item_idx, strict=True)):
        order = sorted((-found[row, c], item_idx[c], labels[c]) for c in range(len(labels)) if not np.isnan(labels[c]))
        gains = [label / np.log2(place + 2) for place, (_, _, label) in enumerate(order[:10])]
        ideal = sum(1 / np.log2(place + 2) for place in range(min(10, int(np.nansum(labels)))))
        total += sum(gains) / ideal if ideal else 0.0
    return total / len(samples)


def test_the_figure_of_validation_is_that_of_the_kept_trees(setting: Setting) -> None:
    """Over all candidates with a label, of all queries: some have no positive, some no label on later items."""
    labels = setting.valid.labels["click"].copy()
    labels[3], labels[9] = 0.0, NAN
    labels[20:40, 5:8] = np.where(labels[20:40, 5:8] == 1.0, 1.0, NAN)
    valid = replace(setting.valid, labels={"click": labels})
    ranker = fitted(replace(setting, valid=valid))
    assert 0 < ranker.log.best_epoch <= 4
    assert ranker.log.best_validation == pytest.approx(by_hand(scores(ranker, setting), valid))
    merged = np.tile(-np.log(np.arange(1, 13)), (60, 1)).astype(np.float32)
    assert ranker.log.untrained == pytest.approx(by_hand(merged, valid))


def test_of_many_validation_queries_some_choose_the_round(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambdamart, "STOPPING_QUERIES", 20)
    labels = setting.valid.labels["click"].copy()
    labels[3], labels[9] = 0.0, NAN
    valid = replace(setting.valid, labels={"click": labels})
    ranker = fitted(replace(setting, valid=valid))
    usable = np.delete(np.arange(60), [3, 9])
    picked = usable[np.linspace(0, 57, 20).astype(int)]
    share = 20 / 21  # of 60 queries 58 have a positive, so of some 21 queries 20
    figure = by_hand(scores(ranker, setting)[picked], valid.select(picked))
    assert ranker.log.best_validation == pytest.approx(share * figure)


def test_patience_stops_and_the_best_round_is_kept(setting: Setting) -> None:
    wild = {"learning_rate": 300.0, "trees": 60, "num_leaves": 2, "features": ["recall.*"]}
    ranker = fitted(setting, patience=2, **wild)
    assert len(ranker.log.validation) == ranker.log.best_epoch + 2 < 20
    assert ranker._trees.num_trees() == 3 * ranker.log.best_epoch
    assert len(fitted(setting, patience=3, **wild).log.loss) > len(ranker.log.loss)


def test_where_no_round_is_better_the_merged_order_stays(setting: Setting) -> None:
    first = np.zeros_like(setting.valid.labels["click"])
    first[:, 0] = 1.0  # the merged order is right
    ranker = fitted(replace(setting, valid=replace(setting.valid, labels={"click": first})), patience=1)
    assert (ranker.log.best_epoch, ranker.log.untrained) == (0, 1.0)
    np.testing.assert_allclose(scores(ranker, setting), np.tile(-np.log(np.arange(1, 13)), (60, 1)), rtol=1e-6)
    found = ranker.contributions(setting.valid.queries, setting.valid.candidates)
    np.testing.assert_array_equal(found["recall.merged.log_rank"], scores(ranker, setting))
    from_nothing = fitted(setting, init="none", learning_rate=1e-9, patience=1).log  # nothing to fall back to
    assert (from_nothing.best_epoch > 0, from_nothing.untrained) == (True, None)


def test_without_validation_or_its_positives_all_rounds_are_kept(setting: Setting) -> None:
    nothing = {"click": np.zeros_like(setting.valid.labels["click"])}
    for ranker in (
        fitted(setting, valid=False, patience=1),
        fitted(replace(setting, valid=replace(setting.valid, labels=nothing)), patience=1),
    ):
        log = ranker.log
        assert (len(log.loss), log.best_epoch, log.untrained, log.validation) == (4, 4, None, [])


def test_the_loss_is_the_listwise_softmax(setting: Setting) -> None:
    weight = np.linspace(1, 3, 60).astype(np.float32)
    labels = setting.samples.labels["click"].copy()
    labels[:, 2] = 1.0
    labels[4, 9] = NAN
    samples = replace(setting.samples, weight=weight, labels={"click": labels})
    ranker = fitted(replace(setting, samples=samples), valid=False)
    logits = ranker.score(samples.queries, samples.candidates)
    expected = listwise_softmax(torch.from_numpy(logits), torch.from_numpy(labels), torch.from_numpy(weight))
    assert ranker.log.loss[-1] == pytest.approx(float(expected), rel=1e-5)


def test_chunks_change_no_tree_and_no_score(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = scores(fitted(setting), setting)
    monkeypatch.setattr(boosting.CandidateRows, "batch_size", 7)
    monkeypatch.setattr(lambdamart, "ROWS_PER_CHUNK", 1)
    np.testing.assert_array_equal(scores(fitted(setting), setting), expected)


def test_bins_of_few_queries_still_train_on_all(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambdamart, "BIN_QUERIES", 20)
    ranker = fitted(setting, trees=60)
    assert ranker.log.untrained is not None
    assert ranker.log.best_validation is not None
    assert ranker.log.best_validation > ranker.log.untrained + 0.1


class Killed(Exception):
    """Stands for the end of the process."""


def kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Raise ``Killed`` instead of round ``number`` of this process, from 1."""
    grow, done = Boosting._grow_round, 0

    def counted(self: Boosting) -> int:
        nonlocal done
        done += 1
        if done == number:
            raise Killed
        return grow(self)

    monkeypatch.setattr(Boosting, "_grow_round", counted)


@pytest.mark.parametrize("valid", [True, False])
def test_a_break_anywhere_changes_nothing(
    setting: Setting, valid: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns, rows and negatives are drawn; breaks before the first checkpoint, later, and right after a resume."""
    drawn = {"trees": 18, "column_share": 0.5, "row_share": 0.6, "negatives": 6, "patience": 6}
    expected = fitted(setting, valid=valid, **drawn)
    kept = replace(QUIET, checkpoint_dir=tmp_path / "c")
    for resume, number in ((False, 1), (True, 3), (True, 1), (True, 3)):  # after 0, 2, 2 and 4 of 6 rounds
        with monkeypatch.context() as patched:
            kill_at(patched, number)
            with pytest.raises(Killed):
                fitted(setting, options=replace(kept, resume=resume), valid=valid, **drawn)
    found = fitted(setting, options=replace(kept, resume=True), valid=valid, **drawn)
    assert found._trees.model_to_string() == expected._trees.model_to_string()
    assert (found.log.loss, found.log.validation) == (expected.log.loss, expected.log.validation)
    assert (found.log.untrained, found.log.best_epoch) == (expected.log.untrained, expected.log.best_epoch)
    other = replace(setting, samples=replace(setting.samples, weight=np.full(60, 2, dtype=np.float32)))
    with pytest.raises(ResumeError, match="samples was"):
        fitted(other, options=replace(kept, resume=True), valid=valid, **drawn)
    with pytest.raises(ResumeError, match=r"config\.l2 was 0\.0 and is 1\.0"):
        fitted(setting, options=replace(kept, resume=True), valid=valid, **drawn, l2=1.0)


def test_a_bundle_holds_text_and_names_its_columns(setting: Setting, tmp_path: Path) -> None:
    ranker = fitted(setting)
    ranker.save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert manifest["columns"] == ranker._features.names
    text = (tmp_path / "model" / "trees.txt").read_text()
    assert text.startswith("tree\n")
    assert text.count("Tree=") == ranker._trees.num_trees() == 3 * ranker.log.best_epoch
    manifest["columns"] = manifest["columns"][1:]
    (tmp_path / "model" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="was written for other columns"):
        LambdaMART.load(tmp_path / "model")
