"""What diversity costs and gains, against the lists that recommend gives."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import pytest

from evaluation.beyond_accuracy import intra_list_diversity
from pipeline import Pipeline
from pipeline.trade_offs import TradeOff, genre_diversity, trade_offs
from reccore import DataError, ItemTable
from tests.pipeline.small import changed, user_id, with_parts

K = 6
GRID = [at / 10 for at in range(11)]


@pytest.fixture(scope="module")
def by_genres(pipeline: Pipeline) -> Pipeline:
    """With an MMR that compares genres, so that their diversity rises."""
    return changed(pipeline, rerank={"method": "mmr", "similarity": {"kind": "genres"}})


def curve(pipeline: Pipeline, user: int, diversities: list[float] = GRID, **asked: Any) -> list[TradeOff]:
    return trade_offs(pipeline, pipeline.request(user=user_id(user), k=K, **asked)[0], diversities)


@pytest.mark.parametrize("user", [0, 11, 35])
def test_each_point_is_the_list_that_recommend_gives(by_genres: Pipeline, user: int) -> None:
    points = curve(by_genres, user)
    assert [point.diversity for point in points] == GRID
    genres = by_genres.items.genre_matrix()
    for point in points:
        items = by_genres.recommend(user=user_id(user), k=K, diversity=point.diversity).items
        assert list(point.films) == [item.movie_id for item in items]
        shown = by_genres.vocabulary.items.encode(list(point.films))
        assert point.genre_diversity == pytest.approx(float(intra_list_diversity(shown[None], genres, K)[0]))


def test_relevance_by_hand(by_genres: Pipeline) -> None:
    every = by_genres.recommend(user=user_id(4), k=25, diversity=0.0).items
    scores = [item.scores["rank"] for item in every]
    assert scores == sorted(scores, reverse=True)
    gain = {item.movie_id: (item.scores["rank"] - scores[-1]) / (scores[0] - scores[-1]) for item in every}

    def discounted(films: list[Any]) -> float:
        return sum(gain[film] / np.log2(place + 1) for place, film in enumerate(films, start=1))

    best = discounted([item.movie_id for item in every[:K]])
    for point in curve(by_genres, 4):
        assert point.relevance == pytest.approx(discounted(list(point.films)) / best, rel=1e-5)


def test_relevance_falls_and_diversity_rises(by_genres: Pipeline) -> None:
    points = [curve(by_genres, user) for user in range(0, 60, 6)]
    relevance = np.array([[point.relevance for point in row] for row in points])
    diversity = np.array([[point.genre_diversity for point in row] for row in points], dtype=float)
    np.testing.assert_allclose(relevance[:, 0], 1.0)
    assert (relevance <= 1.0 + 1e-9).all()
    assert (np.diff(relevance.mean(axis=0)) <= 1e-9).all()
    assert diversity[:, -1].mean() > diversity[:, 0].mean() + 0.1


def test_candidates_are_found_and_scored_once(by_genres: Pipeline) -> None:
    asked = []
    scorer = copy(next(stage for stage in by_genres.stages if stage.role == "score"))
    original = scorer.score  # type: ignore[attr-defined]
    scorer.score = lambda *args: (asked.append(1), original(*args))[1]  # type: ignore[attr-defined]
    stages = [scorer if stage.role == "score" else stage for stage in by_genres.stages]
    assert len(curve(with_parts(by_genres, stages=stages), 3)) == len(GRID)
    assert len(asked) == 1


def test_films_that_must_be_included_are_in_every_list(by_genres: Pipeline) -> None:
    last = by_genres.recommend(user=user_id(7), k=25, diversity=0.0).items[-1].movie_id
    points = curve(by_genres, 7, must_include=[last])
    assert all(last in point.films and len(point.films) == K for point in points)
    assert points[0].relevance < 1.0


def test_without_what_is_needed(pipeline: Pipeline) -> None:
    with pytest.raises(DataError, match=r"diversity is from 0 to 1, got 1\.1"):
        curve(pipeline, 1, [0.5, 1.1])
    with pytest.raises(DataError, match="this pipeline has the reranker rules, which has no such trade-off"):
        curve(changed(pipeline, rerank={"method": "rules"}), 1)
    assert curve(pipeline, 1, []) == []


def test_genre_diversity_of_few_films() -> None:
    items = ItemTable(
        4,
        genre_names=("Drama", "War"),
        genre_offsets=np.array([0, 1, 2, 2, 4]),
        genre_idx=np.array([0, 1, 0, 1]),
    )
    assert genre_diversity(items, np.array([0, 1])) == pytest.approx(1.0)
    assert genre_diversity(items, np.array([0, 3])) == pytest.approx(1 - 2**-0.5)
    assert genre_diversity(items, np.array([0, 2])) is None
    assert genre_diversity(items, np.array([], dtype=np.int64)) is None
    assert genre_diversity(ItemTable(4), np.array([0, 1])) is None
