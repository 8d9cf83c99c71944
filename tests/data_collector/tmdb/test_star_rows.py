"""Values of the tables, from hand-made documents."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import pytest

from data_collector.tmdb import schema
from data_collector.tmdb.documents import parse_document
from data_collector.tmdb.star_rows import clean, rows_of
from tests.data_collector.tmdb.stored import Document, small, stored


def movie_row(nulled: Counter[str] | None = None, **fields: Any) -> dict[str, Any]:
    """The row of ``movies`` of one document."""
    document = stored(small(**fields), fetched=1_000.25)
    table = rows_of([(0, document, parse_document(document))], Counter() if nulled is None else nulled)[schema.MOVIES]
    (row,) = table.drop_columns("doc").to_pylist()
    return row


def test_the_smallest_document_has_nulls_and_empty_lists() -> None:
    row = movie_row()
    assert {name: value for name, value in row.items() if value not in (None, [])} == {
        "tmdbId": 603,
        "title": "The Matrix",
        "originalTitle": "The Matrix",
        "language": "en-US",
        "fetched": datetime(1970, 1, 1, 0, 16, 40, 250_000, tzinfo=UTC),
    }
    assert [name for name, value in row.items() if value == []] == [
        "genres",
        "keywords",
        "countries",
        "spokenLanguages",
    ]


def test_zeros_that_mean_unknown_are_null() -> None:
    row = movie_row(budget=0, revenue=0, runtime=0, vote_average=0.0, vote_count=0, popularity=0)
    assert [row[name] for name in ("budget", "revenue", "runtime", "voteAverage")] == [None] * 4
    assert (row["voteCount"], row["popularity"]) == (0, 0.0)
    assert movie_row(vote_average=7.5)["voteAverage"] is None  # nobody is known to have voted
    assert movie_row(vote_average=0.0, vote_count=3)["voteAverage"] == 0.0
    known = movie_row(budget=63_000_000, revenue=5_000_000_000, runtime=136, vote_average=8.25, vote_count=1)
    assert [known[name] for name in ("budget", "revenue", "runtime", "voteAverage")] == [
        *(63_000_000, 5_000_000_000, 136, 8.25)
    ]


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("1999-03-31", date(1999, 3, 31)),
        (" 2020-02-29\n", date(2020, 2, 29)),
        ("2019-02-29", None),
        ("1999-04-31", None),
        ("1999-13-01", None),
        ("1999-00-10", None),
        ("1999-3-1", None),
        ("31.03.1999", None),
        ("1999", None),
        ("0000-01-01", None),
        ("-1999-03-31", None),
        ("soon", None),
    ],
)
def test_dates(text: str, day: date | None) -> None:
    nulled: Counter[str] = Counter()
    assert movie_row(nulled, release_date=text)["releaseDate"] == day
    assert nulled == ({} if day else {"release_date malformed": 1})


def test_an_empty_date_is_null_and_not_counted() -> None:
    nulled: Counter[str] = Counter()
    assert movie_row(nulled, release_date="")["releaseDate"] is None
    assert movie_row(nulled, release_date=None)["releaseDate"] is None
    assert not nulled


@pytest.mark.parametrize(
    ("field", "column", "value"),
    [
        *(("budget", "budget", -1), ("budget", "budget", 10**12), ("revenue", "revenue", -5)),
        *(("revenue", "revenue", 2**63 - 1), ("runtime", "runtime", -90), ("runtime", "runtime", 10**6)),
        *(("vote_count", "voteCount", -1), ("vote_count", "voteCount", 2**31), ("popularity", "popularity", -0.5)),
        *(("popularity", "popularity", 1e300), ("vote_average", "voteAverage", 10.5)),
        ("vote_average", "voteAverage", -1),
    ],
)
def test_impossible_numbers_are_null_and_counted(field: str, column: str, value: float) -> None:
    nulled: Counter[str] = Counter()
    row = movie_row(nulled, **{"vote_count": 9, field: value})
    assert row[column] is None
    assert nulled == {f"{field} out of range": 1}


def test_texts_are_clean() -> None:
    row = movie_row(
        title=" Ame\u0301lie\u3000",
        original_title="\0a\0b\n",
        overview="<script>x()</script> & \u0000",
        poster_path=" ",
    )
    assert (row["title"], row["originalTitle"]) == ("Am\u00e9lie", "ab")
    assert row["overview"] == "<script>x()</script> &"  # text as it is; a page that shows it escapes it
    assert row["posterPath"] is None
    assert clean(["", " \t\n\u00a0", "\0", None, "x"]).to_pylist() == [None, None, None, None, "x"]


@pytest.mark.parametrize(("given", "kept"), [("tt0133093", "tt0133093"), ("", None), (None, None), ("nm1", None)])
def test_imdb_ids(given: str | None, kept: str | None) -> None:
    nulled: Counter[str] = Counter()
    assert movie_row(nulled, imdb_id=given)["imdbId"] == kept
    assert nulled == ({"imdb_id malformed": 1} if given == "nm1" else {})


def translations(*entries: tuple[str, str, str, str]) -> Document:
    return {
        "translations": [
            {"iso_639_1": code, "iso_3166_1": country, "data": {"title": title, "overview": overview}}
            for code, country, title, overview in entries
        ]
    }


def test_missing_texts_come_from_english_then_from_the_original() -> None:
    told = translations(("de", "DE", "T de", "O de"), ("en", "GB", "T gb", "O gb"), ("en", "US", "\0 ", "O us"))
    row = movie_row(title="", overview=" ", original_title="T orig", original_language="de", translations=told)
    assert (row["title"], row["overview"]) == ("T gb", "O us")
    german = translations(("fr", "FR", "T fr", "O fr"), ("de", "DE", "T de", "O de"))
    row = movie_row(title=None, overview=None, original_title="T orig", original_language="de", translations=german)
    assert (row["title"], row["overview"]) == ("T orig", "O de")
    row = movie_row(title="T", overview="O", original_title="T orig", original_language="de", translations=told)
    assert (row["title"], row["overview"]) == ("T", "O")
    row = movie_row(title="", overview="", original_title="", original_language="de", translations=translations())
    assert (row["title"], row["overview"]) == (None, None)


def test_lists_keep_their_order_without_repeated_names() -> None:
    names = ["zombie", "", None, "ape", " zombie ", "Ape"]
    row = movie_row(
        keywords={"keywords": [{"name": name} for name in names]},
        genres=[{"id": 1, "name": "Drama"}, {"id": 2, "name": "Action"}],
        production_countries=[{"iso_3166_1": "US", "name": "x"}, {"iso_3166_1": "AU"}],
        spoken_languages=[{"iso_639_1": "en"}],
    )
    assert row["keywords"] == ["zombie", "ape", "Ape"]
    assert row["genres"] == ["Drama", "Action"]
    assert (row["countries"], row["spokenLanguages"]) == (["US", "AU"], ["en"])


def test_credits_and_companies_of_two_movies() -> None:
    def person(person_id: int, credit_id: str, **more: Any) -> Document:
        return {"id": person_id, "credit_id": credit_id, "name": f"P{person_id}", "gender": 0, **more}

    cast = [person(1, "a", character=" Neo ", order=0, gender=2), person(2, "b", character="", order=-1, gender=9)]
    crew = [person(1, "c", department="Directing", job="Director", known_for_department="Acting", gender=2)]
    first = small(
        1, credits={"cast": cast, "crew": crew}, production_companies=[{"id": 7, "name": "W", "origin_country": ""}]
    )
    second = small(2, credits={"cast": [person(3, "d", order=0)], "crew": []})
    second["production_companies"] = [{"id": 9, "origin_country": "US"}, {"id": 7, "name": "W"}]
    nulled: Counter[str] = Counter()
    movies = [(n, stored(d), parse_document(stored(d))) for n, d in enumerate((first, second))]
    tables = rows_of(movies, nulled)
    credits = tables[schema.MOVIE_PEOPLE]
    assert list(zip(*credits.drop_columns("doc").to_pydict().values(), strict=True)) == [
        ("a", 1, 1, "Acting", None, "Neo", 0),
        ("b", 1, 2, "Acting", None, None, None),
        ("d", 2, 3, "Acting", None, None, 0),
        ("c", 1, 1, "Directing", "Director", None, None),
    ]
    assert tables[schema.PEOPLE]["gender"].to_pylist() == ["male", None, None, "male"]
    assert nulled == {"order out of range": 1, "gender out of range": 1}
    assert tables[schema.MOVIE_COMPANIES].drop_columns("doc").to_pylist() == [
        {"tmdbId": 1, "companyId": 7, "name": "W", "originCountry": None, "position": 0},
        {"tmdbId": 2, "companyId": 9, "name": None, "originCountry": "US", "position": 0},
        {"tmdbId": 2, "companyId": 7, "name": "W", "originCountry": None, "position": 1},
    ]
