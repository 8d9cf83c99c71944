"""Popularity against counts and weights computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recall.popularity import Popularity
from reccore import ConfigError, DataError, Exclusions, Interactions, QueryBatch, RunOptions, top_k
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
