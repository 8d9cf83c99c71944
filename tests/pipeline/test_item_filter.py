"""Filters of a request: alone, through the channels, and in explanations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline import ItemFilter, Pipeline
from pipeline.explain import explain
from pipeline.item_filter import Objection
from recall.embedding import EmbeddingRecall
from recall.index import INDEXES
from reccore import DataError, ItemTable
from tests.pipeline.small import CLUSTERS, N_MOVIES, movie_id, user_id, with_parts

TABLE = ItemTable(
    n_items=4,
    year=np.array([1990, 0, 1995, 2001]),
    genre_names=("Drama", "Film-Noir", "War"),
    genre_offsets=np.array([0, 1, 3, 3, 4]),
    genre_idx=np.array([0, 0, 2, 1]),
    statistics={"count": np.array([3, np.nan, 1, 9], dtype=np.float32)},
)
RARE = "Western"


def with_rare_genre(pipeline: Pipeline, n: int = 12) -> Pipeline:
    """The same components over a catalogue in which ``n`` films have the genre RARE alone."""
    items = pipeline.items
    chosen = np.linspace(0, items.n_items - 1, n).astype(int)
    names = (*items.genre_names, RARE)
    rows = [
        [len(names) - 1] if item in chosen else [names.index(g) for g in items.genres_of(item)]
        for item in range(items.n_items)
    ]
    table = replace(
        items,
        genre_names=names,
        genre_offsets=np.cumsum([0, *map(len, rows)]),
        genre_idx=np.array([genre for row in rows for genre in row]),
    )
    return with_parts(pipeline, items=table)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (ItemFilter(), [0, 1, 2, 3]),
        (ItemFilter(genres=("Drama",)), [0, 1]),
        (ItemFilter(genres=("war", "FILM-NOIR")), [1, 3]),
        (ItemFilter(not_genres=("Drama",)), [2, 3]),
        (ItemFilter(genres=("Drama",), not_genres=("War",)), [0]),
        (ItemFilter(genres=("Drama",), not_genres=("Drama",)), []),
        (ItemFilter(year_from=1995), [2, 3]),
        (ItemFilter(year_to=1995), [0, 2]),
        (ItemFilter(year_from=1990, year_to=1990), [0]),
        (ItemFilter(min_ratings=2), [0, 3]),
        (ItemFilter(min_ratings=0), [0, 1, 2, 3]),
        (ItemFilter(year_from=1900, min_ratings=3, genres=("Film-Noir",)), [3]),
    ],
)
def test_each_condition_admits_the_films_that_meet_it(filters: ItemFilter, expected: list[int]) -> None:
    assert np.flatnonzero(filters.allowed(TABLE)).tolist() == expected
    admitted = [item for item in range(4) if filters.objections(TABLE, item) == ()]
    assert admitted == expected


def test_objections_name_the_facts() -> None:
    strict = ItemFilter(genres=("War",), not_genres=("drama",), year_from=1991, min_ratings=4)
    assert tuple(map(str, strict.objections(TABLE, 0))) == (
        "it has none of the genres War",
        "it has the genre drama",
        "it is of 1990",
        "it has 3 ratings, fewer than 4",
    )
    (unknown,) = ItemFilter(year_to=1999).objections(TABLE, 1)
    assert (unknown, str(unknown)) == (Objection("years", year=None), "its year is unknown")
    (few,) = ItemFilter(min_ratings=2).objections(TABLE, 2)
    assert (few, str(few)) == (Objection("min_ratings", ratings=1, least=2), "it has 1 rating, fewer than 2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"genres": ("Drama", "Drame")}, "no film has the genre 'Drame'; known: Drama, Film-Noir, War"),
        ({"not_genres": ("x",)}, "no film has the genre 'x'"),
        ({"year_from": 2000, "year_to": 1999}, "no year is from 2000 to 1999; swap"),
        ({"min_ratings": -1}, "min_ratings must be at least 0, got -1"),
        ({"genres": "Drama"}, r"genres holds names, such as \('Drama',\), not the text 'Drama'"),
    ],
)
def test_conditions_that_cannot_be_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ItemFilter(**options).allowed(TABLE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"genres": ("Drama",)}, "no genres; leave out genres"),
        ({"year_to": 1999}, "no years; leave out year_from and year_to"),
        ({"min_ratings": 1}, "no numbers of ratings; leave out min_ratings"),
    ],
)
def test_a_catalogue_without_the_facts(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as found:
        ItemFilter(**options).allowed(ItemTable(n_items=4))
    assert found.value.field == "filters"


def test_lists_of_one_genre_are_full(pipeline: Pipeline) -> None:
    for user in (0, 1, 2, 3):
        for genre in CLUSTERS:
            items = pipeline.recommend(user=user_id(user), k=8, filters=ItemFilter(genres=(genre,))).items
            assert len(items) == 8
            assert all(genre in item.genres for item in items)


def index_of(kind: str) -> dict[str, Any]:
    return {"ivf": {"n_lists": 4, "nprobe": 1}, "hnsw": {"ef_search": 1}}.get(kind, {})


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_a_rare_genre_yields_its_unseen_films(pipeline: Pipeline, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From every channel with an index, whether it is exact or not, and from the whole chain."""
    monkeypatch.setattr("recall.index.approximate.SMALLEST", 50)
    rare = with_rare_genre(pipeline)
    everything = np.arange(rare.items.n_items)
    films = set(everything[ItemFilter(genres=(RARE,)).allowed(rare.items)].tolist())
    assert len(films) == 12
    for user in range(8):
        request, _ = rare.request(user=user_id(user), k=20, filters=ItemFilter(genres=(RARE,)))
        unseen = films - set(request.queries.history_idx.tolist())
        candidates, _ = rare.run_request(request)
        assert set(candidates.item_idx[0, : int(candidates.counts[0])].tolist()) == unseen
        for source in rare.sources:
            if not isinstance(source.channel, EmbeddingRecall):
                continue
            channel = source.channel
            index = INDEXES[kind](index_of(kind)).build(np.array(channel.index.vectors))
            monkeypatch.setattr(channel, "index", index)
            offer = source.fetch(rare.request(user=user_id(user), filters=ItemFilter(genres=(RARE,)))[0])
            held = set(everything.tolist() if channel.indexed is None else channel.indexed.ids.tolist())
            assert set(offer.item_idx[0, : int(offer.counts[0])].tolist()) == unseen & held
            assert len(unseen & held) > 5


