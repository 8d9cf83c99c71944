"""Chains of rerankers equal their steps applied one after another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reccore import Candidates, ConfigError, ItemTable, QueryBatch
from rerank import RERANKERS
from rerank.base import BaseReranker
from rerank.chain import Chain
from tests.rerank.lists import candidates_of, genre_table, vocabulary

N_ITEMS = 30
RNG = np.random.default_rng(0)
ITEMS = genre_table([RNG.permutation(5)[: RNG.integers(1, 4)].tolist() for _ in range(N_ITEMS)])
VECTORS = RNG.normal(size=(N_ITEMS, 4)).astype(np.float32)
QUERIES = QueryBatch.from_histories([RNG.integers(0, N_ITEMS, size=6).tolist() for _ in range(8)])
CALIBRATED = {"method": "calibrated", "trade_off": 0.2, "pool": 20}
MMR = {"method": "mmr", "trade_off": 0.3, "pool": 8, "relevance": "rank"}
RULES = {"method": "rules", "max_per_genre": 3}


def given() -> Candidates:
    return candidates_of(np.argsort(RNG.random((8, N_ITEMS)), axis=1).tolist())


def fitted(config: dict[str, object]) -> BaseReranker:
    options = {name: value for name, value in config.items() if name != "method"}
    return RERANKERS[str(config["method"])](options).fit(ITEMS, VECTORS, vocabulary(N_ITEMS))


def chain(*steps: dict[str, object]) -> Chain:
    return Chain({"steps": steps}).fit(ITEMS, VECTORS, vocabulary(N_ITEMS))


@pytest.mark.parametrize("steps", [(CALIBRATED, MMR), (MMR, CALIBRATED), (CALIBRATED, MMR, RULES), (MMR,)])
@pytest.mark.parametrize("k", [3, 12])
def test_equals_its_steps_one_after_another(steps: tuple[dict[str, object], ...], k: int) -> None:
    candidates = given()
    expected = candidates
    for step in steps[:-1]:
        expected = fitted(step).rerank(QUERIES, expected, N_ITEMS)
    expected = fitted(steps[-1]).rerank(QUERIES, expected, k)
    found = chain(*steps).rerank(QUERIES, candidates, k)
    np.testing.assert_array_equal(found.item_idx, expected.item_idx)
    np.testing.assert_allclose(found.score, expected.score)


def test_order_of_the_steps_counts_and_the_first_score_is_kept() -> None:
    candidates = given()
    one, other = (chain(*steps).rerank(QUERIES, candidates, 10) for steps in ((CALIBRATED, MMR), (MMR, CALIBRATED)))
    assert (one.item_idx != other.item_idx).any()
    for row in range(8):
        before = dict(zip(candidates.item_idx[row], candidates.score[row], strict=True))
        assert one.features["rank_score"][row].tolist() == [before[item] for item in one.item_idx[row]]


def test_needs_the_vectors_of_its_steps() -> None:
    by_genres = {"method": "dpp", "similarity": {"kind": "genres"}}
    assert chain(CALIBRATED, by_genres).vectors_of is None
    assert chain(CALIBRATED, MMR).vectors_of == "two_tower"
    assert chain(CALIBRATED, MMR).pool == 20
    other = {"method": "dpp", "similarity": {"channel": "mf"}}
    with pytest.raises(ConfigError, match="several channels: mf, two_tower"):
        Chain({"steps": [MMR, other]})
    with pytest.raises(ConfigError, match="channel 'two_tower' has none"):
        Chain({"steps": [CALIBRATED, MMR]}).fit(ITEMS, None, vocabulary(N_ITEMS))


def test_refuses_steps_that_do_not_fit() -> None:
    for config, message in (
        ({"steps": []}, "at least 1 item"),
        ({"steps": [{"trade_off": 0.3}]}, "method"),
        ({"steps": [{"method": "shuffle"}]}, "unknown rerank 'shuffle'"),
        ({"steps": [{"method": "mmr", "lambda": 1}]}, "lambda: no such option"),
        ({"steps": [{"method": "chain", "steps": [MMR]}]}, "cannot be a step of a chain"),
    ):
        with pytest.raises(ConfigError, match=message):
            Chain(config)
    unfitted = Chain({"steps": [CALIBRATED]})
    with pytest.raises(ConfigError, match="'calibrated' needs genres"):
        unfitted.fit(ItemTable(3), None, vocabulary(3))


def test_another_trade_off_is_that_of_every_step_that_has_one(tmp_path: Path) -> None:
    candidates, made = given(), chain(CALIBRATED, MMR, RULES)
    assert made.trade_off == 0.2
    changed = made.with_trade_off(0.9)
    expected = chain({**CALIBRATED, "trade_off": 0.9}, {**MMR, "trade_off": 0.9}, RULES)
    assert changed.config == expected.config
    found = changed.rerank(QUERIES, candidates, 10)
    np.testing.assert_array_equal(found.item_idx, expected.rerank(QUERIES, candidates, 10).item_idx)
    assert (found.item_idx != made.rerank(QUERIES, candidates, 10).item_idx).any()  # the original stays
    changed.save(tmp_path / "chain")
    again = Chain.load(tmp_path / "chain").rerank(QUERIES, candidates, 10)
    np.testing.assert_array_equal(again.item_idx, found.item_idx)
    with pytest.raises(ConfigError, match="no step of the chain has a trade_off"):
        chain(RULES).with_trade_off(0.5)
