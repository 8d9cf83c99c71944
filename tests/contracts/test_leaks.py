"""No event helps to predict itself or an earlier one: checks of fitted state, training inputs and global time.

How a check and its planted leaks belong together: ``tests/contracts/leaks.py``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import recall.neural.encoders.prefix as prefix_encoder
from dataprep.features import PrefixFeatures, prefix_features, query_features
from dataprep.protocols import GlobalTime, LastThree, LeaveLastN, SplitProtocol
from dataprep.splits import Split
from pipeline.label_window import label_window
from recall import CHANNELS
from recall.neural.encoders.prefix import PrefixExamples
from recall.neural.user_codes import UserCodes
from recall.popularity import Popularity
from reccore import Holdout, Interactions, ItemTable, QueryBatch, RunOptions, TrainingData
from reccore.arrays import IntArray
from tests.contracts.leaks import (
    CONFIGS,
    N_ITEMS,
    N_USERS,
    QUIET,
    Plant,
    after,
    changed,
    everything_is_fit,
    fitted,
    positions,
    prepared_of,
    sensible,
    state_of,
    statistics_of_everything,
    validation_is_fit,
    world,
)
from tests.helpers import rows_of, training_data

LAST_TWO = LeaveLastN(2)


def test_every_channel_is_checked() -> None:
    assert {name.partition(".")[0] for name in CONFIGS} == set(CHANNELS)


# (a) Fitted state comes from the fit split alone -----------------------------------------------------------


def check_channel_knows_only_the_fit_split(name: str, folder: Path, protocol: SplitProtocol = LAST_TWO) -> None:
    before = prepared_of(world(), protocol)
    held = after(world(), before.split.fit_stop)
    others = prepared_of(changed(world(), held), protocol)
    sensible(not np.array_equal(others.split.test().target_idx, before.split.test().target_idx))
    states = [state_of(fitted(name, prepared), folder / str(n)) for n, prepared in enumerate((before, others))]
    assert states[0] == states[1]


def check_statistics_know_only_the_fit_split() -> None:
    before = prepared_of(world(), LeaveLastN(2))
    others = prepared_of(changed(world(), after(world(), before.split.fit_stop)), LeaveLastN(2))
    one, other = (prepared.training_data().items.statistics for prepared in (before, others))
    sensible({"count", "mean_rating", "rating_variance", "recent_count", "previous_count"} == set(one) == set(other))
    for name, values in one.items():
        np.testing.assert_array_equal(other[name], values, err_msg=name)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_channels_know_only_the_fit_split(name: str, tmp_path: Path) -> None:
    check_channel_knows_only_the_fit_split(name, tmp_path)


@pytest.mark.parametrize("name", ["itemcf", "two_tower"])
def test_last_three_lets_channels_know_only_the_fit_split(name: str, tmp_path: Path) -> None:
    check_channel_knows_only_the_fit_split(name, tmp_path, LastThree())


@pytest.mark.parametrize("plant", [everything_is_fit, validation_is_fit])
def test_held_out_events_of_last_three_are_caught(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_channel_knows_only_the_fit_split("itemcf", tmp_path, LastThree())


def check_rows_of_last_three_know_their_past_alone() -> None:
    """A row's history is what the user did before its target, whatever the target and the later events are."""
    split = LastThree().split(world())
    test, start = split.test(), split.valid_stop
    sensible(len(test) > N_USERS)
    for user, history, target in zip(
        test.queries.user_idx.tolist(), rows_of(test.queries), test.target_idx.tolist(), strict=True
    ):
        events = world().history(user).tolist()
        at = events.index(target)
        sensible(at >= start[user])
        assert history == events[:at]


def test_rows_of_last_three_know_their_past_alone() -> None:
    check_rows_of_last_three_know_their_past_alone()


def history_has_one_event_more(patch: pytest.MonkeyPatch) -> None:
    original = Interactions.queries
    patch.setattr(Interactions, "queries", lambda events, users, stops: original(events, users, stops + 1))


def history_has_all_of_the_users_events(patch: pytest.MonkeyPatch) -> None:
    original = Interactions.queries
    patch.setattr(Interactions, "queries", lambda events, users, stops: original(events, users))


