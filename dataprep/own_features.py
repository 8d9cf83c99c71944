"""Own columns of items and users (``dataprep.readers.own_columns``) as columns of the item and user tables.

They are stored as the metadata of TMDb is: categories and lists as labels, numbers, and vectors. No column depends on
events, as far as this project can know: a column that was computed from events to predict is a leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from loguru import logger

from dataprep import ids as raw_ids
from dataprep import schema
from dataprep.labels import frequent_labels, pairs_of_lists
from dataprep.parquet import read_optional
from dataprep.readers.own_columns import kind_of
from reccore import ConfigError, DataError, IdMap, ItemTable, Labels, UserTable
from reccore.arrays import FloatArray

MIN_ROWS = 2
"""A value of a single item or user is as specific as its id."""
MAX_LABELS = 10_000
MAX_PER_ROW = 32


@dataclass(frozen=True, eq=False)
class OwnColumns:
    """Columns aligned with N items or users, as ``ItemTable`` has them."""

    labels: dict[str, Labels] = field(default_factory=dict)
    numbers: dict[str, FloatArray] = field(default_factory=dict)
    vectors: dict[str, FloatArray] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        return frozenset([*self.labels, *self.numbers, *self.vectors])


def with_own_items(items: ItemTable, ids: IdMap, processed: Path) -> ItemTable:
    """Add the own columns of the items; unchanged if there are none. An item without a row has missing values.

    Raises:
        DataError: the table cannot be read, or another feature has the name of a column.
    """
    own = _read(processed / schema.ITEM_FEATURES, "movieId", ids)
    clash = own.names.intersection([*items.labels, *items.numbers, *items.vectors])
    if clash:
        raise DataError(
            f"the own columns {', '.join(sorted(clash))} of the items have the names of features of TMDb; rename them"
        )
    return replace(
        items,
        labels={**items.labels, **own.labels},
        numbers={**items.numbers, **own.numbers},
        vectors={**items.vectors, **own.vectors},
        own=own.names,
    )


def with_own_users(users: UserTable, ids: IdMap, processed: Path) -> UserTable:
    """The same for users.

    Raises:
        DataError: the table cannot be read.
    """
    own = _read(processed / schema.USER_FEATURES, "userId", ids)
    return replace(users, labels=own.labels, numbers=own.numbers, vectors=own.vectors)


def own_to_read(table: ItemTable | UserTable, names: Sequence[str], option: str) -> tuple[str, ...]:
    """Check that the table has the named own columns, and return them.

    Raises:
        ConfigError: it lacks one; the message says which, and which there are.
    """
    missing = [name for name in names if name not in table.own]
    if missing:
        what = "items" if isinstance(table, ItemTable) else "users"
        there = ", ".join(sorted(table.own)) or "none"
        raise ConfigError(
            f"{option}: no own column {', '.join(missing)} of {what} in this data; there are: {there}. They come "
            f"from --{what} or --{what[:-1]}_vectors of PYTHONPATH=. python scripts/run_preprocessing.py, which says "
            "why it leaves out others; then run PYTHONPATH=. python scripts/prepare_two_tower_data.py"
        )
    return tuple(names)


def _read(path: Path, key: str, ids: IdMap) -> OwnColumns:
    table = read_optional(path, (key,))
    own = OwnColumns()
    if table is None:
        return own
    row = np.full(len(ids), -1, dtype=np.int64)
    place = raw_ids.encode(ids, table[key])
    row[place[place >= 0]] = np.flatnonzero(place >= 0)
    for name in table.column_names:
        if name == key:
            continue
        column = table[name].combine_chunks().take(pa.array(np.maximum(row, 0), mask=row < 0))
        kind = kind_of(column.type)
        if kind == "number":
            own.numbers[name] = _numbers(column)
        elif kind == "vector":
            own.vectors[name] = _vectors(column)
        elif labels := _labels(column):
            own.labels[name] = labels
        else:
            logger.warning("{}: column {} is not used: no value is on {} rows", path.name, name, MIN_ROWS)
    logger.info(
        "{}: {} for {:,} of {:,}; {:,} other rows are of unknown ids",
        path.name,
        ", ".join(sorted(own.names)) or "no column",
        int((row >= 0).sum()),
        len(row),
        int((place < 0).sum()),
    )
    return own


def _numbers(column: pa.Array) -> FloatArray:
    """(N,) float32, NaN = missing."""
    with np.errstate(over="ignore"):
        values = column.fill_null(float("nan")).to_numpy(zero_copy_only=False).astype(np.float32)
    return np.where(np.isfinite(values), values, np.float32(np.nan))


def _vectors(column: pa.FixedSizeListArray) -> FloatArray:
    """(N, D) float32, moved to the mean 0 and scaled to the mean square length 1; zero rows where missing.

    So a missing vector stands for the average one, and a learning rate suits vectors of every scale.
    """
    known = np.asarray(column.is_valid(), dtype=np.bool_)
    rows = np.zeros((len(column), column.type.list_size), dtype=np.float32)
    if known.any():
        given = column.filter(pa.array(known)).flatten().to_numpy().reshape(-1, column.type.list_size)
        centred = given - given.mean(axis=0, dtype=np.float64)
        length = np.sqrt((centred**2).sum(axis=1).mean())
        rows[known] = centred / length if length > 0 else 0.0
    return rows


def _labels(column: pa.Array) -> Labels | None:
    """The most frequent values, those of at least two rows; None without any."""
    if not pa.types.is_list(column.type):
        offsets = pa.array(np.arange(len(column) + 1), pa.int32())
        column = pa.ListArray.from_arrays(offsets, column.fill_null(""))
    names, row, label = pairs_of_lists(column)
    found = frequent_labels(
        row, label, names, len(column), min_items=MIN_ROWS, max_labels=MAX_LABELS, max_per_item=MAX_PER_ROW
    )
    return found if len(found) else None
