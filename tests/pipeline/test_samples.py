"""From candidates of recall to samples of ranking: the label window, its labels, and what may leak."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loguru import logger

from dataprep.events import write_events
from dataprep.prepare import Prepared, prepare_file
from dataprep.preprocess import preprocess
from dataprep.protocols import LeaveLastN, NoSplit, TimeCuts
from dataprep.readers.own import EventFile
from pipeline import PipelineConfig, load, samples, window_refits
from pipeline.builder import load_channels
from pipeline.label_window import QUERIES_OF_NEW_USER, SHORT_HISTORY, kind_under, label_window, new_user_queries
from pipeline.provenance import check_protocol
from pipeline.samples import check_likes, common_liked_from, label, label_likes, make_ranking_data
from pipeline.train_channel import train_channel
from pipeline.train_ranker import fit_ranker, train_ranker
from pipeline.validation import validation_sample
from pipeline.window_refits import refit, stored_refits
from ranking import RANKERS, SHORT_HISTORIES
from ranking.neural import NeuralRanker
from recall import CHANNELS
from recall.popularity import Popularity
from reccore import (
    ArtefactError,
    Candidates,
    ConfigError,
    DataError,
    Exclusions,
    Holdout,
    Interactions,
    NotReadyError,
    QueryBatch,
    RankingSamples,
    RunOptions,
    TrainingData,
    Workspace,
)
from reccore.arrays import FloatArray, rows_where
from tests.helpers import rows_of
from tests.helpers import training_data as tables
from tests.pipeline import small
from tests.pipeline.small import N_RATINGS, N_USERS, PIPELINE, QUIET, RANKER, before_ranking

CONFIG = PipelineConfig.parse({**PIPELINE, "ranker": "deepfm"})


def cut(*lengths: int, protocol: LeaveLastN | NoSplit) -> Prepared:
    """Users with so many events: user u watches films 0, 1, 2, … in order."""
    users = np.repeat(np.arange(len(lengths)), lengths)
    films = np.concatenate([np.arange(n) for n in lengths])
    events = Interactions.from_events(users, films, n_users=len(lengths), n_items=max(lengths))
    data = tables(events)
    return Prepared(protocol.split(events), data.items, data.users, data.vocabulary, {"fingerprint": "x"})


def test_the_window_is_the_last_fifth_of_the_fit_events_and_ten_at_most() -> None:
    # 12 events: 10 to fit, 20% = 2 labels. 5: 3 fit, none. 2: all fit, none. 102: 100 fit, 10 labels, not 20.
    prepared = cut(12, 5, 2, 102, protocol=LeaveLastN(1))
    window = label_window(prepared, max_queries=None, options=QUIET)
    assert window.start.tolist() == [8, 3, 2, 90]
    assert window.holdout.queries.user_idx.tolist() == [0, 0] + [3] * 10
    assert window.holdout.target_idx.tolist() == [8, 9, *range(90, 100)]
    histories = rows_of(window.holdout.queries)
    assert histories[0] == list(range(8))
    assert histories[1] == list(range(9))  # everything before the target, the earlier label included
    assert histories[-1] == list(range(99))
    later = [window.later.rows(row, row + 1).item_idx.tolist() for row in range(3)]
    assert later == [[9], [], list(range(91, 100))]


def test_validation_and_test_events_are_nowhere_in_the_window() -> None:
    prepared = cut(30, 40, 50, protocol=LeaveLastN(3))
    window = label_window(prepared, max_queries=None, options=QUIET)
    held = {0: {24, 25, 26, 27, 28, 29}, 1: set(range(34, 40)), 2: set(range(44, 50))}
    rows = zip(window.holdout.queries.user_idx, rows_of(window.holdout.queries), strict=True)
    for row, (user, history) in enumerate(rows):
        seen = {*history, int(window.holdout.target_idx[row]), *window.later.rows(row, row + 1).item_idx.tolist()}
        assert not seen & held[int(user)]


def test_max_queries_draws_the_same_sample_for_the_same_seed() -> None:
    prepared = cut(60, 60, 60, protocol=NoSplit())
    few = label_window(prepared, max_queries=7, options=QUIET)
    again = label_window(prepared, max_queries=7, options=QUIET)
    other = label_window(prepared, max_queries=7, options=RunOptions(seed=1))
    assert len(few.holdout) == 7
    np.testing.assert_array_equal(few.holdout.target_idx, again.holdout.target_idx)
    assert few.holdout.target_idx.tolist() != other.holdout.target_idx.tolist()
    # The channels must not have seen any event of the window, drawn or not.
    assert few.start.tolist() == [50, 50, 50]


def test_users_who_play_new_users_have_no_window_and_ask_with_their_first_events() -> None:
    prepared = cut(*[60] * 20, protocol=NoSplit())
    window = label_window(prepared, max_queries=None, short_histories=0.25, options=QUIET)
    newcomers = np.flatnonzero(window.start == 0)
    assert len(newcomers) == 5
    others = np.setdiff1d(np.arange(20), newcomers)
    n = 15 * 10
    assert window.users[:n].tolist() == np.repeat(others, 10).tolist()
    assert window.holdout.queries.user_idx[:n].tolist() == window.users[:n].tolist()
    assert window.users[n:].tolist() == np.repeat(newcomers, QUERIES_OF_NEW_USER).tolist()
    assert (window.holdout.queries.user_idx[n:] == -1).all()
    lengths = window.holdout.queries.lengths[n:]
    assert lengths.min() == 1
    assert SHORT_HISTORY // 2 < lengths.max() <= SHORT_HISTORY
    for row in range(n, len(window.holdout)):
        stop = int(lengths[row - n])
        assert rows_of(window.holdout.queries)[row] == list(range(stop))
        assert window.holdout.select(np.array([row])).target_idx.tolist() == list(range(stop, 60))
        assert len(window.later.rows(row, row + 1).item_idx) == 0
    plain = label_window(prepared, max_queries=None, options=QUIET)
    kept = plain.holdout.select(np.flatnonzero(~np.isin(plain.users, newcomers)))
    assert rows_of(window.holdout.queries)[:n] == rows_of(kept.queries)


def test_a_new_user_keeps_an_event_as_a_target() -> None:
    prepared = cut(*[3, 2, 1] * 4, protocol=NoSplit())
    window = label_window(prepared, max_queries=None, short_histories=1.0, options=QUIET)
    assert set(window.users.tolist()) == {user for user in range(12) if user % 3 < 2}
    assert window.holdout.target_counts.min() == 1
    assert set(window.holdout.queries.lengths.tolist()) == {1, 2}


@pytest.mark.parametrize(("max_queries", "users", "each"), [(None, 10, 10), (200, 10, 10), (60, 10, 3), (10, 5, 1)])
def test_queries_of_new_users_are_a_share_of_the_limit(max_queries: int | None, users: int, each: int) -> None:
    lengths = np.full(20, 60)
    asking, _ = new_user_queries(lengths, 0.5, max_queries, QUIET)
    assert len(np.unique(asking)) == users
    assert np.bincount(asking).max() == np.bincount(asking)[asking].min() == each


def test_labels_by_hand() -> None:
    candidates = Candidates(
        np.array([[5, 3, 9, -1], [1, 2, 3, 4], [7, 8, -1, -1]]),
        np.array([[3, 2, 1, -np.inf], [4, 3, 2, 1], [2, 1, -np.inf, -np.inf]], dtype=np.float32),
    )
    holdout = Holdout.single(QueryBatch.from_histories([[], [], []]), np.array([3, 2, 6]))
    later = Exclusions(np.array([0, 2, 4, 4]), np.array([9, 3, 1, 6]))  # row 0's target is watched again later
    labels, missed = label(candidates, holdout, later)
    nan = np.nan
    np.testing.assert_array_equal(labels, [[0, 1, nan, nan], [nan, 1, 0, 0], [0, 0, nan, nan]])
    assert missed.sum() == 1  # film 6 was not offered, and is not put in


def test_likes_by_hand() -> None:
    nan = np.nan
    candidates = Candidates(
        np.array([[5, 3, 9, -1], [1, 2, 3, 4], [7, 8, 6, -1]]),
        np.array([[3, 2, 1, -np.inf], [4, 3, 2, 1], [3, 2, 1, -np.inf]], dtype=np.float32),
    )
    queries = QueryBatch.from_histories([[], [], []])
    rating = np.array([4.0, 3.5, 5.0, nan], dtype=np.float32)
    holdout = Holdout(queries, np.array([0, 1, 3, 4]), np.array([3, 2, 4, 6]), target_rating=rating)
    later = Exclusions(np.array([0, 1, 2, 2]), np.array([9, 1]))
    likes, missed = label_likes(candidates, holdout, later)
    # Row 0: liked. Row 1: film 2 was watched and not liked, film 4 liked. Row 2: film 6 has no rating.
    np.testing.assert_array_equal(likes, [[0, 1, nan, nan], [nan, 0, 0, 1], [0, 0, nan, nan]])
    assert missed.tolist() == [0, 0, 0]
    none = candidates.head(1)
    assert label_likes(none, holdout, later)[1].tolist() == [1, 1, 0]
    assert label(none, holdout, later)[1].tolist() == [1, 2, 1]
    np.testing.assert_array_equal(label(candidates, holdout, later)[0][2], [0, 0, 1, nan])
    with pytest.raises(ConfigError, match="the task 'like' needs ratings, and this data set has none"):
        label_likes(candidates, replace(holdout, target_rating=None), later)
    from_three, _ = label_likes(candidates, holdout, later, 3.5)
    np.testing.assert_array_equal(from_three, [[0, 1, nan, nan], [nan, 1, 0, 1], [0, 0, nan, nan]])


def test_a_least_rating_that_no_event_reaches_is_an_error_and_one_that_all_reach_is_said() -> None:
    def rated(*ratings: float) -> FloatArray:
        return np.array(ratings, dtype=np.float32)

    with pytest.raises(ConfigError, match=r"rated 4 or more, .* lie between 0.5 and 1; lower liked_from"):
        check_likes(rated(0.5, np.nan, 1.0), 4.0)
    with pytest.raises(ConfigError, match="no event to learn from has one"):
        check_likes(rated(np.nan), 4.0)
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="WARNING")
    check_likes(rated(6.0, 9.0), 7.0)
    check_likes(rated(), 4.0)
    assert lines == []
    check_likes(rated(6.0, 9.0), 4.0)
    logger.remove(sink)
    assert "every rated event is liked" in lines[0]
    assert "lie between 6 and 9; raise liked_from" in lines[0]


def test_the_ratings_of_targets_come_with_the_window_and_the_splits() -> None:
    users, films = np.repeat(np.arange(2), 12), np.tile(np.arange(12), 2)
    rating = (1 + np.arange(24) % 5).astype(np.float32)
    events = Interactions.from_events(users, films, rating=rating, n_users=2, n_items=12)
    tables_of = tables(events)
    split = LeaveLastN(1).split(events)
    prepared = Prepared(split, tables_of.items, tables_of.users, tables_of.vocabulary, {"fingerprint": "x"})
    window = label_window(prepared, max_queries=None, options=QUIET).holdout
    of_event = {(user, film): value for user, film, value in zip(users, films, rating, strict=True)}
    for holdout in (window, window.select(np.array([3, 1])), split.valid(), split.test()):
        assert holdout.target_rating is not None
        rows = np.repeat(holdout.queries.user_idx, holdout.target_counts)
        expected = [of_event[user, film] for user, film in zip(rows, holdout.target_idx, strict=True)]
        assert holdout.target_rating.tolist() == expected
    unrated = cut(12, protocol=LeaveLastN(1))
    assert label_window(unrated, max_queries=None, options=QUIET).holdout.target_rating is None
    assert unrated.split.test().target_rating is None
    with pytest.raises(ValueError, match="targets but 1 ratings of targets"):
        replace(window, target_rating=np.ones(1, dtype=np.float32))


@pytest.fixture(scope="module")
def data(trained: Workspace, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> samples.RankingData:
    space = small.copy_of(trained.root, tmp_path_factory.mktemp("ranking"))
    channels = load_channels(space, CONFIG.channels)
    valid = prepared.split.valid()
    return make_ranking_data(
        prepared, stored_refits(space, QUIET), channels, CONFIG, valid, tasks=["click"], max_queries=None, options=QUIET
    )


def test_the_channels_that_offer_training_candidates_have_not_seen_the_labels(
    data: samples.RankingData, prepared: Prepared
) -> None:
    fit = prepared.split.fit()
    n_labels = (fit.lengths * 0.2).astype(int)
    np.testing.assert_array_equal(data.window_data.interactions.lengths, fit.lengths - n_labels)
    counts = np.bincount(data.window_data.interactions.item_idx, minlength=fit.n_items)
    np.testing.assert_array_equal(data.window_data.items.statistics["count"], counts)
    # Popularity offers films by exactly these counts: a leak of the labels would change its order.
    rank = data.train.candidates.features["recall_rank.popularity"]
    row = 0
    unseen = np.setdiff1d(np.arange(fit.n_items), data.train.queries.select([row]).history_idx)
    expected = unseen[np.lexsort((unseen, -counts[unseen]))][: PIPELINE["per_channel"]]
    for column, item in enumerate(data.train.candidates.item_idx[row]):
        place = np.flatnonzero(expected == item)
        found = rank[row, column]
        assert found == place[0] + 1 if len(place) else np.isnan(found)


def test_a_leak_would_show(trained: Workspace, prepared: Prepared, tmp_path: Path, monkeypatch) -> None:
    """With channels that did see the labels, recall offers far more of them: the check above has teeth."""
    space = small.copy_of(trained.root, tmp_path)
    config = PipelineConfig.parse(
        {"channels": ["mf"], "fill": None, "rerank": None, "per_channel": 10, "candidates": 10, "ranker": "x"}
    )
    channels = {"mf": CHANNELS["mf"]({"embedding_size": 60, "half_life": None}).fit(prepared.training_data())}
    channels["mf"].save(space.model("mf"))
    valid = prepared.split.valid()
    honest = make_ranking_data(
        prepared, stored_refits(space, QUIET), channels, config, valid, tasks=["click"], max_queries=None, options=QUIET
    )
    monkeypatch.setattr(window_refits, "refit", lambda channel, *rest: channel)
    leaking = make_ranking_data(
        prepared, stored_refits(space, QUIET), channels, config, valid, tasks=["click"], max_queries=None, options=QUIET
    )
    assert leaking.train.missed.sum() < honest.train.missed.sum() - 20


def test_under_global_time_the_window_opens_for_all_users_at_one_moment() -> None:
    # 17 fit events, the 90% quantile of their times is 16.8, so the moment is 16. User 2 is not there before it.
    users = np.array([0] * 12 + [1] * 4 + [2] * 3)
    times = np.array([*range(10), 18, 19, *range(10, 14), 16, 51, 52])
    data = dated(users, times, cut=50)
    window = label_window(data, kind="moment", max_queries=None, options=QUIET)
    assert window.start.tolist() == [10, 4, 0]
    assert window.holdout.queries.user_idx.tolist() == [0, 0, 2]
    fit = data.split.fit()
    assert window.holdout.target_idx.tolist() == fit.item_idx[[10, 11, 16]].tolist()
    assert [len(history) for history in rows_of(window.holdout.queries)] == [10, 11, 0]


def test_a_window_of_one_moment_has_ten_labels_of_a_user_at_most() -> None:
    users, times = np.array([0] * 270 + [1] * 30), np.array([*range(270), *range(300, 330)])
    window = label_window(dated(users, times, cut=1000), kind="moment", max_queries=None, options=QUIET)
    assert window.start.tolist() == [270, 0]
    assert window.users.tolist() == [1] * 10
    assert [len(window.later.rows(row, row + 1).item_idx) for row in range(10)] == list(range(29, 19, -1))


@pytest.mark.parametrize(("length", "n_late", "enough"), [(4, 92, True), (8, 46, False)])
def test_under_one_moment_half_of_those_who_came_after_it_play_new_users(
    length: int, n_late: int, enough: bool
) -> None:
    """3,698 events, one user after the other: 111 users have 30 each, of the last of whom 3 are after the moment."""
    users = np.concatenate([np.repeat(np.arange(111), 30), 111 + np.arange(368) // length])
    prepared = dated(users, np.arange(3698), cut=10_000)
    window = label_window(prepared, kind="moment", max_queries=None, short_histories=0.32, judge_below=9, options=QUIET)
    newcomers = np.unique(window.users[window.new])
    assert len(newcomers) == (46 if enough else int(0.32 * (111 + n_late)))
    assert len(np.unique(window.users[window.judging])) == len(newcomers) // 2
    assert not np.isin(window.users[~window.new], newcomers).any()
    assert (newcomers >= 111).all() == enough
    if enough:  # all others who came after it are in the window, and nothing earlier is lost to the channels
        others = np.setdiff1d(np.arange(111, 203), newcomers)
        rows = np.flatnonzero(np.isin(window.users, others))
        assert window.users[rows].tolist() == np.repeat(others, 4).tolist()
        assert window.stops[rows].tolist() == [0, 1, 2, 3] * 46
        assert window.start[:111].tolist() == [30] * 110 + [27]
    few = label_window(prepared, kind="moment", max_queries=None, short_histories=0.1, judge_below=9, options=QUIET)
    assert len(np.unique(few.users[few.new])) == int(0.1 * (111 + n_late))


@pytest.mark.parametrize(
    ("times", "reason"), [(None, "needs timestamps"), (np.zeros(20, dtype=np.int64), "none before the label window")]
)
def test_a_moment_that_cannot_be_found_is_an_error(times: np.ndarray | None, reason: str) -> None:
    users = np.repeat([0, 1], 10)
    with pytest.raises(DataError, match=reason):
        label_window(dated(users, times, cut=None), kind="moment", max_queries=None, options=QUIET)


def dated(users: np.ndarray, times: np.ndarray | None, *, cut: int | None) -> Prepared:
    """Each event is a film of its own; those before ``cut`` are fit."""
    events = Interactions.from_events(
        users, np.arange(len(users)), n_users=int(users.max()) + 1, n_items=len(users), timestamp=times
    )
    data = tables(events)
    protocol = NoSplit() if cut is None else TimeCuts(cut, cut, f"global_time:{cut}")
    return Prepared(protocol.split(events), data.items, data.users, data.vocabulary, {"fingerprint": "x"})


def test_the_protocol_chooses_the_window_and_the_command_may_ask_for_another(own: Workspace, tmp_path: Path) -> None:
    """Under global_time no event that channels and statistics know is later than a label, of whichever user."""
    prepared = Prepared.load(own.prepared)
    channels = load_channels(own, CONFIG.channels)
    later = {}
    for protocol in ("leave_one_out", "global_time:77"):
        split = replace(prepared, split=replace(prepared.split, protocol=protocol))
        data = make_ranking_data(
            split, stored_refits(own, QUIET), channels, CONFIG, prepared.split.valid(), tasks=["click"],
            max_queries=None, options=QUIET,
        )  # fmt: skip
        fit, known = prepared.split.fit(), data.window_data.interactions
        window = label_window(prepared, kind=kind_under(protocol), max_queries=None, options=QUIET)
        at = fit.user_offsets[window.users] + window.holdout.queries.lengths
        assert fit.timestamp is not None
        assert known.timestamp is not None
        np.testing.assert_array_equal(window.start, known.lengths)
        later[protocol] = int((known.timestamp.max() > fit.timestamp[at]).sum())
    assert later["leave_one_out"] > 0
    assert later["global_time:77"] == 0


def test_samples_hold_no_inserted_positive(data: samples.RankingData, prepared: Prepared) -> None:
    for found, holdout in (
        (data.train, label_window(prepared, max_queries=None, options=QUIET).holdout),
        (data.valid, prepared.split.valid()),
    ):
        offered = found.candidates.item_idx == holdout.target_idx[:, None]
        np.testing.assert_array_equal(found.labels["click"] == 1, offered)
        assert found.missed.sum() == len(holdout) - offered.sum() > 0
        assert np.isnan(found.labels["click"][~found.candidates.mask]).all()
        assert not Exclusions.of_history(found.queries).contains(found.candidates.item_idx).any()


def test_a_user_is_for_early_stopping_with_all_samples_or_none(data: samples.RankingData) -> None:
    users = data.train.queries.user_idx
    assert not np.isin(users[data.early_stopping_mask], users[~data.early_stopping_mask]).any()
    assert 0.1 < data.early_stopping_mask.mean() < 0.3
    again = samples.early_stopping_users(users, QUIET)
    np.testing.assert_array_equal(again, data.early_stopping_mask)
    assert not samples.early_stopping_users(np.zeros(7, dtype=np.int64), QUIET).any()


def found_only(space: Workspace, prepared: Prepared) -> samples.RankingData:
    channels, valid = load_channels(space, CONFIG.channels), prepared.split.valid()
    return make_ranking_data(
        prepared, stored_refits(space, QUIET), channels, CONFIG, valid, tasks=["click"], max_queries=None,
        found_only=True, options=QUIET,
    )  # fmt: skip


def test_found_only_trains_on_the_queries_with_a_positive_and_keeps_others_for_early_stopping(
    data: samples.RankingData, own: Workspace, prepared: Prepared
) -> None:
    found, stopping = found_only(own, prepared), data.early_stopping_mask
    has_positive = (data.train.labels["click"] == 1.0).any(axis=1)
    assert 0 < has_positive[~stopping].sum() < (~stopping).sum()
    assert 0 < has_positive[stopping].sum() < stopping.sum()
    rows = np.flatnonzero(has_positive | stopping)
    rows = rows[np.argsort(stopping[rows], kind="stable")]
    assert_same_samples(found.train, data.train.select(rows))
    assert found.train.weight is None  # each stands for itself
    assert found.early_stopping_mask.tolist() == stopping[rows].tolist()
    assert isinstance(rows_where(found.early_stopping_mask), slice)
    assert_same_samples(found.valid, data.valid)  # what is measured keeps all queries
    assert found.missed == data.missed == (~has_positive & ~stopping).sum() > 0


@pytest.mark.parametrize("model", ["deepfm", "lambdamart"])
@pytest.mark.parametrize("kept", [5_000, 20])
def test_probabilities_of_found_only_are_of_all_queries(
    data: samples.RankingData,
    own: Workspace,
    prepared: Prepared,
    model: str,
    kept: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Recall finds half of the targets: over the found queries alone probabilities would be twice too high."""
    monkeypatch.setattr(samples, "UNFOUND_QUERIES", kept)
    settings = RANKER if model == "deepfm" else {"trees": 20, "min_data_in_leaf": 5}
    ranker = RANKERS[model](settings)
    fit_ranker(ranker, found_only(own, prepared), prepared.vocabulary, QUIET)
    stop = data.train.select(np.flatnonzero(data.early_stopping_mask))
    labelled = ~np.isnan(stop.labels["click"])
    base_rate = stop.labels["click"][labelled].mean()
    probability = ranker.probability(stop.queries, stop.candidates)[labelled].mean()
    assert probability == pytest.approx(base_rate, rel=0.01 if kept > stop.labels["click"].shape[0] else 0.2)


