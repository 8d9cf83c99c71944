"""Columns shared by the layouts, and conversion of raw rows to the final tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataprep import ids
from dataprep.cleaning import age_groups, split_genre_texts, split_titles
from dataprep.readers.blocks import is_utf8
from dataprep.readers.columns import ColumnSpec, Dialect, Kind
from dataprep.readers.raw import RawTable
from dataprep.schema import MOVIES_SCHEMA, USERS_SCHEMA, with_id_type

USER = ColumnSpec("userId", Kind.ID)
MOVIE = ColumnSpec("movieId", Kind.ID)
RATING = ColumnSpec("rating", Kind.RATING)
TIME = ColumnSpec("timestamp", Kind.TIME)
AGE = ColumnSpec("age", Kind.OPTIONAL_INT)


def text_dialect(path: Path, dialect: Dialect) -> Dialect:
    """The dialect, as Latin-1 unless the file is valid UTF-8; old releases are Latin-1, some copies UTF-8."""
    return replace(dialect, latin1=not is_utf8(path))


def skip(name: str) -> ColumnSpec:
    """A column that is not read."""
    return ColumnSpec(name, Kind.SKIP)


def text(name: str) -> ColumnSpec:
    """A column of text."""
    return ColumnSpec(name, Kind.TEXT)


def column(raw: RawTable, name: str) -> pa.Array:
    """One column of the valid rows, as one array."""
    return raw.table[name].combine_chunks()


def movie_records(raw: RawTable, title: pa.Array, year: pa.Array, genres: pa.Array) -> RawTable:
    """Rows of ``movies.parquet`` from movieId and the other final columns (n,)."""
    movie = _plain_ids(raw, "movieId")
    schema = with_id_type(MOVIES_SCHEMA, "movieId", movie.type)
    return replace(raw, table=pa.table([movie, title, year, genres], schema=schema))


def piped_movie_records(raw: RawTable) -> RawTable:
    """Rows of ``movies.parquet`` from titles that contain the year and genres in text, such as ``A|B``."""
    title, year = split_titles(column(raw, "title"))
    return movie_records(raw, title, year, split_genre_texts(column(raw, "genres")))


def user_records(raw: RawTable, occupation: pa.Array) -> RawTable:
    """Rows of ``users.parquet`` from userId, age, gender, zip and the names of occupations (n,)."""
    too_old = np.asarray(pc.fill_null(pc.greater(raw.table["age"], 150), False))
    raw, occupation = raw.reject(too_old, "age is over 150"), occupation.filter(pa.array(~too_old))
    age = column(raw, "age").cast(pa.int16())
    user = _plain_ids(raw, "userId")
    columns = [age, age_groups(age), column(raw, "gender"), occupation, column(raw, "zip")]
    schema = with_id_type(USERS_SCHEMA, "userId", user.type)
    return replace(raw, table=pa.table([user, *(_empty_is_null(c) for c in columns)], schema=schema))


def _plain_ids(raw: RawTable, name: str) -> pa.Array:
    """Ids as int64 or text."""
    found = column(raw, name)
    return found.cast(pa.string()) if ids.is_text(found) else found


def _empty_is_null(column: pa.Array) -> pa.Array:
    """Replace empty strings by null."""
    if not pa.types.is_string(column.type):
        return column
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
