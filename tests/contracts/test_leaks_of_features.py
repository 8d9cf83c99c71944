"""No feature of ranking knows an event from after its query's history, nor the label that it helps to predict.

How a check and its planted leaks belong together: ``tests/contracts/leaks.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from dataprep.prepare import Prepared
from dataprep.protocols import LeaveLastN
from pipeline import samples as sampling
from pipeline.label_window import LabelWindow
from ranking.config import LIKE, LIKED_FROM
from ranking.features import (
    FEATURES,
    FeatureBatch,
    FeatureEncoder,
    FeatureTables,
    Fitted,
    affinity,
    feature,
    windows,
    with_windows,
)
from reccore import Candidates, Exclusions, Holdout, Interactions, ItemTable, Labels, RankingSamples
from reccore.arrays import FloatArray, IntArray
from reccore.samples import CLICK
from tests.contracts.leaks import (
    DAY,
    N_ITEMS,
    QUIET,
    Plant,
    after,
    changed,
    everything_is_fit,
    positions,
    prepared_of,
    sensible,
    statistics_of_everything,
    world,
)

CHANNELS = ("itemcf", "mf")
PLANTED = "test.leak"
START = sampling.label_window(prepared_of(world(), LeaveLastN(1)), max_queries=None, options=QUIET).start
"""(U,) events of each user before the window, found before any leak is planted."""
START_OF_EARLIER = sampling.label_window(
    prepared_of(world(), LeaveLastN(1)), label_windows=2, max_queries=None, options=QUIET
).earlier_starts[0]
"""The same before the window that lies before it."""


def with_all_columns(prepared: Prepared) -> Prepared:
    """The same data with every column that a feature may require."""
    rng = np.random.default_rng(11)

    def columns(n: int) -> dict[str, Any]:
        directors = Labels(("a", "b", "c"), np.arange(n + 1), rng.integers(0, 3, n))
        numbers = rng.random(n).astype(np.float32)
        vectors = rng.random((n, 2)).astype(np.float32)
        return {"labels": {"director": directors}, "numbers": {"price": numbers}, "vectors": {"plot": vectors}}

    items, users = prepared.items, prepared.users
    items = replace(items, **columns(items.n_items), own=frozenset(["plot"]))
    items = replace(items, numbers={**items.numbers, "own": items.numbers["price"]}, own=items.own | {"own"})
    genre_offsets, genre_idx = np.arange(0, 2 * N_ITEMS + 1, 2), np.argsort(rng.random((N_ITEMS, 6)), axis=1)[:, :2]
    genres = {"genre_names": tuple("ABCDEF"), "genre_offsets": genre_offsets, "genre_idx": genre_idx.ravel()}
    titles = np.array([f"Film {item % 13} : part" for item in range(items.n_items)], dtype=object)
    return replace(
        prepared, items=replace(items, title=titles, **genres), users=replace(users, **columns(users.n_users))
    )


def checked() -> set[str]:
    """All features, without those that other tests declare."""
    return {
        name
        for name, declared in FEATURES.items()
        if declared.compute.__module__.startswith("ranking.") or name == PLANTED
    }


def samples_of(prepared: Prepared, n_windows: int = 1, task: str = CLICK) -> RankingSamples:
    """All label events of the windows with the labels that a ranker of the task is trained with.

    Every item is a candidate, in an order that depends on nothing.
    """
    window = sampling.label_window(prepared, label_windows=n_windows, max_queries=None, options=QUIET)
    item_idx = np.tile(np.arange(N_ITEMS), (len(window.holdout), 1))
    score = np.tile(-np.arange(N_ITEMS, dtype=np.float32), (len(window.holdout), 1))
    columns = ("recall_score.", "recall_rank.", "match.")
    features = {f"{prefix}{channel}": 1 - score for prefix in columns for channel in CHANNELS}
    candidates = Candidates(item_idx, score, features)
    labels = {
        each: sampling.labels_of_task(each, candidates, window.holdout, window.later, LIKED_FROM)[0]
        for each in sampling.with_clicks([task])
    }
    earlier = tuple(catalogue_before(prepared, start) for start in window.earlier_starts)
    return RankingSamples(window.holdout.queries, candidates, labels, window=window.window, earlier_items=earlier)


def catalogue_before(prepared: Prepared, start: IntArray) -> ItemTable:
    """The items as known by the first events of each user."""
    return prepared.training_data(prepared.split.interactions.first(start)).items


def values_of_first_labels(prepared: Prepared, n_windows: int = 1, task: str = CLICK) -> dict[str, np.ndarray]:
    """Every feature, as computed before standardisation, of items and of each user's first query of all windows."""
    window = sampling.label_window(prepared, label_windows=n_windows, max_queries=None, options=QUIET)
    samples = samples_of(prepared, n_windows, task)
    latest = FeatureEncoder.fit(samples, catalogue_before(prepared, window.start), prepared.users, features=["*"])
    *_, encoder = (latest, *with_windows(latest, samples).earlier)
    fields = [field for field in encoder.schema.fields if field.feature in checked() and not field.bucket_of]
    sensible({field.feature for field in fields} == checked())
    first = np.flatnonzero(samples.queries.lengths == window.starts[-1][samples.queries.user_idx])
    sensible(len(first) == prepared.users.n_users)
    batch = FeatureBatch(encoder.tables, samples.queries.select(first), samples.candidates.select(first))
    return {
        field.name: np.asarray(encoder._values(field, encoder.tables if field.side == "item" else batch))
        for field in fields
    }


