"""Delimited text to typed, validated columns: pyarrow's parser, or a slower one for blocks with invalid rows."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from loguru import logger

from dataprep.readers.blocks import BLOCK_BYTES, TextBlock, first_line, is_compressed, line_blocks
from dataprep.readers.checks import check_values
from dataprep.readers.columns import ARROW_TYPE, ColumnSpec, Dialect, Kind, RejectedRows, Scale
from dataprep.readers.raw import RawTable
from dataprep.readers.slow import parse_slow
from reccore.arrays import IntArray
from reccore.errors import DataError
from reccore.progress import progress

_UNIT_SEPARATOR = "\x1f"  # replaces separators of several characters; occurs in no title


@dataclass(frozen=True)
class DelimitedFile:
    """A text file and how to read it.

    Attributes:
        path: the file.
        dialect: its text format.
        specs: all columns of the file, in order.
        scale: valid ratings.
    """

    path: Path
    dialect: Dialect
    specs: Sequence[ColumnSpec]
    scale: Scale = Scale.ANY

    def read(self, show: bool) -> RawTable:
        """``read_delimited`` of this file."""
        return read_delimited(self.path, self.dialect, self.specs, scale=self.scale, show=show)

    def empty(self) -> pa.Table:
        """The columns, without rows."""
        return self.parse(TextBlock(b"", 1, 0), RejectedRows())[0]

    def parse(self, block: TextBlock, rejects: RejectedRows) -> tuple[pa.Table, IntArray]:
        """Valid rows of one block and their line numbers; ``rejects`` receives the others."""
        table, at = _parse(block, self.dialect, self.specs, rejects)
        return check_values(table, self.specs, at, rejects, self.scale)


def read_delimited(
    path: Path,
    dialect: Dialect,
    specs: Sequence[ColumnSpec],
    *,
    scale: Scale = Scale.ANY,
    block_bytes: int = BLOCK_BYTES,
    show: bool = False,
) -> RawTable:
    """Read and validate a file. Memory holds the typed columns and a few blocks.

    Args:
        path: the file.
        dialect: its text format.
        specs: all columns of the file, in order.
        scale: valid ratings.
        block_bytes: size of the blocks that are parsed at once.
        show: whether to show progress.

    Raises:
        DataError: the file cannot be read or holds no rows.
    """
    file, rejects = DelimitedFile(path, dialect, specs, scale), RejectedRows()
    tables, lines = [], []
    size = path.stat().st_size if path.is_file() and not is_compressed(path) else None
    unfinished = -1  # number of a last line without an end
    with progress(f"read {path.name}", size, unit="B", enabled=show) as advance:
        for block in line_blocks(path, skip=dialect.skip, size=block_bytes):
            table, at = file.parse(block, rejects)
            tables.append(table)
            lines.append(at)
            advance(len(block.data))
            if not block.data.endswith(b"\n"):
                unfinished = block.first_line + block.n_lines - 1
    if not tables or sum(map(len, lines)) + len(rejects) == 0:
        raise no_rows(path, dialect)
    if unfinished >= 0:
        check_end(path, unfinished, any(unfinished in part for part in rejects.lines))
    if len(rejects):
        logger.warning("{}: {:,} rows rejected", path.name, len(rejects))
    return RawTable(path, pa.concat_tables(tables), np.concatenate(lines), rejects)


def no_rows(path: Path, dialect: Dialect) -> DataError:
    """The error of a file without rows."""
    return DataError(f"{path} is empty: no rows" + (" after the header" if dialect.skip else ""))


def check_end(path: Path, line: int, rejected: bool) -> None:
    """Refuse a file whose last ``line`` has no line end and is invalid, and warn if it is valid."""
    if rejected:
        raise DataError(
            f"{path} ends in the middle of line {line}, so it has been cut short; download or export it again"
        )
    logger.warning("{}: the last line has no line end; if the file was cut short, that row is wrong", path.name)


def _parse(
    block: TextBlock, dialect: Dialect, specs: Sequence[ColumnSpec], rejects: RejectedRows
) -> tuple[pa.Table, IntArray]:
    data, separator = block.data, dialect.separator
    if len(separator) > 1:
        data, separator = data.replace(separator.encode(), _UNIT_SEPARATOR.encode()), _UNIT_SEPARATOR
    if dialect.latin1:
        data = data.decode("latin-1").encode()
    table = _parse_fast(data, separator, dialect.quoted, specs)
    # After a stray quote, which swallows line ends, or a blank line, the numbers of rows and lines differ.
    if table is not None and len(table) == block.n_lines:
        return table, np.arange(block.first_line, block.first_line + len(table), dtype=np.int64)
    return parse_slow(data, separator, dialect.quoted, specs, block.first_line, rejects)


def _parse_fast(data: bytes, separator: str, quoted: bool, specs: Sequence[ColumnSpec]) -> pa.Table | None:
    """All rows, typed; None if one is malformed."""
    wanted = {spec.name: ARROW_TYPE[spec.kind] for spec in specs if spec.kind is not Kind.SKIP}
    try:
        return pa_csv.read_csv(
            pa.BufferReader(data),
            read_options=pa_csv.ReadOptions(column_names=[spec.name for spec in specs], block_size=4 << 20),
            parse_options=pa_csv.ParseOptions(
                delimiter=separator, quote_char='"' if quoted else False, double_quote=quoted
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=wanted, include_columns=list(wanted), null_values=[""], strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None


def header_names(path: Path, separator: str = ",") -> list[str]:
    """Column names in the first line.

    Raises:
        DataError: an empty file, or a repeated name.
    """
    names = [name.strip() for name in next(csv.reader([first_line(path)], delimiter=separator))]
    _check_distinct(path, names)
    return names


def _check_distinct(path: Path, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path} has the column {', '.join(twice)} twice")


def header_specs(
    path: Path, known: Mapping[str, ColumnSpec], required: Sequence[str], *, separator: str = ","
) -> list[ColumnSpec]:
    """Specs of the columns in a header line; unknown columns are skipped.

    Args:
        path: the file.
        known: column name in the file → spec.
        required: names, in the specs, of the required columns.
        separator: between the names.

    Raises:
        DataError: an empty file, a missing required column, or a repeated column.
    """
    names = header_names(path, separator)
    specs = [known.get(name, ColumnSpec(f"__{i}_{name}", Kind.SKIP)) for i, name in enumerate(names)]
    found = [spec.name for spec in specs]
    missing = [name for name in required if name not in found]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; its columns are {', '.join(names)}")
    _check_distinct(path, found)
    return specs
