"""Films found by a part of their title."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.films import FilmFinder
from reccore import DataError, IdMap, ItemTable, Vocabulary

FILMS = [
    (10, "Star Wars", 1977),
    (11, "Empire Strikes Back, The", 1980),
    (12, "Alien", 1979),
    (13, "Aliens", 1986),
    (14, "Sabrina", 1954),
    (15, "Sabrina", 1995),
    (16, "Misérables, Les", 1995),
    (17, "", 0),
    (18, "Good, the Bad and the Ugly, The (Buono, il brutto, il cattivo, Il)", 1966),
]


def finder(films: list[tuple[int, str, int]], counts: list[float] | None = None) -> FilmFinder:
    ids, titles, years = zip(*films, strict=True)
    items = ItemTable(
        n_items=len(films),
        title=np.array(titles, dtype=object),
        year=np.array(years, dtype=np.int64),
        statistics={} if counts is None else {"count": np.array(counts, dtype=np.float32)},
    )
    return FilmFinder(items, Vocabulary(IdMap(np.array([1])), IdMap(np.array(ids))))


@pytest.mark.parametrize(
    ("text", "movie"),
    [
        ("Empire Strikes Back", 11),
        ("the empire strikes back", 11),
        ("The Empire Strikes Back (1980)", 11),
        ("Empire Strikes Back, The", 11),
        ("strikes", 11),
        ("Alien", 12),  # the whole title counts before parts of others
        ("alien (1979)", 12),
        ("aliens", 13),
        ("Sabrina (1995)", 15),
        ("sabrina 1954", 14),
        ("les miserables", 16),
        ("il buono", 18),
        ("the bad and the ugly", 18),
    ],
)
def test_a_film_is_found(text: str, movie: int) -> None:
    assert finder(FILMS).find(text) == movie


def test_several_films_are_listed_with_their_ids_the_best_known_first() -> None:
    counts = [5.0, 4, 3, 9, 1, 2, 7, np.nan, 6]
    with pytest.raises(DataError, match=r"^2 films have 'ali' in .* one: 13 Aliens \(1986\), 12 Alien \(1979\)$"):
        finder(FILMS, counts).find("ali")
    with pytest.raises(DataError, match=r"2 films have 'Sabrina' .*14 Sabrina \(1954\), 15 Sabrina \(1995\)$"):
        finder(FILMS).find("Sabrina")
    many = [(movie, f"Film {movie}", 1990) for movie in range(1, 31)]
    with pytest.raises(DataError, match=r"30 films have 'film' .*10 Film 10 \(1990\) and 20 more$"):
        finder(many).find("film")


@pytest.mark.parametrize("text", ["Matrix", "50:five"])
def test_no_film(text: str) -> None:
    with pytest.raises(DataError, match=f"no film here has '{text}' in its title; give another part of it"):
        finder(FILMS).find(text)


def test_a_text_without_a_word() -> None:
    with pytest.raises(DataError, match="'!' is neither the id of a film nor a part of a title"):
        finder(FILMS).find("!")


def test_a_catalogue_without_titles() -> None:
    bare = FilmFinder(ItemTable(n_items=2), Vocabulary(IdMap(np.array([1])), IdMap(np.array([4, 5]))))
    with pytest.raises(DataError, match="no film here"):
        bare.find("Heat")


def test_where_ids_are_text_an_id_counts_first_and_other_texts_are_unknown_ids() -> None:
    items = ItemTable(n_items=2, title=np.array(["Heat", "sku-1 cover"], dtype=object))
    shop = FilmFinder(items, Vocabulary(IdMap(np.array([1])), IdMap(np.array(["sku-1", "sku-2"], dtype=object))))
    expected = {"sku-1": "sku-1", "cover": "sku-2", "heat": "sku-1", "sku-9": "sku-9", "!": "!"}
    assert {text: shop.find(text) for text in expected} == expected
