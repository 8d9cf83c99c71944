"""Reader of a user's own interactions, items and users, in Parquet or CSV."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataprep import ids
from dataprep.cleaning import clean_genres, split_genre_texts, split_titles
from dataprep.readers.movielens import read_movies_dat, read_users_dat
from dataprep.readers.own_columns import ITEM_NAMES, USER_NAMES, own_columns
from dataprep.readers.own_files import existing, read_own_file
from dataprep.readers.raw import RawData, RawTable
from dataprep.readers.records import column, movie_records, user_records
from dataprep.readers.roles import EVENT_ROLES, ITEM_ROLES, USER_ROLES, ColumnNames
from dataprep.readers.times import TimeUnit, with_seconds
from dataprep.schema import TIE_FILE
from reccore.bundle import file_sha256
from reccore.errors import DataError


@dataclass(frozen=True)
class EventFile:
    """A file of events and how to read it.

    Attributes:
        path: Parquet or CSV, the latter also compressed with gzip.
        columns: names of columns as texts ``role=name``, see ``dataprep.readers.roles``.
        time_unit: of times that are numbers; None = by their size.
        text_ids: whether ids are text even where they are whole numbers.
    """

    path: Path
    columns: tuple[str, ...] = ()
    time_unit: TimeUnit | None = None
    text_ids: bool = False

    @property
    def name(self) -> str:
        """The file's name without its endings ``.gz`` and ``.csv`` or ``.parquet``."""
        return Path(self.path.name.removesuffix(".gz")).stem

    @property
    def fingerprint(self) -> str:
        """Digest of the content, and of how it is read unless that is left to the file."""
        content = file_sha256(self.path)
        reading = [list(self.columns), self.time_unit, self.text_ids]
        if reading == [[], None, False]:
            return content
        return hashlib.sha256(json.dumps([content, reading]).encode()).hexdigest()

    @property
    def facts(self) -> dict[str, Any]:
        """JSON-able; ``of_facts`` is the inverse."""
        return {
            "input": str(self.path.resolve()),
            "columns": list(self.columns),
            "time_unit": self.time_unit,
            "text_ids": self.text_ids,
        }

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Self:
        """From ``facts`` and whatever else stands beside them."""
        path, columns = Path(facts["input"]), tuple(facts.get("columns", ()))
        return cls(path, columns, facts.get("time_unit"), bool(facts.get("text_ids", False)))


@dataclass(frozen=True)
class SideFile:
    """A file of items or users: its path, and columns as texts ``role=name``."""

    path: Path
    columns: tuple[str, ...] = ()


def read_own(events: EventFile, items: SideFile | None, users: SideFile | None, show: bool) -> RawData:
    """Read own data.

    Other columns of items and users are features (``dataprep.readers.own_columns``); those of interactions are ignored.

    Args:
        events: user and item; optionally rating, time (numbers, dates or ISO 8601), position. Without time and
            position, events are in the order of the file.
        items: item; optionally title, year, genres (a list, or text such as ``A|B``); or the movies.dat of a MovieLens
            release.
        users: user; optionally age, gender, occupation, zip; or the users.dat of ml-1m.
        show: whether to show progress.

    Raises:
        ConfigError: columns that cannot be named so.
        DataError: a missing, empty or damaged file, a missing or ambiguous column, or an own column that cannot be
            read.
    """
    interactions = read_own_events(events, show)
    movies, item_features = (None, None) if items is None else _items(items, show, text_ids=events.text_ids)
    people, user_features = (None, None) if users is None else _users(users, show, text_ids=events.text_ids)
    return RawData(
        "own",
        TIE_FILE,
        interactions,
        movies,
        people,
        unique_pairs=False,
        item_features=item_features,
        user_features=user_features,
    )


