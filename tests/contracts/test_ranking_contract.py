"""The contract of every registered ranker."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking import RANKERS
from ranking.base import BaseRanker
from reccore import Candidates, ConfigError, ItemTable, NotFittedError, QueryBatch, RunOptions, UserTable, Vocabulary
from tests.ranking.samples import Setting, board_setting, candidates_of, history_batch
from tests.training.interruption import Killed, stop_after_checkpoint
from training.checkpointing import has_checkpoint

COMMON: dict[str, Any] = {"epochs": 3, "batch_size": 16, "learning_rate": 0.01}
DEEP: dict[str, Any] = {**COMMON, "hidden": [16, 8], "embedding_size": 4}
SMALL: dict[str, dict[str, Any]] = {
    "lr": COMMON,
    "fm": {**COMMON, "embedding_size": 4},
    "deep": {**DEEP, "learning_rate": 0.03, "average": None},
    "wide_deep": {**DEEP, "cross_events": 4, "cross_buckets_log2": 8},
    "deepfm": DEEP,
    "dcn": DEEP,
    "dcnv2": DEEP,
    "din": {**DEEP, "history_length": 6, "attention_hidden": 4},
    "autoint": {**DEEP, "head_size": 4},
    "mmoe": {**DEEP, "experts": 3},
    "ple": DEEP,
    "lambdamart": {"trees": 30, "trees_per_round": 5, "num_leaves": 8, "min_data_in_leaf": 5, "negatives": 8},
    "ensemble": {"members": [
        {"model": "lambdamart", "seeds": 2, "trees": 20, "trees_per_round": 5, "num_leaves": 8, "min_data_in_leaf": 5,
         "negatives": 8},
        {"model": "deepfm", **DEEP, "epochs": 4, "learning_rate": 0.02}]},
}  # fmt: skip
ONE_PASS: dict[str, dict[str, Any]] = {"lambdamart": {"trees": 5}, "ensemble": {}}
"""Options of the shortest training; ``epochs = 1`` of every other ranker."""
LONGER: dict[str, dict[str, Any]] = {"lambdamart": {"trees": 60}, "ensemble": {}}
"""Options of a training that learns the checkerboard; more and faster epochs of every other ranker."""
DECLARED: list[Any] = [
    "default",
    {"name": "item.id", "embedding_size": 2},
    {"name": "history.id", "shared_with": "item.id", "length": 5, "pooling": {"kind": "decayed", "half_life": 2}},
    {"name": "item.genres", "embedding_size": 3},
    {"name": "item.year", "default": 1980, "embedding_size": 2},
    {"name": "user.gender", "default": "F"},
]
"""Features with every kind of option."""
QUIET = RunOptions(seed=3, device="cpu", progress=False, threads=1)


@pytest.fixture(scope="module")
def setting() -> Setting:
    return board_setting()


def fitted(name: str, setting: Setting, **changes: Any) -> BaseRanker:
    ranker = RANKERS[name]({**SMALL[name], **changes})
    return ranker.fit(setting.samples, valid=setting.valid, options=QUIET, **setting.tables())  # type: ignore[arg-type]


def declared(name: str) -> dict[str, Any]:
    """The features ``DECLARED``, without the options that have no effect in a ranker, for it or its members."""
    if name == "ensemble":
        return {"members": [{**member, **declared(member["model"])} for member in SMALL[name]["members"]]}
    refused = RANKERS[name].Config.without_effect
    tables = [{k: v for k, v in each.items() if k not in refused} for each in DECLARED[1:]]
    return {"features": ["default", *(each if len(each) > 1 else each["name"] for each in tables)]}


@pytest.fixture(scope="module", params=[*RANKERS, *(f"{name} with options" for name in RANKERS)])
def ranker(request: pytest.FixtureRequest, setting: Setting) -> BaseRanker:
    name, _, options = request.param.partition(" with ")
    return fitted(name, setting, **(declared(name) if options else {}))


def test_every_registered_ranker_has_a_contract_run() -> None:
    assert set(SMALL) == set(RANKERS)


def test_a_batch_scores_as_its_rows_one_by_one(ranker: BaseRanker, setting: Setting) -> None:
    queries, candidates = setting.valid.queries, setting.valid.candidates
    whole = ranker.score(queries, candidates)
    for row in (0, 7, 31):
        alone = ranker.score(queries.select([row]), candidates.select(slice(row, row + 1)))
        np.testing.assert_allclose(alone[0], whole[row], atol=1e-5)


def test_one_candidate_alone_scores_as_with_padding_and_as_its_row(ranker: BaseRanker, setting: Setting) -> None:
    queries, candidates = setting.valid.queries, setting.valid.candidates.head(1)
    scores = ranker.score(queries, candidates)
    assert (scores.shape, scores.dtype) == ((len(queries), 1), np.float32)
    assert np.isfinite(scores).all()
    padded = candidates.take(np.tile([0, -1, -1], (len(queries), 1)))
    np.testing.assert_allclose(ranker.score(queries, padded)[:, :1], scores, atol=1e-5)
    for row in (0, 31):
        alone = ranker.score(queries.select([row]), candidates.select(slice(row, row + 1)))
        np.testing.assert_allclose(alone[0], scores[row], atol=1e-5)


def test_scores_stay_in_the_columns_of_their_items(ranker: BaseRanker, setting: Setting) -> None:
    queries, candidates = setting.valid.queries, setting.valid.candidates
    whole = ranker.score(queries, candidates)
    assert whole.shape == candidates.item_idx.shape
    assert whole.dtype == np.float32
    # Another item in one column changes the score of that column and of no other.
    item_idx = candidates.item_idx.copy()
    everything = np.arange(len(ranker.vocabulary.items))
    item_idx[:, 3] = [np.setdiff1d(everything, row)[0] for row in item_idx]
    changed = ranker.score(queries, replace(candidates, item_idx=item_idx))
    others = np.delete(np.arange(candidates.k), 3)
    np.testing.assert_allclose(changed[:, others], whole[:, others], atol=1e-5)
    assert (np.abs(changed[:, 3] - whole[:, 3]) > 1e-4).mean() > 0.9


def test_padding_is_minus_infinity_and_changes_nothing_else(ranker: BaseRanker, setting: Setting) -> None:
    queries, candidates = setting.valid.queries, setting.valid.candidates.head(8)
    columns = np.concatenate([np.tile(np.arange(8), (len(queries), 1)), np.full((len(queries), 3), -1)], axis=1)
    padded = ranker.score(queries, candidates.take(columns))
    assert np.isneginf(padded[:, 8:]).all()
    np.testing.assert_allclose(padded[:, :8], ranker.score(queries, candidates), atol=1e-5)


def test_scoring_twice_gives_the_same_and_leaves_the_input_alone(ranker: BaseRanker, setting: Setting) -> None:
    before = setting.valid.candidates.item_idx.copy()
    np.testing.assert_array_equal(
        ranker.score(setting.valid.queries, setting.valid.candidates),
        ranker.score(setting.valid.queries, setting.valid.candidates),
    )
    np.testing.assert_array_equal(setting.valid.candidates.item_idx, before)


@pytest.mark.parametrize("name", list(RANKERS))
def test_the_same_seed_gives_the_same_scores_and_another_seed_others(name: str, setting: Setting) -> None:
    queries, candidates = setting.valid.queries, setting.valid.candidates
    one, two = (fitted(name, setting).score(queries, candidates) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    other = RANKERS[name](SMALL[name]).fit(
        setting.samples, valid=setting.valid, options=replace(QUIET, seed=4), **setting.tables()
    )
    assert not np.allclose(one, other.score(queries, candidates), atol=1e-4)


@pytest.mark.parametrize("name", list(RANKERS))
def test_a_training_killed_between_epochs_ends_with_the_same_ranker(
    name: str, setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint is of an epoch, of a round of trees, or of a member of an ensemble that is about to begin."""
    kept, kills = replace(QUIET, checkpoint_dir=tmp_path / "c", resume=True), 0

    def fit(options: RunOptions) -> BaseRanker:
        tables: Any = setting.tables()
        return RANKERS[name](SMALL[name]).fit(setting.samples, valid=setting.valid, options=options, **tables)

    found, expected = None, fit(QUIET)
    while found is None:
        with monkeypatch.context() as patched:
            stop_after_checkpoint(patched, 2 + kills)
            try:
                found = fit(kept)
            except Killed:
                kills += 1
                assert has_checkpoint(tmp_path / "c")
    assert kills > 0
    asked = setting.valid.queries, setting.valid.candidates
    np.testing.assert_array_equal(found.score(*asked), expected.score(*asked))
    np.testing.assert_array_equal(found.probability(*asked), expected.probability(*asked))
    pairs = zip(*(getattr(ranker, "members", [ranker]) for ranker in (found, expected)), strict=True)
    for one, other in pairs:
        assert (one.log.loss, one.log.validation) == (other.log.loss, other.log.validation)


