"""ItemCF with a popularity prior: the formula by hand, and its two ends, popularity and ItemCF."""

from __future__ import annotations

import numpy as np
import pytest

from recall.itemcf import ItemCF
from recall.itemcf_prior import ItemCFPrior
from recall.popularity import Popularity
from reccore import Interactions, QueryBatch, RunOptions, TrainingData
from tests.helpers import training_data

EVENTS = Interactions(
    # Items 0 and 1 are seen together twice, 0 and 2 once; item 0 has 3 events, 1 and 2 two each, 3 one, 4 none.
    user_offsets=np.array([0, 2, 4, 6, 8]),
    item_idx=np.array([0, 1, 0, 1, 0, 2, 2, 3]),
    n_items=5,
)


def test_scores_by_hand(options: RunOptions) -> None:
    config = {"user_damping": 0.0, "half_life": 1.0, "prior": 2.0, "pair_half_life": None}
    channel = ItemCFPrior(config).fit(training_data(EVENTS), options=options)
    offer = channel.retrieve(QueryBatch.from_histories([[3, 0]]), 5)
    similarity = {(0, 1): 2 / np.sqrt(3 * 2), (0, 2): 1 / np.sqrt(3 * 2), (3, 2): 1 / np.sqrt(1 * 2)}
    # Two events: λ = 2 / (2 + 2). The older film 3 weighs half as much as film 0.
    expected = {
        1: 0.5 * (1.0 * similarity[0, 1]) / 1.5 + 0.5 * 2 / 3,
        2: 0.5 * (1.0 * similarity[0, 2] + 0.5 * similarity[3, 2]) / 1.5 + 0.5 * 2 / 3,
        4: 0.0,
    }
    found = dict(zip(offer.item_idx[0].tolist(), offer.score[0].tolist(), strict=True))
    assert {item: found[item] for item in expected} == pytest.approx(expected, abs=1e-6)
    assert offer.item_idx[0].tolist() == [1, 2, 4, -1, -1]


def test_without_history_it_is_popularity(board: TrainingData, options: RunOptions) -> None:
    channel = ItemCFPrior().fit(board, options=options)
    nobody = QueryBatch.from_histories([[], [-1]])
    expected = Popularity().fit(board, options=options).retrieve(nobody, 24)
    np.testing.assert_array_equal(channel.retrieve(nobody, 24).item_idx, expected.item_idx)


def test_without_a_prior_it_ranks_as_itemcf(board: TrainingData, options: RunOptions) -> None:
    queries = board.interactions.queries()
    same = {"half_life": 4.0, "pair_half_life": None}
    channel = ItemCFPrior({"prior": 0.0, **same}).fit(board, options=options)
    expected = ItemCF(same).fit(board, options=options).retrieve(queries, 4)
    np.testing.assert_array_equal(channel.retrieve(queries, 4).item_idx, expected.item_idx)


def test_more_events_weaken_the_prior(board: TrainingData, options: RunOptions) -> None:
    """The score of popularity's share falls as n grows: λ = 1/11, 5/15."""
    channel = ItemCFPrior({"prior": 10.0}).fit(board, options=options)
    users = board.interactions.queries()
    for n in (1, 5):
        few = QueryBatch.from_histories([users.history_idx[users.history_offsets[0] :][:n].tolist()])
        weight = channel.prepare(few).toarray()[0, -1]
        assert weight == pytest.approx(10 / (n + 10))
