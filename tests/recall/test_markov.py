"""Markov against transitions counted by hand and one by one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import recall.markov
from recall.markov import Markov, MarkovConfig, transitions
from reccore import ConfigError, Interactions, QueryBatch, RunOptions
from reccore.arrays import offsets_from_lengths
from tests.helpers import training_data

N_ITEMS = 14


def events_of(*histories: list[int], n_items: int = N_ITEMS) -> Interactions:
    lengths = np.array([len(history) for history in histories])
    return Interactions(offsets_from_lengths(lengths), np.concatenate(histories).astype(np.int64), n_items)


def random_histories(seed: int = 0, n_users: int = 40) -> list[list[int]]:
    """Histories of 0 to 11 events with repeated films; the last film has no event."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, N_ITEMS - 1, rng.integers(0, 12)).tolist() for _ in range(n_users)]


def matrix(events: Interactions, **config: Any) -> np.ndarray:
    return transitions(events, MarkovConfig(**config)).toarray()


def counted(histories: list[list[int]], steps: int, source: float, target: float) -> np.ndarray:
    """The formula in plain Python."""
    n = Counter(item for history in histories for item in history)
    total = np.zeros((N_ITEMS, N_ITEMS))
    for history in histories:
        for a, one in enumerate(history):
            for s, other in enumerate(history[a + 1 : a + 1 + steps], start=1):
                if one != other:
                    total[one, other] += 1 / s * n[one] ** -source * n[other] ** -target
    return total


def test_by_hand() -> None:
    # 0 → 1 twice at one step and once at two; 1 → 2 at one step; 0 → 2 at two steps; never backwards.
    events = events_of([0, 1, 2], [0, 3, 1], [0, 1], [2])
    found = matrix(events, steps=2, source_damping=0, popularity_damping=0)
    expected = {(0, 1): 2.5, (0, 2): 0.5, (0, 3): 1.0, (1, 2): 1.0, (3, 1): 1.0}
    assert {(int(i), int(j)): float(found[i, j]) for i, j in zip(*np.nonzero(found), strict=True)} == expected
    damped = matrix(events, steps=2, source_damping=1, popularity_damping=0.5)
    np.testing.assert_allclose(damped[0, 1], 2.5 / 3 / np.sqrt(3), rtol=1e-6)  # films 0, 1 have three events each


@pytest.mark.parametrize("steps", [1, 3, 1000])
@pytest.mark.parametrize(("source", "target"), [(0.0, 0.0), (0.5, 0.3), (1.0, 2.0)])
def test_transitions_are_the_formula(steps: int, source: float, target: float) -> None:
    histories = random_histories()
    found = matrix(events_of(*histories), steps=steps, source_damping=source, popularity_damping=target)
    np.testing.assert_allclose(found, counted(histories, steps, source, target), rtol=1e-5)


def test_the_greatest_are_kept_ties_by_item_index() -> None:
    histories = random_histories(1)
    expected = counted(histories, 3, 0, 0).astype(np.float32)
    kept = transitions(
        events_of(*histories), MarkovConfig(neighbours=4, steps=3, source_damping=0, popularity_damping=0)
    )
    for item in range(N_ITEMS):
        best = [j for j in np.argsort(-expected[item], kind="stable")[:4] if expected[item, j] > 0]
        assert kept[item].indices.tolist() == sorted(best)


def test_the_size_of_the_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    events = events_of(*random_histories(2))
    whole = matrix(events)
    monkeypatch.setattr(recall.markov, "ITEMS_PER_BLOCK", 3)
    np.testing.assert_array_equal(matrix(events), whole)


def fitted(events: Interactions, options: RunOptions, **config: Any) -> Markov:
    return Markov(config).fit(training_data(events), options=options)


def test_the_history_is_read_in_its_order(options: RunOptions) -> None:
    channel = fitted(events_of([0, 1], [0, 1], [2, 3], [2, 3], n_items=5), options, half_life=1.0)
    found = channel.retrieve(QueryBatch.from_histories([[0, 2], [2, 0], [1], [4], []]), 5)
    assert [row[row >= 0].tolist() for row in found.item_idx] == [[3, 1], [1, 3], [], [], []]
    np.testing.assert_allclose(found.score[0, 0], 2 * found.score[0, 1])


@pytest.mark.parametrize("histories", [[[3]], [[3, 3, 3]], [[], [0]], [[0], [1], [2]]])
def test_without_transitions_nothing_is_offered(histories: list[list[int]], options: RunOptions) -> None:
    channel = fitted(events_of(*histories), options)
    assert channel.similarity.nnz == 0
    assert channel.retrieve(QueryBatch.from_histories([[0], [3]]), 4).counts.tolist() == [0, 0]


CHANGED = {"half_life": 9.0, "steps": 1, "popularity_damping": 2.0, "source_damping": 0.0, "neighbours": 2}


def test_every_option_has_a_test_value() -> None:
    assert set(CHANGED) == set(MarkovConfig.model_fields)


@pytest.mark.parametrize("option", CHANGED)
def test_every_option_changes_the_answers(option: str, options: RunOptions) -> None:
    events = events_of(*random_histories(3))
    plain, changed = fitted(events, options), fitted(events, options, **{option: CHANGED[option]})
    assert np.any(plain.retrieve(events.queries(), 8).score != changed.retrieve(events.queries(), 8).score)


@pytest.mark.parametrize("option", ["steps", "neighbours", "half_life"])
def test_zero_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        Markov({option: 0})
