"""Features of the query from its history's ratings and times, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ranking.features import FEATURES, FeatureBatch, FeatureTables, Fitted
from reccore import Candidates, ItemTable, QueryBatch, UserTable

NAN = np.nan
DAY, HOUR = 86_400, 3_600


def values(queries: QueryBatch, name: str) -> np.ndarray:
    batch = FeatureBatch(FeatureTables(ItemTable(4), UserTable(0)), queries, Candidates.empty(len(queries), 1))
    return np.asarray(FEATURES[name].compute(batch, Fitted()))


def rated(*rows: list[float]) -> QueryBatch:
    return QueryBatch.from_histories([[0] * len(row) for row in rows], ratings=rows)


def timed(*rows: list[int], as_of: list[int] | None = None) -> QueryBatch:
    return QueryBatch.from_histories([[0] * len(row) for row in rows], times=rows, as_of=as_of)


def test_mean_variance_and_count_of_ratings() -> None:
    queries = rated([1, 2, 6], [NAN, 4, NAN], [], [NAN])
    np.testing.assert_allclose(values(queries, "user.mean_rating"), [3, 4, NAN, NAN])
    np.testing.assert_allclose(values(queries, "user.rating_variance"), [(4 + 1 + 9) / 3, 0, NAN, NAN])
    np.testing.assert_allclose(values(queries, "user.log_rating_count"), np.log([4, 2, 1, 1]))


def test_recency_is_counted_from_the_query() -> None:
    histories = ([0, 5 * DAY], [5 * DAY], [], [5 * DAY], [5 * DAY])
    queries = timed(*histories, as_of=[6 * DAY, 5 * DAY, 6 * DAY, 4 * DAY, -1])
    expected = [np.log(2), 0, NAN, 0, NAN]  # a query before the last event is as one at it; -1 is no known time
    np.testing.assert_allclose(values(queries, "user.log_days_since_last"), expected)
    assert values(timed([0, 5 * DAY]), "user.log_days_since_last") == [0]  # by default at the last event


def test_gap_between_the_last_two_events() -> None:
    queries = timed([0, 5 * DAY, 8 * DAY], [7 * DAY, 7 * DAY], [3], [])
    np.testing.assert_allclose(values(queries, "user.log_last_gap"), [np.log(4), 0, NAN, NAN], rtol=1e-6)


def test_pace_is_events_a_day_over_the_latest_twenty() -> None:
    every_hour = [HOUR * n for n in range(30)]
    after_years = [0, *(1000 * DAY + 2 * DAY * n for n in range(20))]
    queries = timed([0, 4 * DAY, 8 * DAY], every_hour, after_years, [5, 5, 5], [9], [])
    expected = [np.log(2 / 8), np.log(24), np.log(0.5), np.log(2 * 24), NAN, NAN]  # three at once: within an hour
    np.testing.assert_allclose(values(queries, "user.log_pace"), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["user.log_last_gap", "user.log_pace"])
def test_earlier_histories_of_the_batch_change_nothing(name: str) -> None:
    rows = ([1, DAY], [2, 3 * DAY, 4 * DAY], [7 * DAY], [])
    alone = [values(timed(row), name)[0] for row in rows]
    np.testing.assert_array_equal(values(timed(*rows), name), alone)