@pytest.mark.parametrize("ranker", list(RANKERS), indirect=True)
def test_a_loaded_ranker_scores_the_same_in_a_fresh_process(
    ranker: BaseRanker, setting: Setting, tmp_path: Path
) -> None:
    queries, candidates = setting.valid.queries, setting.valid.candidates
    expected = ranker.score(queries, candidates)
    ranker.save(tmp_path / "model", seed=3)
    np.testing.assert_array_equal(RANKERS.load(tmp_path / "model").score(queries, candidates), expected)
    np.save(tmp_path / "expected.npy", expected)
    program = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from ranking import RANKERS; from tests.ranking.samples import board_setting\n"
        "folder = Path(sys.argv[1]); valid = board_setting().valid\n"
        "scores = RANKERS.load(folder / 'model').score(valid.queries, valid.candidates)\n"
        "np.testing.assert_allclose(scores, np.load(folder / 'expected.npy'), atol=1e-5)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=Path(__file__).resolve().parents[2])


def test_saving_again_after_loading_keeps_the_config(ranker: BaseRanker, tmp_path: Path) -> None:
    ranker.save(tmp_path / "one")
    loaded = RANKERS.load(tmp_path / "one")
    assert loaded.config == ranker.config
    loaded.save(tmp_path / "two")
    assert RANKERS.load(tmp_path / "two").config == ranker.config


