"""Hand-computed statistics of the notebooks."""

from __future__ import annotations

import numpy as np
import pytest

from dataprep.protocols import LeaveLastN
from evaluation.evaluate import evaluate_candidates
from evaluation.exploration import (
    active_days,
    genres_by_decade,
    metric_by_band,
    overlaps,
    popularity_bands,
    rarest_genre,
    share_carried,
    waiting_times,
)
from evaluation.significance import Interval
from reccore import Candidates, DataError, Holdout, Interactions, ItemTable, QueryBatch


def offer(*rows: list[int]) -> Candidates:
    item_idx = np.array(rows, dtype=np.int64)
    score = np.where(item_idx >= 0, -np.arange(item_idx.shape[1], dtype=np.float32), -np.inf)
    return Candidates(item_idx, score.astype(np.float32))


def table(genres: list[list[int]], years: list[int] | None) -> ItemTable:
    return ItemTable(
        n_items=len(genres),
        year=None if years is None else np.array(years, dtype=np.int64),
        genre_names=("Drama", "Horror", "War"),
        genre_offsets=np.cumsum([0, *map(len, genres)]).astype(np.int64),
        genre_idx=np.array([g for row in genres for g in row], dtype=np.int64),
    )


def test_bands_cut_the_seen_items_by_rank() -> None:
    counts = np.array([5, 0, 9, 9, 1, 2, 3, 0, 4, 6, 7, 8])  # ten seen items
    bands = popularity_bands(counts, ends=(0.1, 0.3, 1.0))
    assert bands.names == ("top 10%", "10% to 30%", "30% to 100%", "never seen")
    # By rank: 2 and 3 tie at nine events and the lower index comes first, then 11, 10, 9, 0, 8, 6, 5, 4.
    assert bands.of_item.tolist() == [2, 3, 0, 1, 2, 2, 2, 3, 2, 2, 2, 1]
    shares = bands.shares(np.array([2, 2, 3, 1, -1]))
    assert list(shares.values()) == pytest.approx([0.4, 0.2, 0.0, 0.4])
    with pytest.raises(DataError, match="no items"):
        bands.shares(np.empty(0, dtype=np.int64))


def test_share_carried_counts_the_head() -> None:
    assert share_carried(np.array([1, 6, 3, 0]), 0.5) == 1
    assert share_carried(np.array([1, 6, 3, 0]), 0.9) == 2
    assert share_carried(np.array([1, 6, 3, 0]), 1.0) == 3
    assert share_carried(np.zeros(3, dtype=np.int64)) == 0


def test_genres_by_decade() -> None:
    items = table([[0], [0, 1], [1], [], [0], [2]], [1990, 1999, 1995, 1991, 2000, 0])
    found = genres_by_decade(items, at_least=1)
    assert found is not None
    shares, genres, decades = found
    assert genres == ["Drama", "Horror", "War"]
    # The film without genres and the film without a year are left out.
    assert decades == ["1990s\n(3)", "2000s\n(1)"]
    np.testing.assert_allclose(shares, [[2 / 3, 1.0], [2 / 3, 0.0], [0.0, 0.0]])
    assert genres_by_decade(items, at_least=4) is None
    assert genres_by_decade(table([[0]], None)) is None
    assert genres_by_decade(ItemTable(n_items=1, year=np.array([1990]))) is None


def test_the_rarest_genre_is_the_rarest() -> None:
    assert rarest_genre(table([[0], [0, 1], [], [0, 1, 2]], None)).tolist() == [0, 1, -1, 2]
    assert rarest_genre(ItemTable(n_items=2)).tolist() == [-1, -1]


def test_waiting_times_and_active_days() -> None:
    times = np.array([0, 10, 25, 0, 86_400, 86_400, 7])
    users = np.array([0, 0, 0, 1, 1, 1, 2])
    events = Interactions.from_events(users, np.arange(7), n_users=4, n_items=7, timestamp=times)
    split = LeaveLastN(1).split(events)
    waited, days = waiting_times(split), active_days(split)
    assert waited is not None
    assert days is not None
    assert waited.tolist() == [15, 0]  # user 2 has too few events for a test target
    np.testing.assert_allclose(days, [25 / 86_400, 1.0, 0.0])
    bare = LeaveLastN(1).split(Interactions.from_events(users, np.arange(7), n_users=4, n_items=7))
    assert waiting_times(bare) is None
    assert active_days(bare) is None


def test_metric_by_band_averages_over_the_users_of_each_band() -> None:
    counts = np.array([9, 1, 0])
    holdout = Holdout.single(QueryBatch.from_histories([[]] * 5), np.array([0, 0, 1, 1, 2]))
    evaluation = evaluate_candidates("x", offer([0], [1], [1], [1], [1]), holdout, item_counts=counts, ks=(1,))
    bands = popularity_bands(counts, ends=(0.5, 1.0))
    found = metric_by_band(evaluation, holdout, bands, "hit_rate@1", at_least=2)
    assert {name: interval.mean for name, interval in found.items()} == {"top 50%\n(2)": 0.5, "50% to 100%\n(2)": 1.0}


def test_intervals_of_bands_draw_users() -> None:
    counts = np.array([9, 0])
    hits = [0, 1, 1, 0, 1, 0]

    def found(times: int) -> Interval:
        queries = QueryBatch.from_histories([[]] * 6 * times, user_idx=np.repeat(np.arange(6), times))
        holdout = Holdout.single(queries, np.zeros(6 * times, dtype=np.int64))
        lists = offer(*([1 - hit] for hit in hits for _ in range(times)))
        evaluation = evaluate_candidates("x", lists, holdout, item_counts=counts, ks=(1,))
        (band,) = metric_by_band(evaluation, holdout, popularity_bands(counts), "hit_rate@1", at_least=2).values()
        return band

    assert vars(found(3)) == pytest.approx(vars(found(1)))


def test_overlaps_by_hand() -> None:
    offers = {"a": offer([1, 2, 3], [4, 5, 6]), "b": offer([2, 9, 1], [-1, -1, -1]), "c": offer([-1] * 3, [-1] * 3)}
    # Of a's first films {1, 2} b also offers {2}; of {4, 5} none.
    np.testing.assert_allclose(overlaps(offers, 2)[:2], [[1.0, 0.25, 0.0], [0.5, 1.0, 0.0]])
    assert np.isnan(overlaps(offers, 2)[2]).all()
    np.testing.assert_allclose(overlaps(offers, 3)[0, 1], 1 / 3)  # (2/3 + 0/3) / 2