def test_each_kept_query_without_an_offered_target_stands_for_several(
    data: samples.RankingData, own: Workspace, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "UNFOUND_QUERIES", 11)
    found, stopping = found_only(own, prepared), data.early_stopping_mask
    has_positive = (found.train.labels["click"] == 1.0).any(axis=1)
    assert 0 < (~has_positive).sum() < 11
    assert not (~has_positive & ~found.early_stopping_mask).any()
    assert found.train.weight is not None
    np.testing.assert_allclose(found.train.weight, np.where(has_positive, 1, stopping.sum() / 11), rtol=1e-6)
    again = found_only(own, prepared)
    np.testing.assert_array_equal(again.train.candidates.item_idx, found.train.candidates.item_idx)


def assert_same_samples(found: RankingSamples, expected: RankingSamples) -> None:
    for name, values in vars(expected.queries).items():
        if isinstance(values, np.ndarray):
            np.testing.assert_array_equal(getattr(found.queries, name), values)
    np.testing.assert_array_equal(found.candidates.item_idx, expected.candidates.item_idx)
    np.testing.assert_allclose(found.candidates.score, expected.candidates.score, rtol=1e-6)
    assert found.candidates.features.keys() == expected.candidates.features.keys()
    for name, values in expected.candidates.features.items():
        # Networks encode other queries together, which moves the last bit.
        np.testing.assert_allclose(found.candidates.features[name], values, rtol=1e-5, atol=1e-6)
    for task, values in expected.labels.items():
        np.testing.assert_array_equal(found.labels[task], values)
    np.testing.assert_array_equal(found.missed, expected.missed)


