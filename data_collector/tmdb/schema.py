"""The TMDb tables under ``processed/tmdb/``: files, columns, types, keys. ``docs/tmdb.md`` draws them.

``movie_people`` has one row per credit and refers to ``movies`` and ``people``; ``movie_companies`` has one row per
company of a movie. A null means that the value is unknown to TMDb or does not apply to the row.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

MOVIES = "movies.parquet"
PEOPLE = "people.parquet"
MOVIE_PEOPLE = "movie_people.parquet"
MOVIE_COMPANIES = "movie_companies.parquet"
REJECTS = "rejects.parquet"
KIND = "tmdb_tables"

GENDERS = (None, "female", "male", "non-binary")
"""Names of TMDb's codes 0 to 3; 0 means "not set or not specified"."""

CAST_DEPARTMENT = "Acting"
"""TMDb's name of the department of cast members; TMDb sends a department only with crew credits."""

_CATEGORY = pa.dictionary(pa.int32(), pa.string())
_NAMES = pa.list_(pa.field("element", pa.string(), nullable=False))

MOVIES_SCHEMA = pa.schema(
    [
        pa.field("tmdbId", pa.int64(), nullable=False),
        pa.field("imdbId", pa.string()),  # with its letters and zeros: tt0133093
        pa.field("title", pa.string()),  # in ``language``, else English, else the original title
        pa.field("originalTitle", pa.string()),
        pa.field("originalLanguage", pa.string()),  # ISO 639-1
        pa.field("overview", pa.string()),  # in ``language``, else English, else the original language
        pa.field("releaseDate", pa.date32()),
        pa.field("runtime", pa.int32()),  # minutes
        pa.field("budget", pa.int64()),  # US dollars
        pa.field("revenue", pa.int64()),  # US dollars
        pa.field("voteAverage", pa.float32()),  # 0 to 10; null without votes
        pa.field("voteCount", pa.int32()),
        pa.field("popularity", pa.float32()),  # TMDb's measure on the day of the fetch
        pa.field("genres", _NAMES, nullable=False),  # names in ``language``, in TMDb's order, as all lists are
        pa.field("keywords", _NAMES, nullable=False),
        pa.field("countries", _NAMES, nullable=False),  # of production, ISO 3166-1 alpha-2
        pa.field("spokenLanguages", _NAMES, nullable=False),  # ISO 639-1
        pa.field("posterPath", pa.string()),  # /….jpg, relative to the folder of a size on TMDb's image server
        pa.field("language", pa.string(), nullable=False),  # requested language: en-US, zh-CN
        pa.field("fetched", pa.timestamp("ms", tz="UTC"), nullable=False),
    ]
)

PEOPLE_SCHEMA = pa.schema(
    [
        pa.field("personId", pa.int64(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("gender", _CATEGORY),  # female, male or non-binary
        pa.field("knownForDepartment", _CATEGORY),
        pa.field("popularity", pa.float32()),
        pa.field("profilePath", pa.string()),
    ]
)

MOVIE_PEOPLE_SCHEMA = pa.schema(
    [
        pa.field("creditId", pa.string(), nullable=False),
        pa.field("tmdbId", pa.int64(), nullable=False),
        pa.field("personId", pa.int64(), nullable=False),
        pa.field("department", _CATEGORY),  # Acting for cast
        pa.field("job", _CATEGORY),  # null for cast
        pa.field("character", pa.string()),  # null for crew
        pa.field("billing", pa.int32()),  # 0 is the first name on the poster; null for crew
    ]
)

MOVIE_COMPANIES_SCHEMA = pa.schema(
    [
        pa.field("tmdbId", pa.int64(), nullable=False),
        pa.field("companyId", pa.int64(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("originCountry", pa.string()),  # ISO 3166-1 alpha-2
        pa.field("position", pa.int32(), nullable=False),  # place in the movie's list, from 0
    ]
)

REJECTS_SCHEMA = pa.schema(
    [
        pa.field("where", pa.string(), nullable=False),  # shard and offset
        pa.field("tmdbId", pa.int64(), nullable=False),
        pa.field("fetched", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # one of the constants in documents.py
        pa.field("detail", pa.string(), nullable=False),  # the value found and its path in the document
    ]
)

SCHEMAS = {
    MOVIES: MOVIES_SCHEMA,
    PEOPLE: PEOPLE_SCHEMA,
    MOVIE_PEOPLE: MOVIE_PEOPLE_SCHEMA,
    MOVIE_COMPANIES: MOVIE_COMPANIES_SCHEMA,
    REJECTS: REJECTS_SCHEMA,
}


@dataclass(frozen=True)
class ForeignKey:
    """Every value of ``table.column`` exists in ``refers_to``, in its key column of the same name."""

    table: str
    column: str
    refers_to: str


KEYS: dict[str, tuple[str, ...]] = {
    MOVIES: ("tmdbId",),
    PEOPLE: ("personId",),
    MOVIE_PEOPLE: ("creditId",),
    MOVIE_COMPANIES: ("tmdbId", "companyId"),
}

FOREIGN_KEYS = (
    ForeignKey(MOVIE_PEOPLE, "tmdbId", MOVIES),
    ForeignKey(MOVIE_PEOPLE, "personId", PEOPLE),
    ForeignKey(MOVIE_COMPANIES, "tmdbId", MOVIES),
)

SORTED_BY: dict[str, tuple[str, ...]] = {
    MOVIES: ("tmdbId",),
    PEOPLE: ("personId",),
    MOVIE_PEOPLE: ("tmdbId",),
    MOVIE_COMPANIES: ("tmdbId", "position"),
}
"""Order of the rows. The credits of a movie are adjacent, first its cast, then its crew, each in TMDb's order,
so that a reader finds them without reading the whole table."""
