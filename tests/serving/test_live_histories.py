"""Histories that join the model's with live events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.history import FrozenHistoryStore
from reccore import DataError, IdMap, Interactions, TrainingData, Vocabulary
from serving.errors import StoreError, UnknownUserError
from serving.live_histories import LiveHistories, tolerant_reading
from serving.sqlite_store import SqliteStore
from serving.store import LiveEvent
from tests.helpers import rows_of

USER, NEW_USER = 13, 9_999  # raw ids; user 13 is index 1


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "events.sqlite")


@pytest.fixture
def histories(board: TrainingData, store: SqliteStore) -> LiveHistories:
    return LiveHistories(FrozenHistoryStore(board.interactions, board.vocabulary), store)


def add(histories: LiveHistories, name: str, item: int, rating: float | None, time: int, user: int = USER) -> None:
    histories.store.append(user, LiveEvent(name, 7 * item + 5, rating, time), None)


def films(histories: LiveHistories, user: int = USER) -> list[int]:
    return rows_of(histories.history([user]))[0]


LATER = 2_000_000_000


def test_without_events_it_is_the_history_of_the_model(histories: LiveHistories, board: TrainingData) -> None:
    query, expected = histories.history([USER]), board.interactions.queries(np.array([1]))
    for column in ("history_idx", "history_rating", "history_time", "user_idx", "as_of"):
        np.testing.assert_array_equal(getattr(query, column), getattr(expected, column))


def test_events_stand_at_their_times(histories: LiveHistories, board: TrainingData) -> None:
    before = board.interactions.history(1).tolist()
    times = board.interactions.queries(np.array([1])).history_time
    assert times is not None
    add(histories, "late", 0, 4.5, LATER)
    add(histories, "early", 2, None, int(times[2]) + 1)
    query = histories.history([USER])
    assert rows_of(query)[0] == [*before[:3], 2, *before[3:], 0]
    assert query.history_rating is not None
    assert np.isnan(query.history_rating[3])
    assert query.history_rating[-1] == 4.5
    assert query.as_of.tolist() == [LATER]
    assert query.user_idx.tolist() == [1]


def test_an_event_takes_the_place_of_an_earlier_one_and_undo_restores_it(
    histories: LiveHistories, board: TrainingData
) -> None:
    before = board.interactions.history(1).tolist()
    film = before[2]
    add(histories, "a", film, 1.0, LATER)
    add(histories, "b", film, 2.0, LATER - 5)  # arrived later, so that it counts, wherever its time is
    query = histories.history([USER])
    assert rows_of(query)[0] == [*(one for one in before if one != film), film]
    assert query.history_rating is not None
    assert query.history_rating[-1] == 2.0
    histories.store.undo("b")
    again = histories.history([USER]).history_rating
    assert again is not None
    assert again[-1] == 1.0
    histories.store.undo("a")
    assert films(histories) == before


def test_a_new_user_has_the_history_of_the_events(histories: LiveHistories) -> None:
    with pytest.raises(UnknownUserError, match="user 9999 is not known here"):
        histories.history([NEW_USER])
    add(histories, "a", 3, 5.0, LATER, NEW_USER)
    add(histories, "b", 1, 4.0, LATER + 1, NEW_USER)
    query = histories.history([NEW_USER])
    assert rows_of(query) == [[3, 1]]
    assert query.user_idx.tolist() == [-1]
    assert query.as_of.tolist() == [LATER + 1]


def test_a_batch_is_its_users_one_by_one(histories: LiveHistories) -> None:
    add(histories, "a", 0, 5.0, LATER)
    add(histories, "b", 3, 5.0, LATER, NEW_USER)
    batch = histories.history([3, NEW_USER, USER])
    singles = [histories.history([user]) for user in (3, NEW_USER, USER)]
    assert rows_of(batch) == [rows_of(one)[0] for one in singles]
    assert batch.user_idx.tolist() == [0, -1, 1]
    for column in ("history_rating", "history_time", "as_of"):
        np.testing.assert_array_equal(
            getattr(batch, column), np.concatenate([getattr(one, column) for one in singles]), strict=True
        )


def test_films_that_a_newer_model_lacks_are_left_out(histories: LiveHistories, board: TrainingData) -> None:
    add(histories, "a", 500, 5.0, LATER)
    add(histories, "b", 0, 5.0, LATER + 1)
    assert films(histories) == [*board.interactions.history(1).tolist(), 0]


def test_data_without_times_and_ratings_have_none_with_events_either(store: SqliteStore, board: TrainingData) -> None:
    bare = Interactions(board.interactions.user_offsets, board.interactions.item_idx, board.interactions.n_items)
    histories = LiveHistories(FrozenHistoryStore(bare, board.vocabulary), store)
    add(histories, "b", 2, 1.0, LATER)
    add(histories, "a", 0, 5.0, 1)
    query = histories.history([USER])
    assert rows_of(query)[0] == [*board.interactions.history(1).tolist(), 2, 0]  # in the order of arrival
    assert query.history_rating is None
    assert query.history_time is None


def test_ids_of_text(store: SqliteStore, board: TrainingData) -> None:
    users = IdMap(np.array([f"user{u:03}" for u in range(60)], dtype=object))
    items = IdMap(np.array([f"film{i:03}" for i in range(24)], dtype=object))
    histories = LiveHistories(FrozenHistoryStore(board.interactions, Vocabulary(users, items)), store)
    store.append("user001", LiveEvent("a", "film000", 4.0, LATER), None)
    store.append("someone", LiveEvent("b", "film002", 4.0, LATER), None)
    assert rows_of(histories.history(["user001"]))[0][-1] == 0
    assert rows_of(histories.history(["someone"])) == [[2]]


def test_a_text_is_no_user_where_ids_are_numbers(histories: LiveHistories) -> None:
    with pytest.raises(DataError, match="whole numbers"):
        histories.history(["Ann"])


def test_a_failing_store_raises_unless_reading_is_tolerant(histories: LiveHistories, board: TrainingData) -> None:
    def fail(user: object) -> None:
        raise StoreError("down")

    histories.store.events = fail  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreError):
        histories.history([USER])
    with tolerant_reading() as reading:
        assert films(histories) == board.interactions.history(1).tolist()
        assert reading.failed
        with pytest.raises(StoreError):  # nothing is known of a new user then
            histories.history([NEW_USER])
    with pytest.raises(StoreError):
        histories.history([USER])
