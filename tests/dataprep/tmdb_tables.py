"""TMDb tables written by hand: what a test says of some films, and everything else unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_collector.tmdb.schema import SCHEMAS

UNSAID: dict[str, Any] = {"genres": [], "keywords": [], "countries": [], "spokenLanguages": [], "language": "en-US"}


def write_tables(folder: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Write all tables under ``folder``; ``tables`` says rows by file name, of which columns may be left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in SCHEMAS.items():
        rows = [{**UNSAID, **{"fetched": 0, "position": 0}, **row} for row in tables.get(name, [])]
        columns = {column: [row.get(column) for row in rows] for column in schema.names}
        pq.write_table(pa.table(columns, schema=schema), folder / name)


def write_links(processed: Path, links: list[tuple[int, int | None]]) -> None:
    """Write pairs (movieId, tmdbId)."""
    processed.mkdir(parents=True, exist_ok=True)
    movie_id, tmdb_id = zip(*links, strict=True)
    columns = {"movieId": movie_id, "imdbId": [None] * len(links), "tmdbId": tmdb_id}
    schema = pa.schema([(name, pa.int64()) for name in columns])
    pq.write_table(pa.table(columns, schema=schema), processed / "links.parquet")


def credit(
    number: int, tmdb_id: int, person: int, *, billing: int | None = None, job: str | None = None
) -> dict[str, Any]:
    """A row of movie_people: cast with a place on the poster, or crew with a job."""
    department = "Acting" if job is None else "Directing"
    known = {"creditId": f"{number:024x}", "tmdbId": tmdb_id, "personId": person, "department": department}
    return {**known, "billing": billing, "job": job}