def test_rows_of_a_mask() -> None:
    for mask, expected in (
        ([False, True, True, False], slice(1, 3)),
        ([True, False, True], [0, 2]),
        ([False, False], []),
    ):
        rows = rows_where(np.array(mask))
        assert rows == expected if isinstance(expected, slice) else rows.tolist() == expected


def test_training_samples_have_the_features_of_requests(data: samples.RankingData, pipeline) -> None:
    met = before_ranking(pipeline, pipeline.histories.interactions.queries())
    assert set(data.train.candidates.features) == set(data.valid.candidates.features) == set(met.features)
    ranker: NeuralRanker = next(stage.ranker for stage in pipeline.stages if stage.role == "score")
    fields = {field["name"] for field in ranker._encoder.schema.to_json()}
    assert {"recall.mf.match", "recall.two_tower.match"} <= fields


def test_a_ranker_learns_from_the_sums_of_cosines_and_is_served_with_them(own: Workspace) -> None:
    settings = {**PIPELINE, "latest": [3], "closeness_sums": ["decayed", "rated"]}
    train_ranker(own, "lambdamart", {"trees": 5}, settings, max_queries=60, options=QUIET)
    served = load(own.model("pipeline"))
    wanted = {f"mf.{name}3" for name in ("mean", "max", "decayed", "rated")}
    fields = {field["name"] for field in served.ranker._encoder.schema.to_json()}  # type: ignore[union-attr]
    assert {f"recall.{name}.match" for name in wanted} <= fields
    met = before_ranking(served, served.histories.interactions.queries())  # type: ignore[attr-defined]
    assert {f"match.{name}" for name in wanted} <= set(met.features)
    assert len(served.recommend(user=small.user_id(3), k=6).items) == 6


