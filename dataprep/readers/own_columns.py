"""Own columns: those of a user's item and user files that have no fixed meaning here, typed by what they hold.

============  =======================================================  ==========================
kind          in Parquet                                               stored as
============  =======================================================  ==========================
number        whole numbers, floats, decimals                          float64
category      text, Booleans, dictionaries of text                     string
labels        lists of text or whole numbers                           list of string
vector        lists of floats of one length, fixed-size lists          fixed-size list of float32
============  =======================================================  ==========================

A missing value is null. A column of CSV is a number if all its values are, and otherwise a category.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from loguru import logger

from dataprep import ids
from dataprep.cleaning import repeated_ids
from dataprep.readers.columns import MISSING_TEXT, Kind
from dataprep.readers.parquet import ParquetTable
from dataprep.readers.raw import RawTable
from dataprep.readers.slow import NUMBER
from reccore.arrays import BoolArray
from reccore.errors import DataError

OwnKind = Literal["number", "category", "labels", "vector"]

NAME = re.compile(r"[^\W_][\w-]*")
"""What an own column may be called: names are written in lists, patterns and dotted keys."""
ITEM_NAMES = frozenset(
    [
        *("movieId", "itemId", "userId", "id", "title", "year", "genres", "tag"),
        *("log_count", "log_recent_count", "recent_share", "log_trend", "mean_rating", "rating_variance"),
    ]
)
"""Names of an item's other features, and of ids."""
USER_NAMES = frozenset(
    [
        *("userId", "movieId", "id", "age", "gender", "occupation", "zip", "top_genres"),
        *("log_activity", "log_rating_count", "mean_rating", "rating_variance"),
        *("log_days_since_last", "log_last_gap", "log_pace"),
    ]
)
"""Names of a user's other features, and of ids."""


def own_kinds(path: Path, types: Mapping[str, pa.DataType | None], reserved: Collection[str]) -> dict[str, Kind]:
    """How to read the own columns of a file; columns of other types and names are left out with a warning.

    Args:
        path: the file.
        types: name → Arrow type of its columns without a fixed meaning; None in CSV.
        reserved: names that are taken.

    Raises:
        DataError: a column has a reserved name.
    """
    kinds = {}
    for name, kind in types.items():
        if name in reserved:
            raise DataError(f"column {name} of {path} has the name of an id or of another feature; rename or drop it")
        if not NAME.fullmatch(name):
            logger.warning(
                "{}: column {!r} is not used: rename it to letters, digits, _ and -, a letter or digit first",
                path.name,
                name,
            )
        elif kind is None:
            kinds[name] = Kind.TEXT
        elif kind_of(kind) is None:
            logger.warning("{}: column {} is not used: its type is {}", path.name, name, kind)
        else:
            kinds[name] = Kind.OWN
    return kinds


def kind_of(given: pa.DataType) -> OwnKind | None:
    """Kind of a column by its Arrow type; None = not usable."""
    types = pa.types
    if types.is_integer(given) or types.is_floating(given) or types.is_decimal(given):
        return "number"
    if types.is_string(given) or types.is_large_string(given) or types.is_boolean(given) or types.is_dictionary(given):
        return "category"
    if types.is_fixed_size_list(given) and kind_of(given.value_type) == "number":
        return "vector"
    if types.is_list(given) or types.is_large_list(given) or types.is_fixed_size_list(given):
        if types.is_floating(given.value_type):
            return "vector"
        whole = types.is_integer(given.value_type)
        return "labels" if whole or kind_of(given.value_type) == "category" else None
    return None


def own_columns(raw: RawTable, key: str, known: Collection[str]) -> pa.Table | None:
    """``key`` and the own columns of the valid rows, the first of each id; None without any.

    Args:
        raw: the rows as read.
        key: movieId or userId.
        known: the columns that have a fixed meaning.

    Raises:
        DataError: vectors of different lengths, or with missing or infinite values.
    """
    first = ~repeated_ids(ids.numbers(raw.table[key]))  # the tables reject the later rows
    raw = replace(raw, table=raw.table.filter(pa.array(first)), lines=raw.lines[first])
    columns = {key: ids.array_of(ids.values(raw.table[key]))}
    for name in raw.table.column_names:
        if name == key or name in known:
            continue
        column = _typed(raw, name)
        present = len(column) - column.null_count
        if not present:
            logger.warning("{}: column {} is not used: it is empty", raw.path.name, name)
            continue
        if _is_constant(column):
            logger.warning("{}: column {} has the same value in every row", raw.path.name, name)
        columns[name] = column
    return pa.table(columns) if len(columns) > 1 else None


