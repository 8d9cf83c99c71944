"""Wide & Deep against its formula, and on pairs of films that only a memorised cross can tell apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ranking.wide_deep import HashedCrosses, WideDeep, WideDeepConfig
from reccore import IdMap, ItemTable, RunOptions, UserTable, Vocabulary
from tests.ranking.networks import PLACES, outcome, reference
from tests.ranking.samples import board_setting
from tests.ranking.test_din import last_item_samples


def bucket_of(event: int, candidate: int, log2: int) -> int:
    """The hash in Python's integers."""
    multiplier, word = 0x9E3779B97F4A7C15, 2**64
    return (((candidate * multiplier + event) * multiplier) % word) >> (64 - log2)


def test_network_equals_the_formula() -> None:
    config = WideDeepConfig(embedding_size=3, hidden=(5,), dropout=0.0, cross_events=3, cross_buckets_log2=6)
    found = reference(WideDeep, config, history=3)
    for b, k in PLACES:
        candidate = int(found.inputs.item_row[b, k])
        events = [event for event in found.inputs.history[b].tolist() if event > 0]
        assert len(events) == 3
        crosses = sum(found.weights["crosses.table"][bucket_of(event, candidate, 6), 0] for event in events)
        assert found.logits[b, k] == pytest.approx(found.linear(b, k) + crosses + found.deep(b, k), rel=1e-9)


def test_crosses_spread_over_the_buckets_and_an_empty_slot_adds_nothing() -> None:
    crosses = HashedCrosses(10)
    items = torch.arange(1, 65)
    counts = torch.bincount(crosses.buckets(items[None], items[None]).flatten(), minlength=1024)
    assert counts.sum() == 64 * 64
    assert counts.max() <= 16  # 4 on average
    with torch.no_grad():
        crosses.table.fill_(1.0)
    assert crosses(torch.tensor([[5, 0, 0], [5, 6, 0]]), torch.tensor([[3, 4], [3, 4]])).tolist() == [[1, 1], [2, 2]]


def test_pairs_of_films_are_memorised() -> None:
    """Users choose the successor of their last film: a table of pairs alone can learn it."""
    train, valid = last_item_samples(600, 1), last_item_samples(150, 2)
    vocabulary = Vocabulary(IdMap(np.arange(1)), IdMap(np.arange(20)))
    tables: Any = {"items": ItemTable(20), "users": UserTable(1), "vocabulary": vocabulary}
    options = RunOptions(seed=0, device="cpu", progress=False, threads=1)
    config = {"epochs": 12, "learning_rate": 0.04, "batch_size": 32, "features": ["recall.*", "item.id"]}

    def hits(**changes: Any) -> float:
        scores = WideDeep({**config, **changes}).fit(train, options=options, **tables)
        best = scores.score(valid.queries, valid.candidates).argmax(axis=1)
        return float((valid.labels["click"][np.arange(len(best)), best] == 1.0).mean())

    assert hits(cross_events=1) > 0.7
    assert hits(cross_events=1, cross_buckets_log2=2) < 0.4  # 400 pairs share four weights


@pytest.mark.parametrize("change", [{"cross_events": 1}, {"cross_buckets_log2": 4}])
def test_its_options_change_the_outcome(change: dict[str, Any]) -> None:
    setting = board_setting()
    assert not np.allclose(outcome(WideDeep, setting), outcome(WideDeep, setting, **change), atol=1e-4)
