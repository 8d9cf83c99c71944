"""Reading Parquet tables that somebody else wrote, with errors that name the file and the column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reccore import DataError


def read_optional(
    path: Path, needed: Sequence[str], *, only: bool = False, rows: pc.Expression | None = None
) -> pa.Table | None:
    """The table; None where there is no such file.

    Args:
        path: a Parquet file.
        needed: columns it must have.
        only: read no others.
        rows: read only rows that fulfil this.

    Raises:
        DataError: not readable as Parquet, or a needed column is missing.
    """
    if not path.is_file():
        return None
    options: dict[str, Any] = {"columns": list(needed)} if only else {}
    try:
        there = pq.read_schema(path).names
        missing = [name for name in needed if name not in there]
        if missing:
            raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(there)}")
        return pq.read_table(path, filters=rows, **options)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error


def read_typed(path: Path, schema: pa.Schema, *, rows: pc.Expression | None = None) -> pa.Table | None:
    """The columns of ``schema``, cast to its types; None where there is no such file.

    Raises:
        DataError: as ``read_optional``, or a column of a type that does not become the wanted one.
    """
    table = read_optional(path, schema.names, only=True, rows=rows)
    try:
        return None if table is None else table.cast(schema)
    except pa.ArrowException as error:
        wanted = ", ".join(f"{field.name} {field.type}" for field in schema)
        raise DataError(f"{path} has columns of other types than {wanted}: {error}") from error
