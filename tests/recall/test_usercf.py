"""UserCF against its formula in dense NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from recall.usercf import UserCF, UserCFConfig
from reccore import Candidates, ConfigError, Exclusions, Interactions, QueryBatch, RunOptions
from reccore.arrays import offsets_from_lengths
from tests.helpers import training_data

N_ITEMS = 15


def events_of(*histories: list[int], n_items: int = N_ITEMS) -> Interactions:
    lengths = np.array([len(history) for history in histories])
    return Interactions(offsets_from_lengths(lengths), np.concatenate(histories).astype(np.int64), n_items)


def random_histories(seed: int = 0, n_users: int = 30) -> list[list[int]]:
    """Histories of 0 to 11 events with repeated films; the last film has no event."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, N_ITEMS - 1, rng.integers(0, 12)).tolist() for _ in range(n_users)]


def fitted(events: Interactions, options: RunOptions, **config: Any) -> UserCF:
    return UserCF(config).fit(training_data(events), options=options)


def all_scores(channel: UserCF, queries: QueryBatch) -> np.ndarray:
    """(B, N), 0 where an item has no score."""
    every = np.tile(np.arange(N_ITEMS), (len(queries), 1))
    return np.nan_to_num(channel.score(queries, Candidates(every, np.zeros(every.shape, dtype=np.float32))))


def latest_of_each(history: list[int]) -> list[int]:
    return [film for at, film in enumerate(history) if film not in history[at + 1 :]]