def test_channels_are_refitted_only_after_a_change(own: Workspace, prepared: Prepared) -> None:
    kept = own.models / ".mf.label_window"
    assert kept.is_dir()
    before = json.loads((kept / "manifest.json").read_text())
    channel = CHANNELS["mf"].load(own.model("mf"))
    window = label_window(prepared, max_queries=None, short_histories=SHORT_HISTORIES, options=QUIET)
    events = prepared.training_data(prepared.split.interactions.first(window.start))
    stamp = (kept / "manifest.json").stat().st_mtime_ns
    again = refit(channel, events, own.model("mf"), QUIET)
    assert (kept / "manifest.json").stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(again.encode_items(), CHANNELS["mf"].load(kept).encode_items())
    refit(channel, events, own.model("mf"), RunOptions(seed=5, progress=False, threads=1))
    assert json.loads((kept / "manifest.json").read_text())["basis"] != before["basis"]


def test_other_events_of_the_same_number_are_refitted(own: Workspace, prepared: Prepared) -> None:
    channel = CHANNELS["popularity"].load(own.model("popularity"))
    window = label_window(prepared, max_queries=None, options=QUIET)
    events = prepared.training_data(prepared.split.interactions.first(window.start))
    reversed_items = replace(
        events.interactions, item_idx=events.interactions.n_items - 1 - events.interactions.item_idx
    )
    other = prepared.training_data(reversed_items)
    queries = QueryBatch.from_histories([[]])
    first = refit(channel, events, own.model("popularity"), QUIET).retrieve(queries, 5)
    second = refit(channel, other, own.model("popularity"), QUIET).retrieve(queries, 5)
    assert first.item_idx.tolist() != second.item_idx.tolist()


