"""DIN on a signal that lies in the order of the history, and what its own options do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evaluation.metrics import ndcg_of_scores
from ranking.deepfm import DeepFM
from ranking.din import DIN
from reccore import (
    ConfigError,
    IdMap,
    ItemTable,
    Labels,
    QueryBatch,
    RankingSamples,
    RunOptions,
    UserTable,
    Vocabulary,
)
from tests.ranking.samples import Setting, board_setting, labelled

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
N_ITEMS, K, LENGTH = 20, 10, 6
IDS = ["default", "item.id"]


def last_item_samples(n: int, seed: int) -> RankingSamples:
    """Unknown users choose the successor (i + 1) of the last item of their history, wherever it is offered."""
    rng = np.random.default_rng(seed)
    histories = np.argsort(rng.random((n, N_ITEMS)), axis=1)[:, :LENGTH]
    target = (histories[:, -1] + 1) % N_ITEMS
    keys = rng.random((n, N_ITEMS))
    keys[np.arange(n), target] = -1.0
    offered = np.argsort(keys, axis=1)[:, :K]
    item_idx = np.take_along_axis(offered, np.argsort(rng.random((n, K)), axis=1), axis=1).astype(np.int64)
    return labelled(
        QueryBatch.from_histories(histories.tolist()), item_idx, (item_idx == target[:, None]).argmax(1), seed
    )


def fit_and_measure(ranker: DIN | DeepFM) -> float:
    train, valid = last_item_samples(600, 1), last_item_samples(150, 2)
    vocabulary = Vocabulary(IdMap(np.arange(1)), IdMap(np.arange(N_ITEMS)))
    ranker.fit(train, items=ItemTable(N_ITEMS), users=UserTable(1), vocabulary=vocabulary, options=QUIET)
    scores = ranker.score(valid.queries, valid.candidates)
    return float(ndcg_of_scores(scores, valid.labels["click"], valid.candidates.item_idx, k=1).mean())


def test_dependence_on_the_last_item_is_learnt_which_deepfm_cannot_see() -> None:
    # The rule joins pairs of ids, so it must be memorised: the default decay, meant for real data, forbids that.
    common = {
        "epochs": 12, "learning_rate": 0.04, "batch_size": 32, "dropout": 0.0, "weight_decay": 1e-5, "features": IDS,
    }  # fmt: skip
    assert fit_and_measure(DIN({**common, "history_length": LENGTH})) > 0.7
    assert fit_and_measure(DeepFM(common)) < 0.3


@pytest.fixture(scope="module")
def setting() -> Setting:
    return board_setting()


def outcome(setting: Setting, **changes: Any) -> np.ndarray:
    config = {
        "epochs": 3, "batch_size": 16, "learning_rate": 0.02, "hidden": [8], "embedding_size": 4,
        "history_length": 6, "attention_hidden": 4, **changes,
    }  # fmt: skip
    tables: Any = setting.tables()
    ranker = DIN(config).fit(setting.samples, options=QUIET, **tables)
    return ranker.score(setting.valid.queries, setting.valid.candidates)


@pytest.mark.parametrize(
    "change",
    [
        {"history_length": 3},
        {"attend": ["item.id", "item.year.bucket"]},
        {"attention_hidden": 6},
        {"activation": "dice"},
        {"activation": "prelu"},
        {"embedding_size": 3},
        {"hidden": [6, 4]},
        {"dropout": 0.5},
    ],
)
def test_every_option_of_its_own_changes_the_outcome(setting: Setting, change: dict[str, Any]) -> None:
    assert not np.allclose(outcome(setting), outcome(setting, **change), atol=1e-4)


def test_only_the_latest_events_are_attended_to() -> None:
    """Events before the last ``history_length`` count in the user's facts at most, and here there are none."""
    train = last_item_samples(64, 1)
    vocabulary = Vocabulary(IdMap(np.arange(1)), IdMap(np.arange(N_ITEMS)))
    tables: Any = {"items": ItemTable(N_ITEMS), "users": UserTable(1), "vocabulary": vocabulary}
    config = {"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "history_length": 2, "features": IDS}
    ranker = DIN(config).fit(train, options=QUIET, **tables)
    queries = [QueryBatch.from_histories([history]) for history in ([1, 2, 3, 4], [5, 6, 3, 4], [5, 6, 4, 3])]
    one, same, other = (ranker.score(query, train.candidates.select(slice(0, 1))) for query in queries)
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other, atol=1e-4)


def test_attention_needs_a_vector_of_the_item(setting: Setting) -> None:
    with pytest.raises(ConfigError, match=r"item.id or item.genres, which is none of the features; .*there are none"):
        outcome(setting, features=["recall.*"])
    with pytest.raises(ConfigError, match=r"by item.brand, which is none of the features; .*item.year.bucket"):
        outcome(setting, attend=["item.id", "item.brand"])
    with pytest.raises(ConfigError, match="attend"):
        DIN({"attend": []})


def test_events_are_compared_by_what_attend_names() -> None:
    """Items 0, 2, 4, … are of one brand: to an attention over brands they are the same."""
    train = last_item_samples(64, 1)
    brand = Labels(("even", "odd"), np.arange(N_ITEMS + 1), np.arange(N_ITEMS) % 2)
    items = ItemTable(N_ITEMS, labels={"brand": brand}, own=frozenset({"brand"}))
    vocabulary = Vocabulary(IdMap(np.arange(1)), IdMap(np.arange(N_ITEMS)))
    tables: Any = {"items": items, "users": UserTable(1), "vocabulary": vocabulary}
    config = {"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "features": ["item.id", "item.brand"]}
    queries = [QueryBatch.from_histories([history]) for history in ([1, 2], [3, 8], [3, 5])]

    def scores(**changes: Any) -> list[np.ndarray]:
        ranker = DIN({**config, **changes}).fit(train, options=QUIET, **tables)
        return [ranker.score(query, train.candidates.select(slice(0, 1))) for query in queries]

    one, same, other = scores(attend=["item.brand"])
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-6
    one, other, _ = scores()  # by ids
    assert np.abs(one - other).max() > 1e-6
