"""The releases of GroupLens: ml-100k, ml-1m, ml-10m, and the .csv files of ml-latest-small, ml-20m and later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataprep.cleaning import ML_1M_OCCUPATIONS, find_years, genres_from_flags, split_titles
from dataprep.readers.columns import CSV, DOUBLE_COLONS, PIPES, TABS, ColumnSpec, Kind, Scale
from dataprep.readers.delimited import DelimitedFile, header_specs, read_delimited
from dataprep.readers.raw import RawData, RawTable
from dataprep.readers.records import (
    AGE,
    MOVIE,
    RATING,
    TIME,
    USER,
    column,
    movie_records,
    piped_movie_records,
    skip,
    text,
    text_dialect,
    user_records,
)
from dataprep.schema import LINKS_SCHEMA, TAGS_SCHEMA, TIE_FILE, TIE_HASH

# The last columns of u.item.
_ML_100K_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip


_RATING_COLUMNS = (USER, MOVIE, RATING, TIME)


def ratings_100k(folder: Path) -> DelimitedFile:
    """u.data of ml-100k, randomly ordered (its README), so its order decides ties but is not the order of events."""
    return DelimitedFile(folder / "u.data", TABS, _RATING_COLUMNS, Scale.WHOLE_STARS)


def read_100k(folder: Path, ratings: RawTable, show: bool) -> RawData:
    """Ratings of ml-100k with u.item, which has a flag for each genre, and u.user."""
    flags = [ColumnSpec(f"genre {i}", Kind.OPTIONAL_INT) for i in range(len(_ML_100K_GENRES))]
    path = folder / "u.item"
    head = (MOVIE, text("title"), text("date"), skip("video date"), skip("address"))
    raw = read_delimited(path, text_dialect(path, PIPES), (*head, *flags), show=show)
    title, year = split_titles(column(raw, "title"), unknown_words=True)
    year = pc.coalesce(year, find_years(column(raw, "date")))
    matrix = np.column_stack([np.asarray(raw.table[flag.name].fill_null(0)) for flag in flags]) != 0
    movies = movie_records(raw, title, year, genres_from_flags(matrix, _ML_100K_GENRES))

    path = folder / "u.user"
    specs = (USER, AGE, text("gender"), text("occupation"), text("zip"))
    users = read_delimited(path, text_dialect(path, PIPES), specs, show=show)
    return RawData("ml-100k", TIE_FILE, ratings, movies, user_records(users, column(users, "occupation")))


def read_movies_dat(path: Path, show: bool) -> RawTable:
    """Read movies.dat of ml-1m or ml-10m: id, title with year, genres."""
    columns = (MOVIE, text("title"), text("genres"))
    return piped_movie_records(read_delimited(path, text_dialect(path, DOUBLE_COLONS), columns, show=show))


def read_users_dat(path: Path, show: bool) -> RawTable:
    """Read users.dat of ml-1m: id, gender, codes of age and occupation, zip."""
    code = ColumnSpec("occupation", Kind.ID)
    users = read_delimited(path, DOUBLE_COLONS, (USER, text("gender"), AGE, code, text("zip")), show=show)
    unknown = np.asarray(users.table["occupation"]) >= len(ML_1M_OCCUPATIONS)
    users = users.reject(unknown, "occupation is not a code of ml-1m")
    return user_records(users, pa.array(ML_1M_OCCUPATIONS).take(column(users, "occupation")))


def ratings_1m(folder: Path) -> DelimitedFile:
    """ratings.dat of ml-1m, in the order of events."""
    return DelimitedFile(folder / "ratings.dat", DOUBLE_COLONS, _RATING_COLUMNS, Scale.WHOLE_STARS)


def read_1m(folder: Path, ratings: RawTable, show: bool) -> RawData:
    """Ratings of ml-1m with movies.dat and users.dat."""
    movies = read_movies_dat(folder / "movies.dat", show)
    return RawData("ml-1m", TIE_FILE, ratings, movies, read_users_dat(folder / "users.dat", show))


def ratings_10m(folder: Path) -> DelimitedFile:
    """ratings.dat of ml-10m, sorted by id."""
    return DelimitedFile(folder / "ratings.dat", DOUBLE_COLONS, _RATING_COLUMNS, Scale.HALF_STARS)


def read_10m(folder: Path, ratings: RawTable, show: bool) -> RawData:
    """Ratings of ml-10m with movies.dat and, if present, tags.dat."""
    movies, tags = read_movies_dat(folder / "movies.dat", show), None
    path = folder / "tags.dat"
    if path.is_file():
        specs = (USER, MOVIE, text("tag"), TIME)
        tags = _tags(read_delimited(path, text_dialect(path, DOUBLE_COLONS), specs, show=show))
    return RawData("ml-10m", TIE_HASH, ratings, movies, tags=tags)


def _tags(raw: RawTable) -> RawTable:
    return replace(raw, table=raw.table.select(TAGS_SCHEMA.names).cast(TAGS_SCHEMA))


def _csv_file(path: Path, *specs: ColumnSpec, scale: Scale = Scale.ANY) -> DelimitedFile:
    known = {spec.name: spec for spec in specs}
    return DelimitedFile(path, CSV, header_specs(path, known, list(known)), scale)


def ratings_csv(folder: Path) -> DelimitedFile:
    """ratings.csv of ml-latest-small, ml-20m or a later release, sorted by id."""
    return _csv_file(folder / "ratings.csv", *_RATING_COLUMNS, scale=Scale.HALF_STARS)


def read_csv(folder: Path, ratings: RawTable, show: bool) -> RawData:
    """Ratings of ml-latest-small, ml-20m or a later release with movies.csv and, if present, links.csv and tags.csv."""
    movies = piped_movie_records(_csv_file(folder / "movies.csv", MOVIE, text("title"), text("genres")).read(show))
    links = tags = None
    if (folder / "links.csv").is_file():
        imdb, tmdb = ColumnSpec("imdbId", Kind.OPTIONAL_INT), ColumnSpec("tmdbId", Kind.OPTIONAL_INT)
        links = _csv_file(folder / "links.csv", MOVIE, imdb, tmdb).read(show)
        links = replace(links, table=links.table.select(LINKS_SCHEMA.names).cast(LINKS_SCHEMA))
    if (folder / "tags.csv").is_file():
        tags = _tags(_csv_file(folder / "tags.csv", USER, MOVIE, text("tag"), TIME).read(show))
    return RawData("csv", TIE_HASH, ratings, movies, links=links, tags=tags)
