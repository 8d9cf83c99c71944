"""Channels brought up to date by later events equal channels fitted on all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recall import CHANNELS
from recall import pair_sums as subject
from recall.base import BaseRecall
from reccore import Interactions, RunOptions, TrainingData
from reccore.changes import changed_users
from tests.helpers import training_data

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("popularity", {}),
    ("popularity", {"half_life_days": 0.01}),
    ("usercf", {"neighbours": 20}),
    ("itemcf", {}),
    ("itemcf", {"neighbours": 4, "pair_half_life": 2.0, "history_cap": 6, "shrinkage": 0.5}),
    ("itemcf", {"user_damping": 3.0, "pair_half_life": None}),
    ("itemcf_prior", {"neighbours": 5}),
    ("markov", {}),
    ("markov", {"steps": 2, "source_damping": 1.0, "neighbours": 3}),
    ("ease", {}),
]


def events(seed: int, n_users: int, n_items: int, n: int, first_time: int) -> np.ndarray:
    """(n, 4) user, item, time, rating; popular items are low, some pairs repeat."""
    rng = np.random.default_rng(seed)
    item = np.minimum(rng.geometric(4 / n_items, n) - 1, n_items - 1)
    return np.stack([rng.integers(0, n_users, n), item, first_time + rng.permutation(n), rng.integers(1, 6, n)], axis=1)


def data_of(rows: np.ndarray, n_users: int, n_items: int) -> TrainingData:
    return training_data(
        Interactions.from_events(
            rows[:, 0],
            rows[:, 1],
            n_users=n_users,
            n_items=n_items,
            timestamp=rows[:, 2],
            rating=rows[:, 3].astype(np.float32),
        ),
        genre_of_item=np.arange(n_items) % 2,
    )


def states() -> list[TrainingData]:
    """Old events; then later ones of a few users; then ones among the old, of new users and on new items."""
    first = events(0, 40, 30, 700, 10_000)
    later = events(1, 40, 30, 60, 20_000)
    later[:, 0] %= 7
    among = events(2, 46, 36, 80, 10_300)
    among[:, 0] = np.where(among[:, 0] < 30, 40 + among[:, 0] % 6, among[:, 0] % 5)
    among[::4, 1] = 30 + among[::4, 1] % 6
    return [
        data_of(first, 40, 30),
        data_of(np.concatenate([first, later]), 40, 30),
        data_of(np.concatenate([first, later, among]), 46, 36),
    ]


def assert_same_answers(got: BaseRecall, want: BaseRecall, data: TrainingData) -> None:
    queries = data.interactions.queries()
    found, expected = got.retrieve(queries, 10), want.retrieve(queries, 10)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-6)
    differ = found.item_idx != expected.item_idx  # items of equal score may change places by rounding
    tied = np.isclose(found.score, np.roll(found.score, 1, 1), atol=1e-6)
    tied |= np.isclose(found.score, np.roll(found.score, -1, 1), atol=1e-6)
    assert not (differ & ~tied).any()
    np.testing.assert_allclose(got.score(queries, expected), want.score(queries, expected), atol=1e-6)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_an_updated_channel_is_a_fitted_one(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    first, *others = states()
    channel = CHANNELS[name](settings).fit(first, options=QUIET)
    before = first
    for data in others:
        channel = channel.update(data, before.interactions, QUIET, memory=tmp_path / name)
        assert channel.vocabulary is data.vocabulary
        assert_same_answers(channel, CHANNELS[name](settings).fit(data, options=QUIET), data)
        before = data


@pytest.mark.parametrize("name", ["itemcf", "markov"])
def test_only_users_with_new_events_are_counted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    count = subject.pair_sums

    def noted(histories: subject.PairHistories, *given: Any) -> Any:
        counted.append(len(histories.items))
        return count(histories, *given)

    monkeypatch.setattr(subject, "pair_sums", noted)
    monkeypatch.setattr(CHANNELS[name], "_count", None)  # a full fit fails
    first, second, third = states()
    channel = CHANNELS[name]()
    channel._updated = channel.similarity = np.zeros((30, 30), dtype=np.float32)  # type: ignore[attr-defined]
    channel.fit(first, options=QUIET)
    channel = channel.update(second, first.interactions, QUIET, memory=tmp_path / "kept")
    assert counted == [len(channel._histories(second.interactions).items)]  # type: ignore[attr-defined]
    counted.clear()
    again = channel.update(third, second.interactions, QUIET, memory=tmp_path / "kept")
    touched = changed_users(second.interactions.resized(46, 36), third.interactions)
    assert touched.sum() == 11
    each = [state.interactions.resized(46, 36) for state in (third, second)]
    kept = [channel._histories(part.first(np.where(touched, part.lengths, 0))) for part in each]  # type: ignore[attr-defined]
    assert counted == [len(histories.items) for histories in kept]
    counted.clear()  # a run that was killed after it kept the sums counts nothing
    once_more = channel.update(third, second.interactions, QUIET, memory=tmp_path / "kept")
    assert counted == []
    assert_same_answers(once_more, again, third)


@pytest.mark.parametrize("name", ["itemcf", "markov"])
def test_without_room_for_the_sums_a_channel_is_fitted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "MAX_PAIRS", 50)
    first, second, _ = states()
    channel = CHANNELS[name]().fit(first, options=QUIET)
    updated = channel.update(second, first.interactions, QUIET, memory=tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    assert_same_answers(updated, CHANNELS[name]().fit(second, options=QUIET), second)


def test_sums_of_other_settings_are_not_taken(tmp_path: Path) -> None:
    first, second, third = states()
    CHANNELS["markov"]({"steps": 2}).fit(first).update(second, first.interactions, QUIET, memory=tmp_path / "kept")
    channel = CHANNELS["markov"]({"steps": 5}).fit(second, options=QUIET)
    updated = channel.update(third, second.interactions, QUIET, memory=tmp_path / "kept")
    assert_same_answers(updated, CHANNELS["markov"]({"steps": 5}).fit(third, options=QUIET), third)


def test_blocks_of_rows_do_not_change_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    data = states()[2]
    channel = CHANNELS["itemcf"]().fit(data, options=QUIET)
    whole = channel._pairs_of(data.interactions)  # type: ignore[attr-defined]
    monkeypatch.setattr(subject, "_ENTRIES_PER_BLOCK", 7)
    parts = channel._pairs_of(data.interactions)  # type: ignore[attr-defined]
    assert (whole != parts).nnz == 0
    monkeypatch.setattr(subject, "ITEMS_PER_BLOCK", 5)
    left, right = channel._divisors(data.interactions)  # type: ignore[attr-defined]
    best = subject.greatest(parts, left, right, 0.0, 200)
    assert abs(best - channel.similarity).max() < 1e-6  # type: ignore[attr-defined]


def test_changed_users_by_hand() -> None:
    before = Interactions.from_events(np.array([0, 0, 1, 2]), np.array([1, 2, 1, 3]), n_users=4, n_items=5)
    after = Interactions.from_events(np.array([0, 0, 1, 2, 3]), np.array([2, 1, 1, 3, 0]), n_users=4, n_items=5)
    assert changed_users(before, after).tolist() == [True, False, False, True]
    assert not changed_users(before, before).any()
    with pytest.raises(ValueError, match="4 users before and 6 after"):
        changed_users(before, after.resized(6, 5))
    with pytest.raises(ValueError, match="do not fit"):
        after.resized(3, 5)
