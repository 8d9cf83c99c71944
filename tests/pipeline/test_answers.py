"""The places, scores and facts of recommended films."""

from __future__ import annotations

from pipeline import Pipeline
from pipeline.fates import Passage
from reccore import ItemTable
from tests.pipeline.small import changed, user_id, with_parts


def test_places_are_those_of_the_stages_orders(pipeline: Pipeline) -> None:
    passage = Passage.of_request(pipeline, pipeline.request(user=user_id(5), k=6)[0])
    ranked = passage.ranked
    assert ranked is not None
    for place, item in enumerate(pipeline.recommend(user=user_id(5), k=6).items, start=1):
        idx = int(pipeline.vocabulary.items.encode(item.movie_id))
        assert item.places == {
            "merge": passage.merged.item_idx[0].tolist().index(idx) + 1,
            "rank": ranked.item_idx[0].tolist().index(idx) + 1,
            "final": place,
        }


def test_without_a_ranker_there_is_no_place_of_one(pipeline: Pipeline) -> None:
    first = changed(pipeline, ranker=None).recommend(user=user_id(5), k=1).items[0]
    assert set(first.places) == {"merge", "final"}


def test_the_year_is_a_field_of_its_own(pipeline: Pipeline) -> None:
    first = pipeline.recommend(user=user_id(5), k=1).items[0]
    assert first.year == 1980 + (first.movie_id - 5) // 7 % 30
    assert f"({first.year})" in first.title
    bare = with_parts(pipeline, items=ItemTable(n_items=pipeline.items.n_items))
    assert bare.recommend(user=user_id(5), k=1).items[0].year is None