def test_a_filter_adds_to_the_exclusions(pipeline: Pipeline) -> None:
    filters = ItemFilter(genres=("Drama",), min_ratings=1)
    plain = pipeline.recommend(user=user_id(2), k=5, filters=filters)
    without = pipeline.recommend(user=user_id(2), k=5, filters=filters, exclude=[plain.items[0].movie_id])
    shown = {item.movie_id for item in without.items}
    assert len(shown) == 5
    assert plain.items[0].movie_id not in shown
    assert not shown & set(plain.history)
    # The same as leaving out the other films by hand.
    others = [movie_id(m) for m in range(N_MOVIES) if CLUSTERS[m % 4] != "Drama"]
    by_hand = pipeline.recommend(user=user_id(2), k=5, exclude=others)
    assert [item.movie_id for item in by_hand.items] == [item.movie_id for item in plain.items]


def test_an_empty_filter_changes_nothing(pipeline: Pipeline) -> None:
    asked = {"user": user_id(4), "k": 6}
    assert pipeline.recommend(**asked, filters=ItemFilter()).items == pipeline.recommend(**asked).items


def test_a_rejected_film_is_explained(pipeline: Pipeline) -> None:
    first = pipeline.recommend(user=user_id(1), k=5).items[0]
    wanted = next(genre for genre in CLUSTERS if genre not in first.genres)
    filters = ItemFilter(genres=(wanted,))
    found = explain(pipeline, first.movie_id, user=user_id(1), k=5, filters=filters)
    assert found.fate == "filtered"
    assert found.why == f"the filter of the request rejects it: it has none of the genres {wanted}"
    assert found.would_help == ("a filter that admits it",)
    assert explain(pipeline, first.movie_id, user=user_id(1), k=5).fate == "recommended"
    # Seen or excluded films stay so, whatever a filter makes of them.
    assert (
        explain(pipeline, first.movie_id, user=user_id(1), filters=filters, exclude=[first.movie_id]).fate == "excluded"
    )
    seen = pipeline.recommend(user=user_id(1)).history[0]
    assert explain(pipeline, seen, user=user_id(1), filters=ItemFilter(min_ratings=10**6)).fate == "excluded"
