"""Reader of a user's own interactions, items and users, in Parquet or CSV."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from loguru import logger

from dataprep.cleaning import clean_genres, parse_dates, split_genres, split_titles
from dataprep.readers.columns import Kind
from dataprep.readers.movielens import read_movies_dat, read_users_dat
from dataprep.readers.own_columns import ITEM_NAMES, USER_NAMES, own_columns
from dataprep.readers.own_files import existing, read_own_file
from dataprep.readers.raw import RawData, RawTable
from dataprep.readers.records import column, movie_records, user_records
from dataprep.schema import TIE_FILE

_MILLISECONDS = 10**11  # as seconds, the year 5138


def read_own(interactions: Path, items: Path | None, users: Path | None, show: bool) -> RawData:
    """Read own data.

    Other columns of items and users are features (``dataprep.readers.own_columns``); those of interactions are ignored.

    Args:
        interactions: userId, movieId or itemId; optionally rating, timestamp (Unix seconds, dates or ISO 8601 in
            UTC), position. Without timestamp and position, events are in the order of the file.
        items: movieId or itemId; optionally title, year, genres (a list, or text such as ``A|B``); or the movies.dat
            of a MovieLens release.
        users: userId; optionally age, gender, occupation, zip; or the users.dat of ml-1m.
        show: whether to show progress.

    Raises:
        DataError: a missing or empty file, a missing column, ids that are not whole numbers, or an own column that
            cannot be read.
    """
    events = read_own_file(
        interactions,
        {"userId": Kind.ID},
        {"rating": Kind.RATING, "timestamp": Kind.TIME, "position": Kind.ORDER},
        show,
        item=True,
    )
    if "timestamp" in events.table.column_names:
        events = _with_seconds(events)
    movies, item_features = (None, None) if items is None else _items(items, show)
    people, user_features = (None, None) if users is None else _users(users, show)
    return RawData(
        "own",
        TIE_FILE,
        events,
        movies,
        people,
        unique_pairs=False,
        item_features=item_features,
        user_features=user_features,
    )


def _items(path: Path, show: bool) -> tuple[RawTable, pa.Table | None]:
    """Rows of ``movies.parquet``, and the own columns if there are any."""
    if path.suffix == ".dat":
        return read_movies_dat(existing(path), show), None
    known = {"title": Kind.TEXT, "year": Kind.LOOSE_INT, "genres": Kind.TEXT}
    raw = read_own_file(path, {}, known, show, item=True, own=ITEM_NAMES)
    raw = _filled(raw, {"title": pa.string(), "year": pa.int64(), "genres": pa.string()})
    raw = raw.reject(np.asarray(pc.fill_null(pc.greater(raw.table["year"], 9999), False)), "year is over 9999")
    given = column(raw, "year").cast(pa.int16())
    full = pc.fill_null(column(raw, "title"), "")
    short, found = split_titles(full)
    # A title such as "2049 (2000)" keeps its parentheses if the column year has another value.
    agrees = pc.or_(given.is_null(), pc.fill_null(pc.equal(given, found), False))
    genres = column(raw, "genres")
    genres = clean_genres(genres) if pa.types.is_list(genres.type) else split_genres(pc.fill_null(genres, ""), "|")
    movies = movie_records(raw, pc.if_else(agrees, short, full), pc.coalesce(given, found), genres)
    return movies, own_columns(raw, "movieId", known)


def _users(path: Path, show: bool) -> tuple[RawTable, pa.Table | None]:
    """Rows of ``users.parquet``, and the own columns if there are any."""
    if path.suffix == ".dat":
        return read_users_dat(existing(path), show), None
    known = {"age": Kind.LOOSE_INT, "gender": Kind.TEXT, "occupation": Kind.TEXT, "zip": Kind.TEXT}
    raw = read_own_file(path, {"userId": Kind.ID}, known, show, own=USER_NAMES)
    raw = _filled(raw, {name: pa.int64() if name == "age" else pa.string() for name in known})
    users = user_records(raw, column(raw, "occupation"))
    kept = np.isin(raw.lines, users.lines)
    raw = replace(raw, table=raw.table.filter(pa.array(kept)), lines=raw.lines[kept])
    return users, own_columns(raw, "userId", known)


def _filled(raw: RawTable, columns: dict[str, pa.DataType]) -> RawTable:
    """Add an empty column for each one that the file lacks."""
    table = raw.table
    for name, kind in columns.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), kind))
    return replace(raw, table=table)


def _with_seconds(raw: RawTable) -> RawTable:
    """Times as Unix seconds; dates in text are parsed."""
    if pa.types.is_string(raw.table["timestamp"].type):
        seconds = parse_dates(column(raw, "timestamp"))
        at = raw.table.column_names.index("timestamp")
        raw = replace(raw, table=raw.table.set_column(at, "timestamp", seconds))
        raw = raw.reject(np.asarray(seconds.is_null()), "timestamp is neither a number nor ISO 8601 in UTC")
        raw = raw.reject(raw.table["timestamp"].to_numpy() < 0, "timestamp is negative")
    latest = pc.max(raw.table["timestamp"]).as_py()
    if latest is not None and latest > _MILLISECONDS:
        logger.warning(
            "{}: timestamps up to {:,} do not look like seconds; convert them to seconds", raw.path.name, latest
        )
    return raw