def test_a_changed_retrieval_option_is_refitted_too(own: Workspace) -> None:
    train_channel(own, "itemcf", {**small.CHANNELS["itemcf"], "half_life": 1.0}, options=QUIET)
    train_ranker(own, "deepfm", RANKER, PIPELINE, max_queries=20, options=QUIET)
    assert CHANNELS["itemcf"].load(own.models / ".itemcf.label_window").config.half_life == 1.0
    assert load(own.model("pipeline")).sources[1].channel.config.half_life == 1.0


def test_results_of_the_jobs(own: Workspace) -> None:
    done = train_channel(own, "mf", small.CHANNELS["mf"], name="mine", options=QUIET)
    assert done["path"] == str(own.model("mine"))
    assert done["config"]["embedding_size"] == 8
    assert set(done["validation"]) == {"hit_rate@10", "hit_rate@100", "ndcg@10", "ndcg@100"}
    manifest = json.loads((own.model("mine") / "manifest.json").read_text())
    assert manifest["metrics"] == done["validation"]
    assert manifest["data"]["protocol"] == "leave_one_out"
    assert manifest["data"]["events"] == N_USERS * (N_RATINGS - 2)
    assert train_channel(own, "popularity", {}, name="all", protocol="none", options=QUIET)["validation"] is None
    ranked = train_ranker(own, "deepfm", RANKER, PIPELINE, max_queries=50, short_histories=0.2, options=QUIET)
    assert ranked["training_queries"] + ranked["stopping_queries"] == 60  # 10 of them of new users
    assert ranked["stopping_queries"] > 0
    drawn = json.loads((own.model("deepfm") / "manifest.json").read_text())["samples"]
    assert drawn == {
        "max_queries": 50,
        "short_histories": 0.2,
        "found_only": False,
        "window_kind": "own_history",
        "label_windows": 1,
    }
    assert set(ranked["validation"]) == {"recall", "ranking"}


