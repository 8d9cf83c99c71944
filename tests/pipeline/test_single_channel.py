"""Lists of single channels, and the films that they hold for similar, against the channels themselves."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import Pipeline
from pipeline.single_channel import channel_answer, channels_with_similarities, similar_films
from reccore import ConfigError, DataError
from tests.pipeline.small import movie_id, user_id


@pytest.mark.parametrize("name", ["itemcf", "mf", "two_tower", "popularity"])
def test_the_list_of_one_channel(pipeline: Pipeline, name: str) -> None:
    request, unknown = pipeline.request(user=user_id(3), k=40)
    answer = channel_answer(pipeline, name, request, unknown)
    expected = pipeline.source(name).channel.retrieve(request.queries, 40)
    n = int(expected.counts[0])
    movies = pipeline.vocabulary.items.decode(expected.item_idx[0, :n]).tolist()
    assert [film.movie_id for film in answer.items] == movies
    assert [film.channels for film in answer.items] == [{name: rank} for rank in range(1, n + 1)]
    scores = [film.scores[f"recall.{name}"] for film in answer.items]
    np.testing.assert_allclose(scores, expected.score[0, :n])
    assert answer.history == pipeline.recommend(user=user_id(3), k=1).history
    assert [record.name for record in answer.trace.stages] == [name]


def test_a_channel_that_is_not_there(pipeline: Pipeline) -> None:
    with pytest.raises(ConfigError, match="no channel 'svd'; it has popularity, itemcf, mf, two_tower"):
        channel_answer(pipeline, "svd", pipeline.request(user=user_id(3))[0])
    with pytest.raises(ConfigError, match="no channel 'svd'"):
        similar_films(pipeline, movie_id(3), "svd", 5)


@pytest.mark.parametrize("name", ["mf", "two_tower"])
def test_similar_by_the_cosine_of_item_vectors(pipeline: Pipeline, name: str) -> None:
    item = int(pipeline.vocabulary.items.encode(movie_id(3)))
    vectors = pipeline.source(name).channel.encode_items().astype(np.float64)  # type: ignore[attr-defined]
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit[item]
    cosine[[item, *np.flatnonzero(~vectors.any(axis=1))]] = -np.inf
    found = similar_films(pipeline, movie_id(3), name, 6)
    assert [film.similarity for film in found] == pytest.approx(np.sort(cosine)[::-1][:6], abs=1e-5)
    assert movie_id(3) not in [film.movie_id for film in found]


def test_similar_by_the_row_of_the_matrix(pipeline: Pipeline) -> None:
    item = int(pipeline.vocabulary.items.encode(movie_id(3)))
    row = pipeline.source("itemcf").channel.similarity[item].toarray()[0]  # type: ignore[attr-defined]
    found = similar_films(pipeline, movie_id(3), "itemcf", 50)
    known = pipeline.vocabulary.items.decode(np.flatnonzero(row)).tolist()
    assert {film.movie_id for film in found} == set(known) - {movie_id(3)}
    by_id = dict(zip(pipeline.vocabulary.items.ids.tolist(), row.tolist(), strict=True))
    assert [film.similarity for film in found] == pytest.approx([by_id[film.movie_id] for film in found])
    assert found == tuple(sorted(found, key=lambda film: -film.similarity))


def test_a_channel_that_compares_no_films(pipeline: Pipeline) -> None:
    assert channels_with_similarities(pipeline) == ("itemcf", "mf", "two_tower")
    with pytest.raises(ConfigError, match=r"'popularity' compares users or counts, .*: itemcf, mf, two_tower"):
        similar_films(pipeline, movie_id(3), "popularity", 5)
    with pytest.raises(DataError, match="movie 6 is not in the catalogue"):
        similar_films(pipeline, 6, "mf", 5)
