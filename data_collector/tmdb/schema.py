"""The TMDb tables under ``processed/tmdb/``: files, columns, types, keys. ``docs/tmdb.md`` draws them.

``movies`` and ``people`` are what everything refers to; ``movie_people`` has a row for every credit,
``movie_companies`` one for every company of a movie. A null means that TMDb does not know, or that the column does not
apply to the row.
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
"""Names of TMDb's codes 0 to 3; 0 says "not set or not specified"."""

CAST_DEPARTMENT = "Acting"
"""TMDb's own name of the department that a cast member belongs to, though only crew credits carry one."""

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
        pa.field("voteAverage", pa.float32()),  # 0 to 10; null where nobody voted
        pa.field("voteCount", pa.int32()),
        pa.field("popularity", pa.float32()),  # TMDb's measure on the day of the fetch
        pa.field("genres", _NAMES, nullable=False),  # names in ``language``, in TMDb's order, as all lists are
        pa.field("keywords", _NAMES, nullable=False),
        pa.field("countries", _NAMES, nullable=False),  # of production, ISO 3166-1 alpha-2
        pa.field("spokenLanguages", _NAMES, nullable=False),  # ISO 639-1
        pa.field("posterPath", pa.string()),  # /….jpg below a size's folder on TMDb's image server
        pa.field("language", pa.string(), nullable=False),  # what was asked for: en-US, zh-CN
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
        pa.field("where", pa.string(), nullable=False),  # shard and place in it
        pa.field("tmdbId", pa.int64(), nullable=False),
        pa.field("fetched", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # the same words for the same kind of fault
        pa.field("detail", pa.string(), nullable=False),  # what was found and where in the document
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
    """Every value of ``table.column`` stands in the column of the same name of ``refers_to``, where it is the key."""

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
"""Order of the rows. A movie's credits lie together, so that they are found without reading the whole table; first its
cast, then its crew, each in TMDb's order."""