@pytest.mark.parametrize("name", ["pipeline", "merged"])
def test_names_of_the_project_are_reserved(own: Workspace, name: str) -> None:
    with pytest.raises(ConfigError, match="is reserved"):
        train_channel(own, "popularity", {}, name=name, options=QUIET)
    with pytest.raises(ConfigError, match="is reserved"):
        train_ranker(own, "deepfm", RANKER, PIPELINE, name=name, options=QUIET)


def test_a_foreign_folder_is_not_overwritten(own: Workspace) -> None:
    with pytest.raises(ConfigError, match="holds a ranking model; choose another --name"):
        train_channel(own, "popularity", {}, name="deepfm", options=QUIET)
    (own.models / "notes").mkdir()
    with pytest.raises(ConfigError, match="holds no model"):
        train_channel(own, "popularity", {}, name="notes", options=QUIET)


def test_the_ranker_of_a_pipeline_is_the_one_trained(own: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"leave out pipeline\.ranker"):
        train_ranker(own, "deepfm", RANKER, {**PIPELINE, "ranker": "din"}, options=QUIET)
    stages = PipelineConfig.parse({**PIPELINE, "ranker": "din"}).model_dump(mode="json")
    with pytest.raises(ConfigError, match=r"whose model is the ranker trained here, 'deepfm'; got 'din'"):
        train_ranker(own, "deepfm", RANKER, stages, options=QUIET)


