"""Reading optional Parquet tables, with errors that name the file and the column."""

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
    """The table; None if there is no such file.

    Args:
        path: a Parquet file.
        needed: required columns.
        only: read only the required columns.
        rows: read only the rows that match this filter.

    Raises:
        DataError: not readable as Parquet, or a required column is missing.
    """
    if not path.is_file():
        return None
    options: dict[str, Any] = {"columns": list(needed)} if only else {}
    try:
        present = pq.read_schema(path).names
        missing = [name for name in needed if name not in present]
        if missing:
            raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(present)}")
        return pq.read_table(path, filters=rows, **options)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error


def read_typed(path: Path, schema: pa.Schema, *, rows: pc.Expression | None = None) -> pa.Table | None:
    """The columns of ``schema``, cast to its types; None if there is no such file.

    Raises:
        DataError: as ``read_optional``; or a column cannot be cast.
    """
    table = read_optional(path, schema.names, only=True, rows=rows)
    try:
        return None if table is None else table.cast(schema)
    except pa.ArrowException as error:
        wanted = ", ".join(f"{field.name} {field.type}" for field in schema)
        raise DataError(f"{path} has columns of types other than {wanted}: {error}") from error
