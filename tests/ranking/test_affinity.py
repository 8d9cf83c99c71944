"""Affinity of users and groups to genres and directors, and franchises seen before, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ranking.features import FEATURES, FeatureBatch, FeatureEncoder, FeatureTables, Fitted
from ranking.features.affinity import unlabelled_histories
from reccore import Candidates, ConfigError, ItemTable, Labels, QueryBatch, RankingSamples, UserTable
from tests.ranking.samples import labelled

NAN = np.nan
# Action | Drama, War | nothing | Drama; films 0 and 1 are by a, film 2 by a and b, film 3 by no one known.
ITEMS = ItemTable(
    n_items=4,
    title=np.array(["Rocky", "Rocky II", "", "Drama"], dtype=object),
    genre_names=("Action", "Drama", "War"),
    genre_offsets=np.array([0, 1, 3, 3, 4]),
    genre_idx=np.array([0, 1, 2, 1]),
    labels={"director": Labels(("a", "b"), np.array([0, 1, 2, 4, 4]), np.array([0, 0, 0, 1]))},
)
USERS = UserTable(4, {"gender": np.array([0, 0, 1, -1])}, {"gender": ("F", "M")})


def values(queries: QueryBatch, item_idx: list[list[int]], name: str, fitted: Fitted | None = None) -> np.ndarray:
    scores = np.where(np.array(item_idx) >= 0, 0.0, -np.inf).astype(np.float32)
    batch = FeatureBatch(FeatureTables(ITEMS, USERS), queries, Candidates(np.array(item_idx), scores))
    return np.asarray(FEATURES[name].compute(batch, fitted or Fitted()))


def samples_of(histories: list[list[int]], users: list[int], answers: list[int]) -> RankingSamples:
    """Queries whose candidates are all films and whose users chose ``answers``."""
    queries = QueryBatch.from_histories(histories, user_idx=users)
    return labelled(queries, np.tile(np.arange(4), (len(users), 1)), np.array(answers))


def test_rating_of_the_genres() -> None:
    queries = QueryBatch.from_histories([[0, 1, 3], [0, 1, 3], [2], []], ratings=[[5, 3, 1], [5, NAN, 3], [4], []])
    found = values(queries, [[0, 1, 2, -1]] * 4, "cross.genre_rating")
    # Deviations from the mean 3: Action +2 in one event, Drama 0 and −2 in two, War 0; each with 5 events more.
    first = [2 / 6, (-2 / 7 + 0) / 2, NAN, NAN]
    # From the mean 4, without the unrated film: Action +1, Drama −1 in one event each.
    second = [1 / 6, (-1 / 6 + 0) / 2, NAN, NAN]
    np.testing.assert_allclose(found, [first, second, [0, 0, NAN, NAN], [0, 0, NAN, NAN]], rtol=1e-6)


def test_lift_of_the_genres_over_their_usual_share() -> None:
    queries = QueryBatch.from_histories([[0, 0, 0, 3], []])
    usual = np.array([0.5, 0.4, 0.1], dtype=np.float32)
    found = values(queries, [[0, 1, 2], [0, 1, -1]], "cross.genre_lift", Fitted(state={"usual": usual}))
    action, drama, war = ((n + 10 * p) / 14 / p for n, p in ((3, 0.5), (1, 0.4), (0, 0.1)))
    expected = [[np.log(action), (np.log(drama) + np.log(war)) / 2, NAN], [0, 0, NAN]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_what_groups_and_all_users_watch() -> None:
    # Users 0 and 1 are F, 2 is M, 3 unknown. User 0's film 3 is the answer to the earlier query, so it does not count.
    samples = samples_of([[0], [0, 3], [0, 3], [1], [0]], users=[0, 0, 1, 2, 3], answers=[3, 1, 1, 0, 1])
    encoder = FeatureEncoder.fit(samples, ITEMS, USERS, features=["cross.genre_lift", "cross.group_genre_lift.gender"])
    # Labels: Action 1 + 1 + 1, Drama 1 + 1, War 1, and one more each.
    usual = np.array([4, 3, 2]) / 9
    np.testing.assert_allclose(encoder.state["cross.genre_lift"]["usual"], usual, rtol=1e-6)
    counts = np.array([[2, 1, 0], [0, 1, 1]])
    shares = (counts + 100 * usual) / (counts.sum(axis=1, keepdims=True) + 100)
    lift = encoder.state["cross.group_genre_lift.gender"]["lift"]
    np.testing.assert_allclose(lift, [[0, 0, 0], *np.log(shares / usual)], rtol=1e-4, atol=1e-7)
    queries = QueryBatch.from_histories([[], [], []], user_idx=[1, 2, -1])
    fitted = Fitted("gender", {"lift": lift})
    found = values(queries, [[0, 1, 2]] * 3, "cross.group_genre_lift.{category}", fitted)
    expected = [[row[0], (row[1] + row[2]) / 2, NAN] for row in (lift[1], lift[2], lift[0])]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_groups_learn_from_the_longest_history_of_each_known_user_without_answers() -> None:
    histories = [[2], [2, 0], [2, 0, 1], [1, 3], [3]]
    samples = samples_of(histories, users=[5, 5, 5, -1, 1], answers=[0, 1, 3, 0, 0])
    found = unlabelled_histories(samples, n_items=4)
    assert found.user_idx.tolist() == [1, 5]
    assert found.history_offsets.tolist() == [0, 1, 2]
    assert found.history_idx.tolist() == [3, 2]
    likes = replace(samples, labels={"like": np.zeros((5, 4), dtype=np.float32), "click": samples.labels["click"]})
    assert unlabelled_histories(likes, n_items=4).history_idx.tolist() == [3, 2]  # nothing was liked
    with pytest.raises(ConfigError, match="the samples have labels of like; those of 'click' must be there too"):
        unlabelled_histories(replace(samples, labels={"like": samples.labels["like"]}), n_items=4)
    unknown = samples_of([[1]], users=[-1], answers=[0])
    assert len(unlabelled_histories(unknown, n_items=4)) == 0


def test_rating_and_number_of_the_directors_films() -> None:
    ratings = [[5, 4, 0], [4, NAN], []]
    queries = QueryBatch.from_histories([[0, 2, 3], [1, 2], []], ratings=ratings)
    item_idx = [[1, 2, 3, -1]] * 3
    # From the mean 3: a has +2 and +1, b +1. From the mean 4, one film rated: a 0.
    expected = [[3 / 4, 4 / 5, NAN, NAN], [0, 0, NAN, NAN], [0, 0, NAN, NAN]]
    np.testing.assert_allclose(values(queries, item_idx, "cross.director_rating"), expected)
    seen = np.log1p([[2, 3, NAN, NAN], [2, 3, NAN, NAN], [0, 0, NAN, NAN]])
    np.testing.assert_allclose(values(queries, item_idx, "cross.director_seen"), seen)


def test_films_of_the_franchise_in_the_history() -> None:
    samples = samples_of([[0]], users=[0], answers=[1])
    encoder = FeatureEncoder.fit(samples, ITEMS, USERS, features=["cross.franchise_seen"])
    state = encoder.state["cross.franchise_seen"]
    assert state["franchise"].tolist() == [1, 1, 0, 0]  # an empty title, and one that no other film shares
    queries = QueryBatch.from_histories([[0, 1, 3], [0], []])
    found = values(queries, [[1, 0, 3, -1]] * 3, "cross.franchise_seen", Fitted(state=state))
    np.testing.assert_allclose(found, np.log1p([[2, 2, 0, NAN], [1, 1, 0, NAN], [0, 0, 0, NAN]]), rtol=1e-6)
