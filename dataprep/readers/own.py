"""Reader of a user's own interactions, items and users, in Parquet or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from loguru import logger

from dataprep.cleaning import clean_genres, parse_dates, split_genres, split_titles
from dataprep.readers.blocks import first_line, line_blocks
from dataprep.readers.columns import CSV, ColumnSpec, Kind
from dataprep.readers.delimited import header_names, read_delimited
from dataprep.readers.movielens import read_movies_dat, read_users_dat
from dataprep.readers.parquet import parquet_columns, read_parquet
from dataprep.readers.raw import RawData, RawTable
from dataprep.readers.records import column, movie_records, user_records
from dataprep.schema import TIE_FILE
from reccore.errors import DataError

_SEPARATORS = (",", "\t", ";", "|")
_ITEM_NAMES = ("movieId", "itemId")
_MILLISECONDS = 10**11  # as seconds, the year 5138


def read_own(interactions: Path, items: Path | None, users: Path | None, show: bool) -> RawData:
    """Read own data; other columns are ignored.

    Args:
        interactions: userId, movieId or itemId; optionally rating, timestamp (Unix seconds, dates or ISO 8601 in
            UTC), position. Without timestamp and position, events are in the order of the file.
        items: movieId or itemId; optionally title, year, genres (a list, or text such as ``A|B``); or the movies.dat
            of a MovieLens release.
        users: userId; optionally age, gender, occupation, zip; or the users.dat of ml-1m.
        show: whether to show progress.

    Raises:
        DataError: a missing or empty file, a missing column, or ids that are not whole numbers.
    """
    events = _read(
        interactions,
        {"userId": Kind.ID},
        {"rating": Kind.RATING, "timestamp": Kind.TIME, "position": Kind.ORDER},
        show,
        item=True,
    )
    if "timestamp" in events.table.column_names:
        events = _with_seconds(events)
    return RawData(
        "own",
        TIE_FILE,
        events,
        None if items is None else _items(items, show),
        None if users is None else _users(users, show),
        unique_pairs=False,
    )


def _items(path: Path, show: bool) -> RawTable:
    if path.suffix == ".dat":
        return read_movies_dat(_existing(path), show)
    raw = _read(path, {}, {"title": Kind.TEXT, "year": Kind.LOOSE_INT, "genres": Kind.TEXT}, show, item=True)
    raw = _filled(raw, {"title": pa.string(), "year": pa.int64(), "genres": pa.string()})
    raw = raw.reject(np.asarray(pc.fill_null(pc.greater(raw.table["year"], 9999), False)), "year is over 9999")
    given = column(raw, "year").cast(pa.int16())
    full = pc.fill_null(column(raw, "title"), "")
    short, found = split_titles(full)
    # A title such as "2049 (2000)" keeps its parentheses if the column year has another value.
    agrees = pc.or_(given.is_null(), pc.fill_null(pc.equal(given, found), False))
    genres = column(raw, "genres")
    genres = clean_genres(genres) if pa.types.is_list(genres.type) else split_genres(pc.fill_null(genres, ""), "|")
    return movie_records(raw, pc.if_else(agrees, short, full), pc.coalesce(given, found), genres)


def _users(path: Path, show: bool) -> RawTable:
    if path.suffix == ".dat":
        return read_users_dat(_existing(path), show)
    text = {"gender": Kind.TEXT, "occupation": Kind.TEXT, "zip": Kind.TEXT}
    raw = _read(path, {"userId": Kind.ID}, {"age": Kind.LOOSE_INT, **text}, show)
    raw = _filled(raw, {"age": pa.int64(), **dict.fromkeys(text, pa.string())})
    return user_records(raw, column(raw, "occupation"))


def _filled(raw: RawTable, columns: dict[str, pa.DataType]) -> RawTable:
    """Add an empty column for each one that the file lacks."""
    table = raw.table
    for name, kind in columns.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), kind))
    return replace(raw, table=table)


def _read(
    path: Path, required: dict[str, Kind], optional: dict[str, Kind], show: bool, *, item: bool = False
) -> RawTable:
    """Read a Parquet or CSV file; with ``item`` also movieId or itemId, renamed to movieId."""
    with _existing(path).open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if not is_parquet and path.suffix in {".parquet", ".pq"}:
        raise DataError(f"{path} is {'empty' if not path.stat().st_size else 'not a Parquet file'}")
    separator = "" if is_parquet else _separator(path)
    names = parquet_columns(path) if is_parquet else header_names(path, separator)
    kinds = dict(required)
    if item:
        kinds[_item_name(path, names)] = Kind.ID
    missing = [name for name in kinds if name not in names]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; its columns are {', '.join(names)}")
    kinds |= {name: kind for name, kind in optional.items() if name in names}
    ignored = [name for name in names if name not in kinds]
    if ignored:
        logger.info("{}: ignored columns: {}", path.name, ", ".join(ignored))
    if is_parquet:
        raw = read_parquet(path, [ColumnSpec(name, kind) for name, kind in kinds.items()], show=show)
    else:
        raw = _read_csv(path, separator, names, kinds, show)
    return replace(raw, table=raw.table.rename_columns({"itemId": "movieId"} if "itemId" in kinds else {}))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path} is a folder, not a file" if path.is_dir() else f"{path} does not exist")
    return path


def _item_name(path: Path, names: Sequence[str]) -> str:
    found = [name for name in _ITEM_NAMES if name in names]
    if len(found) > 1:
        raise DataError(f"{path} has both movieId and itemId; drop or rename one of them")
    if not found:
        raise DataError(f"{path} has no column movieId or itemId; its columns are {', '.join(names)}")
    return found[0]


def _separator(path: Path) -> str:
    """The most frequent separator in the header."""
    header = first_line(path)
    return max(_SEPARATORS, key=header.count)


def _read_csv(path: Path, separator: str, names: Sequence[str], kinds: dict[str, Kind], show: bool) -> RawTable:
    dialect = replace(CSV, separator=separator)
    kinds = dict(kinds)
    if "timestamp" in kinds:
        kinds["timestamp"] = _time_kind(path, dialect.separator, list(names).index("timestamp"))
    specs = [
        ColumnSpec(name, kinds[name]) if name in kinds else ColumnSpec(f"_{i}", Kind.SKIP)
        for i, name in enumerate(names)
    ]
    raw = read_delimited(path, dialect, specs, show=show)
    for name, kind in kinds.items():
        if kind is Kind.ID and 2 * raw.rejects.counts().get(f"{name} is not a whole number", 0) > raw.n_seen:
            raise DataError(
                f"column {name} of {path} does not contain whole numbers (line {raw.rejects.in_order()[0][0]}: "
                f"{raw.content(raw.rejects.in_order()[0][:1])[0]!r}); number the ids first, "
                "for example with pandas.factorize"
            )
    return raw


def _time_kind(path: Path, separator: str, at: int) -> Kind:
    """Kind of the times, from the first row."""
    block = next(line_blocks(path, skip=1, size=1 << 10), None)
    cells = [] if block is None else block.data.split(b"\n")[0].decode("utf-8", "replace").split(separator)
    cell = cells[at].strip(' "\r') if at < len(cells) else ""
    if ":" in cell or cell.count("-") == 2:
        return Kind.TEXT
    return Kind.FLOAT_TIME if "." in cell else Kind.TIME


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
