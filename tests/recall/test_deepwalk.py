"""DeepWalk: what it learns from, and its own options; the training and the scores are those of skip-gram."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recall.deepwalk import DeepWalk, DeepWalkConfig
from recall.graph.walks import bipartite_walks
from recall.skipgram import Sequences, train_skipgram
from reccore import DataError, Interactions, QueryBatch, RunOptions
from reccore.arrays import offsets_from_lengths
from tests.helpers import training_data

N_ITEMS = 20
UNSEEN = (18, 19)
CONFIG = {"embedding_size": 5, "epochs": 2, "walks": 3, "walk_length": 7}


def random_events(seed: int = 0, n_users: int = 30) -> Interactions:
    """Histories with repeated films; the last two films have no events."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, n_users)
    items = (rng.random(lengths.sum()) ** 2 * (N_ITEMS - len(UNSEEN))).astype(np.int64)
    return Interactions(offsets_from_lengths(lengths), items, N_ITEMS)


def fitted(options: RunOptions, events: Interactions | None = None, **config: Any) -> DeepWalk:
    return DeepWalk({**CONFIG, **config}).fit(training_data(events or random_events()), options=options)


def test_vectors_are_skip_gram_over_the_walks(options: RunOptions) -> None:
    events, channel = random_events(), fitted(options)
    walks = bipartite_walks(events, 3, 7, options.generator("shuffle"))
    sequences = Sequences(7 * np.arange(len(walks) + 1), walks.ravel(), N_ITEMS + events.n_users)
    inputs, outputs = train_skipgram(sequences, channel.config, options.seed)
    np.testing.assert_array_equal(channel.input_vectors, inputs[:N_ITEMS])
    np.testing.assert_array_equal(channel.encode_items(), outputs[:N_ITEMS])
    assert not channel.encode_items()[list(UNSEEN)].any()


def test_items_of_the_same_users_belong_together_although_never_neighbours_in_a_history(options: RunOptions) -> None:
    """Films 0–4 and 5–9 have users of their own; each user knows two films, so most pairs meet by walks alone."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(5)[:2] + 5 * (user % 2) for user in range(60)]
    events = Interactions(2 * np.arange(61), np.concatenate(rows), 10)
    channel = fitted(options, events, epochs=5, walks=10, learning_rate=0.1, subsample=0.0)
    found = channel.retrieve(QueryBatch.from_histories([[item] for item in range(10)]), 4)
    assert (found.item_idx // 5 == np.arange(10)[:, None] // 5).mean() > 0.9  # 4/9 by chance


def test_histories_without_vectors_get_an_empty_row(options: RunOptions) -> None:
    found = fitted(options).retrieve(QueryBatch.from_histories([[], [18, 19], [-1], [18, 1]]), 5)
    assert found.counts.tolist() == [0, 0, 0, 5]


def test_one_user(options: RunOptions) -> None:
    channel = fitted(options, Interactions(np.array([0, 3]), np.array([0, 1, 2]), 4))
    found = channel.retrieve(QueryBatch.from_histories([[0], [3]]), 4)
    assert [set(row) for row in found.item_idx.tolist()] == [{1, 2, -1}, {-1}]


def test_without_events_there_is_nothing_to_learn_from(options: RunOptions) -> None:
    with pytest.raises(DataError, match="deepwalk needs at least one event"):
        fitted(options, Interactions(np.zeros(4, dtype=np.int64), np.zeros(0, dtype=np.int64), N_ITEMS))


CHANGED = {
    "embedding_size": 4,
    "half_life": 1.0,
    "window": 1,
    "epochs": 1,
    "negative": 1,
    "ns_exponent": 1.0,
    "subsample": 0.0,
    "learning_rate": 0.2,
    "walks": 1,
    "walk_length": 4,
}


def test_every_option_has_a_test_value() -> None:
    assert {*CHANGED, "index"} == set(DeepWalkConfig.model_fields)


@pytest.mark.parametrize("option", CHANGED)
def test_every_option_changes_the_answers(option: str, options: RunOptions) -> None:
    queries = random_events().queries()
    plain, changed = fitted(options), fitted(options, **{option: CHANGED[option]})
    assert np.any(plain.retrieve(queries, 5).score != changed.retrieve(queries, 5).score)
