"""Titles, genres, ages, dates and repeated rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dataprep.cleaning import (
    age_groups,
    clean_genres,
    parse_dates,
    repeated_ids,
    repeated_pairs,
    split_genre_texts,
    split_titles,
    user_chunks,
)


@pytest.mark.parametrize(
    ("text", "title", "year"),
    [
        ("Heat (1995)", "Heat", 1995),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
        ("Assembly (Ji jie hao) (2007) ", "Assembly (Ji jie hao)", 2007),
        ("Death Note: Desu nôto (2006–2007)", "Death Note: Desu nôto", 2006),
        ("Cosmos (1994-1996)", "Cosmos", 1994),
        ("Running Show (2016– )", "Running Show", 2016),
        ("Land Before Time III (1995) (V)", "Land Before Time III", 1995),
        ("Babylon 5", "Babylon 5", None),
        ("(1999)", "(1999)", None),
        ("Blade Runner (Final Cut)", "Blade Runner (Final Cut)", None),
        ("Far Future (3000)", "Far Future (3000)", None),
        ("", "", None),
    ],
)
def test_titles_are_split_into_title_and_year(text, title, year):
    titles, years = split_titles(pa.array([text]))
    assert (titles.to_pylist(), years.to_pylist()) == ([title], [year])


def test_genre_lists_are_cleaned():
    given = pa.array([["Drama", " War "], None, [], ["(no genres listed)"], ["unknown", None, "Comedy"]])
    assert clean_genres(given).to_pylist() == [["Drama", "War"], [], [], [], ["Comedy"]]


@pytest.mark.parametrize(
    ("texts", "genres"),
    [
        (["Action|Drama", "Food, Drinks"], [["Action", "Drama"], ["Food, Drinks"]]),
        (["Action, Drama", "War", ""], [["Action", "Drama"], ["War"], []]),
        (["[Action, Drama]", "[]"], [["Action", "Drama"], []]),
        (["['Action', \"Children's\"]", "['War']"], [["Action", "Children's"], ["War"]]),
        (['["Action","Drama"]'], [["Action", "Drama"]]),
        (["Action; Drama", "Food, Drinks"], [["Action", "Drama"], ["Food, Drinks"]]),
        (["(no genres listed)", "Sci-Fi"], [[], ["Sci-Fi"]]),
    ],
)
def test_genres_in_text(texts, genres):
    assert split_genre_texts(pa.array(texts)).to_pylist() == genres


def test_age_groups_of_years_and_of_ml_1m_codes():
    ages = pa.array([1, 17, 18, 24, 25, 44, 45, 49, 50, 55, 56, 99, None])
    assert age_groups(ages).to_pylist() == [
        *("Under 18", "Under 18", "18-24", "18-24", "25-34", "35-44", "45-49", "45-49", "50-55", "50-55", "56+", "56+"),
        None,
    ]


def test_dates_in_utc():
    texts = [
        "1970-01-02",
        "2001-09-09T01:46:40Z",
        "2001-09-09 01:46",
        "2001-13-09",
        "soon",
        "2001-09-09T03:46:40.25+02:00",
        "2001-09-08 23:16:40,000001 -0230",
        "",
    ]
    seconds = [86400, 1000000000, 999999960, None, None, 1000000000, 1000000000, None]
    micros = [None if second is None else second * 10**6 for second in seconds]
    micros[5:7] = [10**15 + 250_000, 10**15 + 1]
    assert parse_dates(pa.array(texts)).to_pylist() == micros


def test_repeated_rows_agree_with_a_set():
    rng = np.random.default_rng(0)
    users = np.sort(rng.integers(0, 30, 500))
    movies = rng.integers(0, 25, 500)
    seen: set[tuple[int, int]] = set()
    expected = []
    for pair in zip(users.tolist(), movies.tolist(), strict=True):
        expected.append(pair in seen)
        seen.add(pair)
    for rows in (1, 7, 100, 1000):
        assert repeated_pairs(users, movies, rows).tolist() == expected
    assert repeated_ids(np.array([5, 3, 5, 5, 4])).tolist() == [False, False, True, True, False]


def test_chunks_contain_whole_users():
    users = np.array([1, 1, 1, 2, 5, 5, 9])
    assert [users[part].tolist() for part in user_chunks(users, 2)] == [[1, 1, 1], [2, 5, 5], [9]]
    assert list(user_chunks(users[:0], 2)) == []