def test_unknown_users_items_and_channels_and_empty_histories(ranker: BaseRanker, setting: Setting) -> None:
    queries = history_batch([[], [10**6, -1, 3], [2, 4], [1]], users=[-1, 10**6, 0, 5])
    item_idx = np.array([[0, 1, 2], [3, 4, 5], [6, -1, -1], [-1, -1, -1]])
    candidates = candidates_of(item_idx)
    features = {"recall_rank.new": np.ones((4, 3), dtype=np.float32)}  # and neither of the known channels
    for offered in (candidates, replace(candidates, features=features), replace(candidates, features={})):
        scores = ranker.score(queries, offered)
        assert np.isfinite(scores[item_idx >= 0]).all()
        assert np.isneginf(scores[item_idx < 0]).all()


def test_no_queries_and_no_candidates(ranker: BaseRanker, setting: Setting) -> None:
    empty = setting.valid.queries.select(slice(0, 0))
    assert ranker.score(empty, Candidates.empty(0, 5)).shape == (0, 5)
    assert ranker.score(setting.valid.queries, Candidates.empty(len(setting.valid), 0)).shape == (60, 0)


@pytest.mark.parametrize("name", list(RANKERS))
def test_every_optional_column_may_be_absent(name: str, setting: Setting, tmp_path: Path) -> None:
    bare_queries = QueryBatch.from_histories([[0, 2], [1], [], [4, 6, 8]])
    samples = replace(
        setting.samples.select(np.arange(4)),
        queries=bare_queries,
        candidates=replace(setting.samples.candidates.select(slice(0, 4)), features={}),
    )
    ranker = RANKERS[name]({**SMALL[name], **ONE_PASS.get(name, {"epochs": 1})}).fit(
        samples,
        items=ItemTable(setting.items.n_items),
        users=UserTable(setting.users.n_users),
        vocabulary=setting.vocabulary,
        options=QUIET,
    )
    expected = ranker.score(samples.queries, samples.candidates)
    assert np.isfinite(expected).all()
    ranker.save(tmp_path / "bare")
    np.testing.assert_array_equal(RANKERS.load(tmp_path / "bare").score(samples.queries, samples.candidates), expected)


@pytest.mark.parametrize("name", list(RANKERS))
def test_training_puts_the_choices_of_the_checkerboard_first(name: str, setting: Setting) -> None:
    ranker = fitted(name, setting, **LONGER.get(name, {"epochs": 15, "learning_rate": 0.02}))
    for member in getattr(ranker, "members", [ranker]):
        log = member.log
        assert log.validation[log.best_epoch - 1] == log.best_validation
        assert log.best_validation > log.untrained + 0.1


