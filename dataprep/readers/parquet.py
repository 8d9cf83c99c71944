"""A user's own Parquet files to typed, validated columns; the line of a row is its number from 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataprep.readers.checks import check_values
from dataprep.readers.columns import ARROW_TYPE, ColumnSpec, Kind, RejectedRows, Scale
from dataprep.readers.raw import RawTable
from reccore.arrays import BoolArray, IntArray
from reccore.errors import DataError
from reccore.progress import progress

_BATCH_ROWS = 1 << 20
_IDS = (Kind.ID, Kind.OPTIONAL_INT, Kind.LOOSE_INT)
_TIMES = (Kind.TIME, Kind.FLOAT_TIME)


@dataclass
class ParquetTable(RawTable):
    """Rows of a Parquet file."""

    def content(self, lines: IntArray) -> list[str]:
        """The given rows (n,), numbered from 1 and increasing, as text."""
        if not len(lines):
            return []
        rows = lines - 1
        first = 0
        texts: list[str] = []
        for batch in _batches(self.path):
            here = rows[(rows >= first) & (rows < first + len(batch))] - first
            texts += [str(row) for row in batch.take(pa.array(here)).to_pylist()]
            first += len(batch)
        return texts


def parquet_columns(path: Path) -> dict[str, pa.DataType]:
    """Name → type of the columns of a Parquet file.

    Raises:
        DataError: not a readable Parquet file.
    """
    try:
        schema = pq.read_schema(path)
        return dict(zip(schema.names, schema.types, strict=True))
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error


def read_parquet(path: Path, specs: Sequence[ColumnSpec], *, show: bool = False) -> RawTable:
    """Read and validate the given columns only.

    Raises:
        DataError: a column with a type that does not fit its kind, a damaged file, or an empty file.
    """
    rejects = RejectedRows()
    tables, lines = [], []
    first = 1
    with progress(f"read {path.name}", None, unit="rows", enabled=show) as advance:
        texts = [spec.name for spec in specs if spec.kind is Kind.TEXT_ID]
        for batch in _batches(path, [spec.name for spec in specs], texts):
            at = np.arange(first, first + len(batch), dtype=np.int64)
            first += len(batch)
            table, at = _typed(pa.Table.from_batches([batch]), specs, at, rejects, path)
            table, at = check_values(table, specs, at, rejects, Scale.ANY)
            tables.append(table)
            lines.append(at)
            advance(len(batch))
    if first == 1:
        raise DataError(f"{path} is empty: no rows")
    return ParquetTable(path, pa.concat_tables(tables), np.concatenate(lines), rejects)


def _batches(path: Path, names: list[str] | None = None, texts: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """Some rows at a time; columns of ``texts`` are read as dictionaries where the file allows it."""
    try:
        yield from pq.ParquetFile(path, read_dictionary=list(texts)).iter_batches(_BATCH_ROWS, columns=names)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error


def _typed(
    table: pa.Table, specs: Sequence[ColumnSpec], lines: IntArray, rejects: RejectedRows, path: Path
) -> tuple[pa.Table, IntArray]:
    good: BoolArray = np.ones(len(lines), dtype=np.bool_)
    columns = {}
    for spec in specs:
        column = table[spec.name].combine_chunks()
        if pa.types.is_dictionary(column.type) and spec.kind is not Kind.TEXT_ID:
            column = column.cast(column.type.value_type)
        columns[spec.name], bad, reason = _convert(column, spec, path)
        rejects.add(lines[bad & good], reason)
        good &= ~bad
    return pa.table(columns).filter(pa.array(good)), lines[good]


def _convert(column: pa.Array, spec: ColumnSpec, path: Path) -> tuple[pa.Array, BoolArray, str]:
    """The column in the Arrow type of its kind, the mask (n,) of rows that do not fit, and the reason."""
    none_bad = np.zeros(len(column), dtype=np.bool_)
    if spec.kind is Kind.OWN:
        return column, none_bad, ""
    if spec.kind is Kind.TEXT_ID:
        encoded = column if pa.types.is_dictionary(column.type) else column.cast(pa.string()).dictionary_encode()
        return encoded.cast(ARROW_TYPE[spec.kind]), none_bad, ""
    kind, given = ARROW_TYPE[spec.kind], column.type
    if spec.kind is Kind.TEXT:
        return _text(column, spec, path), none_bad, ""
    if spec.kind in _TIMES and (pa.types.is_timestamp(given) or pa.types.is_date(given)):
        seconds = column.cast(pa.timestamp("s", tz=getattr(given, "tz", None)), safe=False)
        return seconds.cast(pa.int64()).cast(kind), none_bad, ""
    if pa.types.is_decimal(given):
        column, given = column.cast(pa.float64()), pa.float64()
    if pa.types.is_null(given):
        return column.cast(kind), none_bad, ""
    if not (pa.types.is_integer(given) or pa.types.is_floating(given)):
        needed = "whole numbers" if spec.kind in _IDS else "numbers"
        raise DataError(f"column {spec.name} of {path} has type {given}, {needed} are needed")
    if pa.types.is_uint64(given):
        bad = np.asarray(pc.fill_null(pc.greater(column, pa.scalar(2**63 - 1, pa.uint64())), False))
        return (
            pc.if_else(pa.array(~bad), column, pa.scalar(0, pa.uint64())).cast(kind),
            bad,
            f"{spec.name} is outside 64 bits",
        )
    if pa.types.is_floating(given) and pa.types.is_integer(kind):
        if spec.kind in _TIMES:
            column = pc.floor(column)
        return _whole(column.cast(pa.float64()), spec, kind)
    return column.cast(kind, safe=False), none_bad, ""


def _whole(column: pa.Array, spec: ColumnSpec, kind: pa.DataType) -> tuple[pa.Array, BoolArray, str]:
    """Whole numbers stored as floats, as pandas does beside missing values; NaN is empty."""
    values = np.asarray(pc.fill_null(column, np.nan))
    empty = np.isnan(values)
    bad = ~empty & ~((np.abs(values) < 2.0**53) & (values == np.floor(values)))
    whole = pa.array(np.where(empty | bad, 0, values).astype(np.int64), mask=empty)
    return whole.cast(kind), bad, f"{spec.name} is not a whole number"


def _text(column: pa.Array, spec: ColumnSpec, path: Path) -> pa.Array:
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return column.cast(pa.list_(pa.string()))
    try:
        return pc.fill_null(column.cast(pa.string()), "")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"column {spec.name} of {path} has type {column.type}, text is needed") from error
