"""TMDb tables for tests: values for some films, everything else unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_collector.tmdb.schema import SCHEMAS
from dataprep.tmdb import MetadataName
from reccore import ItemTable, Labels

NAMES = get_args(MetadataName)
LISTS = ("director", "cast", "company", "keywords", "language")
VECTORS = ("overview", "overview_sentences")
NUMBERS = tuple(name for name in NAMES if name not in (*LISTS, *VECTORS))

UNSAID: dict[str, Any] = {"genres": [], "keywords": [], "countries": [], "spokenLanguages": [], "language": "en-US"}


def write_tables(folder: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Write all tables under ``folder``; ``tables`` maps file names to rows, which may omit columns."""
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


def with_every_feature(items: ItemTable) -> ItemTable:
    """The same items with random values for all features of TMDb; the last third is unknown to TMDb."""
    rng, n = np.random.default_rng(1), items.n_items
    known = np.arange(n) < n * 2 // 3
    lengths = rng.integers(0, 3, n) * known
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    numbers = {name: np.where(known, 9 * rng.random(n), np.nan).astype(np.float32) for name in NUMBERS}
    return replace(
        items,
        labels={name: Labels(("a", "b", "c"), offsets, rng.integers(0, 3, offsets[-1])) for name in LISTS},
        numbers=numbers,
        vectors={name: (rng.normal(size=(n, 4)) * known[:, None]).astype(np.float32) for name in VECTORS},
    )