@pytest.mark.parametrize("name", list(RANKERS))
def test_user_errors_are_named(name: str, setting: Setting) -> None:
    known = "members" if name == "ensemble" else "learning_rate"
    with pytest.raises(ConfigError, match=rf"learning_rat.*Known options: .*{known}"):
        RANKERS[name]({"learning_rat": 1})
    with pytest.raises(NotFittedError, match="call fit"):
        RANKERS[name]().score(setting.valid.queries, setting.valid.candidates)
    labels = {"watch": setting.samples.labels["click"]}
    with pytest.raises(ConfigError, match="learns the task 'click'; the samples have watch"):
        RANKERS[name]().fit(replace(setting.samples, labels=labels), options=QUIET, **setting.tables())
    nothing = {"click": np.zeros_like(setting.samples.labels["click"])}
    with pytest.raises(ValueError, match="no query has a positive"):
        RANKERS[name]().fit(replace(setting.samples, labels=nothing), options=QUIET, **setting.tables())


def test_rows_must_agree(ranker: BaseRanker, setting: Setting) -> None:
    with pytest.raises(ValueError, match="60 queries but 2 rows"):
        ranker.score(setting.valid.queries, setting.valid.candidates.select(slice(0, 2)))


def test_a_grown_ranker_scores_old_films_as_before_and_takes_new_ones(
    ranker: BaseRanker, setting: Setting, tmp_path: Path
) -> None:
    """Two films and users come later, and a genre; genres come in another order, which must not matter."""
    items, users, vocabulary = (setting.tables()[name] for name in ("items", "users", "vocabulary"))
    assert isinstance(items, ItemTable)
    assert isinstance(users, UserTable)
    assert isinstance(vocabulary, Vocabulary)
    assert items.genre_offsets is not None
    assert items.genre_idx is not None
    n, n_genres = items.n_items, items.n_genres
    more = replace(
        items,
        n_items=n + 2,
        title=np.append(items.title, ["Later 1", "Later 2"]),  # type: ignore[arg-type]
        year=np.append(items.year, [2001, 0]),  # type: ignore[arg-type]
        genre_names=("A new one", *reversed(items.genre_names)),
        genre_offsets=np.append(items.genre_offsets, items.genre_offsets[-1] + [2, 2]),
        genre_idx=np.append(n_genres - items.genre_idx, [0, 1]),
        labels={},
        numbers={name: np.append(values, [np.nan, 1]) for name, values in items.numbers.items()},
        vectors={},
        statistics={name: np.append(values, [3, np.nan]) for name, values in items.statistics.items()},
    )
    people = replace(
        users,
        n_users=users.n_users + 2,
        categories={name: np.append(codes, [-1, 0]) for name, codes in users.categories.items()},
    )
    grown_vocabulary = Vocabulary(
        vocabulary.users.grown(np.array([10**6, 10**6 + 1])), vocabulary.items.grown(np.array([10**6, 10**6 + 1]))
    )
    queries, candidates = setting.valid.queries, setting.valid.candidates
    before = ranker.score(queries, candidates)
    grown = ranker.grown(more, people, grown_vocabulary)
    np.testing.assert_allclose(grown.score(queries, candidates), before, atol=1e-5)
    np.testing.assert_array_equal(ranker.score(queries, candidates), before)
    item_idx = candidates.item_idx.copy()
    item_idx[:, :2] = [n, n + 1]
    offered = replace(candidates, item_idx=item_idx)
    with pytest.raises(ValueError, match="outside the catalogue"):
        ranker.score(queries, offered)
    asked = replace(queries, user_idx=np.full(len(queries), users.n_users + 1))
    scores = grown.score(asked, offered)
    assert np.isfinite(scores).all()
    grown.save(tmp_path / "grown")
    again = RANKERS.load(tmp_path / "grown")
    assert again.vocabulary.fingerprint == grown_vocabulary.fingerprint
    np.testing.assert_allclose(again.score(asked, offered), scores, atol=1e-5)
    with pytest.raises(ValueError, match="do not fit in a table"):
        grown.grown(items, users, vocabulary)
