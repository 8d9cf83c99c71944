"""A new feature is one declaration that a configuration names; names, wildcards and missing columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from ranking import RANKERS
from ranking.features import FEATURES, Feature, FeatureBatch, FeatureEncoder, FeatureTables, Fitted, feature
from reccore import ArtefactError, Candidates, ConfigError, ItemTable, Labels, RankingSamples, RunOptions, UserTable
from reccore.arrays import FloatArray
from tests.ranking.samples import NEURAL, board_setting, history_batch, labelled, options_of

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
DIRECTOR = "cross.director_mean_rating"
NAN = np.nan
# Films 0 and 1 are by a, film 2 by a and b, film 3 by b, film 4 by c, film 5 by no one known.
ITEMS = ItemTable(
    6, labels={"director": Labels(("a", "b", "c"), np.array([0, 1, 2, 4, 5, 6, 6]), np.array([0, 0, 0, 1, 1, 2]))}
)
USERS = UserTable(3)


def global_mean(samples: RankingSamples, tables: FeatureTables, _: str) -> dict[str, np.ndarray]:
    return {"mean": np.nanmean(samples.queries.history_rating, keepdims=True)}  # type: ignore[arg-type]


@feature(
    DIRECTOR,
    side="pair",
    kind="number",
    requires=("queries.history_rating", "items.labels.director"),
    fit=global_mean,
)
def director_mean_rating(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """Mean rating this user gave to films of the candidate's directors, less the mean of all training ratings."""
    queries, directors = batch.queries, batch.tables.items.labels["director"]
    ratings = np.asarray(queries.history_rating)
    of_item = sparse.csr_matrix((np.ones(len(directors.idx)), directors.idx, directors.offsets))  # (N, L)
    rated = ~np.isnan(ratings)
    sums, counts = (
        sparse.csr_matrix(
            (values, queries.history_idx, queries.history_offsets), shape=(len(queries), of_item.shape[0])
        )
        @ of_item
        for values in (np.where(rated, ratings, 0.0), rated.astype(float))
    )  # (B, L) each
    item_idx = batch.candidates.item_idx
    total, count = (
        np.take_along_axis(np.asarray((found @ of_item.T).todense()), np.maximum(item_idx, 0), axis=1)
        for found in (sums, counts)
    )  # (B, K) each
    known = (count > 0) & (item_idx >= 0)
    return np.where(known, total / np.maximum(count, 1) - fitted.state["mean"], np.nan).astype(np.float32)


def rated_samples() -> RankingSamples:
    """Histories [0, 1, 3], [2, 4] and [] with ratings (3, 4, 5), (3, 4) and ()."""
    queries = history_batch([[0, 1, 3], [2, 4], []], users=[0, 1, 2])
    return labelled(queries, np.array([[1, 2, 4], [0, 3, 5], [0, 1, -1]]), np.array([0, 1, 0]))


def test_the_declared_feature_by_hand() -> None:
    samples = rated_samples()
    encoder = FeatureEncoder.fit(samples, ITEMS, USERS, features=[DIRECTOR])
    assert [field.name for field in encoder.schema.fields] == [DIRECTOR]
    pair = encoder.encode(samples.queries, samples.candidates).pair[:, :, 0].numpy()
    # User 0 gave a's films 3 and 4, b's 5: film 1 (a) 3.5, film 2 (a, b) (3 + 4 + 5) / 3, film 4 (c) nothing.
    # User 1 gave a's and b's film 3, c's 4: film 0 (a) 3, film 3 (b) 3, film 5 nothing. User 2 rated nothing.
    means = np.array([[3.5, 4.0, NAN], [3.0, 3.0, NAN], [NAN, NAN, NAN]]) - 3.8
    known = means[~np.isnan(means)]
    expected = np.nan_to_num((means - known.mean()) / known.std())
    np.testing.assert_allclose(pair, expected, atol=1e-5)
    assert encoder.state[DIRECTOR]["mean"].tolist() == pytest.approx([3.8])


