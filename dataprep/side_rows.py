"""New rows of films and users behind those that the tables under ``processed/`` hold; stored rows stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from loguru import logger

from dataprep import ids, schema
from dataprep.parquet import read_optional
from dataprep.readers.raw import RawTable
from dataprep.tables import with_rated
from reccore.errors import DataError


def with_id_type_of(table: pa.Table, key: str, kind: pa.DataType, path: Path) -> pa.Table:
    """The table with the ids ``key`` as whole numbers or text, as those stored are; text is compared as a whole.

    Raises:
        DataError: the stored ids are whole numbers, and these are text.
    """
    text = not pa.types.is_integer(kind)
    if ids.is_text(table[key]) == text:
        return table
    if not text:
        column = table[key].cast(pa.string())
        raise DataError(
            f"column {key} of {path} holds text, such as {column[0].as_py()!r}, and the stored ids are whole numbers; "
            "give the ids of this data set, or name the right column by --columns"
        )
    column = table[key].cast(pa.string())
    column = column.dictionary_encode() if pa.types.is_dictionary(kind) else column
    return table.set_column(table.column_names.index(key), pa.field(key, column.type, nullable=False), column)


def appended_movies(stored: pa.Table, listed: RawTable | None, rated: np.ndarray) -> tuple[pa.Table, int, int]:
    """The movies, sorted by id, with those that are newly listed or rated.

    A stored row without title, year and genres, as rated movies get that no file lists, gives way to a listed one.

    Returns:
        The table, the number of movies that were not in it, and how many of these have no record.
    """
    new = stored.slice(0, 0)
    if listed is not None:
        given = with_id_type_of(listed.table, "movieId", stored["movieId"].type, listed.path).cast(stored.schema)
        blank = ids.values(stored["movieId"])[_is_blank(stored)]
        replaced = np.isin(ids.values(given["movieId"]), blank)
        fresh = ~np.isin(ids.values(given["movieId"]), ids.values(stored["movieId"]))
        new = given.filter(pa.array(fresh | replaced))
        gone = np.isin(ids.values(stored["movieId"]), ids.values(new["movieId"]))
        stored, n_before = stored.filter(pa.array(~gone)), len(stored)
    else:
        n_before = len(stored)
    joined = pa.concat_tables([stored, new])
    if not len(rated):
        return joined.sort_by("movieId"), len(joined) - n_before, 0
    whole, without_record = with_rated(joined, rated)
    return whole, len(whole) - n_before, without_record


def _is_blank(movies: pa.Table) -> np.ndarray:
    """(n,) rows without title, year and genres."""
    titles = np.array(movies["title"].to_pylist(), dtype=object) == ""
    lengths = np.array([len(genres) for genres in movies["genres"].to_pylist()], dtype=np.int64)
    return np.asarray(titles & (lengths == 0) & np.asarray(movies["year"].is_null()))


def appended_users(processed: Path, people: RawTable | None) -> dict[str, pa.Table]:
    """``users.parquet`` with the users that it lacks; nothing where none is new."""
    if people is None:
        return {}
    stored = read_optional(processed / schema.USERS, ("userId",))
    if stored is None:
        return {schema.USERS: people.table}
    given = with_id_type_of(people.table, "userId", stored["userId"].type, people.path)
    fresh = ~np.isin(ids.values(given["userId"]), ids.values(stored["userId"]))
    if not fresh.any():
        return {}
    return {schema.USERS: pa.concat_tables([stored, given.filter(pa.array(fresh)).cast(stored.schema)])}


def appended_features(path: Path, key: str, given: pa.Table | None) -> dict[str, pa.Table]:
    """A table of own columns with the rows that it lacks; new columns are not taken in, missing ones are empty.

    Raises:
        DataError: a column has another type than the stored one.
    """
    stored = read_optional(path, (key,))
    if given is None or stored is None:
        if given is not None:
            names = ", ".join(name for name in given.column_names if name != key)
            logger.info("own columns are not used, since the tables were made without: {}", names)
        return {}
    given = with_id_type_of(given, key, stored[key].type, path)
    extra = [name for name in given.column_names if name not in stored.column_names]
    if extra:
        logger.info("own columns are not used, since the tables were made without: {}", ", ".join(extra))
    fresh = ~np.isin(ids.values(given[key]), ids.values(stored[key]))
    if not fresh.any():
        return {}
    new = given.filter(pa.array(fresh))
    columns = []
    for field in stored.schema:
        if field.name not in new.column_names:
            columns.append(pa.nulls(len(new), field.type))
        elif new[field.name].type != field.type:
            raise DataError(
                f"own column {field.name} is {new[field.name].type} in the new file and {field.type} in {path}; give "
                "it the same type, or leave it out"
            )
        else:
            columns.append(new[field.name])
    return {path.name: pa.concat_tables([stored, pa.table(columns, schema=stored.schema)])}
