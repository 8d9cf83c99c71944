"""Sorted results of Spark: written by its tasks as Parquet files, read in order, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dataprep import ids
from dataprep.cleaning import user_chunks

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_DDL = {
    pa.int8(): "tinyint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.list_(pa.int32()): "array<int>",
    pa.list_(pa.float32()): "array<float>",
}


def ddl(schema: pa.Schema) -> str:
    """Columns of an Arrow schema as Spark names them."""
    return ", ".join(f"`{field.name}` {_DDL[field.type]}" for field in schema)


def write_parts(frame: DataFrame, folder: Path) -> None:
    """Write a frame as Parquet files, one for each partition, in the order of the partitions."""
    frame.write.parquet(folder.resolve().as_uri())


def read_parts(folder: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of ``write_parts`` in order. Memory for one batch."""
    for file in sorted(folder.glob("part-*.parquet")):
        yield from pq.ParquetFile(file).iter_batches(columns=None if columns is None else list(columns))


def read_column(folder: Path, name: str) -> npt.NDArray[Any]:
    """One column as an array: whole numbers, or ids of text as ``str``."""
    parts = [ids.values(batch[name]) for batch in read_parts(folder, [name])]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def whole_users(batches: Iterable[pa.RecordBatch], key: str, rows: int) -> Iterator[pa.Table]:
    """Tables of about ``rows`` rows with all rows of a user in one of them; equal keys must follow each other."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) > rows:
            table = pa.Table.from_batches(held)
            *whole, last = _chunks(table, key, rows)  # the last user may go on in the next batch
            yield from whole
            held = last.combine_chunks().to_batches()
    if held:
        yield from _chunks(pa.Table.from_batches(held), key, rows)


def _chunks(table: pa.Table, key: str, rows: int) -> list[pa.Table]:
    return [table.slice(at.start, at.stop - at.start) for at in user_chunks(ids.numbers(table[key]), rows)]