@pytest.mark.parametrize("model", NEURAL)
def test_a_configuration_names_the_new_feature_and_the_bundle_holds_its_state(model: str, tmp_path: Path) -> None:
    setting = board_setting()
    n = setting.items.n_items
    director = Labels(("even", "odd"), np.arange(n + 1), np.arange(n) % 2)
    items = replace(setting.items, labels={"director": director})
    small = options_of(model, {"epochs": 1, "hidden": [8, 4], "embedding_size": 4, "metadata": ["director"]})

    def fitted(*features: str) -> Any:
        ranker = RANKERS[model]({**small, "features": ["default", *features]})
        return ranker.fit(
            setting.samples, items=items, users=setting.users, vocabulary=setting.vocabulary, options=QUIET
        )

    plain, extended = fitted(), fitted("cross.director_*")
    assert DIRECTOR not in plain._encoder.schema
    assert extended._encoder.schema.fields[-1].name == DIRECTOR
    assert extended._encoder.schema.fields[:-1] == plain._encoder.schema.fields
    extended.save(tmp_path / "model")
    loaded: Any = RANKERS.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded._encoder.state[DIRECTOR]["mean"], extended._encoder.state[DIRECTOR]["mean"])
    np.testing.assert_array_equal(
        loaded.score(setting.valid.queries, setting.valid.candidates),
        extended.score(setting.valid.queries, setting.valid.candidates),
    )


@pytest.fixture
def forgotten() -> Iterator[None]:
    """The declaration as if its module had not been imported."""
    declared = FEATURES.pop(DIRECTOR)
    yield
    FEATURES[DIRECTOR] = declared