def test_a_list_of_stages_trains_as_its_short_form_does(own: Workspace) -> None:
    stages = PipelineConfig.parse({**PIPELINE, "ranker": "deepfm", "short_history": {}}).model_dump(mode="json")
    short = train_ranker(own, "deepfm", RANKER, PIPELINE, max_queries=40, options=QUIET)
    answer = load(own.model("pipeline")).recommend(user=small.user_id(3), k=6).items
    listed = train_ranker(own, "deepfm", RANKER, stages, max_queries=40, options=QUIET)
    assert listed["validation"] == short["validation"]
    assert load(own.model("pipeline")).recommend(user=small.user_id(3), k=6).items == answer


def test_a_ranker_needs_channels_of_its_own_data(own: Workspace) -> None:
    with pytest.raises(NotReadyError, match=r"channel 'lost' is not trained"):
        train_ranker(
            own, "deepfm", RANKER, {**PIPELINE, "channels": ["popularity", "two_tower", "lost"]}, options=QUIET
        )
    with pytest.raises(ConfigError, match=r"fitted under leave_one_out, .* train them with --protocol none first"):
        train_ranker(own, "deepfm", RANKER, PIPELINE, protocol="none", options=QUIET)


def test_a_ranker_follows_channels_fitted_on_a_file_of_ones_own(own: Workspace) -> None:
    file = own.root / "own.parquet"
    write_events(file, Prepared.load(own.prepared).split.interactions, Prepared.load(own.prepared).vocabulary)
    for name in ("popularity", "mf"):
        train_channel(own, name, small.CHANNELS[name], input_file=EventFile(file), options=QUIET)
    settings = {"channels": ["popularity", "mf"], "rerank": {"similarity": {"channel": "mf"}}}
    ranked = train_ranker(own, "deepfm", RANKER, settings, options=QUIET)
    assert json.loads((Path(ranked["path"]) / "manifest.json").read_text())["data"]["input"] == str(file.resolve())


def test_a_ranker_of_two_tasks_learns_clicks_and_likes(own: Workspace) -> None:
    settings = {"epochs": 1, "batch_size": 16, "hidden": [8, 4], "embedding_size": 4}
    report = train_ranker(own, "mmoe", settings, PIPELINE, max_queries=60, options=QUIET)
    assert report["config"]["tasks"] == ["click", "like"]
    assert len(load(own.model("pipeline")).recommend(user=small.user_id(3), k=6).items) == 6


def test_what_counts_as_liked_is_stored_with_the_ranker_and_decides_its_labels(own: Workspace) -> None:
    settings = {**RANKER, "hidden": [8, 4]}
    for liked_from in (2.0, 5.0):
        report = train_ranker(own, "mmoe", {**settings, "liked_from": liked_from}, PIPELINE, options=QUIET)
        assert report["config"]["liked_from"] == liked_from
        assert RANKERS.load(own.model("mmoe")).liked_from == liked_from
    before = set(own.models.iterdir())
    with pytest.raises(ConfigError, match=r"no event is rated 8 or more, .* between 1 and 5; lower liked_from"):
        train_ranker(own, "ple", {"liked_from": 8}, PIPELINE, options=QUIET)
    assert set(own.models.iterdir()) == before


def test_recall_that_offers_no_liked_event_is_an_error(data: samples.RankingData, prepared: Prepared) -> None:
    click = data.train.labels["click"]
    unliked = replace(data.train, labels={"click": click, "like": np.where(click == 1.0, np.float32(0), click)})
    with pytest.raises(DataError, match=r"recall offers none that is rated 5 or more; lower liked_from"):
        fit_ranker(RANKERS["ple"]({"liked_from": 5}), replace(data, train=unliked), prepared.vocabulary, QUIET)


def test_a_ranker_of_clicks_may_learn_where_no_offered_event_is_liked(
    data: samples.RankingData, prepared: Prepared
) -> None:
    """A comparison makes the labels of all rankers' tasks for each of them."""
    click = data.train.labels["click"]
    unliked = replace(data.train, labels={"click": click, "like": np.where(click == 1.0, np.float32(0), click)})
    train, _ = fit_ranker(RANKERS["lr"]({"epochs": 1}), replace(data, train=unliked), prepared.vocabulary, QUIET)
    assert train.chosen.any()


def test_labels_of_likes_follow_the_least_rating(own: Workspace, prepared: Prepared) -> None:
    def likes(liked_from: float) -> np.ndarray:
        found = make_ranking_data(
            prepared, stored_refits(own, QUIET), load_channels(own, CONFIG.channels), CONFIG, prepared.split.valid(),
            tasks=["like"], liked_from=liked_from, max_queries=None, options=QUIET,
        )  # fmt: skip
        for part in (found.train, found.valid):
            assert part.tasks == ("like", "click")  # features need the clicks
            assert not (part.labels["like"] == 1.0)[part.labels["click"] != 1.0].any()
        return np.array([np.nansum(part.labels["like"]) for part in (found.train, found.valid)])

    assert (likes(5.0) < likes(2.0)).all()