def described(table: pa.Table) -> dict[str, str]:
    """Own column → its kind and the share of missing values; ``table`` has the ids in its first column."""
    facts = {}
    for name in table.column_names[1:]:
        column = table[name]
        kind = str(kind_of(column.type))
        if kind == "vector":
            kind += f" of {column.type.list_size}"
        facts[name] = f"{kind}, {column.null_count / max(len(column), 1):.0%} missing"
    return facts


def _is_constant(column: pa.Array) -> bool:
    """Whether all rows of a number or category have one value."""
    if pa.types.is_nested(column.type) or column.null_count or len(column) < 2:
        return False
    return bool(pc.count_distinct(column).as_py() == 1)


def vector_array(rows: np.ndarray, known: BoolArray) -> pa.FixedSizeListArray:
    """(n,) vectors, null where not ``known`` (n,), from the rows (m, D) of those that are."""
    at = np.cumsum(known) - 1
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.astype(np.float32).ravel()), rows.shape[1])
    return vectors.take(pa.array(at, mask=~known))


def _typed(raw: RawTable, name: str) -> pa.Array:
    column = raw.table[name].combine_chunks()
    if not isinstance(raw, ParquetTable):
        return _from_text(raw, name, column)
    match kind_of(column.type):
        case "number":
            return _finite(column.cast(pa.float64(), safe=False))
        case "vector":
            return _vectors(raw, name, column)
        case "labels":
            return column.cast(pa.list_(pa.string()))
    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _from_text(raw: RawTable, name: str, column: pa.Array) -> pa.Array:
    """A column of CSV: numbers if all values are, else text."""
    text = pc.utf8_trim_whitespace(column)
    missing = pc.is_in(pc.utf8_lower(text), pa.array(MISSING_TEXT))
    text = pc.if_else(missing, pa.scalar(None, pa.string()), text)
    numeric = np.asarray(pc.fill_null(pc.match_substring_regex(text, NUMBER), False), dtype=np.bool_)
    other = np.asarray(text.is_valid(), dtype=np.bool_) & ~numeric
    if not other.any():
        return _finite(pc.replace_substring_regex(text, r"^\+", "").cast(pa.float64()))
    if numeric.sum() > other.sum():
        first = int(other.argmax())
        logger.warning(
            "{}: column {} is read as text, although {:,} of {:,} values are numbers: line {} has {!r}; leave cells "
            "without a number empty",
            raw.path.name,
            name,
            int(numeric.sum()),
            int((numeric | other).sum()),
            int(raw.lines[first]),
            text[first].as_py(),
        )
    return text


def _finite(column: pa.Array) -> pa.Array:
    """NaN and infinite values as null."""
    return pc.if_else(pc.fill_null(pc.is_finite(column), False), column, pa.scalar(None, column.type))


def _vectors(raw: RawTable, name: str, column: pa.Array) -> pa.Array:
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0))
    known = lengths > 0
    if not known.any():
        return pa.nulls(len(column))
    sizes, counts = np.unique(lengths[known], return_counts=True)
    usual = int(sizes[counts.argmax()])
    where = f"column {name} of {raw.path}"
    if len(sizes) > 1:
        first = int((known & (lengths != usual)).argmax())
        raise DataError(
            f"{where} has vectors of different lengths: {lengths[first]} numbers in row {raw.lines[first]}, {usual} in "
            "most others; give all the same length (null = missing), or drop the column"
        )
    flat = column.filter(pa.array(known)).flatten().cast(pa.float32(), safe=False)
    rows = np.asarray(pc.fill_null(flat, np.nan)).reshape(-1, usual)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        first = int(np.flatnonzero(known)[~finite][0])
        raise DataError(
            f"{where} has {int((~finite).sum()):,} vectors with missing or infinite numbers, the first in row "
            f"{raw.lines[first]}; make such a row null, or drop the column"
        )
    return vector_array(rows, known)
