"""Rows of a text file, read and validated in parallel by ranges of whole lines, with their line numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dataprep.cleaning import tie_hash
from dataprep.readers.blocks import TextBlock, is_compressed, line_blocks
from dataprep.readers.columns import RejectedRows
from dataprep.readers.delimited import DelimitedFile
from reccore.arrays import IntArray, offsets_from_lengths
from spark.parts import ddl

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, eq=False)
class LineRanges:
    """Ranges of whole lines of a file; a compressed file is one range, since it can only be read from its beginning.

    Attributes:
        path: the file.
        skip: header lines, which are in no range.
        starts: (R+1,) first byte of each range, and the end of the file.
        compressed: whether the file is compressed with gzip.
    """

    path: Path
    skip: int
    starts: IntArray
    compressed: bool

    @classmethod
    def of(cls, path: Path, skip: int, size: int) -> LineRanges:
        """Ranges of about ``size`` bytes; reads a line for each."""
        end = path.stat().st_size
        if is_compressed(path):
            return cls(path, skip, np.array([0, end]), True)
        with path.open("rb") as file:
            if file.read(len(_BOM)) != _BOM:
                file.seek(0)
            for _ in range(skip):
                file.readline()
            starts = [file.tell()]
            while starts[-1] + size < end:
                file.seek(starts[-1] + size - 1)
                file.readline()
                starts.append(file.tell())
        return cls(path, skip, np.unique([*starts, end]), False)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def blocks(self, at: int, first_line: int) -> Iterator[TextBlock]:
        """The lines of one range."""
        if self.compressed:
            yield from line_blocks(self.path, skip=self.skip)
            return
        with self.path.open("rb") as file:
            file.seek(int(self.starts[at]))
            data = file.read(int(self.starts[at + 1] - self.starts[at]))
        yield TextBlock(data, first_line, _count_lines(data))

    def ends_whole(self) -> bool:
        """Whether the last line has a line end."""
        if self.compressed:
            *_, last = line_blocks(self.path)
            return last.data.endswith(b"\n")
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"


def count_lines(spark: SparkSession, ranges: LineRanges) -> IntArray:
    """(R,) number of lines of each range."""

    def count(at: int) -> Iterator[pa.Table]:
        lines = sum(block.n_lines for block in ranges.blocks(at, 1))
        yield pa.table({"range": pa.array([at]), "lines": pa.array([lines])})

    counted = map_range(spark, len(ranges), count, pa.schema([("range", pa.int64()), ("lines", pa.int64())])).toArrow()
    lengths = np.zeros(len(ranges), dtype=np.int64)
    lengths[counted["range"].to_numpy()] = counted["lines"].to_numpy()
    return lengths


def read_rows(
    spark: SparkSession, file: DelimitedFile, ranges: LineRanges, lengths: IntArray, *, with_hash: bool
) -> tuple[DataFrame, pa.Schema]:
    """All rows of a file: its columns, ``line``, and ``reason``, which is null for a valid row.

    With ``with_hash`` a column ``tie`` has the order of ``tie_hash``, whose unsigned numbers Spark does not know.

    Returns:
        The rows, and the schema of the columns of the file.
    """
    columns = file.empty().schema
    more = [*([("tie", pa.int64())] if with_hash else []), ("line", pa.int64()), ("reason", pa.string())]
    schema = pa.schema([*columns, *(pa.field(name, kind) for name, kind in more)])
    first_lines = offsets_from_lengths(lengths) + 1 + ranges.skip

    def parse(at: int) -> Iterator[pa.Table]:
        for block in ranges.blocks(at, int(first_lines[at])):
            rejects = RejectedRows()
            table, lines = file.parse(block, rejects)
            if with_hash:
                hashes = tie_hash(table["userId"].to_numpy(), table["movieId"].to_numpy())
                table = table.append_column("tie", pa.array((hashes ^ np.uint64(1 << 63)).view(np.int64)))
            bad, reasons = rejects.in_order()
            yield table.append_column("line", pa.array(lines))
            yield pa.table({"line": pa.array(bad, pa.int64()), "reason": pa.array(reasons, pa.string())})

    return map_range(spark, len(ranges), parse, schema), columns


def map_range(spark: SparkSession, n: int, make: Callable[[int], Iterator[pa.Table]], schema: pa.Schema) -> DataFrame:
    """A frame of the tables that ``make`` yields for 0 … n-1, each number a task; columns that they lack are null."""

    def make_all(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for at in batch["id"].to_pylist():
                for table in make(at):
                    yield from _filled(table, schema).to_batches()

    return spark.range(0, n, 1, max(n, 1)).mapInArrow(make_all, ddl(schema))


def _filled(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _count_lines(data: bytes) -> int:
    return data.count(b"\n") + (len(data) > 0 and not data.endswith(b"\n"))
