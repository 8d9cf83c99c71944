"""Collect rows in a temporary DuckDB database, and write and check the Parquet files with it.

DuckDB sorts, joins and groups on disk, so memory stays bounded whatever the number of documents.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from data_collector.tmdb import schema
from reccore.errors import DataError
from reccore.progress import progress

MEMORY_LIMIT = "256MB"  # of DuckDB; larger intermediate results go to the folder of the database
COMPRESSION = "zstd"
ROW_GROUP_ROWS = {  # rows of movies contain long texts
    schema.MOVIES: 1 << 15,
    schema.PEOPLE: 1 << 18,
    schema.MOVIE_PEOPLE: 1 << 18,
    schema.MOVIE_COMPANIES: 1 << 18,
}
# Of documents of one movie with equal times the one read later counts.
_LATEST = """
CREATE TABLE latest AS
SELECT doc, fetched FROM movies
QUALIFY row_number() OVER (PARTITION BY tmdbId ORDER BY fetched DESC, doc DESC) = 1
"""
# TMDb sends no credit id in two movies, but keys must be unique.
_REPEATED_CREDITS = """
CREATE TABLE repeated_credits AS
SELECT creditId, doc FROM movie_people JOIN latest USING (doc)
WHERE creditId IN
    (SELECT creditId FROM movie_people SEMI JOIN latest USING (doc) GROUP BY creditId HAVING count(*) > 1)
QUALIFY row_number() OVER (PARTITION BY creditId ORDER BY fetched DESC, doc DESC) > 1
"""
_OF_LATEST = "doc IN (SELECT doc FROM latest)"
_USED_CREDIT = f"{_OF_LATEST} AND (creditId, doc) NOT IN (FROM repeated_credits)"
_USED_ROWS = {
    schema.MOVIES: _OF_LATEST,
    schema.MOVIE_PEOPLE: _USED_CREDIT,
    schema.PEOPLE: f"""
        rowid IN (SELECT arg_max(people.rowid, (movies.fetched, doc, people.rowid))
                  FROM people JOIN movies USING (doc) GROUP BY personId)
        AND personId IN (SELECT personId FROM movie_people WHERE {_USED_CREDIT})""",
    schema.MOVIE_COMPANIES: _OF_LATEST,
}


def open_database(folder: Path) -> duckdb.DuckDBPyConnection:
    """Open a new database in a folder, which also receives DuckDB's temporary files."""
    config: dict[str, Any] = {"memory_limit": MEMORY_LIMIT, "temp_directory": str(folder / "spilled")}
    return duckdb.connect(folder / "rows.duckdb", config=config)


def add_rows(database: duckdb.DuckDBPyConnection, tables: dict[str, pa.Table]) -> None:
    """Append rows, with the additional columns of ``star_rows.rows_of``, to tables that the first call creates."""
    for name, rows in tables.items():
        table = name.removesuffix(".parquet")
        database.register("new_rows", rows)
        database.execute(f"CREATE TABLE IF NOT EXISTS {table} AS FROM new_rows LIMIT 0")
        database.execute(f"INSERT INTO {table} FROM new_rows")


def write_tables(
    database: duckdb.DuckDBPyConnection, folder: Path, rejects: pa.Table, *, show_progress: bool = True
) -> tuple[dict[str, int], int]:
    """Write every table, without the rows of documents that a later one replaces.

    Returns:
        Rows by table, and the number of credits dropped because a movie fetched later has a credit with the same id.

    Raises:
        OSError, duckdb.Error: a disk error.
    """
    database.execute(_LATEST).execute(_REPEATED_CREDITS)
    repeated = database.sql("FROM repeated_credits").shape[0]
    rows = {}
    with progress("write tables", len(schema.SCHEMAS), unit="tables", enabled=show_progress) as advance:
        for name in _USED_ROWS:
            rows[name.removesuffix(".parquet")] = _write_table(database, name, folder / name)
            advance()
        pq.write_table(rejects, folder / schema.REJECTS, compression=COMPRESSION)
        advance()
    return {**rows, schema.REJECTS.removesuffix(".parquet"): len(rejects)}, repeated


def _write_table(database: duckdb.DuckDBPyConnection, name: str, path: Path) -> int:
    """Write one table with a row group per batch; returns the number of rows."""
    table, target, order = name.removesuffix(".parquet"), schema.SCHEMAS[name], schema.SORTED_BY[name]
    categories = {
        field.name: database.sql(
            f"SELECT DISTINCT {field.name} FROM {table} WHERE {field.name} IS NOT NULL ORDER BY ALL"
        )
        .to_arrow_table()[0]
        .combine_chunks()
        for field in target
        if pa.types.is_dictionary(field.type)
    }
    # rowid is the order of insertion.
    used = database.sql(
        f"SELECT {', '.join(target.names)} FROM {table} WHERE {_USED_ROWS[name]} ORDER BY {', '.join(order)}, rowid"
    )
    sorting = pq.SortingColumn.from_ordering(target, [(column, "ascending") for column in order])
    n_rows = 0
    with pq.ParquetWriter(path, target, compression=COMPRESSION, sorting_columns=sorting) as writer:
        for batch in used.to_arrow_reader(ROW_GROUP_ROWS[name]):
            columns = [
                pa.DictionaryArray.from_arrays(pc.index_in(values, categories[column]), categories[column])
                if column in categories
                else values.cast(target.field(column).type)
                for column, values in zip(target.names, batch.columns, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=target))
            n_rows += len(batch)
    return n_rows


def check_tables(folder: Path, database: duckdb.DuckDBPyConnection) -> None:
    """Check that every key is unique and that every foreign key refers to an existing row.

    Args:
        folder: folder of the Parquet files, of which only key columns are read.
        database: any database; it computes the checks.

    Raises:
        DataError: a check fails; the message names table, column and an example.
    """
    for table in schema.KEYS:
        database.register(f"written_{table}", pads.dataset(folder / table))
    for table, columns in schema.KEYS.items():
        key = ", ".join(columns)
        query = f'SELECT {key} FROM "written_{table}" GROUP BY ALL HAVING count(*) > 1 LIMIT 1'
        if repeated := database.execute(query).fetchone():
            values = ", ".join(map(str, repeated))
            raise DataError(f"{table}: {key} is not a unique key: {values} occurs more than once")
    for reference in schema.FOREIGN_KEYS:
        query = (
            f'SELECT {reference.column} FROM "written_{reference.table}" '
            f'ANTI JOIN "written_{reference.refers_to}" USING ({reference.column}) LIMIT 1'
        )
        if dangling := database.execute(query).fetchone():
            raise DataError(f"{reference.table}: {reference.column} {dangling[0]} is not in {reference.refers_to}")
