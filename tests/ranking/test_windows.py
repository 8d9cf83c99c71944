"""Samples of several label windows: what a query of an earlier one sees of the items, and what a saved ranker keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ranking import RANKERS, task
from ranking.dense import DenseFeatures
from ranking.features import FeatureEncoder, RankingInputs, with_windows
from ranking.neural import NeuralRanker
from ranking.sampling import samples_digest
from ranking.wide_deep import WideDeep
from reccore import ItemTable, Labels, RankingSamples, RunOptions
from reccore.arrays import FloatArray, IntArray
from tests.contracts.test_ranking_contract import SMALL
from tests.ranking.samples import Setting, board_setting, history_batch, labelled

QUIET = RunOptions(seed=3, device="cpu", progress=False, threads=1)
WINDOW = np.arange(60) % 2


def counts(n_items: int) -> FloatArray:
    """Of some items many times those of others."""
    return np.random.default_rng(4).permutation(3.0 ** (np.arange(n_items) % 8)).astype(np.float32)


def with_counts(items: ItemTable, count: FloatArray) -> ItemTable:
    return replace(items, statistics={**items.statistics, "count": count})


def rolling() -> tuple[Setting, ItemTable]:
    """Every other query is of an earlier window, by whose time the rare items were the popular ones."""
    setting = board_setting()
    count = counts(setting.items.n_items)
    earlier = with_counts(setting.items, (count.max() / count).astype(np.float32))
    samples = replace(setting.samples, window=WINDOW, earlier_items=(earlier,))
    return replace(setting, samples=samples, items=with_counts(setting.items, count)), earlier


def encoder_of(setting: Setting, features: tuple[str, ...] = ("default",), history: int = 0) -> FeatureEncoder:
    return FeatureEncoder.fit(setting.samples, setting.items, setting.users, features=features, history_length=history)


def encoded(encoder: FeatureEncoder, samples: RankingSamples, rows: IntArray) -> RankingInputs:
    part = samples.select(rows)
    return encoder.encode(part.queries, part.candidates, part.window)


def test_a_query_sees_the_items_as_before_its_window() -> None:
    setting, earlier = rolling()
    encoder = with_windows(encoder_of(setting, ("default", "item.id", "history.id"), history=5), setting.samples)
    (as_it_was,) = encoder.earlier
    rows = np.array([7, 2, 5, 5, 0])
    inputs = encoded(encoder, setting.samples, rows)
    for place, row in enumerate(rows):
        alone = replace(setting.samples.select([row]), window=None)
        expected = (as_it_was if WINDOW[row] else encoder).encode(alone.queries, alone.candidates)
        torch.testing.assert_close(inputs.pair[place], expected.pair[0], rtol=0, atol=0)
        torch.testing.assert_close(inputs.query.numbers[place], expected.query.numbers[0], rtol=0, atol=0)
        for name in ("item_row", "history"):
            at, wanted = getattr(inputs, name)[place], getattr(expected, name)[0]
            block = as_it_was.item_block if WINDOW[row] else encoder.item_block
            torch.testing.assert_close(encoder.item_block.rows(at).numbers, block.rows(wanted).numbers, rtol=0, atol=0)
            torch.testing.assert_close(
                encoder.item_block.rows(at).categories, block.rows(wanted).categories, rtol=0, atol=0
            )
    mean, deviation = encoder.state["item.log_count"]["scale"]
    log_count = (np.log1p(earlier.statistics["count"]) - mean) / deviation
    numbers = as_it_was.item_block.numbers[1:, encoder.schema.column("item.log_count")]
    np.testing.assert_allclose(numbers, log_count, rtol=1e-5)


def test_padding_is_no_item_in_every_window() -> None:
    queries = history_batch([[0], [1, 2]], users=[0, 1])
    samples = labelled(queries, np.array([[2, 0, -1], [1, -1, -1]]), np.array([0, 0]))
    items = with_counts(ItemTable(3), np.array([1.0, 2.0, 3.0], dtype=np.float32))
    samples = replace(samples, window=np.array([1, 0]), earlier_items=(items,))
    encoder = with_windows(
        FeatureEncoder.fit(samples, items, board_setting().users, features=["item.log_count"], history_length=3),
        samples,
    )
    inputs = encoder.encode(samples.queries, samples.candidates, samples.window)
    assert inputs.item_row.tolist() == [[7, 5, 0], [2, 0, 0]]
    assert inputs.history.tolist() == [[5, 0, 0], [2, 3, 0]]


def test_labels_of_another_time_keep_the_codes_of_the_latest_window() -> None:
    """Tags are known from events, as statistics are: by an earlier time there are fewer, and others come first."""
    setting, earlier = rolling()
    n = setting.items.n_items
    tags = Labels(("noir", "space"), np.arange(0, 2 * n + 1, 2), np.tile([0, 1], n))
    before = Labels(("old", "space"), np.arange(n + 1), np.ones(n, dtype=np.int64))
    setting = replace(
        setting,
        items=replace(setting.items, labels={"tag": tags}),
        samples=replace(setting.samples, earlier_items=(replace(earlier, labels={"tag": before}),)),
    )
    (codes,) = with_windows(encoder_of(setting, ("item.tag",)), setting.samples).item_block.labels
    assert codes[1].tolist() == [1, 2]
    assert codes[n + 2].tolist() == [2, 0]


def test_numbers_learnt_from_histories_end_with_the_window() -> None:
    """User 0 saw film 1 after film 0 by the time of the earlier window, and film 2 after film 0 since then."""
    queries = history_batch([[0, 1], [0, 1, 0, 2], [0]], users=[0, 0, 1])
    samples = labelled(queries, np.array([[3, 4], [3, 4], [1, 2]]), np.array([0, 1, 1]))
    samples = replace(samples, window=np.array([1, 0, 1]), earlier_items=(ItemTable(5),))
    features = ["cross.transitions.1"]
    encoder = FeatureEncoder.fit(samples, ItemTable(5), board_setting().users, features=features)
    (followers,) = encoder.state.values()
    (before,) = with_windows(encoder, samples).earlier[0].state.values()
    np.testing.assert_array_equal(followers["scale"], before["scale"])
    row = [state["item_idx"][state["offsets"][0] : state["offsets"][1]].tolist() for state in (followers, before)]
    assert row == [[1, 2], [1]]


def test_scales_are_those_of_the_latest_window() -> None:
    setting, _ = rolling()
    latest = replace(setting.samples.select(np.flatnonzero(WINDOW == 0)), window=None, earlier_items=())
    names = ("item.log_count", "cross.popularity_gap_recent", "user.log_activity")
    both, alone = (encoder_of(replace(setting, samples=each), names) for each in (setting.samples, latest))
    for name in names:
        np.testing.assert_array_equal(both.state[name]["scale"], alone.state[name]["scale"])


def test_rows_of_trees_are_of_their_window() -> None:
    setting, earlier = rolling()
    dense = DenseFeatures(encoder_of(setting, ("item.log_count", "cross.popularity_gap_recent")), [], 9)
    before = DenseFeatures(dense.encoder.grown(earlier, setting.users), [], 9)
    dense._items  # noqa: B018 - as after scoring
    rolled, chosen = dense.with_windows(setting.samples), setting.samples.candidates.mask
    found = rolled.matrix(setting.samples.queries, setting.samples.candidates, chosen, WINDOW)
    window_of_row = WINDOW[np.nonzero(chosen)[0]]
    for number, features in enumerate((dense, before)):
        expected = features.matrix(setting.samples.queries, setting.samples.candidates, chosen)
        np.testing.assert_array_equal(found[window_of_row == number], expected[window_of_row == number])


def test_crosses_are_of_items_whatever_their_window() -> None:
    setting, _ = rolling()
    ranker = WideDeep({**SMALL["wide_deep"], "epochs": 1}).fit(setting.samples, **setting.tables(), options=QUIET)  # type: ignore[arg-type]
    encoder = with_windows(ranker._encoder, setting.samples)
    part, network = setting.samples.select([1]), ranker._network
    earlier, latest = (encoder.encode(part.queries, part.candidates, np.array([number])) for number in (1, 0))
    assert not torch.equal(earlier.item_row, latest.item_row)
    for name in ("item_row", "history"):
        torch.testing.assert_close(network.items_of(getattr(earlier, name)), getattr(latest, name), rtol=0, atol=0)


@pytest.mark.parametrize("name", list(RANKERS))
def test_a_ranker_learns_from_the_statistics_of_each_window(name: str, tmp_path: Path) -> None:
    """Users choose the candidate that is the most popular at the time, and the two times have opposite orders."""
    setting, earlier = rolling()
    of_window = np.stack([table.statistics["count"] for table in (setting.items, earlier)])
    item_idx = setting.samples.candidates.item_idx
    best = of_window[WINDOW[:, None], item_idx].argmax(axis=1)
    samples = replace(
        labelled(setting.samples.queries, item_idx, best), window=WINDOW, earlier_items=setting.samples.earlier_items
    )
    features: dict[str, Any] = {"features": ["item.log_count", "item.genres"]}  # DIN compares items by genres
    faster = {"epochs": 30, "learning_rate": 0.05}
    options = {**SMALL[name], **features, **({} if name == "lambdamart" else faster)}
    if name == "lambdamart":
        options["init"] = "none"
    if name == "ensemble":
        options = {"members": [{"model": "deepfm", **SMALL["deepfm"], **features, **faster}]}
    ranker = RANKERS[name](options).fit(samples, **setting.tables(), options=QUIET)  # type: ignore[arg-type]
    latest = samples.select(np.flatnonzero(WINDOW == 0))
    scores = ranker.score(latest.queries, latest.candidates)
    popular = of_window[0][latest.candidates.item_idx]
    at_best = np.take_along_axis(popular, scores.argmax(axis=1)[:, None], axis=1)[:, 0] == popular.max(axis=1)
    assert at_best.mean() > 0.9
    ranker.save(tmp_path / "ranker")
    loaded = RANKERS.load(tmp_path / "ranker")
    np.testing.assert_array_equal(loaded.score(latest.queries, latest.candidates), scores)
    for each in (ranker, loaded):
        if isinstance(each, NeuralRanker):
            assert not each._encoder.earlier
            assert len(each._network.numbers) == setting.items.n_items + 1


@pytest.mark.parametrize("name", ["deepfm", "lambdamart"])
def test_one_window_is_as_without_windows(name: str) -> None:
    setting, _ = rolling()
    given = replace(setting.samples, window=np.zeros(60, dtype=np.int64))
    plain = replace(given, window=None, earlier_items=())
    scores = [
        RANKERS[name](SMALL[name]).fit(samples, **setting.tables(), options=QUIET).score(  # type: ignore[arg-type]
            setting.valid.queries, setting.valid.candidates
        )
        for samples in (given, plain)
    ]  # fmt: skip
    np.testing.assert_array_equal(*scores)


def test_encoding_batch_by_batch_trains_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    setting, _ = rolling()
    fitted = []
    for most in (task.MAX_ENCODED_BYTES, 0):
        monkeypatch.setattr(task, "MAX_ENCODED_BYTES", most)
        ranker = RANKERS["din"](SMALL["din"]).fit(setting.samples, **setting.tables(), options=QUIET)  # type: ignore[arg-type]
        fitted.append(ranker.score(setting.valid.queries, setting.valid.candidates))
    np.testing.assert_array_equal(*fitted)


def test_the_earlier_catalogue_is_part_of_a_checkpoint() -> None:
    setting, earlier = rolling()
    samples = setting.samples
    others = [
        replace(samples, earlier_items=(with_counts(earlier, counts(earlier.n_items) + 1),)),
        replace(samples, window=1 - WINDOW),
        replace(samples, window=None, earlier_items=()),
    ]
    assert len({samples_digest(each) for each in (samples, *others)}) == 4


def test_a_window_without_a_catalogue_is_an_error() -> None:
    with pytest.raises(ValueError, match="label window 1 needs a table of items"):
        replace(board_setting().samples, window=WINDOW)
