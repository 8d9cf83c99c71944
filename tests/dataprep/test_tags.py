"""Tags: reading, counting, and the selection of tags that a model may see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dataprep.prepare import Prepared
from dataprep.protocols import GlobalTime, LeaveLastN, SplitProtocol
from dataprep.tags import TAG, TagEvents, normalise, with_tags
from reccore import IdMap, Interactions, ItemTable, Vocabulary
from tests.contracts.leaks import DAY, N_ITEMS, Plant, after, changed, prepared_of, world

VOCABULARY = Vocabulary(users=IdMap(np.array([1, 2, 3])), items=IdMap(np.array([10, 20, 30, 40])))
# Users 0, 1, 2 have events on films 0…2, 0…1 and 0…3, at times 100, 200, …
EVENTS = Interactions(
    user_offsets=np.array([0, 3, 5, 9]),
    item_idx=np.array([0, 1, 2, 0, 1, 0, 1, 2, 3]),
    n_items=4,
    timestamp=100 * np.array([1, 2, 3, 1, 2, 1, 2, 3, 4]),
)


def tags_of(rows: list[tuple[int, int, str, int]], **options: Any) -> TagEvents:
    columns = zip(*rows, strict=True)
    names = ("userId", "movieId", "tag", "timestamp")
    return TagEvents.of(pa.table(dict(zip(names, map(list, columns), strict=True))), VOCABULARY, **options)


def rows_of(tags: TagEvents) -> set[tuple[str, int, int, int]]:
    columns = (tags.user_idx.tolist(), tags.item_idx.tolist(), tags.timestamp.tolist())
    return set(zip([tags.names[t] for t in tags.tag_idx], *columns, strict=True))


def test_spellings_of_a_tag_are_one_tag() -> None:
    assert normalise(" Sci-Fi\u00a0 EPIC\t") == "sci-fi epic"
    assert normalise("ﬁlm") == "film"
    assert normalise("e\u0301lan") == normalise("Élan")
    assert normalise("  ") == ""


def test_a_table_of_tags_is_read() -> None:
    rows = [
        (1, 10, "Dark", 150),
        (1, 10, " dark ", 120),  # repeated: the first time counts
        (2, 10, "DARK", 100),
        (2, 20, "mine", 100),  # of a single user
        (9, 10, "dark", 100),  # unknown user
        (3, 99, "dark", 100),  # unknown film
        (3, 30, " ", 100),
        (1, 30, "", 100),
    ]
    assert rows_of(tags_of(rows)) == {("dark", 0, 0, 120), ("dark", 1, 0, 100)}
    assert tags_of(rows, min_users=1).names == ("dark", "mine")
    assert len(tags_of(rows, min_users=3)) == 0


def test_only_tags_on_the_given_events_are_visible() -> None:
    tags = tags_of([(1, 10, "x", 100), (1, 30, "x", 300), (1, 40, "x", 100), (2, 10, "x", 50)])
    assert rows_of(tags.known_from(EVENTS)) == {("x", 0, 0, 100), ("x", 0, 2, 300), ("x", 1, 0, 50)}
    # Without a user's last event, its tag and tags later than the event before are not visible.
    later = tags_of([(1, 10, "x", 201), (1, 20, "x", 200), (1, 30, "x", 150), (2, 10, "x", 50)])
    assert rows_of(later.known_from(EVENTS.first(np.array([2, 2, 4])))) == {("x", 0, 1, 200), ("x", 1, 0, 50)}
    assert len(later.known_from(EVENTS.first(np.zeros(3, dtype=np.int64)))) == 0


def test_without_times_visibility_depends_on_the_event_only() -> None:
    events = Interactions(EVENTS.user_offsets, EVENTS.item_idx, 4)
    tags = tags_of([(1, 10, "x", 9999), (1, 40, "x", 1), (2, 10, "x", 50)])
    assert rows_of(tags.known_from(events)) == {("x", 0, 0, 9999), ("x", 1, 0, 50)}


COUNTED = [
    *((user, 10, "common", 100) for user in (1, 2, 3)),
    *((user, 20, "common", 100) for user in (1, 2)),
    (1, 30, "common", 100),
    *((user, 10, "apt", 100) for user in (1, 2)),
    (1, 20, "apt", 100),
    *((user, 20, "zany", 100) for user in (1, 3)),
    (3, 30, "zany", 100),
    (1, 40, "zany", 100),  # user 1 has no event on it
    *((user, 10, "narrow", 100) for user in (1, 2, 3)),
]


def listed(**options: Any) -> tuple[tuple[str, ...], list[list[str]]]:
    table = with_tags(ItemTable(4), tags_of(COUNTED, min_users=1), EVENTS, **{"min_items": 2, **options})
    return table.labels[TAG].names, [table.labels[TAG].of(i) for i in range(4)]


def test_tags_are_counted_by_hand() -> None:
    names, of_items = listed()
    assert names == ("common", "apt", "zany")  # by films: 3, 2, 2, and "narrow" has one
    assert of_items == [["common", "apt"], ["common", "zany", "apt"], ["common", "zany"], []]  # by users


def test_visibility_equals_a_set_of_pairs() -> None:
    rng = np.random.default_rng(3)
    lengths, n_items = rng.integers(0, 9, 40), 12
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    events = Interactions(offsets, rng.integers(0, n_items, offsets[-1]), n_items, timestamp=np.arange(offsets[-1]))
    user, item, time = rng.integers(0, 40, 300), rng.integers(0, n_items, 300), rng.integers(0, offsets[-1], 300)
    tags = TagEvents(("a",), user, item, np.zeros(300, dtype=np.int64), time)
    seen = {(u, i) for u in range(40) for i in events.item_idx[offsets[u] : offsets[u + 1]].tolist()}
    last = offsets[1:] - 1  # the time of an event is its place
    expected = [row for row in range(300) if (user[row], item[row]) in seen and time[row] <= last[user[row]]]
    assert 0 < len(expected) < 300
    found = tags.known_from(events)
    for name in ("user_idx", "item_idx", "timestamp"):
        assert np.array_equal(getattr(found, name), getattr(tags, name)[expected])


@pytest.mark.parametrize(
    ("options", "names", "second"),
    [
        ({"min_items": 3}, ("common",), ["common"]),
        ({"max_tags": 2}, ("common", "apt"), ["common", "apt"]),
        ({"max_per_item": 2}, ("common", "apt", "zany"), ["common", "zany"]),
        ({"min_users": 3}, ("common",), ["common"]),
        ({"min_items": 4}, (), []),
    ],
)
def test_every_limit_has_an_effect(options: dict[str, int], names: tuple[str, ...], second: list[str]) -> None:
    found, of_items = listed(**options)
    assert (found, of_items[1]) == (names, second)


def test_tags_of_a_single_user_are_dropped_even_if_frequent() -> None:
    notes = [(3, movie, "seen with anna", 100) for movie in (10, 20, 30, 40)]
    table = with_tags(ItemTable(4), tags_of([*COUNTED, *notes], min_users=1), EVENTS, min_items=2)
    assert "seen with anna" not in table.labels[TAG].names


def test_array_round_trip() -> None:
    tags = tags_of(COUNTED)
    again = TagEvents.from_arrays(tags.to_arrays())
    assert again.names == tags.names
    assert rows_of(again) == rows_of(tags)


# No leak: what is held out, and what is said of it, changes nothing -----------------------------------------


def world_of_tags() -> TagEvents:
    """Every user tags every film with one of two tags, at an early and at a late time."""
    events = world()
    rng = np.random.default_rng(3)
    user_idx = np.repeat(np.arange(events.n_users), N_ITEMS)
    item_idx = np.tile(np.arange(N_ITEMS), events.n_users)
    timestamp = events.timestamp.min() + rng.integers(-5, 150, len(user_idx)) * DAY
    return TagEvents(("a", "b"), user_idx, item_idx, rng.integers(0, 2, len(user_idx)), timestamp)


def tags_learnt(prepared: Prepared) -> dict[str, np.ndarray]:
    return prepared.training_data().items.labels[TAG].to_arrays()


def check_tags_depend_on_the_fit_split_only(protocol: SplitProtocol) -> None:
    tags = world_of_tags()
    before = replace(prepared_of(world(), protocol), tags=tags)
    held = before.split.interactions.lengths - before.split.fit_stop
    if held.sum() == 0:
        raise RuntimeError("this check looks at nothing")
    # Change the held-out films, ratings and times, and all tags outside the fit split.
    beyond = after(world(), before.split.fit_stop)
    if isinstance(protocol, GlobalTime):  # the start of validation follows from the events before the cut
        beyond = world().timestamp >= protocol.cut
    others = replace(prepared_of(changed(world(), beyond), protocol), tags=tags)
    fit = before.split.fit()
    pairs = set(zip(fit.user_idx.tolist(), fit.item_idx.tolist(), strict=True))
    last = {u: fit.timestamp[fit.user_offsets[u + 1] - 1] for u in range(fit.n_users) if fit.lengths[u]}
    whole = zip(tags.user_idx.tolist(), tags.item_idx.tolist(), tags.timestamp.tolist(), strict=True)
    known = np.array([(u, i) in pairs and t <= last[u] for u, i, t in whole])
    said = replace(before, tags=replace(tags, tag_idx=np.where(known, tags.tag_idx, 1 - tags.tag_idx)))
    if not 0 < known.sum() < len(known):
        raise RuntimeError("this check looks at nothing")
    expected = tags_learnt(before)
    for other in (others, said):
        for name, values in tags_learnt(other).items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)


PROTOCOLS = [LeaveLastN(2), GlobalTime(int(np.sort(world().timestamp)[450]))]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_tags_depend_on_the_fit_split_only(protocol: SplitProtocol) -> None:
    check_tags_depend_on_the_fit_split_only(protocol)


def every_tag_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TagEvents, "known_from", lambda tags, events: tags)


def tags_of_known_users_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TagEvents, "known_from", lambda tags, events: tags.select(events.lengths[tags.user_idx] > 0))


def tags_of_any_time_count(patch: pytest.MonkeyPatch) -> None:
    original = TagEvents.known_from
    patch.setattr(TagEvents, "known_from", lambda tags, events: original(tags, replace(events, timestamp=None)))


def tags_on_any_film_count(patch: pytest.MonkeyPatch) -> None:
    def leaky(tags: TagEvents, events: Interactions) -> TagEvents:
        last = np.array([events.timestamp[:stop][-1] if stop else 0 for stop in events.user_offsets[1:]])
        return tags.select(tags.timestamp <= last[tags.user_idx])

    patch.setattr(TagEvents, "known_from", leaky)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
@pytest.mark.parametrize(
    "plant",
    [
        every_tag_counts,
        tags_of_known_users_count,
        tags_of_any_time_count,
        tags_on_any_film_count,
    ],
)
def test_tags_from_beyond_the_fit_split_are_caught(
    plant: Plant, protocol: SplitProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_tags_depend_on_the_fit_split_only(protocol)


def test_a_refit_before_the_label_window_does_not_see_its_tags() -> None:
    prepared = replace(prepared_of(world(), LeaveLastN(1)), tags=tags_of_the_last_events())
    fit = prepared.split.fit()
    assert len(prepared.training_data().items.labels[TAG]) == 1
    assert len(prepared.training_data(fit.first(fit.lengths - 1)).items.labels[TAG]) == 0


def tags_of_the_last_events() -> TagEvents:
    """The first three users give the same tag to the last film of each one's fit split."""
    fit = prepared_of(world(), LeaveLastN(1)).split.fit()
    users = np.arange(3)
    last = fit.user_offsets[1:][:3] - 1
    return TagEvents(("a",), users, fit.item_idx[last], np.zeros(3, dtype=np.int64), fit.timestamp[last])