def test_rankers_that_share_labels_have_one_least_rating() -> None:
    click, like, higher = (
        RANKERS["deepfm"](options) for options in ({}, {"task": "like"}, {"task": "like", "liked_from": 8})
    )
    assert click.liked_from is None
    assert common_liked_from([click]) == 4.0
    assert common_liked_from([click, higher]) == 8.0
    with pytest.raises(ConfigError, match=r"different liked_from \(4, 8\)"):
        common_liked_from([like, click, higher])


def test_likes_without_ratings_are_an_error_before_any_channel_is_fitted_again(own: Workspace) -> None:
    file, unrated = own.root / "own.parquet", replace(Prepared.load(own.prepared).split.interactions, rating=None)
    write_events(file, unrated, Prepared.load(own.prepared).vocabulary)
    train_channel(own, "popularity", {}, input_file=EventFile(file), options=QUIET)
    before = set(own.models.iterdir())
    with pytest.raises(ConfigError, match="the task 'like' needs ratings, and this data set has none"):
        train_ranker(own, "ple", {}, {"channels": ["popularity"], "rerank": None}, options=QUIET)
    assert set(own.models.iterdir()) == before


def test_too_few_positives_are_an_error(own: Workspace) -> None:
    # Two candidates, of which the label is hardly ever one.
    narrow = {"channels": ["popularity"], "per_channel": 1, "candidates": 1, "rerank": None}
    for found_only in (False, True):
        with pytest.raises(DataError, match=r"recall offers none of the 3 events"):
            train_ranker(own, "deepfm", RANKER, narrow, max_queries=3, found_only=found_only, options=QUIET)


def test_a_model_without_provenance_is_refused(own: Workspace, prepared: Prepared) -> None:
    CHANNELS["mf"].load(own.model("mf")).save(own.model("mf"))
    with pytest.raises(ArtefactError, match="mf was fitted on None"):
        check_protocol(own, ("mf",), prepared)


def test_a_file_with_another_catalogue_is_refused(tmp_path: Path) -> None:
    own = Workspace(tmp_path)
    events = tmp_path / "events.parquet"
    films = [10, 20, 30, 10, 30, 20]
    pq.write_table(pa.table({"userId": [1, 1, 1, 2, 2, 2], "movieId": films}), events)
    train_channel(own, "popularity", {}, input_file=EventFile(events), protocol="none", options=QUIET)
    check_protocol(own, ("popularity",), prepare_file(EventFile(events), own, NoSplit()))
    small.write_raw(own.raw / "ml-tiny")
    preprocess(own.raw / "ml-tiny", own.processed, options=QUIET)
    with pytest.raises(
        ArtefactError,
        match=r"with vocabulary .* again with .*train_recall\.py --model popularity",
    ):
        check_protocol(own, ("popularity",), prepare_file(EventFile(events), own, NoSplit()))


def test_validation_is_capped(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(validation_sample(prepared, QUIET)) == N_USERS
    monkeypatch.setattr("pipeline.validation.VALIDATION_QUERIES", 10)
    sample = validation_sample(prepared, QUIET)
    assert len(sample) == 10
    assert len(set(sample.queries.user_idx.tolist())) == 10


def test_a_channel_that_refits_another_way_is_fitted_again(own: Workspace, prepared: Prepared) -> None:
    """What ``refit`` depends on besides the configuration, such as the best epoch, is part of the stored basis."""

    class Stopping(Popularity):
        epoch = 3

        def refit(self, data: TrainingData, options: RunOptions | None = None) -> Popularity:
            refits.append(self.epoch)
            return super().refit(data, options)

        def refit_facts(self) -> dict[str, int]:
            return {"stop_after": self.epoch}

    refits: list[int] = []
    channel = Stopping().fit(prepared.training_data())
    events = prepared.training_data(prepared.split.interactions.first(np.full(N_USERS, 5)))
    for epoch in (3, 3, 4):
        channel.epoch = epoch
        refit(channel, events, own.model("popularity"), QUIET)
    assert refits == [3, 4]


def test_parts_of_the_window_are_rows_of_the_whole() -> None:
    prepared = cut(*[30] * 10, 3, protocol=NoSplit())
    window = label_window(prepared, max_queries=None, short_histories=0.3, options=QUIET)
    whole, later = window.holdout, window.later
    rows = np.random.default_rng(0).permutation(len(window))[:20]
    part, without = window.select(rows)
    assert rows_of(part.queries) == rows_of(whole.queries.select(rows))
    np.testing.assert_array_equal(part.queries.user_idx, whole.queries.user_idx[rows])
    np.testing.assert_array_equal(part.target_idx, whole.select(rows).target_idx)
    np.testing.assert_array_equal(part.target_counts, window.target_counts[rows])
    np.testing.assert_array_equal(without.item_idx, later.select(rows).item_idx)
    np.testing.assert_array_equal(without.offsets, later.select(rows).offsets)
