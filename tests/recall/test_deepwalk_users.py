"""DeepWalk by users: the votes of the nearest users, against loops over the same vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recall.deepwalk import walk_sequences
from recall.deepwalk_users import DeepWalkUsers, DeepWalkUsersConfig
from recall.skipgram import train_skipgram
from reccore import DataError, Interactions, QueryBatch, RunOptions
from tests.helpers import training_data
from tests.recall.test_deepwalk import CHANGED, CONFIG, N_ITEMS, random_events

OPTIONS = {**CHANGED, "neighbours": 1}


def fitted(options: RunOptions, events: Interactions | None = None, **config: Any) -> DeepWalkUsers:
    return DeepWalkUsers({**CONFIG, **config}).fit(training_data(events or random_events()), options=options)


def votes(
    channel: DeepWalkUsers, events: Interactions, history: list[int], own: int, vectors: np.ndarray
) -> np.ndarray:
    """(N,) scores of one query, by loops."""
    weight = {}
    for age, item in enumerate(reversed(history)):
        if vectors[item].any():
            weight[item] = weight.get(item, 0.0) + 0.5 ** (age / channel.config.half_life)
    query = sum(w * vectors[item] for item, w in weight.items())
    cosine = []
    for user in range(events.n_users):
        vector = vectors[events.n_items + user]
        known = user != own and vector.any()
        length = np.linalg.norm(query) * np.linalg.norm(vector)
        cosine.append(float(query @ vector / length) if known else 0.0)
    scores = np.zeros(events.n_items)
    for user in sorted(range(events.n_users), key=lambda u: -cosine[u])[: channel.config.neighbours]:
        for item in {*events.item_idx[events.user_offsets[user] : events.user_offsets[user + 1]].tolist()}:
            scores[item] += max(cosine[user], 0.0)
    return scores


def test_scores_are_the_votes_of_the_nearest_users(options: RunOptions) -> None:
    events = random_events()
    channel = fitted(options, events, neighbours=4, half_life=2.0)
    vectors, _ = train_skipgram(walk_sequences(events, channel.config, options), channel.config, options.seed)
    histories, users = [[0, 3, 1], [2], [5, 18, 5]], [-1, 4, 7]
    found = channel.retrieve(QueryBatch.from_histories(histories, user_idx=users), N_ITEMS, exclude=None)
    for row, (history, own) in enumerate(zip(histories, users, strict=True)):
        wanted = votes(channel, events, history, own, vectors)
        wanted[history] = 0.0
        offered = found.item_idx[row][found.mask[row]]
        assert set(offered.tolist()) == set(np.flatnonzero(wanted).tolist())
        np.testing.assert_allclose(found.score[row][found.mask[row]], wanted[offered], rtol=1e-4)


def test_the_cosines_of_a_block_are_bounded_by_the_number_of_users(
    options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = random_events()
    channel = fitted(options, events)
    queries = events.queries()
    expected = channel.prepare(queries)
    blocks = []
    argpartition = np.argpartition

    def recorded(values: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        blocks.append(values.shape)
        return argpartition(values, *args, **kwargs)

    monkeypatch.setattr(np, "argpartition", recorded)
    monkeypatch.setattr("recall.base.SCORES_PER_CHUNK", 4 * events.n_users + 1)
    found = channel.prepare(queries)
    assert {shape[1] for shape in blocks} == {events.n_users}
    assert [shape[0] for shape in blocks] == [min(4, len(queries) - start) for start in range(0, len(queries), 4)]
    np.testing.assert_allclose(found.toarray(), expected.toarray(), atol=1e-6)


def test_own_row_does_not_vote(options: RunOptions) -> None:
    """The only user with films 3 and 4 gets them from nobody else."""
    events = Interactions(np.array([0, 3, 5, 7]), np.array([0, 3, 4, 0, 1, 0, 1]), 5)
    channel = fitted(options, events, epochs=30, learning_rate=0.1, subsample=0.0)
    known = channel.retrieve(QueryBatch.from_histories([[0]], user_idx=[0]), 5)
    anyone = channel.retrieve(QueryBatch.from_histories([[0]]), 5)
    assert not {3, 4} & set(known.item_idx[0].tolist())
    assert {3, 4} <= set(anyone.item_idx[0].tolist())


def test_histories_without_vectors_get_an_empty_row(options: RunOptions) -> None:
    found = fitted(options).retrieve(QueryBatch.from_histories([[], [18, 19], [-1], [18, 1]]), 3)
    assert found.counts.tolist() == [0, 0, 0, 3]


def test_without_events_there_is_nothing_to_learn_from(options: RunOptions) -> None:
    with pytest.raises(DataError, match="deepwalk_users needs at least one event"):
        fitted(options, Interactions(np.zeros(4, dtype=np.int64), np.zeros(0, dtype=np.int64), N_ITEMS))


def test_every_option_has_a_test_value() -> None:
    assert set(OPTIONS) == set(DeepWalkUsersConfig.model_fields)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_changes_the_answers(option: str, options: RunOptions) -> None:
    queries = random_events().queries()
    plain, changed = fitted(options), fitted(options, **{option: OPTIONS[option]})
    assert np.any(plain.retrieve(queries, 5).score != changed.retrieve(queries, 5).score)