def read_own_events(file: EventFile, show: bool) -> RawTable:
    """Valid rows of a file of events in its order: userId, movieId and, where it has them, rating, timestamp (Unix
    seconds), fraction (of the second) and position.

    Raises:
        ConfigError, DataError: as ``read_own``.
    """
    names = ColumnNames.parse(file.columns, EVENT_ROLES)
    raw = read_own_file(file.path, EVENT_ROLES, show, names=names, text_ids=file.text_ids)
    if "timestamp" in raw.table.column_names:
        return with_seconds(raw, file.time_unit)
    if file.time_unit is not None:
        raise DataError(f"{file.path} has no column for the time, so --time_unit {file.time_unit} means nothing")
    return raw


def _items(file: SideFile, show: bool, *, text_ids: bool) -> tuple[RawTable, pa.Table | None]:
    """Rows of ``movies.parquet``, and the own columns if there are any."""
    names = ColumnNames.parse(file.columns, ITEM_ROLES, "--item_columns")
    if file.path.suffix == ".dat":
        return read_movies_dat(existing(file.path), show), None
    raw = read_own_file(file.path, ITEM_ROLES, show, names=names, text_ids=text_ids, own=ITEM_NAMES)
    raw = _filled(raw, {"title": pa.string(), "year": pa.int64(), "genres": pa.string()})
    raw = raw.reject(np.asarray(pc.fill_null(pc.greater(raw.table["year"], 9999), False)), "year is over 9999")
    given = column(raw, "year").cast(pa.int16())
    full = pc.fill_null(column(raw, "title"), "")
    short, found = split_titles(full)
    # A title such as "2049 (2000)" keeps its parentheses if the column year has another value.
    agrees = pc.or_(given.is_null(), pc.fill_null(pc.equal(given, found), False))
    genres = column(raw, "genres")
    genres = clean_genres(genres) if pa.types.is_list(genres.type) else split_genre_texts(pc.fill_null(genres, ""))
    movies = movie_records(raw, pc.if_else(agrees, short, full), pc.coalesce(given, found), genres)
    return movies, own_columns(raw, "movieId", ("title", "year", "genres"))


def _users(file: SideFile, show: bool, *, text_ids: bool) -> tuple[RawTable, pa.Table | None]:
    """Rows of ``users.parquet``, and the own columns if there are any."""
    names = ColumnNames.parse(file.columns, USER_ROLES, "--user_columns")
    if file.path.suffix == ".dat":
        return read_users_dat(existing(file.path), show), None
    raw = read_own_file(file.path, USER_ROLES, show, names=names, text_ids=text_ids, own=USER_NAMES)
    known = [role.name for role in USER_ROLES[1:]]
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


def same_ids(data: RawData) -> RawData:
    """The same data with ids of text in all tables if one of them has text."""
    for key in ("userId", "movieId"):
        tables = _tables(data)
        with_key = {name: table for name, table in tables.items() if key in table.column_names}
        if any(ids.is_text(table[key]) for table in with_key.values()):
            for name, table in with_key.items():
                data = _with_table(data, name, _with_text(table, key, sort=name == "ratings"))
    return data


def _tables(data: RawData) -> dict[str, pa.Table]:
    raw = {name: getattr(data, name) for name in ("ratings", "movies", "users")}
    own = {name: getattr(data, name) for name in ("item_features", "user_features")}
    return {name: part.table for name, part in raw.items() if part is not None} | {
        name: part for name, part in own.items() if part is not None
    }


def _with_table(data: RawData, name: str, table: pa.Table) -> RawData:
    part = getattr(data, name)
    changed: dict[str, Any] = {name: replace(part, table=table) if isinstance(part, RawTable) else table}
    return replace(data, **changed)


def _with_text(table: pa.Table, key: str, *, sort: bool) -> pa.Table:
    """With the ids of events as a sorted dictionary, and those of other tables as plain text."""
    at = table.column_names.index(key)
    text = ids.as_text(table[key]) if sort else table[key].cast(pa.string())
    return table.set_column(at, pa.field(key, text.type, nullable=False), text)


def used_files(*files: EventFile | SideFile | None) -> Sequence[Path]:
    """The paths of the given files."""
    return [file.path for file in files if file is not None]
