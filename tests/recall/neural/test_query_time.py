"""Encoders that read the time of a query: its codes by hand, what they learn, and what others must not see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataprep.protocols import LeaveLastN
from dataprep.splits import Split
from evaluation.metrics import per_query_metrics
from recall.neural import query_time
from recall.neural.encoders.prefix import PrefixExamples
from recall.neural.query_time import GAP_CODES, QueryTime
from recall.neural.user_codes import UserCodes
from recall.two_tower import TwoTower
from reccore import DataError, Interactions, QueryBatch, RunOptions
from reccore.arrays import offsets_from_lengths
from tests.helpers import FIRST_DAY, nested, training_data

QUIET = RunOptions(seed=1, device="cpu", progress=False, threads=1)
DAY = 86_400
PERIODS, PER_PERIOD, N_USERS, LENGTH = 8, 10, 200, 8
TINY: dict[str, Any] = {
    "embedding_size": 16,
    "item__hidden_size": 16,
    "encoder__kind": "mlp",
    "encoder__hidden_size": 16,
    "encoder__history_length": 6,
    "batch_size": 128,
    "epochs": 10,
    "negatives__uniform": 32,
    "learning_rate": 0.03,
}


def fashions() -> Split:
    """Every film is watched in one of eight periods only, and when a user comes back is anybody's guess."""
    rng = np.random.default_rng(3)
    days = np.sort(rng.integers(0, 100 * PERIODS, (N_USERS, LENGTH)), axis=1)
    within = np.stack([rng.permutation(PER_PERIOD)[:LENGTH] for _ in range(N_USERS)])
    events = Interactions(
        user_offsets=offsets_from_lengths(np.full(N_USERS, LENGTH)),
        item_idx=(days // 100 * PER_PERIOD + within).ravel(),
        n_items=PERIODS * PER_PERIOD,
        rating=rng.integers(1, 6, N_USERS * LENGTH).astype(np.float32),
        timestamp=FIRST_DAY + DAY * days.ravel(),
    )
    return LeaveLastN(1).split(events)


def fitted(split: Split, **config: Any) -> TwoTower:
    channel = TwoTower(nested(TINY, config))
    valid = split.valid(query_time=channel.query_time)
    return channel.fit(training_data(split.fit()), valid=valid, options=QUIET)


@pytest.fixture(scope="module")
def split() -> Split:
    return fashions()


@pytest.fixture(scope="module", params=["mlp", "transformer"])
def encoder(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "mlp":
        return {}
    return {"encoder__kind": "transformer", "encoder__blocks": 1, "epochs": 6}


@pytest.fixture(scope="module")
def reader(split: Split, encoder: dict[str, Any]) -> TwoTower:
    return fitted(split, encoder__query_time=True, **encoder)


@pytest.fixture(scope="module")
def plain(split: Split, encoder: dict[str, Any]) -> TwoTower:
    return fitted(split, **encoder)


def at(queries: QueryBatch, as_of: int) -> QueryBatch:
    return replace(queries, as_of=np.full(len(queries), as_of))


def hit_rate(channel: TwoTower, split: Split, *, query_time: bool) -> float:
    test = split.test(query_time=query_time)
    return float(per_query_metrics(channel.retrieve(test.queries, 10), test, (10,))["hit_rate@10"].mean())


# Codes -----------------------------------------------------------------------------------------------------


def test_gaps_by_hand() -> None:
    encoder = QueryTime(np.array([], dtype=np.int64), 5000)
    gaps = np.array([0, 1, 2, 3, 4, 7, 8, 4095, 4096, 5000, 8192, 10**12, -60])
    latest = np.full(len(gaps), 100)
    # The second itself, then powers of two; the longest gap of training is the longest there is, and none is negative.
    assert encoder.codes(latest + gaps, latest)[:, 0].tolist() == [1, 2, 3, 3, 4, 4, 5, 13, 14, 14, 14, 14, 1]
    assert encoder.codes(np.array([50, -1]), np.array([-1, 50]))[:, 0].tolist() == [0, 0]  # nothing to count from
    endless = QueryTime(encoder.boundaries, np.iinfo(np.int64).max)
    assert endless.codes(np.array([2**62]), np.array([0]))[0, 0] == GAP_CODES - 1


def test_periods_by_hand() -> None:
    encoder = QueryTime(np.array([10, 20, 30]), 0)
    as_of = np.array([0, 9, 10, 19, 29, 30, 10**12, -1])
    # Before everything is the first span; after everything, and at no time, the last.
    assert encoder.codes(as_of, np.zeros(8, dtype=np.int64))[:, 1].tolist() == [0, 0, 1, 1, 2, 3, 3, 3]


def test_what_is_fitted(split: Split) -> None:
    fit = split.fit()
    encoder = QueryTime.of(fit)
    rows = np.split(fit.timestamp, fit.user_offsets[1:-1])
    assert encoder.longest_gap == max(int(np.diff(row).max()) for row in rows)
    spans = np.bincount(encoder.codes(fit.timestamp, fit.timestamp)[:, 1], minlength=query_time.PERIODS)
    assert len(encoder.boundaries) == query_time.PERIODS - 1
    assert spans.min() > 0.5 * fit.n_events / query_time.PERIODS
    assert spans.max() < 2 * fit.n_events / query_time.PERIODS
    with pytest.raises(DataError, match="query_time needs timestamps"):
        QueryTime.of(replace(fit, timestamp=None))


def test_an_example_reads_what_its_query_would(split: Split) -> None:
    """Every event of the fit split, asked as a query at its own time, in plain Python."""
    fit = split.fit()
    data = training_data(fit)
    codes = UserCodes(None, data.users, longest=9, query_time=QueryTime.of(fit))
    examples = PrefixExamples(fit, data.items, codes, 6, 128)
    events = np.random.default_rng(0).permutation(fit.n_events)
    found, _ = examples.batch(events)
    stops = events - fit.user_offsets[fit.user_idx[events]]
    queries = replace(fit.queries(fit.user_idx[events], stops), as_of=fit.timestamp[events])
    expected, _ = codes.of_queries(queries, data.items)
    np.testing.assert_array_equal(found.codes.numpy(), expected)
    assert found.codes.shape[1] == len(codes.sizes)
    assert (found.codes.numpy().max(axis=0) < codes.sizes).all()


# The channel -----------------------------------------------------------------------------------------------


def test_the_time_of_a_query_tells_what_is_in_fashion(reader: TwoTower, split: Split) -> None:
    queries = split.fit().queries(np.arange(N_USERS), np.full(N_USERS, 2))
    right = []
    for period in range(2, PERIODS):
        begin = FIRST_DAY + 100 * period * DAY
        earlier = queries.select(queries.as_of < begin)  # those who have not been there since the period began
        first = reader.retrieve(at(earlier, begin + 50 * DAY), 1).item_idx[:, 0]
        right.append(np.mean(first // PER_PERIOD == period))
    assert np.mean(right) > 0.6  # by chance 0.125


def test_knowing_the_time_predicts_better(reader: TwoTower, plain: TwoTower, split: Split) -> None:
    assert hit_rate(reader, split, query_time=True) > hit_rate(plain, split, query_time=False) + 0.1


def test_as_of_changes_what_readers_offer_and_nothing_else(reader: TwoTower, plain: TwoTower, split: Split) -> None:
    queries = split.test().queries
    early, late = at(queries, FIRST_DAY + 50 * DAY), at(queries, FIRST_DAY + 750 * DAY)
    np.testing.assert_array_equal(plain.encode_queries(early), plain.encode_queries(late))
    np.testing.assert_array_equal(plain.encode_queries(queries), plain.encode_queries(late))
    assert np.abs(reader.encode_queries(early) - reader.encode_queries(late)).max(axis=1).min() > 0.01
    assert (reader.query_time, plain.query_time) == (True, False)


def test_fitting_without_it_does_not_depend_on_when_validation_is_asked(plain: TwoTower, split: Split) -> None:
    told = TwoTower(plain.config.model_dump()).fit(
        training_data(split.fit()), valid=split.valid(query_time=True), options=QUIET
    )
    assert (told.log.loss, told.log.validation) == (plain.log.loss, plain.log.validation)


def test_long_after_training_is_the_end_of_it(reader: TwoTower, split: Split) -> None:
    queries = split.test().queries
    end = int(split.fit().timestamp.max())
    near = at(queries, max(end, int(queries.as_of.max())) + reader._codes.query_time.longest_gap)
    np.testing.assert_array_equal(reader.encode_queries(near), reader.encode_queries(at(queries, end + 10**9)))
    unknown = reader.encode_queries(at(queries, -1))
    assert np.isfinite(unknown).all()


def test_a_query_asked_before_its_latest_event_counts_as_asked_with_it(reader: TwoTower, split: Split) -> None:
    queries = split.test().queries
    latest = queries.history_time[queries.history_offsets[1:] - 1]
    codes = reader._codes.query_time
    early = codes.of_queries(replace(queries, as_of=latest - 10))
    np.testing.assert_array_equal(early[:, 0], 1)  # the same second: no gap is negative
    same_span = early[:, 1] == codes.of_queries(replace(queries, as_of=latest))[:, 1]
    assert same_span.mean() > 0.9
    one, other = (reader.encode_queries(replace(queries, as_of=when)) for when in (latest - 10, latest))
    np.testing.assert_array_equal(one[same_span], other[same_span])


def test_loaded_it_answers_the_same(reader: TwoTower, split: Split, tmp_path: Path) -> None:
    reader.save(tmp_path / "m")
    again = TwoTower.load(tmp_path / "m")
    queries = split.test(query_time=True).queries
    np.testing.assert_array_equal(again.encode_queries(queries), reader.encode_queries(queries))
    assert again.query_time


def test_it_needs_times(split: Split) -> None:
    without = training_data(replace(split.fit(), timestamp=None))
    with pytest.raises(DataError, match="query_time needs timestamps"):
        TwoTower(nested(TINY, encoder__query_time=True)).fit(without, options=QUIET)


# What must not be known without it -------------------------------------------------------------------------


def check_the_targets_time_is_not_known(channel: TwoTower, split: Split) -> None:
    """Other times of the targets, and of all that comes after: without query time no answer moves."""
    events = split.interactions
    late = np.concatenate([np.arange(LENGTH) >= stop for stop in split.valid_stop])
    other = replace(split, interactions=replace(events, timestamp=events.timestamp + 300 * DAY * late))
    one, two = split.test().queries, other.test().queries
    np.testing.assert_array_equal(one.as_of, two.as_of)
    np.testing.assert_array_equal(channel.encode_queries(one), channel.encode_queries(two))


def test_the_targets_time_is_not_known(reader: TwoTower, plain: TwoTower, split: Split) -> None:
    check_the_targets_time_is_not_known(reader, split)
    check_the_targets_time_is_not_known(plain, split)
    later = replace(split.interactions, timestamp=split.interactions.timestamp + 1)
    told = replace(split, interactions=later).test(query_time=True).queries.as_of
    np.testing.assert_array_equal(told, split.test(query_time=True).queries.as_of + 1)


def test_a_time_that_is_given_all_the_same_is_caught(
    reader: TwoTower, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Split._holdout
    monkeypatch.setattr(Split, "_holdout", lambda cut, start, stop, query_time: original(cut, start, stop, True))
    with pytest.raises(AssertionError):
        check_the_targets_time_is_not_known(reader, split)