def by_formula(
    histories: list[list[int]], query: list[int], own: int, config: UserCFConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities (U,) and scores (N,) of one query."""
    users = [latest_of_each(history) for history in histories]
    counts = np.bincount(np.concatenate(users).astype(int), minlength=N_ITEMS)
    weight = np.log1p(len(users) / np.maximum(counts, 1)) ** config.item_damping
    mine = np.zeros(N_ITEMS)
    for age, film in reversed(list(enumerate(reversed(query)))):  # of repeated films the latest event counts
        mine[film] = weight[film] * (1.0 if config.half_life is None else 2.0 ** (-age / config.half_life))
    theirs = np.zeros((len(users), N_ITEMS))
    for user, films in enumerate(users):
        theirs[user, films] = weight[films]
    similarity = cosine_similarity(mine[None, :], theirs)[0]
    if own >= 0:
        similarity[own] = 0.0
    scores = np.zeros(N_ITEMS)
    for user in np.argsort(-similarity, kind="stable")[: config.neighbours]:
        if similarity[user] > 0:
            anchor = next(users[user].index(film) for film in reversed(query) if film in users[user])
            for at, film in enumerate(users[user]):
                decay = 1.0 if config.vote_half_life is None else 2.0 ** (-abs(at - anchor) / config.vote_half_life)
                scores[film] += similarity[user] * decay
    return similarity, scores


@pytest.mark.parametrize("neighbours", [1, 5, 100])
@pytest.mark.parametrize(
    ("damping", "half_life", "vote_half_life"), [(0.0, None, None), (1.0, 3.0, None), (2.0, None, 2.0), (0.5, 1.0, 5.0)]
)
def test_scores_are_the_formula(
    neighbours: int, damping: float, half_life: float | None, vote_half_life: float | None, options: RunOptions
) -> None:
    histories = random_histories()
    config = UserCFConfig(
        neighbours=neighbours, item_damping=damping, half_life=half_life, vote_half_life=vote_half_life
    )
    channel = fitted(events_of(*histories), options, **config.model_dump())
    for own in (-1, 4):
        queries = QueryBatch.from_histories(histories, user_idx=[own] * len(histories))
        found = all_scores(channel, queries)
        for row, query in enumerate(histories):
            similarity, expected = by_formula(histories, query, own, config)
            best = np.sort(similarity)[::-1]
            if neighbours < len(best) and best[neighbours - 1] - best[neighbours] < 1e-9:
                continue  # which of two equal neighbours votes rests on rounding
            np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-7)


def test_by_hand(options: RunOptions) -> None:
    # The query shares one of its two films with user 0 (of two), none with user 1, both with user 2 (of three).
    events = events_of([0, 2], [3, 4], [0, 1, 5])
    channel = fitted(events, options, item_damping=0, half_life=None, vote_half_life=None)
    found = channel.retrieve(QueryBatch.from_histories([[0, 1]]), 5)
    assert found.item_idx[0].tolist() == [5, 2, -1, -1, -1]
    np.testing.assert_allclose(found.score[0, :2], [2 / np.sqrt(6), 1 / 2], rtol=1e-6)
    # The latest shared film is 0, two events before 5 and one before 2.
    near = fitted(events, options, item_damping=0, half_life=None, vote_half_life=1.0)
    found = near.retrieve(QueryBatch.from_histories([[1, 0]]), 2)
    assert found.item_idx[0].tolist() == [2, 5]
    np.testing.assert_allclose(found.score[0], [1 / 4, 2 / np.sqrt(6) / 4], rtol=1e-6)


def test_of_equal_neighbours_the_lower_user_votes(options: RunOptions) -> None:
    channel = fitted(events_of([7], [0, 3], [0, 2], [0, 1]), options, neighbours=2)
    found = channel.retrieve(QueryBatch.from_histories([[0]]), 5)
    assert found.item_idx[0, :3].tolist() == [2, 3, -1]


def test_the_own_row_never_votes(options: RunOptions) -> None:
    # The query is a prefix of user 0's history: user 0's row would vote for film 2, which came after it.
    channel = fitted(events_of([0, 1, 2], [1, 3]), options)
    known = channel.retrieve(QueryBatch.from_histories([[0, 1]], user_idx=[0]), 4)
    unknown = channel.retrieve(QueryBatch.from_histories([[0, 1]], user_idx=[-1]), 4)
    assert known.item_idx[0].tolist() == [3, -1, -1, -1]
    assert set(unknown.item_idx[0, :2].tolist()) == {2, 3}


def test_events_after_the_fit_split_are_used(options: RunOptions) -> None:
    channel = fitted(events_of([0], [1, 3], [2, 4]), options)
    found = channel.retrieve(QueryBatch.from_histories([[0, 2]], user_idx=[0]), 3)
    assert found.item_idx[0].tolist() == [4, -1, -1]


@pytest.mark.parametrize("histories", [[[0, 1, 2]], [[], [3]], [[1], [2]]])
def test_a_query_like_nobody_gets_an_empty_row(histories: list[list[int]], options: RunOptions) -> None:
    channel = fitted(events_of(*histories), options)
    queries = QueryBatch.from_histories([[9], []], user_idx=[-1, 0])
    assert channel.retrieve(queries, 4).counts.tolist() == [0, 0]


def test_one_user_has_no_neighbour_but_is_one(options: RunOptions) -> None:
    channel = fitted(events_of([0, 1, 2]), options)
    queries = QueryBatch.from_histories([[0, 1, 2], [0]], user_idx=[0, -1])
    found = channel.retrieve(queries, 4, exclude=Exclusions.nothing(2))
    assert found.counts.tolist() == [0, 3]


CHANGED = {"neighbours": 2, "item_damping": 0.0, "half_life": None, "vote_half_life": None}


def test_every_option_has_a_test_value() -> None:
    assert set(CHANGED) == set(UserCFConfig.model_fields)


@pytest.mark.parametrize("option", CHANGED)
def test_every_option_changes_the_answers(option: str, options: RunOptions) -> None:
    events = events_of(*random_histories(3))
    plain, changed = fitted(events, options), fitted(events, options, **{option: CHANGED[option]})
    assert np.any(plain.retrieve(events.queries(), 8).score != changed.retrieve(events.queries(), 8).score)


@pytest.mark.parametrize("option", ["neighbours", "half_life", "vote_half_life"])
def test_zero_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        UserCF({option: 0})


@pytest.mark.parametrize("half_life", [1e-300, 1e300])
def test_extreme_half_lives(half_life: float, options: RunOptions) -> None:
    channel = fitted(events_of(*random_histories(4)), options, half_life=half_life, vote_half_life=half_life)
    found = channel.retrieve(QueryBatch.from_histories([[0, 1, 2] * 1000]), 5)
    found.validate()