def test_a_bundle_whose_feature_is_not_declared_is_refused(
    tmp_path: Path, forgotten: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = board_setting()
    monkeypatch.setitem(FEATURES, "item.other", Feature("item.other", "item", "number", lambda t, _: t.items.year))
    ranker = RANKERS["deepfm"]({"epochs": 1, "features": ["item.other", "recall.*"]})
    ranker.fit(setting.samples, options=QUIET, **setting.tables()).save(tmp_path / "model")  # type: ignore[arg-type]
    monkeypatch.delitem(FEATURES, "item.other")
    with pytest.raises(ArtefactError, match=r"needs the features item\.other, which no module .* declares"):
        RANKERS.load(tmp_path / "model")


def test_missing_columns_of_a_named_feature_are_an_error_and_of_a_wildcard_left_out() -> None:
    samples = rated_samples()
    unrated = replace(samples, queries=replace(samples.queries, history_rating=None))

    def names(found: RankingSamples, items: ItemTable, *features: str) -> list[str]:
        return [field.name for field in FeatureEncoder.fit(found, items, USERS, features=features).schema.fields]

    with pytest.raises(ConfigError, match=rf"feature {DIRECTOR} needs queries.history_rating, which this data lacks"):
        names(unrated, ITEMS, "default", DIRECTOR)
    with pytest.raises(ConfigError, match=r"needs items.labels.director, which"):
        names(samples, ItemTable(6), DIRECTOR)
    with pytest.raises(ConfigError, match=r"'cross.director_m\*' matches no feature of this data; it has .*item.id, "):
        names(unrated, ITEMS, "cross.director_m*")
    with pytest.raises(ConfigError, match=r"'recall.gone.score' matches no feature of this data; .*recall.mf.score"):
        names(samples, ITEMS, "recall.gone.score")
    assert "user.mean_rating" in names(samples, ITEMS, "default")
    assert "user.mean_rating" not in names(unrated, ITEMS, "default")
    assert DIRECTOR not in names(samples, ITEMS, "default")
    assert "user.id" not in names(samples, ITEMS, "default")
    of_times = [f"user.{what}" for what in ("log_days_since_last", "log_last_gap", "log_pace")]
    assert names(unrated, ITEMS, "user.*") == ["user.id", "user.log_activity", "user.log_activity.bucket", *of_times]
    assert names(samples, ITEMS, "recall.mf.*", "user.mean_rating") == [
        *(f"recall.mf.{what}" for what in ("missing", "log_rank", "reciprocal_rank", "score")),
        "user.mean_rating",
    ]


@pytest.mark.parametrize("model", [*NEURAL, "lambdamart"])
def test_an_unknown_name_is_an_error_before_any_data_is_read(model: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown feature 'cross.genre_mach'; known: default, .*item.id"):
        RANKERS[model]({"features": ["cross.genre_mach"]})
    with pytest.raises(ConfigError, match=r"features: no feature is named; 'default' stands for the default set"):
        RANKERS[model]({"features": []})


def test_contradicting_declarations_are_refused() -> None:
    def compute(batch: Any, fitted: Fitted) -> np.ndarray:
        return np.zeros(0)

    with pytest.raises(ValueError, match=r"item.year is declared twice"):
        feature("item.year", side="item", kind="number")(compute)
    with pytest.raises(ValueError, match="a pair feature is a number, not a bag"):
        Feature("cross.x", "pair", "bag", compute, size=lambda tables, _: 3)
    with pytest.raises(ValueError, match="every other kind needs one"):
        Feature("item.x", "item", "bag", compute)
    with pytest.raises(ValueError, match="a placeholder in the name and members come together"):
        Feature("item.{x}", "item", "number", compute)


@pytest.mark.parametrize("side", ["query", "item", "pair"])
@pytest.mark.parametrize("model", [*NEURAL, "lambdamart"])
def test_any_set_of_features_trains(model: str, side: str) -> None:
    chosen = {"query": ["user.*", "item.id"], "item": ["item.*"], "pair": ["recall.*", "cross.*", "item.id"]}[side]
    setting = board_setting()
    small = {"epochs": 1, "hidden": [8, 4], "embedding_size": 4, "trees": 2, "features": chosen}
    ranker = RANKERS[model](options_of(model, small)).fit(setting.samples, options=QUIET, **setting.tables())  # type: ignore[arg-type]
    assert np.isfinite(ranker.score(setting.valid.queries, setting.valid.candidates)).all()


def test_shared_results_are_computed_once_per_batch() -> None:
    calls = []

    def facts(batch: FeatureBatch) -> int:
        calls.append(batch)
        return len(batch.queries)

    batch = FeatureBatch(FeatureTables(ITEMS, USERS), rated_samples().queries, rated_samples().candidates)
    assert [batch.once(facts), batch.once(facts)] == [3, 3]
    assert calls == [batch]


@feature("user.rating_spread", side="query", kind="number", requires=("queries.history_rating",), buckets=True)
def rating_spread(batch: FeatureBatch, _: Fitted) -> FloatArray:
    """Largest rating of each history less its smallest."""
    queries = batch.queries
    rows = np.split(np.asarray(queries.history_rating), queries.history_offsets[1:-1])
    return np.array([np.ptp(row) if len(row) else NAN for row in rows])


@feature("user.rated_high", side="query", kind="labels", requires=("queries.history_rating",), size=lambda tables, _: 3)
def rated_high(batch: FeatureBatch, _: Fitted) -> np.ndarray:
    """Whether the history's last rating is 4 (code 1) or 5 (code 2)."""
    queries = batch.queries
    rows = np.split(np.asarray(queries.history_rating), queries.history_offsets[1:-1])
    return np.array([[int(np.nan_to_num(row[-1:] - 3).clip(0).sum())] for row in rows])


@pytest.mark.parametrize("model", NEURAL)
def test_a_ranker_trained_with_ratings_takes_unrated_histories_as_missing(model: str) -> None:
    """No field has a code or value that training on rated histories never set: numbers are 0, codes unknown."""
    setting = board_setting()
    config = {
        "epochs": 2, "learning_rate": 0.05, "hidden": [8, 4], "embedding_size": 4,
        "features": ["default", "user.rating_spread", "user.rated_high"],
    }  # fmt: skip
    ranker: Any = RANKERS[model](options_of(model, config))
    ranker.fit(setting.samples, options=QUIET, **setting.tables())
    encoder: FeatureEncoder = ranker._encoder
    queries = setting.valid.queries
    none = replace(queries, history_rating=None)
    nan = replace(queries, history_rating=np.full_like(queries.history_rating, np.nan))
    candidates: Candidates = setting.valid.candidates
    rated = encoder.encode(queries, candidates).query
    number, bucket = (encoder.schema.column(f"user.rating_spread{end}") for end in ("", ".bucket"))
    mean = encoder.schema.column("user.mean_rating")
    assert (rated.categories[:, bucket] > 0).all()
    assert (rated.labels[0] > 0).any()
    inputs = encoder.encode(none, candidates).query
    assert not inputs.labels[0].any()
    for unrated in (inputs, encoder.encode(nan, candidates).query):
        assert not unrated.numbers[:, [number, mean]].any()
        assert not unrated.categories[:, bucket].any()
        others = np.delete(np.arange(rated.categories.shape[1]), bucket)
        assert torch.equal(unrated.categories[:, others], rated.categories[:, others])
    scores = [ranker.score(found, candidates) for found in (queries, none)]
    assert np.isfinite(scores).all()
    assert np.abs(scores[0] - scores[1]).max() > 1e-4
    column = encoder.schema.of("query", "category")[:bucket]
    unknown = sum(field.size for field in column)  # code 0 of the bucket, which no training query has
    weights = ranker._network.state_dict()
    assert not any(weights[name][unknown].any() for name in ("query.codes", "linear.query.codes") if name in weights)