def windows_of_other_items(start: IntArray = START) -> tuple[Prepared, Prepared]:
    """Two worlds that differ in films, ratings and times from each user's first label event on, ``start``.

    Films of the label windows are met nowhere else, in neither world.
    """
    events = world()
    window = after(events, start)
    place = positions(events)
    half = N_ITEMS // 2
    early = replace(events, item_idx=np.where(window, half + place % (half // 2), events.item_idx % half))
    late = replace(changed(early, window), item_idx=np.where(window, early.item_idx + half // 2, early.item_idx))
    both = tuple(with_all_columns(prepared_of(each, LeaveLastN(1))) for each in (early, late))
    return both[0], both[1]


def check_features_know_only_the_past(n_windows: int = 1, task: str = CLICK) -> None:
    start = START if n_windows == 1 else START_OF_EARLIER
    one, other = (values_of_first_labels(prepared, n_windows, task) for prepared in windows_of_other_items(start))
    leaking = [name for name, values in one.items() if not np.array_equal(other[name], values, equal_nan=True)]
    assert not leaking


@pytest.mark.parametrize("task", sampling.TASKS)
@pytest.mark.parametrize("n_windows", [1, 2])
def test_features_know_only_the_past(n_windows: int, task: str) -> None:
    check_features_know_only_the_past(n_windows, task)


def test_features_learn_the_same_whatever_the_task() -> None:
    prepared = with_all_columns(prepared_of(world(), LeaveLastN(1)))
    clicks, likes = (values_of_first_labels(prepared, task=task) for task in sampling.TASKS)
    different = [name for name, values in clicks.items() if not np.array_equal(likes[name], values, equal_nan=True)]
    assert not different


def test_every_value_is_seen_by_the_check() -> None:
    """What no event changes cannot show a leak: of all features of histories none is constant here."""
    values = values_of_first_labels(windows_of_other_items()[0])
    # Without the query's time the last event is at the query.
    constant = {name for name, found in values.items() if len(np.unique(found[~np.isnan(found)])) < 2}
    assert constant <= {"user.log_days_since_last"} | {name for name in values if name.endswith(".missing")}


@contextmanager
def declared(compute: Callable[[Any, Fitted], Any], **facts: Any) -> Iterator[None]:
    feature(PLANTED, **facts)(compute)
    try:
        yield
    finally:
        del FEATURES[PLANTED]


def events_of_all_histories(samples: RankingSamples, tables: FeatureTables, _: str) -> dict[str, np.ndarray]:
    """Later queries of the window hold the labels of earlier ones."""
    return {"count": np.bincount(samples.queries.history_idx, minlength=tables.items.n_items).astype(np.float32)}


def share_of_positives(samples: RankingSamples, tables: FeatureTables, _: str) -> dict[str, np.ndarray]:
    """Target encoding with the query's own label."""
    positive = samples.labels["click"] == 1.0
    return {"count": np.bincount(samples.candidates.item_idx[positive], minlength=tables.items.n_items)}


@pytest.mark.parametrize("fit", [events_of_all_histories, share_of_positives], ids=lambda fit: fit.__name__)
def test_a_feature_that_learns_from_labels_is_caught(fit: Callable[..., Any]) -> None:
    def compute(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
        return np.asarray(fitted.state["count"][batch.candidates.item_idx], dtype=np.float32)

    with declared(compute, side="pair", kind="number", fit=fit), pytest.raises(AssertionError, match=r"test\.leak"):
        check_features_know_only_the_past()


def test_a_feature_that_sees_the_time_of_the_label_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The query's time becomes that of its label event; a feature reads it."""
    monkeypatch.setattr(sampling, "label_window", partial(sampling.label_window, query_time=True))

    def compute(batch: FeatureBatch, _: Fitted) -> FloatArray:
        return (batch.queries.as_of / DAY).astype(np.float32)

    with declared(compute, side="query", kind="number"), pytest.raises(AssertionError, match=r"test\.leak"):
        check_features_know_only_the_past()


def earlier_windows_see_the_latest_table(patch: pytest.MonkeyPatch) -> None:
    """A film that becomes popular between two windows is popular in the earlier one already."""
    patch.setattr(windows, "_as_of", lambda _, __, encoder, ___: encoder)


def groups_count_every_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(affinity, "unlabelled_histories", lambda samples, n_items: samples.queries)


def the_window_is_fit(patch: pytest.MonkeyPatch) -> None:
    """Statistics of the items count the label window."""
    patch.setattr(Interactions, "first", lambda events, kept: events)


def histories_hold_their_target(patch: pytest.MonkeyPatch) -> None:
    original = sampling.label_window

    class Leaky(LabelWindow):
        def select(self, rows: IntArray) -> tuple[Holdout, Exclusions]:
            holdout, later = super().select(rows)
            longer = self.fit.queries(self.users[rows], self.stops[rows] + 1)
            return replace(holdout, queries=replace(longer, as_of=holdout.queries.as_of)), later

    def leaky(prepared: Prepared, **options: Any) -> LabelWindow:
        window = original(prepared, **options)
        return Leaky(**{**vars(window), "start": window.start + 1})

    patch.setattr(sampling, "label_window", leaky)


@pytest.mark.parametrize(
    "plant",
    [
        groups_count_every_event,
        the_window_is_fit,
        histories_hold_their_target,
        everything_is_fit,
        statistics_of_everything,
    ],
    ids=lambda plant: plant.__name__,
)
def test_the_future_in_histories_or_tables_is_caught(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_features_know_only_the_past()


def test_disliked_targets_in_features_of_likes_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RankingSamples, "chosen", property(lambda samples: samples.labels[LIKE] == 1.0))
    with pytest.raises(AssertionError, match=r"cross\.genre_lift"):
        check_features_know_only_the_past(task=LIKE)


@pytest.mark.parametrize(
    "plant",
    [earlier_windows_see_the_latest_table, groups_count_every_event, statistics_of_everything],
    ids=lambda plant: plant.__name__,
)
def test_the_later_window_in_features_of_the_earlier_one_is_caught(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_features_know_only_the_past(n_windows=2)
