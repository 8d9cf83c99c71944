"""Films that a request must include."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import ItemFilter, Pipeline
from pipeline.explain import explain
from pipeline.fates import Passage
from reccore import DataError
from tests.pipeline.small import CLUSTERS, PIPELINE, changed, movie_id, user_id

USER = user_id(3)
K = 5


def shown(pipeline: Pipeline, **asked: object) -> list[int]:
    return [item.movie_id for item in pipeline.recommend(**{"user": USER, "k": K, **asked}).items]  # type: ignore[arg-type]


def far_away(pipeline: Pipeline, n: int = 1) -> list[int]:
    """Films that no channel offers to the user."""
    passage = Passage.of_request(pipeline, pipeline.request(user=USER, k=K)[0])
    offered = np.concatenate([offer.item_idx[0] for offer in passage.request.offers.values()])
    others = np.setdiff1d(np.arange(pipeline.items.n_items), np.append(offered, passage.request.queries.history_idx))
    assert len(others) >= n
    return [int(raw) for raw in pipeline.vocabulary.items.decode(others[:n])]


def test_a_film_that_no_channel_offers_takes_the_lowest_place(pipeline: Pipeline) -> None:
    plain = shown(pipeline)
    (film,) = far_away(pipeline)
    answer = pipeline.recommend(user=USER, k=K, must_include=[film])
    assert [item.movie_id for item in answer.items] == [*plain[:4], film]
    last = answer.items[-1]
    assert last.channels == {}
    assert last.places["merge"] == PIPELINE["candidates"] + 1
    assert "rank" in last.scores
    assert "final" not in last.scores


def test_it_has_the_features_of_every_hydrator(pipeline: Pipeline) -> None:
    (film,) = far_away(pipeline)
    request, _ = pipeline.request(user=USER, k=K, must_include=[film])
    to_rank = Passage.of_request(pipeline, request).to_rank
    assert to_rank is not None
    to_rank.validate()
    item = int(pipeline.vocabulary.items.encode(film))
    column = to_rank.item_idx[0].tolist().index(item)
    for name, values in to_rank.features.items():
        offered_only = name.startswith(("recall_score.", "recall_rank."))
        assert np.isfinite(values[0, column]) != offered_only, name
    # The rest of the candidates are as they were.
    plain = Passage.of_request(pipeline, pipeline.request(user=USER, k=K)[0]).to_rank
    assert plain is not None
    np.testing.assert_array_equal(to_rank.item_idx[0, :-1], plain.item_idx[0])
    for name, values in plain.features.items():
        np.testing.assert_array_equal(to_rank.features[name][0, :-1], values[0], err_msg=name)


def test_a_film_that_the_merge_cut_keeps_what_the_channels_said(pipeline: Pipeline) -> None:
    few = changed(pipeline, candidates=10)
    whole = Passage.of_request(pipeline, pipeline.request(user=USER, k=K)[0]).merged
    item = int(whole.item_idx[0, 20])
    request, _ = few.request(user=USER, k=K, must_include=[few.vocabulary.items.raw_id(item)])
    merged = Passage.of_request(few, request).merged
    assert merged.item_idx[0, 10:].tolist() == [item]
    assert merged.score[0, 10] == whole.score[0, 20]
    for name, values in whole.features.items():
        np.testing.assert_array_equal(merged.features[name][0, 10], values[0, 20], err_msg=name)


def test_a_chosen_film_keeps_its_place(pipeline: Pipeline) -> None:
    plain = pipeline.recommend(user=USER, k=K).items
    again = pipeline.recommend(user=USER, k=K, must_include=[plain[1].movie_id, plain[1].movie_id]).items
    assert again == plain


def test_several_films_of_different_origin(pipeline: Pipeline) -> None:
    """A chosen one, one that is ranked too low, a seen one, and one that no channel offers."""
    longer, seen = shown(pipeline, k=12), int(pipeline.recommend(user=USER).history[2])
    (far,) = far_away(pipeline)
    wanted = [far, seen, longer[11], longer[0]]
    answer = pipeline.recommend(user=USER, k=K, must_include=wanted)
    found = [item.movie_id for item in answer.items]
    assert len(found) == len(set(found)) == K
    assert set(wanted) <= set(found)
    assert found[0] in (longer[0], seen)  # the channels may offer a seen film that must be included
    candidates, _ = pipeline.run_request(pipeline.request(user=USER, k=K, must_include=wanted)[0])
    candidates.validate()
    assert (np.diff(candidates.score[0]) <= 0).all()


def test_it_passes_the_request_s_filter(pipeline: Pipeline) -> None:
    plain = pipeline.recommend(user=USER, k=K).items[0]
    genre = next(genre for genre in CLUSTERS if genre not in plain.genres)
    found = shown(pipeline, filters=ItemFilter(genres=(genre,)), must_include=[plain.movie_id])
    assert plain.movie_id in found
    assert len(found) == K
    assert all(CLUSTERS[(m - 5) // 7 % 4] == genre for m in found if m != plain.movie_id)


@pytest.mark.parametrize(
    "settings", [{"rerank": None}, {"rerank": {"method": "rules"}}, {"ranker": None, "rerank": None}]
)
def test_with_every_selector(pipeline: Pipeline, settings: dict) -> None:
    other = changed(pipeline, **settings)
    (film,) = far_away(other)
    assert shown(other, must_include=[film]) == [*shown(other)[:4], film]


def test_a_film_that_rules_block_is_shown_all_the_same(pipeline: Pipeline) -> None:
    film = shown(pipeline)[0]
    blocking = changed(pipeline, rerank={"method": "rules", "block": [film]})
    assert film not in shown(blocking)
    assert shown(blocking, must_include=[film]) == [*shown(blocking)[:4], film]


def test_a_short_list_grows(pipeline: Pipeline) -> None:
    films = far_away(pipeline, 2)
    nothing = ItemFilter(genres=("Action",), not_genres=("Short",))
    assert shown(pipeline, filters=nothing) == []
    assert sorted(shown(pipeline, filters=nothing, must_include=films)) == sorted(films)


def test_what_explanations_say(pipeline: Pipeline) -> None:
    (film,) = far_away(pipeline)
    plain = shown(pipeline)
    found = explain(pipeline, film, user=USER, k=K, must_include=[film])
    assert (found.fate, found.place) == ("recommended", K)
    assert found.why.startswith(f"the request must include it, which gives it place {K} of the list (place ")
    assert not any(channel.offered for channel in found.channels)
    pushed = explain(pipeline, plain[-1], user=USER, k=K, must_include=[film])
    assert pushed.fate == "displaced"
    assert pushed.why == f"it was chosen for place {K} of {K}, which goes to a film that the request must include"
    assert explain(pipeline, plain[-1], user=USER, k=K).fate == "recommended"
    kept = explain(pipeline, plain[0], user=USER, k=K, must_include=[plain[0]])
    assert kept.why == explain(pipeline, plain[0], user=USER, k=K).why


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"must_include": [998]}, "movie 998 of must_include is not in the catalogue"),
        ({"must_include": [movie_id(3)], "exclude": [movie_id(3)]}, f"movie {movie_id(3)} is in must_include and in"),
        ({"must_include": [movie_id(m) for m in range(K + 1)]}, "must_include has 6 films and the list only 5"),
        ({"must_include": ["x"]}, "must_include must hold whole numbers"),
    ],
)
def test_errors(pipeline: Pipeline, asked: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        shown(pipeline, **asked)
