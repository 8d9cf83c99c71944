"""Each protocol against cuts worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from dataprep.protocols import GlobalTime, LastThree, LeaveLastN, NoSplit, parse_protocol
from dataprep.splits import Split
from reccore import ConfigError, DataError, Holdout, Interactions, QueryBatch
from reccore.arrays import offsets_from_lengths
from tests.helpers import rows_of


def events_of(*histories: list[int], times: list[list[int]] | None = None) -> Interactions:
    """One user per list of items."""
    items = np.concatenate([np.array(history, dtype=np.int64) for history in histories])
    return Interactions(
        user_offsets=offsets_from_lengths(np.array([len(history) for history in histories])),
        item_idx=items,
        n_items=20,
        rating=(items % 5 + 1).astype(np.float32),
        timestamp=None if times is None else np.concatenate(times).astype(np.int64),
    )


def parts(split: Split) -> tuple[list[list[int]], dict[int, tuple[list[int], list[int]]], dict]:
    """Fit histories of all users; user → (history, targets) of validation and of test."""
    fit = split.fit()
    found = []
    for holdout in (split.valid(), split.test()):
        histories = rows_of(holdout.queries)
        bounds = pairwise(holdout.target_offsets)
        targets = [holdout.target_idx[start:stop].tolist() for start, stop in bounds]
        users = holdout.queries.user_idx.tolist()
        found.append(dict(zip(users, zip(histories, targets, strict=True), strict=True)))
    return [fit.history(user).tolist() for user in range(fit.n_users)], *found


def test_leave_one_out() -> None:
    split = LeaveLastN(1).split(events_of([1, 2, 3, 4], [5, 6, 7], [8, 9], [10], []))
    fit, valid, test = parts(split)
    assert fit == [[1, 2], [5], [8, 9], [10], []]  # fewer than three events: all are fit
    assert valid == {0: ([1, 2], [3]), 1: ([5], [6])}
    assert test == {0: ([1, 2, 3], [4]), 1: ([5, 6], [7])}
    assert rows_of(split.history().queries()) == [[1, 2, 3], [5, 6], [8, 9], [10], []]
    assert split.protocol == "leave_one_out"


def test_leave_last_two() -> None:
    fit, valid, test = parts(LeaveLastN(2).split(events_of([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5], [1, 2, 3, 4])))
    assert fit == [[1, 2], [1], [1, 2, 3, 4]]
    assert valid == {0: ([1, 2], [3, 4]), 1: ([1], [2, 3])}
    assert test == {0: ([1, 2, 3, 4], [5, 6]), 1: ([1, 2, 3], [4, 5])}


def test_last_three_has_one_query_for_every_liked_event() -> None:
    times = [[1, 2, 3, 4, 5, 5, 6], [1] * 5, [1] * 4]
    events = events_of([0, 1, 2, 3, 4, 5, 6], [7, 8, 9, 7, 8], [1, 2, 3, 4], times=times)
    rating = np.array([5, 1, 3, 2, 4, 2, 2.5] + [3, 3, 3, 3, 2] + [5] * 4, dtype=np.float32)
    split = LastThree().split(replace(events, rating=rating))
    fit = split.fit()
    assert [fit.history(user).tolist() for user in range(3)] == [[0, 1, 2], [7], [1, 2, 3, 4]]
    test = split.test()
    # Of user 0's last three events the second is rated 2; of user 1's the third.
    assert test.queries.user_idx.tolist() == [0, 0, 1, 1]
    assert rows_of(test.queries) == [[0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [7, 8], [7, 8, 9]]
    assert (test.target_idx.tolist(), test.target_counts.tolist()) == ([4, 6, 9, 7], [1, 1, 1, 1])
    assert test.tied is not None
    assert test.tied.tolist() == [False, False, True, True]
    valid = split.valid()  # the event before the last three: user 0's is rated 2
    assert (valid.queries.user_idx.tolist(), valid.target_idx.tolist(), rows_of(valid.queries)) == ([1], [8], [[7]])
    liked = split.liked(split.fit())
    assert [liked.history(user).tolist() for user in range(3)] == [[0, 2], [7], [1, 2, 3, 4]]
    assert liked.rating is not None
    assert (liked.rating > 2).all()
    assert split.test(query_time=True).queries.as_of.tolist() == [5, 6, 1, 1]
    assert split.label("test") == "last_three (test)"


def test_last_three_counts_every_row_without_ratings_and_says_so() -> None:
    split = LastThree().split(replace(events_of([0, 1, 2, 3, 4]), rating=None))
    assert (split.test().target_idx.tolist(), split.valid().target_idx.tolist()) == ([2, 3, 4], [1])
    assert split.liked(split.fit()).n_events == split.fit().n_events == 1
    assert split.label("test") == "last_three (test; no ratings, so every row counts)"


def test_protocols_without_a_rule_learn_from_all_events() -> None:
    split = LeaveLastN(1).split(events_of([1, 2, 3, 5]))
    assert split.liked(split.fit()).item_idx.tolist() == split.fit().item_idx.tolist() == [1, 2]


def test_targets_in_their_querys_history_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """User 0 comes back to an item in the test, user 2 in both parts; what only another user has seen is new."""
    split = LeaveLastN(1).split(events_of([1, 2, 3, 1], [4, 5, 1], [6, 7, 6, 7], [8, 9, 10]))
    assert split.test().seen_targets().tolist() == [True, False, True, False]
    assert split.valid().seen_targets().tolist() == [False, False, True, False]
    assert split.seen_shares() == {"valid": 0.25, "test": 0.5}
    monkeypatch.setattr("dataprep.splits.QUERIES_AT_ONCE", 3)  # the parts differ in size
    assert split.seen_shares() == {"valid": 0.25, "test": 0.5}
    assert NoSplit().split(events_of([1, 1])).seen_shares() == {"valid": 0.0, "test": 0.0}
    # Each target of last_three has a history of its own: the second 4 comes after the first.
    three = LastThree().split(events_of([1, 2, 4, 4, 3]))
    assert (three.test().seen_targets().tolist(), three.seen_shares()["test"]) == ([False, True, False], 1 / 3)
    # With several targets of one query, a target is no part of the history of the next.
    assert LeaveLastN(2).split(events_of([1, 2, 3, 4, 4])).seen_shares()["test"] == 0.0


def test_an_unknown_item_is_never_seen() -> None:
    queries = QueryBatch.from_histories([[-1, 3], [], [-1, 7]])
    holdout = Holdout(queries, np.array([0, 2, 3, 4]), np.array([-1, 3, 3, 5]))
    assert holdout.seen_targets().tolist() == [False, True, False, False]
    assert holdout.seen_share() == 0.25
    assert holdout.select(np.zeros(0, dtype=np.int64)).seen_share() == 0.0


def test_no_split_has_all_events_in_fit() -> None:
    fit, valid, test = parts(NoSplit().split(events_of([1, 2, 3], [4])))
    assert (fit, valid, test) == ([[1, 2, 3], [4]], {}, {})


def test_global_time_at_a_given_cut() -> None:
    times = [[0, 10, 20, 30, 100, 110], [60, 70, 80, 85, 90, 95], [100, 120], [1]]
    events = events_of([0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], [12, 13], [14], times=times)
    split = GlobalTime(100).split(events)
    # Eleven events before 100; their .9 quantile is the last but one, 90. An event at a cut is after it.
    fit, valid, test = parts(split)
    assert fit == [[0, 1, 2, 3], [6, 7, 8, 9], [], [14]]
    assert valid == {1: ([6, 7, 8, 9], [10, 11])}
    assert test == {0: ([0, 1, 2, 3], [4, 5]), 2: ([], [12, 13])}
    assert split.protocol == "global_time:100"
    assert not split.test().tied.any()


def test_global_time_leaves_a_tenth_for_test_by_default() -> None:
    times = [np.arange(50).tolist(), np.arange(50, 101).tolist()]
    split = GlobalTime().split(events_of([1] * 50, [2] * 51, times=times))
    assert split.interactions.n_events - split.valid_stop.sum() == 11  # 90 … 100: the quantile itself is after the cut
    assert (split.valid_stop - split.fit_stop).sum() == 10  # 80 … 89 of 0 … 89
    assert split.protocol == "global_time"


@pytest.mark.parametrize(
    ("times", "cut"),
    [
        ([[5, 6, 7]], 5),  # nothing before the cut
        ([[5, 6, 7]], 8),  # nothing to test
        ([[5, 5, 5]], None),
        ([[5, 5, 5, 9]], 9),  # all earlier events have the same time, so the fit split is empty
    ],
)
def test_global_time_refuses_an_empty_side(times: list[list[int]], cut: int | None) -> None:
    with pytest.raises(DataError, match=r"leaves one side empty|leaves the fit split empty"):
        GlobalTime(cut).split(events_of(list(range(len(times[0]))), times=times))


def test_global_time_needs_times() -> None:
    with pytest.raises(DataError, match="needs timestamps"):
        GlobalTime().split(events_of([1, 2, 3]))


def test_tied_events_keep_their_order_and_are_marked() -> None:
    split = LeaveLastN(1).split(events_of([3, 1, 2], [6, 5, 4], [7, 8, 9], times=[[1, 5, 5], [2, 2, 3], [1, 2, 3]]))
    test, valid = split.test(), split.valid()
    assert test.target_idx.tolist() == [2, 4, 9]
    assert test.tied.tolist() == [True, False, False]
    assert valid.tied.tolist() == [False, True, False]


def test_as_of_is_the_time_of_the_last_event_or_of_the_target_with_query_time() -> None:
    split = LeaveLastN(1).split(events_of([1, 2, 3, 4], times=[[10, 20, 30, 40]]))
    assert split.test().queries.as_of.tolist() == [30]
    assert split.test(query_time=True).queries.as_of.tolist() == [40]
    assert split.valid(query_time=True).queries.as_of.tolist() == [30]
    assert split.test(query_time=True).queries.history_time.tolist() == [10, 20, 30]
    with pytest.raises(DataError, match="query_time needs timestamps"):
        LeaveLastN(1).split(events_of([1, 2, 3])).test(query_time=True)


def test_histories_have_ratings_and_times() -> None:
    queries = LeaveLastN(1).split(events_of([1, 2, 3, 4], [9], times=[[10, 20, 30, 40], [7]])).test().queries
    assert queries.history_rating.tolist() == [2.0, 3.0, 4.0]
    assert queries.history_time.tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        ("leave_one_out", LeaveLastN(1)),
        ("leave_last_1", LeaveLastN(1)),
        ("leave_last_12", LeaveLastN(12)),
        ("global_time", GlobalTime(None)),
        ("global_time:978300760", GlobalTime(978300760)),
        ("last_three", LastThree()),
        ("none", NoSplit()),
    ],
)
def test_names(text: str, protocol: object) -> None:
    assert parse_protocol(text) == protocol
    assert parse_protocol(parse_protocol(text).name) == protocol


@pytest.mark.parametrize(
    "text",
    [
        "",
        "loo",
        "leave_last_",
        "leave_last_0",
        "leave_last_-1",
        "leave_last_2.5",
        "leave_one_out:1",
        "global_time:",
        "global_time:-5",
        "global_time:soon",
        "none:",
        "NONE",
    ],
)
def test_the_error_of_an_unknown_name_lists_the_known_ones(text: str) -> None:
    with pytest.raises(ConfigError, match="leave_one_out, leave_last_<n>, global_time"):
        parse_protocol(text)
