"""Exploration: where it happens, whom it finds, how often, and that its draws are those of the request alone."""

from __future__ import annotations

import numpy as np
import pytest

from reccore import Candidates, ConfigError, ItemTable, QueryBatch
from rerank.explore import Explore
from tests.rerank.lists import candidates_of, vocabulary

N_ITEMS = 40
EVENTS = np.where(np.arange(N_ITEMS) < 20, 1000, np.arange(N_ITEMS) - 20).astype(np.float32)  # from 20 on: 0, 1, …, 19


def build(**config: object) -> Explore:
    items = ItemTable(N_ITEMS, statistics={"count": EVENTS})
    return Explore(config).fit(items, None, vocabulary(N_ITEMS))


def in_order(n: int) -> Candidates:
    """The popular films first."""
    return candidates_of([list(range(N_ITEMS))] * n)


def requests(n: int, start: int = 0) -> QueryBatch:
    """Different users without a history."""
    return QueryBatch.from_histories([[]] * n, user_idx=np.arange(start, start + n))


EPSILON = {"kind": "epsilon", "epsilon": 1.0, "rare_share": 0.5}


def test_only_the_named_places_are_explored_and_only_by_rare_films() -> None:
    found = build(places=(2, 5), policy=EPSILON).rerank(requests(200), in_order(200), 8).item_idx
    np.testing.assert_array_equal(found[:, [0, 2, 3, 5, 6, 7]], np.tile([0, 1, 2, 3, 4, 5], (200, 1)))
    assert (found[:, [1, 4]] >= 20).all()


def test_every_rare_film_is_drawn_equally_often() -> None:
    n = 8000
    drawn = build(places=(1,), policy=EPSILON).rerank(requests(n), in_order(n), 1).item_idx[:, 0]
    counts = np.bincount(drawn, minlength=N_ITEMS)[20:]
    expected = n / 20
    assert np.square(counts - expected).sum() / expected < 43.8  # chi-square with 19 degrees, p = 0.001


def test_epsilon_is_the_share_of_explored_places() -> None:
    for epsilon in (0.0, 0.25, 1.0):
        policy = {"kind": "epsilon", "epsilon": epsilon, "rare_share": 0.5}
        found = build(places=(3, 4), policy=policy).rerank(requests(4000), in_order(4000), 4).item_idx
        assert (found[:, 2:] >= 20).mean() == pytest.approx(epsilon, abs=0.02)


def test_rare_share_and_pool_bound_whom_it_finds() -> None:
    rarest = build(places=(1,), policy={"epsilon": 1.0, "rare_share": 0.1}).rerank(requests(300), in_order(300), 1)
    assert set(rarest.item_idx[:, 0]) == {20, 21, 22, 23}
    near = build(places=(1,), policy=EPSILON, pool=22).rerank(requests(300), in_order(300), 1)
    assert set(near.item_idx[:, 0]) == {20, 21}
    nobody = build(places=(1,), policy=EPSILON, pool=20).rerank(requests(300), in_order(300), 3)
    assert (nobody.item_idx == [0, 1, 2]).all()


def test_draws_belong_to_seed_and_request() -> None:
    given, base = in_order(50), build(places=(1,), policy=EPSILON)
    first = base.rerank(requests(50), given, 1).item_idx
    np.testing.assert_array_equal(base.rerank(requests(50), given, 1).item_idx, first)
    changed = [
        build(places=(1,), policy=EPSILON, seed=1).rerank(requests(50), given, 1),
        base.rerank(requests(50, start=50), given, 1),
        base.rerank(QueryBatch.from_histories([[3]] * 50, user_idx=np.arange(50)), given, 1),
        base.rerank(QueryBatch.from_histories([[]] * 50, user_idx=np.arange(50), as_of=np.full(50, 9)), given, 1),
    ]
    for other in changed:
        assert (other.item_idx != first).mean() > 0.8
    # The same films in another order and a longer list of candidates get the same draws.
    backwards = candidates_of([list(range(N_ITEMS))[::-1]] * 50)
    np.testing.assert_array_equal(base.rerank(requests(50), backwards, 1).item_idx, first)


def test_thompson_prefers_films_with_few_events_and_keeps_the_mean_of_the_others() -> None:
    given = candidates_of([[5, 20]] * 4000, [[1.0, 0.0]] * 4000)  # a well-known film, and one without events
    policy = {"kind": "thompson", "scale": 1.0}
    found = build(places=(1,), policy=policy).rerank(requests(4000), given, 2).item_idx
    # Film 20 has the relevance 0 and deviation 1, film 5 1 and 1/√1001: P(z > 1) = .1587.
    assert (found[:, 0] == 20).mean() == pytest.approx(0.1587, abs=0.02)
    wide = build(places=(1,), policy={"kind": "thompson", "scale": 4.0}).rerank(requests(4000), given, 2).item_idx
    assert (wide[:, 0] == 20).mean() == pytest.approx(0.4013, abs=0.025)  # P(z > 1/4)
    calm = build(places=(2,), policy=policy).rerank(requests(50), given.select(slice(0, 50)), 2).item_idx
    assert (calm == [5, 20]).all()


def test_lists_contain_every_candidate_once() -> None:
    for policy in (EPSILON, {"kind": "thompson", "scale": 2.0}):
        found = build(places=(1, 2, 3, 7), policy=policy, pool=30).rerank(requests(60), in_order(60), N_ITEMS)
        found.validate()
        assert (np.sort(found.item_idx, axis=1) == np.arange(N_ITEMS)).all()
        assert (np.diff(found.score, axis=1) < 0).all()


def test_refuses_unknown_events_and_bad_options() -> None:
    with pytest.raises(ConfigError, match="'count'"):
        Explore().fit(ItemTable(3), None, vocabulary(3))
    for wrong in (
        {"places": ()},
        {"places": (0,)},
        {"policy": {"kind": "ucb"}},
        {"policy": {"kind": "thompson", "epsilon": 0.1}},
        {"policy": {"epsilon": 1.1}},
        {"seed": -1},
    ):
        with pytest.raises(ConfigError):
            Explore(wrong)
