"""Several label windows, one before the other: their cuts, their channels and their samples."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dataprep.prepare import Prepared
from dataprep.protocols import LeaveLastN, NoSplit
from pipeline import Pipeline, samples
from pipeline.builder import load_channels
from pipeline.config import PipelineConfig
from pipeline.label_window import LabelWindow, WindowKind, label_window
from pipeline.refitting import refit_for_serving
from pipeline.samples import RankingData, make_ranking_data
from pipeline.train_ranker import train_ranker
from pipeline.window_refits import Refit, stored_refits
from ranking import RANKERS
from recall.base import BaseRecall
from recall.popularity import Popularity
from reccore import ConfigError, DataError, RunOptions, TrainingData, Workspace
from reccore.arrays import rows_where
from tests.helpers import rows_of
from tests.pipeline import small
from tests.pipeline.small import PIPELINE, QUIET, RANKER
from tests.pipeline.test_samples import cut, dated

CONFIG = PipelineConfig.parse({**PIPELINE, "ranker": "deepfm"})


def windows(prepared: Prepared, n: int, **options: Any) -> LabelWindow:
    return label_window(prepared, label_windows=n, **{"max_queries": None, "options": QUIET, **options})


def test_the_second_window_is_the_last_fifth_of_what_is_left() -> None:
    # 12 events: 10 to fit, labels 8 and 9, then 7. 5: 3 to fit, none. 7: 5 to fit, label 4, and of the other 4 none.
    window = windows(cut(12, 5, 7, 102, protocol=LeaveLastN(1)), 2)
    assert [start.tolist() for start in window.starts] == [[8, 3, 4, 90], [7, 3, 4, 80]]
    assert window.window.tolist() == [1] * 11 + [0] * 13
    assert window.users.tolist() == [0, *[3] * 10, 0, 0, 2, *[3] * 10]
    assert window.holdout.target_idx.tolist() == [7, *range(80, 90), 8, 9, 4, *range(90, 100)]
    assert rows_of(window.holdout.queries)[:2] == [list(range(7)), list(range(80))]
    # What a user chose later is never a negative, in whichever window it lies.
    assert [window.later.rows(row, row + 1).item_idx.tolist() for row in (0, 10)] == [[8, 9], list(range(90, 100))]


def test_a_second_moment_lies_before_the_first() -> None:
    # 100 events of one user at 0 … 99, and user 1 came at 80: the moments are 89 and 80 or so.
    users, times = np.array([0] * 100 + [1] * 12), np.array([*range(100), *range(80, 92)])
    window = windows(dated(users, times, cut=1000), 2, kind="moment")
    fit = window.fit
    assert fit.timestamp is not None
    for number, start in enumerate(window.starts):
        opens = min(int(fit.timestamp[at]) for at in fit.user_offsets[:-1] + start if at < fit.n_events)
        known = fit.first(start)
        assert known.timestamp is not None
        assert known.timestamp.max() < opens
        labels = fit.user_offsets[window.users] + window.stops
        assert (fit.timestamp[labels[window.window == number]] >= opens).all()
    (first, second), (earlier, newcomer) = window.starts
    assert earlier < first
    assert newcomer < second
    sizes = [int(np.minimum(10, n).sum()) for n in (fit.lengths - window.start, window.start - window.starts[1])]
    assert np.bincount(window.window).tolist() == sizes


@pytest.mark.parametrize("kind", ["own_history", "moment"])
def test_one_window_more_leaves_the_later_ones_as_they_are(kind: WindowKind) -> None:
    rng = np.random.default_rng(0)
    prepared = dated(np.repeat(np.arange(30), 40), rng.integers(0, 10_000, 1200), cut=9_000)
    one, two, three = (windows(prepared, n, kind=kind, short_histories=0.2) for n in (1, 2, 3))
    for fewer, more in ((one, two), (two, three)):
        kept = more.window < len(fewer.starts)
        assert 0 < kept.sum() < len(kept)
        for name in ("users", "stops", "window", "new"):
            np.testing.assert_array_equal(getattr(more, name)[kept], getattr(fewer, name))
        np.testing.assert_array_equal(np.array(more.starts[: len(fewer.starts)]), np.array(fewer.starts))
        assert not np.isin(more.users[~kept], more.users[more.new]).any()
        assert (more.starts[-1][more.users[more.new]] == 0).all()


def test_max_queries_is_of_all_windows_together() -> None:
    prepared = cut(*[80] * 20, protocol=NoSplit())
    few = windows(prepared, 3, max_queries=90)
    assert len(few) == 90
    assert np.bincount(few.window).min() > 15
    assert np.all(np.diff(few.window) <= 0)
    assert len(windows(prepared, 3)) == 20 * (10 + 10 + 10)


def test_windows_that_cannot_be_cut_are_an_error() -> None:
    with pytest.raises(ConfigError, match="label_windows must be at least 1, got 0"):
        windows(cut(12, protocol=NoSplit()), 0)
    with pytest.raises(DataError, match=r"label window 2 would have no event: .* 4 events before window 1; .* to 1"):
        windows(cut(5, protocol=NoSplit()), 2)
    same = dated(np.zeros(20, dtype=np.int64), np.repeat([0, 1], [15, 5]), cut=None)
    with pytest.raises(
        DataError, match=r"label window 2 cannot be cut: 15 fit events leave none .* lower label_windows"
    ):
        windows(same, 2, kind="moment")


def ranking_data(space: Workspace, prepared: Prepared, refits: Refit | None = None, **options: Any) -> RankingData:
    valid = prepared.split.valid()
    given = {"tasks": ["click"], "max_queries": None, "label_windows": 2, "options": QUIET, **options}
    refits = refits or stored_refits(space, QUIET)
    return make_ranking_data(prepared, refits, load_channels(space, CONFIG.channels), CONFIG, valid, **given)


@pytest.fixture(scope="module")
def space(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return small.copy_of(trained.root, tmp_path_factory.mktemp("windows"))


@pytest.fixture(scope="module")
def data(space: Workspace, prepared: Prepared) -> RankingData:
    return ranking_data(space, prepared)


def test_the_latest_window_has_the_samples_of_one_window(
    data: RankingData, space: Workspace, prepared: Prepared
) -> None:
    one = ranking_data(space, prepared, label_windows=1)
    assert one.train.window is None
    assert data.train.window is not None
    latest = data.train.select(np.flatnonzero(data.train.window == 0))
    same_samples(latest, one.train)
    np.testing.assert_array_equal(latest.labels["click"], one.train.labels["click"])
    np.testing.assert_array_equal(data.early_stopping_mask[data.train.window == 0], one.early_stopping_mask)
    np.testing.assert_array_equal(data.window_data.interactions.lengths, one.window_data.interactions.lengths)


def test_the_earlier_window_is_as_if_nothing_had_come_after_it(
    data: RankingData, space: Workspace, prepared: Prepared
) -> None:
    """Candidates, their scores and the catalogue are those of data that end before the latest window."""
    shorter = prepared.split.fit().first(label_window(prepared, max_queries=None, options=QUIET).start)
    before = replace(prepared, split=NoSplit().split(shorter))
    as_it_was = ranking_data(space, before, label_windows=1)
    assert data.train.window is not None
    earlier = data.train.select(np.flatnonzero(data.train.window == 1))
    kept = np.isin(as_it_was.train.queries.user_idx, earlier.queries.user_idx)
    assert 0.7 < kept.mean() < 0.9
    same_samples(earlier, as_it_was.train.select(np.flatnonzero(kept)))
    (items,) = data.train.earlier_items
    for name, values in as_it_was.window_data.items.statistics.items():
        np.testing.assert_array_equal(items.statistics[name], values)
    assert np.any(items.statistics["count"] < data.window_data.items.statistics["count"])


def same_samples(one: Any, other: Any) -> None:
    assert rows_of(one.queries) == rows_of(other.queries)
    np.testing.assert_array_equal(one.candidates.item_idx, other.candidates.item_idx)
    np.testing.assert_array_equal(one.labels["click"] == 1, other.labels["click"] == 1)
    assert set(one.candidates.features) == set(other.candidates.features)
    for name, values in one.candidates.features.items():
        np.testing.assert_array_equal(values, other.candidates.features[name])


@pytest.mark.parametrize("found_only", [False, True])
def test_users_who_choose_the_epoch_are_in_the_latest_window_alone(
    space: Workspace, prepared: Prepared, found_only: bool
) -> None:
    found = ranking_data(space, prepared, found_only=found_only, short_histories=0.2, judge_below=5)
    window, stopping, users = found.train.window, found.early_stopping_mask, found.train.queries.user_idx
    assert window is not None
    assert (window[stopping] == 0).all()
    named = users >= 0
    assert not np.isin(users[stopping & named], users[~stopping & named]).any()
    assert (window[~named] == 0).all()
    assert found.judging.window is None
    assert {0, 1} == set(window[~stopping].tolist())
    if found_only:
        assert isinstance(rows_where(~stopping), slice)
        assert (found.train.labels["click"][~stopping] == 1).any(axis=1).all()
        assert np.all(np.diff(window[~stopping]) <= 0)


def test_channels_of_a_window_get_no_event_of_it_or_of_later_ones(space: Workspace, prepared: Prepared) -> None:
    starts = windows(prepared, 3).starts
    stored, given = stored_refits(space, QUIET), dict[tuple[str, int], TrainingData]()

    def spy(name: str, channel: BaseRecall, known: TrainingData, window: int = 0) -> BaseRecall:
        given[name, window] = known
        return stored(name, channel, known, window)

    ranking_data(space, prepared, spy, label_windows=3)
    assert set(given) == {(name, number) for name in CONFIG.channels for number in range(3)}
    for (_, number), known in given.items():
        expected = prepared.split.interactions.first(starts[number])
        np.testing.assert_array_equal(known.interactions.user_offsets, expected.user_offsets)
        np.testing.assert_array_equal(known.interactions.item_idx, expected.item_idx)
        np.testing.assert_array_equal(known.items.statistics["count"], expected.item_counts())


def test_stages_of_a_window_know_the_items_and_histories_before_it(
    space: Workspace, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, given = samples.assemble, []

    def spy(*args: Any, **parts: Any) -> Pipeline:
        given.append((parts["items"].statistics["count"], parts["histories"].interactions.n_events))
        return original(*args, **parts)

    monkeypatch.setattr(samples, "assemble", spy)
    ranking_data(space, prepared)
    latest, in_use, earlier = given
    starts = windows(prepared, 2).starts
    for (count, n_events), start in ((latest, starts[0]), (earlier, starts[1]), (in_use, prepared.split.fit().lengths)):
        np.testing.assert_array_equal(count, prepared.split.interactions.first(start).item_counts())
        assert n_events == start.sum()


def test_every_window_has_a_place_and_what_is_fitted_is_not_fitted_again(
    own: Workspace, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fitted(name: str) -> int:
        return (own.models / name / "manifest.json").stat().st_mtime_ns

    ranking_data(own, prepared, label_windows=1)
    first = fitted(".popularity.label_window")
    original, made = Popularity.refit, []

    def killed(channel: Popularity, known: TrainingData, options: RunOptions | None = None) -> BaseRecall:
        made.append(known.interactions.n_events)
        if len(made) == 1:
            raise KeyboardInterrupt
        return original(channel, known, options)

    monkeypatch.setattr(Popularity, "refit", killed)
    with pytest.raises(KeyboardInterrupt):
        ranking_data(own, prepared)
    ranking_data(own, prepared)
    second = fitted(".popularity.label_window2")
    ranking_data(own, prepared)
    assert len(made) == 2  # the one that was killed, and its repetition
    assert fitted(".popularity.label_window") == first
    assert fitted(".popularity.label_window2") == second
    ranking_data(own, replace(prepared, split=NoSplit().split(prepared.split.fit())), label_windows=3)
    assert (own.models / ".popularity.label_window3").is_dir()


@pytest.mark.parametrize(
    ("name", "options"),
    [("deepfm", RANKER), ("lambdamart", {"trees": 5, "min_data_in_leaf": 5}), ("mmoe", {**RANKER, "hidden": [8, 4]})],
)
def test_a_ranker_of_two_windows_is_saved_with_the_latest_catalogue(
    own: Workspace, prepared: Prepared, name: str, options: dict[str, Any]
) -> None:
    done = train_ranker(own, name, options, PIPELINE, label_windows=2, short_histories=0.0, options=QUIET)
    window = windows(prepared, 2)
    assert done["stopping_queries"] < done["training_queries"] < len(window)
    assert json.loads((own.model(name) / "manifest.json").read_text())["samples"]["label_windows"] == 2
    count = prepared.split.interactions.first(window.start).item_counts()
    tables = RANKERS.load(own.model(name))._encoder.tables  # type: ignore[attr-defined]
    np.testing.assert_array_equal(tables.items.statistics["count"], count)


def test_a_ranker_is_fitted_again_for_serving_with_as_many_windows(own: Workspace) -> None:
    train_ranker(own, "deepfm", RANKER, PIPELINE, label_windows=2, options=QUIET)
    refit_for_serving(own, options=QUIET)
    assert (own.models / ".popularity.all_events.label_window2").is_dir()
    served = json.loads((own.models / ".deepfm.all_events" / "manifest.json").read_text())
    assert served["samples"]["label_windows"] == 2


def test_likes_of_all_windows_are_labels(space: Workspace, prepared: Prepared) -> None:
    found = ranking_data(space, prepared, tasks=["click", "like"]).train
    assert found.window is not None
    for number in (0, 1):
        part = found.select(np.flatnonzero(found.window == number)).labels
        assert 0 < (part["like"] == 1).sum() < (part["click"] == 1).sum()