@pytest.mark.parametrize("plant", [history_has_one_event_more, history_has_all_of_the_users_events])
def test_the_future_in_a_row_of_last_three_is_caught(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_rows_of_last_three_know_their_past_alone()


def test_statistics_know_only_the_fit_split() -> None:
    check_statistics_know_only_the_fit_split()


def popularity_counts_validation(patch: pytest.MonkeyPatch) -> None:
    original = Popularity._fit

    def leaky(channel: Popularity, data: TrainingData, valid: Holdout, options: RunOptions) -> None:
        original(channel, data, valid, options)
        channel.weight = channel.weight + np.bincount(valid.target_idx, minlength=N_ITEMS).astype(np.float32)

    patch.setattr(Popularity, "_fit", leaky)


@pytest.mark.parametrize("name", list(CONFIGS))
@pytest.mark.parametrize("plant", [everything_is_fit, validation_is_fit])
def test_held_out_events_in_a_channel_are_caught(
    name: str, plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_channel_knows_only_the_fit_split(name, tmp_path)


def test_fitting_on_validation_targets_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    popularity_counts_validation(monkeypatch)
    with pytest.raises(AssertionError):
        check_channel_knows_only_the_fit_split("popularity", tmp_path)


@pytest.mark.parametrize("plant", [everything_is_fit, validation_is_fit, statistics_of_everything])
def test_held_out_events_in_the_statistics_are_caught(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_statistics_know_only_the_fit_split()


def test_leaky_statistics_are_caught_in_the_two_towers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statistics_of_everything(monkeypatch)
    with pytest.raises(AssertionError):
        check_channel_knows_only_the_fit_split("two_tower", tmp_path)


# (b) What describes a user is a function of the history before the event ------------------------------------


def inputs_up_to(events: Interactions, position: int) -> dict[str, np.ndarray]:
    """Training inputs of every user's events 0 … position."""
    data = training_data(events, genre_of_item=np.arange(N_ITEMS) % 2)
    codes = UserCodes(np.linspace(1.5, 4.5, 9, dtype=np.float32), data.users, longest=99, typical_rating=3.0)
    examples = PrefixExamples(events, data.items, codes, 6, 1024)
    inputs, _ = examples.batch(np.flatnonzero(positions(events) <= position))
    return {name: getattr(inputs, name).numpy() for name in ("history", "lengths", "user", "codes", "top_genres")}


def check_training_inputs_know_only_the_past() -> None:
    events = world()
    for position in (0, 1, 5, 11):
        expected = inputs_up_to(events, position)
        from_here_on = np.full(N_USERS, position)
        other_future = changed(events, after(events, from_here_on))
        no_future = events.first(from_here_on + 1)
        for other in (other_future, no_future):
            for name, values in inputs_up_to(other, position).items():
                np.testing.assert_array_equal(values, expected[name], err_msg=f"{name} up to {position}")


def test_training_inputs_know_only_the_past() -> None:
    check_training_inputs_know_only_the_past()


def features_include_the_event(patch: pytest.MonkeyPatch) -> None:
    def leaky(events: Interactions, items: ItemTable) -> PrefixFeatures:
        honest = prefix_features(events, items)
        found = query_features(events.queries(events.user_idx, positions(events) + 1), items)
        return replace(honest, top_genres=found.top_genres, mean_rating=found.mean_rating)

    patch.setattr(prefix_encoder, "prefix_features", leaky)


def features_of_the_whole_user(name: str) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        def leaky(events: Interactions, items: ItemTable) -> PrefixFeatures:
            whole = getattr(query_features(events.queries(), items), name)
            honest = prefix_features(events, items)
            if name == "activity":  # it also says where the history of the batch ends, so leak beside it
                return replace(honest, top_genres=np.repeat(whole[:, None], 3, axis=1)[events.user_idx] % 2)
            return replace(honest, **{name: whole[events.user_idx]})

        patch.setattr(prefix_encoder, "prefix_features", leaky)

    plant.__name__ = f"{name}_of_the_whole_user"
    return plant


def history_includes_the_event(patch: pytest.MonkeyPatch) -> None:
    original = Interactions.padded_prefixes
    patch.setattr(
        Interactions,
        "padded_prefixes",
        lambda events, users, stops, length: original(events, users, stops + 1, length),
    )


def history_is_the_whole_user(patch: pytest.MonkeyPatch) -> None:
    original = Interactions.padded_prefixes
    patch.setattr(
        Interactions,
        "padded_prefixes",
        lambda events, users, stops, length: original(events, users, events.lengths[users], length),
    )


@pytest.mark.parametrize(
    "plant",
    [
        features_include_the_event,
        features_of_the_whole_user("top_genres"),
        features_of_the_whole_user("mean_rating"),
        features_of_the_whole_user("activity"),
        history_includes_the_event,
        history_is_the_whole_user,
    ],
    ids=lambda plant: plant.__name__,
)
def test_a_glimpse_of_the_future_is_caught(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_training_inputs_know_only_the_past()


# (c) The target is never in its own history ------------------------------------------------------------------


def assert_targets_outside_histories(histories: list[list[int]], targets: list[list[int]]) -> None:
    sensible(len(histories) == len(targets) > 0)
    for history, wanted in zip(histories, targets, strict=True):
        assert not set(history) & set(wanted)


def check_targets_are_not_in_their_histories() -> None:
    prepared = prepared_of(world(), LeaveLastN(2))
    data = prepared.training_data()
    codes = UserCodes(None, data.users, longest=N_ITEMS)
    examples = PrefixExamples(data.interactions, data.items, codes, N_ITEMS, 1024)
    inputs, targets = examples.batch(np.arange(len(examples)))
    assert_targets_outside_histories(inputs.history.tolist(), targets[:, None].tolist())
    window = label_window(prepared, max_queries=None, options=QUIET).holdout
    for holdout in (prepared.split.valid(), prepared.split.test(), window):
        wanted = np.split(holdout.target_idx, holdout.target_offsets[1:-1])
        assert_targets_outside_histories(rows_of(holdout.queries), [row.tolist() for row in wanted])


def test_targets_are_not_in_their_histories() -> None:
    check_targets_are_not_in_their_histories()


def queries_include_the_target(patch: pytest.MonkeyPatch) -> None:
    original = Interactions.queries

    def leaky(events: Interactions, users: IntArray | None = None, stops: IntArray | None = None) -> QueryBatch:
        if users is None or stops is None:
            return original(events, users, stops)
        return original(events, users, np.minimum(stops + 1, events.lengths[users]))

    patch.setattr(Interactions, "queries", leaky)


@pytest.mark.parametrize("plant", [history_includes_the_event, history_is_the_whole_user, queries_include_the_target])
def test_a_target_in_its_history_is_caught(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_targets_are_not_in_their_histories()


# (d) Global time: nothing at or after the cut -----------------------------------------------------------------

CUT = int(np.sort(world().timestamp)[450])  # the time of an event, so that "at" is tried


def check_nothing_at_or_after_the_cut(folder: Path) -> None:
    events = world()
    sensible(bool((events.timestamp == CUT).any()))
    before = prepared_of(events, GlobalTime(CUT))
    split = before.split
    assert split.fit().timestamp.max() < split.valid(query_time=True).queries.as_of.min()
    for known in (split.fit(), split.history()):
        sensible(known.n_events > 0)
        assert known.timestamp.max() < CUT
    assert split.history().n_events == (events.timestamp < CUT).sum()
    others = prepared_of(changed(events, events.timestamp >= CUT), GlobalTime(CUT))
    for one, other in ((split.fit(), others.split.fit()), (split.history(), others.split.history())):
        for name in ("user_offsets", "item_idx", "rating", "timestamp"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for holdout in (split.valid(), split.test()):
        assert holdout.queries.as_of.max() < CUT
    for name in ("popularity", "two_tower"):
        states = [state_of(fitted(name, p), folder / f"{name}{n}") for n, p in enumerate((before, others))]
        assert states[0] == states[1]


def test_nothing_at_or_after_the_cut(tmp_path: Path) -> None:
    check_nothing_at_or_after_the_cut(tmp_path)


def the_cut_itself_is_known(patch: pytest.MonkeyPatch) -> None:
    original = GlobalTime.split

    def leaky(protocol: GlobalTime, events: Interactions) -> Split:
        split = original(protocol, events)
        up_to = np.array([(events.timestamp[a:b] <= CUT).sum() for a, b in _bounds(events)])
        return replace(split, fit_stop=np.where(up_to > split.valid_stop, up_to, split.fit_stop), valid_stop=up_to)

    patch.setattr(GlobalTime, "split", leaky)


def each_user_is_cut_for_themselves(patch: pytest.MonkeyPatch) -> None:
    def leaky(protocol: GlobalTime, events: Interactions) -> Split:
        return Split(events, (events.lengths * 0.8).astype(np.int64), (events.lengths * 0.9).astype(np.int64), "x")

    patch.setattr(GlobalTime, "split", leaky)


def the_last_are_left_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(GlobalTime, "split", lambda protocol, events: LeaveLastN(1).split(events))


def _bounds(events: Interactions) -> list[tuple[int, int]]:
    return list(zip(events.user_offsets[:-1].tolist(), events.user_offsets[1:].tolist(), strict=True))


@pytest.mark.parametrize(
    "plant",
    [
        the_cut_itself_is_known,
        each_user_is_cut_for_themselves,
        the_last_are_left_out,
        everything_is_fit,
        validation_is_fit,
        statistics_of_everything,
    ],
)
def test_the_future_of_others_is_caught(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_nothing_at_or_after_the_cut(tmp_path)
