"""Popularity against counts and weights computed by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recall.popularity import Popularity
from reccore import Candidates, ConfigError, DataError, Exclusions, Interactions, QueryBatch, RunOptions, top_k
from tests.helpers import training_data

DAY = 86_400
# Film 0: three old events; 1: two recent ones; 2: one of the last day; 3: none.
EVENTS = Interactions(
    user_offsets=np.array([0, 3, 6]),
    item_idx=np.array([0, 0, 1, 0, 1, 2]),
    n_items=4,
    timestamp=DAY * np.array([0, 10, 90, 0, 90, 100]),
)


def fitted(events: Interactions, options: RunOptions, **config: Any) -> Popularity:
    return Popularity(config).fit(training_data(events), options=options)


def test_all_time(options: RunOptions) -> None:
    found = fitted(EVENTS, options).retrieve(QueryBatch.from_histories([[], [0], [3, 1]]), 3)
    assert found.item_idx.tolist() == [[0, 1, 2], [1, 2, 3], [0, 2, -1]]
    assert found.score[0].tolist() == [3.0, 2.0, 1.0]


def test_recent(options: RunOptions) -> None:
    channel = fitted(EVENTS, options, half_life_days=10)
    expected = [2 * 2.0**-10 + 2.0**-9, 2 * 2.0**-1, 1.0, 0.0]  # ages of 100, 90, 10 and 0 days
    np.testing.assert_allclose(channel.weight, expected, rtol=1e-6)
    found = channel.retrieve(QueryBatch.from_histories([[]]), 4)
    assert found.item_idx.tolist() == [[1, 2, 0, 3]]  # 1 and 2 have equal weights: ties by item index


def test_ages_are_measured_from_the_last_event_of_the_fit_split(options: RunOptions) -> None:
    later = Interactions(EVENTS.user_offsets, EVENTS.item_idx, 4, timestamp=EVENTS.timestamp + 1000 * DAY)
    config = {"half_life_days": 10}
    np.testing.assert_array_equal(fitted(later, options, **config).weight, fitted(EVENTS, options, **config).weight)


def test_half_life_needs_times(options: RunOptions) -> None:
    timeless = Interactions(EVENTS.user_offsets, EVENTS.item_idx, 4)
    with pytest.raises(DataError, match="half_life_days needs timestamps"):
        fitted(timeless, options, half_life_days=10)
    assert fitted(timeless, options).weight.tolist() == [3.0, 2.0, 1.0, 0.0]


@pytest.mark.parametrize("value", [0, -1, "soon", float("nan")])
def test_half_life_must_be_positive(value: object) -> None:
    with pytest.raises(ConfigError, match="half_life_days"):
        Popularity({"half_life_days": value})


@pytest.mark.parametrize("k", [1, 4, 30, 100])
def test_the_answer_is_the_top_of_the_dense_scores(options: RunOptions, k: int) -> None:
    rng = np.random.default_rng(0)
    items = rng.integers(0, 12, 400) ** 2 % 30  # many ties, many films without events
    channel = fitted(Interactions(np.array([0, 400]), items, 30), options)
    queries = QueryBatch.from_histories([rng.integers(0, 30, rng.integers(0, 60)).tolist() for _ in range(50)])
    scores = np.tile(channel.weight, (len(queries), 1))
    Exclusions.of_history(queries).mask_scores(scores)
    expected, found = top_k(scores, k), channel.retrieve(queries, k)
    np.testing.assert_array_equal(found.item_idx, expected.item_idx)
    np.testing.assert_array_equal(found.score, expected.score)


# Genres "Even" and "Odd" of tests.helpers: films 0 and 2 are even, 1 and 3 odd.
GENRE_OF_ITEM = np.array([0, 1, 0, 1])


def fitted_by_genre(options: RunOptions, half_life: float | None = None, **config: Any) -> Popularity:
    data = training_data(EVENTS, genre_of_item=GENRE_OF_ITEM)
    return Popularity({"genres": {"half_life": half_life}, **config}).fit(data, options=options)


def test_by_genre_lists_are_mixed_by_the_genres_of_the_history(options: RunOptions) -> None:
    channel = fitted_by_genre(options)
    # Events: film 0 has three, 1 two, 2 one, 3 none; so P(j|even) = (3/4, 0, 1/4, 0), P(j|odd) = (0, 1, 0, 0).
    even, odd = np.array([3 / 4, 0, 1 / 4, 0]), np.array([0.0, 1, 0, 0])
    overall = np.array([3, 2, 1, 0]) / 6
    queries = QueryBatch.from_histories([[0, 2, 3], [3], []])
    expected = [
        0.99 * (2 / 3 * even + 1 / 3 * odd) + 0.01 * overall,
        0.99 * odd + 0.01 * overall,
        overall,
    ]
    every_item = Candidates(np.tile(np.arange(4), (3, 1)), np.zeros((3, 4), dtype=np.float32))
    np.testing.assert_allclose(channel.score(queries, every_item), expected, rtol=1e-6)
    found = channel.retrieve(queries, 4)
    assert found.item_idx.tolist() == [[1, -1, -1, -1], [1, 0, 2, -1], [0, 1, 2, 3]]


def test_by_genre_later_events_count_more(options: RunOptions) -> None:
    channel = fitted_by_genre(options, half_life=1.0)
    shares = channel.prepare(QueryBatch.from_histories([[0, 2, 3]])).toarray()
    np.testing.assert_allclose(shares[0], [0.99 * 0.75 / 1.75, 0.99 / 1.75, 0.01], rtol=1e-6)


def test_by_genre_the_lists_can_be_recent(options: RunOptions) -> None:
    # Decayed events of the even films: 0 has 2·2^−10 + 2^−9, 2 has 1.
    recent, old = fitted_by_genre(options, half_life_days=10), fitted_by_genre(options)
    queries = QueryBatch.from_histories([[0]])
    pair = Candidates(np.array([[0, 2]]), np.zeros((1, 2), dtype=np.float32))
    found = recent.score(queries, pair)[0]
    np.testing.assert_allclose(found[1] / found[0], 256, rtol=1e-5)
    np.testing.assert_allclose(np.divide(*old.score(queries, pair)[0]), 3, rtol=1e-6)


def test_a_history_without_genres_gets_the_overall_list(options: RunOptions) -> None:
    data = training_data(EVENTS, genre_of_item=GENRE_OF_ITEM)
    items = replace(data.items, genre_offsets=np.array([0, 1, 1, 2, 3]), genre_idx=np.array([0, 0, 1]))
    channel = Popularity({"genres": {}}).fit(replace(data, items=items), options=options)
    found = channel.retrieve(QueryBatch.from_histories([[1], []]), 4, exclude=Exclusions.nothing(2))
    np.testing.assert_array_equal(found.score[0], found.score[1])


def test_by_genre_needs_genres(options: RunOptions) -> None:
    data = training_data(EVENTS)
    items = replace(data.items, genre_names=(), genre_offsets=None, genre_idx=None)
    with pytest.raises(DataError, match="needs items with genres"):
        Popularity({"genres": {}}).fit(replace(data, items=items), options=options)


def test_without_events_every_item_has_the_same_score(options: RunOptions) -> None:
    nothing = Interactions(np.array([0]), np.zeros(0, dtype=np.int64), 4)
    channel = Popularity({"genres": {}}).fit(training_data(nothing, genre_of_item=GENRE_OF_ITEM), options=options)
    found = channel.retrieve(QueryBatch.from_histories([[0], []]), 4)
    assert found.item_idx.tolist() == [[1, 2, 3, -1], [0, 1, 2, 3]]
    assert not found.score[found.mask].any()
