"""Reading and writing interactions as Parquet with raw ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataprep import ids
from dataprep.readers.own import EventFile, read_own_events
from dataprep.readers.times import FRACTION
from dataprep.ties import Ties
from reccore import DataError, Interactions, Vocabulary
from reccore.arrays import FloatArray, IntArray, offsets_from_lengths

OPTIONAL = {"rating": pa.float32(), "timestamp": pa.int64()}
COMPRESSION: dict[str, Any] = {"compression": "zstd", "compression_level": 1}


def read_events(path: Path) -> pa.Table:
    """Read a file that this project wrote: userId, movieId and, where present, rating and timestamp.

    Returns:
        Ids as int64 or dictionaries of text, rating as float32, timestamp as int64, in the file's order.

    Raises:
        DataError: no such file, not Parquet, empty, or a column is missing, of the wrong type or has nulls.
    """
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    try:
        names = pq.read_schema(path).names
        if "userId" not in names or "movieId" not in names:
            raise DataError(f"{path} needs columns userId and movieId; it has {', '.join(names)}")
        table = pq.read_table(path, columns=["userId", "movieId", *(name for name in OPTIONAL if name in names)])
        for at, name in enumerate(table.column_names):
            if name in OPTIONAL:
                table = table.set_column(at, name, table[name].cast(OPTIONAL[name]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file of events: {error}") from error
    if table.num_rows == 0:
        raise DataError(f"{path} holds no rows")
    empty = [name for name in table.column_names if table[name].null_count]
    if empty:
        raise DataError(f"{path}: column {empty[0]} has {table[empty[0]].null_count:,} empty values")
    return table


def read_event_file(file: EventFile) -> pa.Table:
    """Read events of the user's own: userId, movieId and, where present, rating, timestamp, fraction and position.

    Returns:
        As ``read_events``; ``fraction`` is what a time has below the second.

    Raises:
        ConfigError: columns that cannot be named so.
        DataError: no such file, not readable, a missing or ambiguous column, or an invalid row.
    """
    raw = read_own_events(file, show=False)
    raw.check_all_valid(
        "mend the file, or let PYTHONPATH=. python scripts/run_preprocessing.py --interactions leave such rows out"
    )
    return raw.table


def to_interactions(table: pa.Table, vocabulary: Vocabulary, *, path: Path | None = None) -> Interactions:
    """Dense events sorted by user, then by ``timestamp``, ``fraction`` and ``position`` if present, then by row.

    The first two columns are userId and movieId, whose ids must be in the vocabulary. ``fraction`` and ``position``
    only order the events and are not stored. With ``path``, the file's name, many ties are reported.
    """
    columns: dict[str, Any] = {name: table[name].to_numpy() for name in table.column_names[2:]}
    columns["userId"] = ids.encode(vocabulary.users, table["userId"])
    columns["movieId"] = ids.encode(vocabulary.items, table["movieId"])
    keys = [columns[name] for name in ("position", FRACTION, "timestamp", "userId") if name in columns]
    if not _is_sorted(keys):
        order = np.lexsort(keys)
        columns = {name: values[order] for name, values in columns.items()}
    if path is not None and "timestamp" in columns and "position" not in columns:
        times = [columns[name] for name in ("timestamp", FRACTION) if name in columns]
        Ties.of(columns["userId"], times, columns["movieId"]).warn(path)
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


def event_table(
    vocabulary: Vocabulary,
    user_idx: IntArray,
    item_idx: IntArray,
    rating: FloatArray | None,
    timestamp: IntArray | None,
) -> pa.Table:
    """Events with raw ids."""
    columns: dict[str, Any] = {
        "userId": ids.decode(vocabulary.users, user_idx),
        "movieId": ids.decode(vocabulary.items, item_idx),
        "rating": rating,
        "timestamp": timestamp,
    }
    return pa.table({name: values for name, values in columns.items() if values is not None})


def write_events(path: Path, interactions: Interactions, vocabulary: Vocabulary, **metadata: str) -> None:
    """Write events with raw ids, in order, with ``metadata`` in the schema."""
    events = interactions
    table = event_table(vocabulary, events.user_idx, events.item_idx, events.rating, events.timestamp)
    pq.write_table(table.replace_schema_metadata(metadata), path, **COMPRESSION)
