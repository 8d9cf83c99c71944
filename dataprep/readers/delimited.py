"""Delimited text to typed, checked columns: fast where a block is good, slower where it holds a bad row."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from loguru import logger

from dataprep.readers.blocks import BLOCK_BYTES, TextBlock, first_line, line_blocks
from dataprep.readers.checks import check_values
from dataprep.readers.columns import ARROW_TYPE, ColumnSpec, Dialect, Kind, RejectedRows, Scale
from dataprep.readers.raw import RawTable
from dataprep.readers.slow import parse_slow
from reccore.arrays import IntArray
from reccore.errors import DataError
from reccore.progress import progress

_STAND_IN = "\x1f"  # for separators of several characters: the unit separator occurs in no title


def read_delimited(
    path: Path,
    dialect: Dialect,
    specs: Sequence[ColumnSpec],
    *,
    scale: Scale = Scale.ANY,
    block_bytes: int = BLOCK_BYTES,
    show: bool = False,
) -> RawTable:
    """Read and check a file.

    Memory is the typed columns plus a few blocks; a bad row costs the slower path for its block only.

    Args:
        path: the file.
        dialect: how rows are written.
        specs: every column of the file, in its order.
        scale: what a rating may be.
        block_bytes: how much to parse at a time.
        show: show progress.

    Raises:
        DataError: the file cannot be read or holds no rows.
    """
    rejects = RejectedRows()
    tables, lines = [], []
    size = path.stat().st_size if path.is_file() else 0
    with progress(f"read {path.name}", size, unit="B", enabled=show) as advance:
        for block in line_blocks(path, skip=dialect.skip, size=block_bytes):
            table, at = _parse(block, dialect, specs, rejects)
            table, at = check_values(table, specs, at, rejects, scale)
            tables.append(table)
            lines.append(at)
            advance(len(block.data))
    if not tables or sum(map(len, lines)) + len(rejects) == 0:
        raise DataError(f"{path} is empty: no rows" + (" after the header" if dialect.skip else ""))
    if len(rejects):
        logger.warning("{}: {:,} rows rejected", path.name, len(rejects))
    return RawTable(path, pa.concat_tables(tables), np.concatenate(lines), rejects)


def _parse(
    block: TextBlock, dialect: Dialect, specs: Sequence[ColumnSpec], rejects: RejectedRows
) -> tuple[pa.Table, IntArray]:
    data, separator = block.data, dialect.separator
    if len(separator) > 1:
        data, separator = data.replace(separator.encode(), _STAND_IN.encode()), _STAND_IN
    if dialect.latin1:
        data = data.decode("latin-1").encode()
    table = _parse_fast(data, separator, dialect.quoted, specs)
    # A stray quote can swallow line ends and blank lines yield no row: then rows and lines do not match.
    if table is not None and len(table) == block.n_lines:
        return table, np.arange(block.first_line, block.first_line + len(table), dtype=np.int64)
    return parse_slow(data, separator, dialect.quoted, specs, block.first_line, rejects)


def _parse_fast(data: bytes, separator: str, quoted: bool, specs: Sequence[ColumnSpec]) -> pa.Table | None:
    """All rows typed, or None if any is malformed."""
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
        DataError: an empty file, or a name that occurs twice.
    """
    names = [name.strip() for name in next(csv.reader([first_line(path)], delimiter=separator))]
    _refuse_twice(path, names)
    return names


def _refuse_twice(path: Path, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path} has the column {', '.join(twice)} twice")


def header_specs(
    path: Path, known: Mapping[str, ColumnSpec], required: Sequence[str], *, separator: str = ","
) -> list[ColumnSpec]:
    """Match a header line with the columns we know; others are skipped.

    Args:
        path: the file.
        known: column name in the file → our spec.
        required: our names that must be there.
        separator: between the names.

    Raises:
        DataError: an empty file, a required column that is missing, a column that occurs twice.
    """
    names = header_names(path, separator)
    specs = [known.get(name, ColumnSpec(f"__{i}_{name}", Kind.SKIP)) for i, name in enumerate(names)]
    ours = [spec.name for spec in specs]
    missing = [name for name in required if name not in ours]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; its columns are {', '.join(names)}")
    _refuse_twice(path, ours)
    return specs
