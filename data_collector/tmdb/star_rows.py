"""Convert checked movies into rows of the four tables, a few hundred movies at a time.

For merging, the rows also have ``doc``, the number of their document. Texts are in Unicode
form NFC, without NUL characters and without blanks at the ends; an empty text is null. Impossible numbers are null, and
so are zeros where TMDb writes 0 for "unknown".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_collector.tmdb import schema
from data_collector.tmdb.documents import MovieDocument
from data_collector.tmdb.shards import StoredDocument

INT32_MAX = 2**31 - 1
FLOAT32_MAX = float(np.finfo(np.float32).max)
# More than all films of a year cost or earn together; larger values are typing errors.
MAX_DOLLARS = 100_000_000_000
# The longest film ever shown took 35 days.
MAX_MINUTES = 60 * 24 * 40
_DAY = r"^[12]\d{3}-\d{2}-\d{2}$"
_IMDB_ID = r"^tt\d+$"

Numbered: TypeAlias = tuple[int, StoredDocument, MovieDocument]
"""A document as stored and as parsed, after its number."""


def rows_of(movies: Sequence[Numbered], nulled: Counter[str]) -> dict[str, pa.Table]:
    """Rows by table; ``people`` has one row per credit.

    All tables have an additional column ``doc`` (int32), the number of the document. Categories are texts. ``nulled``
    counts the values replaced by null, by reason.
    """
    movie_people, people = _credit_rows(movies, nulled)
    return {
        schema.MOVIES: _movie_rows(movies, nulled),
        schema.PEOPLE: people,
        schema.MOVIE_PEOPLE: movie_people,
        schema.MOVIE_COMPANIES: _company_rows(movies),
    }


def _movie_rows(movies: Sequence[Numbered], nulled: Counter[str]) -> pa.Table:
    found = [movie for _, _, movie in movies]

    def texts(name: str) -> pa.Array:
        return clean([getattr(movie, name) for movie in found])

    def in_english(name: str) -> pa.Array:
        return clean([movie.translated(name, "en") for movie in found])

    def number(name: str, most: float, kind: pa.DataType, *, least: float = 0) -> pa.Array:
        return _in_range([getattr(movie, name) for movie in found], least, most, kind, name, nulled)

    original_overview = clean([movie.translated("overview", movie.original_language) for movie in found])
    votes = number("vote_count", INT32_MAX, pa.int32())
    average = number("vote_average", 10, pa.float32())
    original_title = texts("original_title")
    columns = {
        "tmdbId": pa.array([movie.id for movie in found], pa.int64()),
        "imdbId": _matching(texts("imdb_id"), _IMDB_ID, "imdb_id", nulled),
        "title": pc.coalesce(texts("title"), in_english("title"), original_title),
        "originalTitle": original_title,
        "originalLanguage": texts("original_language"),
        "overview": pc.coalesce(texts("overview"), in_english("overview"), original_overview),
        "releaseDate": _dates(texts("release_date"), nulled),
        "runtime": _null_if_zero(number("runtime", MAX_MINUTES, pa.int32())),
        "budget": _null_if_zero(number("budget", MAX_DOLLARS, pa.int64())),
        "revenue": _null_if_zero(number("revenue", MAX_DOLLARS, pa.int64())),
        "voteAverage": pc.if_else(pc.greater(votes, 0), average, None),
        "voteCount": votes,
        "popularity": number("popularity", FLOAT32_MAX, pa.float32()),
        "genres": _name_lists([[genre.name for genre in movie.genres] for movie in found]),
        "keywords": _name_lists([[keyword.name for keyword in movie.keywords.keywords] for movie in found]),
        "countries": _name_lists([[place.iso_3166_1 for place in movie.production_countries] for movie in found]),
        "spokenLanguages": _name_lists([[spoken.iso_639_1 for spoken in movie.spoken_languages] for movie in found]),
        "posterPath": texts("poster_path"),
        "language": pa.array([stored.language for _, stored, _ in movies], pa.string()),
        "fetched": pa.array([milliseconds(stored.fetched) for _, stored, _ in movies], pa.timestamp("ms", tz="UTC")),
        "doc": pa.array([doc for doc, _, _ in movies], pa.int32()),
    }
    return pa.table(columns)


def _credit_rows(movies: Sequence[Numbered], nulled: Counter[str]) -> tuple[pa.Table, pa.Table]:
    """Credits (the cast of all movies, then their crew), and the facts about the people in them."""
    cast = [credit for _, _, movie in movies for credit in movie.credits.cast]
    crew = [credit for _, _, movie in movies for credit in movie.credits.crew]
    n_cast = np.array([len(movie.credits.cast) for _, _, movie in movies], dtype=np.int64)
    n_crew = np.array([len(movie.credits.crew) for _, _, movie in movies], dtype=np.int64)
    place = np.concatenate([np.repeat(np.arange(len(movies)), n_cast), np.repeat(np.arange(len(movies)), n_crew)])
    everyone = [*cast, *crew]
    ids = pa.array([credit.id for credit in everyone], pa.int64())
    docs = pa.array(np.array([doc for doc, _, _ in movies], dtype=np.int32)[place])
    acting = pa.array([schema.CAST_DEPARTMENT], pa.string()).take(pa.array(np.zeros(len(cast), np.int64)))
    departments = pa.concat_arrays([acting, clean([credit.department for credit in crew])])
    jobs = pa.concat_arrays([pa.nulls(len(cast), pa.string()), clean([credit.job for credit in crew])])
    characters = pa.concat_arrays([clean([credit.character for credit in cast]), pa.nulls(len(crew), pa.string())])
    orders = pa.array([credit.order for credit in cast], pa.int64())
    billing = _in_range(orders, 0, INT32_MAX, pa.int32(), "order", nulled)
    credits = {
        "creditId": pa.array([credit.credit_id for credit in everyone], pa.string()),
        "tmdbId": pa.array(np.array([movie.id for _, _, movie in movies], dtype=np.int64)[place]),
        "personId": ids,
        "department": departments,
        "job": jobs,
        "character": characters,
        "billing": pa.concat_arrays([billing, pa.nulls(len(crew), pa.int32())]),
        "doc": docs,
    }
    genders = [credit.gender for credit in everyone]
    codes = _in_range(genders, 0, len(schema.GENDERS) - 1, pa.int32(), "gender", nulled)
    popularity = [credit.popularity for credit in everyone]
    people = {
        "personId": ids,
        "name": clean([credit.name for credit in everyone]),
        "gender": pa.array(schema.GENDERS, pa.string()).take(codes),
        "knownForDepartment": clean([credit.known_for_department for credit in everyone]),
        "popularity": _in_range(popularity, 0, FLOAT32_MAX, pa.float32(), "popularity of a person", nulled),
        "profilePath": clean([credit.profile_path for credit in everyone]),
        "doc": docs,
    }
    return pa.table(credits), pa.table(people)


def _company_rows(movies: Sequence[Numbered]) -> pa.Table:
    companies = [company for _, _, movie in movies for company in movie.production_companies]
    lengths = np.array([len(movie.production_companies) for _, _, movie in movies], dtype=np.int64)
    place = np.repeat(np.arange(len(movies)), lengths)
    starts = np.cumsum(lengths) - lengths
    columns = {
        "tmdbId": pa.array(np.array([movie.id for _, _, movie in movies], dtype=np.int64)[place]),
        "companyId": pa.array([company.id for company in companies], pa.int64()),
        "name": clean([company.name for company in companies]),
        "originCountry": clean([company.origin_country for company in companies]),
        "position": pa.array((np.arange(len(companies)) - starts[place]).astype(np.int32)),
        "doc": pa.array(np.array([doc for doc, _, _ in movies], dtype=np.int32)[place]),
    }
    return pa.table(columns)


def clean(texts: Sequence[str | None]) -> pa.Array:
    """(n,) string: form NFC, no NUL, no blanks at the ends; null if empty."""
    column = pa.array(texts, pa.string())
    column = pc.replace_substring(column, "\0", "")
    column = pc.utf8_trim_whitespace(pc.utf8_normalize(column, "NFC"))
    return pc.if_else(pc.equal(column, ""), None, column)


def _name_lists(lists: Sequence[Sequence[str | None]]) -> pa.Array:
    """(n,) list of string: cleaned names in the given order, without empty and repeated ones."""
    names = iter(clean([name for names in lists for name in names]).to_pylist())
    rows = [list(dict.fromkeys(filter(None, islice(names, len(given))))) for given in lists]
    return pa.array(rows, schema.MOVIES_SCHEMA.field("genres").type)


def _in_range(
    values: Sequence[Any] | pa.Array, least: float, most: float, kind: pa.DataType, name: str, nulled: Counter[str]
) -> pa.Array:
    """Values of type ``kind``; values outside [least, most] become null and are counted."""
    wide = pa.float64() if pa.types.is_floating(kind) else pa.int64()
    column = pa.array(values, wide)
    fits = pc.and_(pc.greater_equal(column, pa.scalar(least, wide)), pc.less_equal(column, pa.scalar(most, wide)))
    n_outside = pc.sum(pc.invert(fits)).as_py()
    if n_outside:
        nulled[f"{name} out of range"] += n_outside
        column = pc.if_else(fits, column, None)
    return column.cast(kind)


def _null_if_zero(column: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(column, 0), None, column)


def _matching(texts: pa.Array, pattern: str, name: str, nulled: Counter[str]) -> pa.Array:
    fits = pc.match_substring_regex(texts, pattern)
    if n_others := pc.sum(pc.invert(fits)).as_py():
        nulled[f"{name} malformed"] += n_others
    return pc.if_else(fits, texts, None)


def _dates(texts: pa.Array, nulled: Counter[str]) -> pa.Array:
    """(n,) date32 of texts such as 1999-03-31; null for other texts and for days that do not exist."""
    shaped = _matching(texts, _DAY, "release_date", nulled)
    days = pc.strptime(shaped, "%Y-%m-%d", "s", error_is_null=True)
    # Arrow reads 31 April as 1 May; such a day does not convert back to the same text.
    written = pc.strftime(days, "%Y-%m-%d")
    real = pc.fill_null(pc.equal(written, shaped), False)
    if n_unreal := len(shaped) - shaped.null_count - pc.sum(real).as_py():
        nulled["release_date malformed"] += n_unreal
    return pc.if_else(real, days, None).cast(pa.date32())


def milliseconds(seconds: float) -> int:
    """Unix milliseconds from Unix seconds."""
    return round(seconds * 1_000)
