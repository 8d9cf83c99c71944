"""Reading and writing interactions as Parquet with raw ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from loguru import logger

from reccore import DataError, Interactions, Vocabulary
from reccore.arrays import offsets_from_lengths

ITEM_COLUMNS = ("movieId", "itemId")
TIE_WARNING_SHARE = 0.2
"""Warn if more than this share of the events have the same user and time as another event."""


def read_events(path: Path) -> pa.Table:
    """Read userId, movieId (or itemId) and, where present, rating, timestamp and position.

    Returns:
        A table with columns userId, movieId (int64) and the optional rating (float32), timestamp (int64)
        and position (int64), in the file's order.

    Raises:
        DataError: no such file, not Parquet, empty, or a column is missing, of the wrong type or has nulls.
    """
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    try:
        schema = pq.read_schema(path)
        item = next((name for name in ITEM_COLUMNS if name in schema.names), None)
        if "userId" not in schema.names or item is None:
            raise DataError(f"{path} needs columns userId and movieId (or itemId); it has {', '.join(schema.names)}")
        optional = [name for name in ("rating", "timestamp", "position") if name in schema.names]
        table = pq.read_table(path, columns=["userId", item, *optional])
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error
    if table.num_rows == 0:
        raise DataError(f"{path} holds no rows")
    table = table.rename_columns(["userId", "movieId", *optional])
    types = {"userId": pa.int64(), "movieId": pa.int64(), "rating": pa.float32()}
    columns = {name: _column(path, table, name, types.get(name, pa.int64())) for name in table.column_names}
    return pa.table(columns)


def _column(path: Path, table: pa.Table, name: str, wanted: pa.DataType) -> pa.ChunkedArray:
    column = table[name]
    if column.null_count:
        raise DataError(f"{path}: column {name} has {column.null_count:,} empty values")
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(f"{path}: column {name} must hold numbers, it is {column.type}")
    try:
        cast = column.cast(wanted, safe=not pa.types.is_floating(wanted))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: column {name} does not fit {wanted}: {error}") from error
    if pa.types.is_floating(wanted) and not pc.all(pc.is_finite(cast)).as_py():
        raise DataError(f"{path}: column {name} holds values that are not finite numbers")
    if not pa.types.is_floating(wanted) and pc.min(cast).as_py() < 0:
        raise DataError(f"{path}: column {name} holds negative values")
    return cast


def to_interactions(table: pa.Table, vocabulary: Vocabulary) -> Interactions:
    """Dense events sorted by user, then ``timestamp`` and ``position`` if present, then row of the table.

    All ids must be in the vocabulary. ``position`` only orders the events and is not stored.
    """
    columns: dict[str, Any] = {name: table[name].to_numpy() for name in table.column_names}
    columns["userId"] = vocabulary.users.encode(columns["userId"])
    columns["movieId"] = vocabulary.items.encode(columns["movieId"])
    keys = [columns[name] for name in ("position", "timestamp", "userId") if name in columns]
    if not _is_sorted(keys):
        order = np.lexsort(keys)
        columns = {name: values[order] for name, values in columns.items()}
    return Interactions(
        user_offsets=offsets_from_lengths(np.bincount(columns["userId"], minlength=len(vocabulary.users))),
        item_idx=columns["movieId"],
        n_items=len(vocabulary.items),
        rating=columns.get("rating"),
        timestamp=columns.get("timestamp"),
    )


def _is_sorted(keys: list[np.ndarray]) -> bool:
    """Whether the rows are already in the order of ``np.lexsort(keys)`` (last key first)."""
    tied = np.ones(max(len(keys[0]) - 1, 0), dtype=bool)
    for key in reversed(keys):
        if np.any(tied & (key[1:] < key[:-1])):
            return False
        tied &= key[1:] == key[:-1]
    return True


def warn_about_ties(path: Path, interactions: Interactions) -> None:
    """Warn if many events of one user have equal times, so that the file's order decides which came first.

    If ties are sorted by movieId, that is a leak: the last event of a tie is then the one with the highest movieId.
    """
    if interactions.timestamp is None or interactions.n_events == 0:
        return
    user, time, item = interactions.user_idx, interactions.timestamp, interactions.item_idx
    pairs = (user[1:] == user[:-1]) & (time[1:] == time[:-1])  # neighbours in a tie
    share = float((np.append(pairs, False) | np.append(False, pairs)).mean())
    if share <= TIE_WARNING_SHARE:
        return
    by_movie = bool((item[1:] > item[:-1])[pairs].all())  # item indices are in the order of the ids
    logger.warning(
        "{}: {:.0%} of the events have the same user and time as another event, and the file's order decides which "
        "came first{}; add a column position with the true order, or shuffle the rows",
        path.name,
        share,
        ". The file is sorted by movieId, which leaks which film is a user's last" if by_movie else "",
    )


def write_events(path: Path, interactions: Interactions, vocabulary: Vocabulary, **metadata: str) -> None:
    """Write events with raw ids, in order, with ``metadata`` in the schema."""
    columns: dict[str, Any] = {
        "userId": vocabulary.users.decode(interactions.user_idx),
        "movieId": vocabulary.items.decode(interactions.item_idx),
        "rating": interactions.rating,
        "timestamp": interactions.timestamp,
    }
    table = pa.table({name: pa.array(values) for name, values in columns.items() if values is not None})
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd", compression_level=1)
