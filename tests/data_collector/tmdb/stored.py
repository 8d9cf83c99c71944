"""Stored documents in the crawl's format, and the tables created from them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_collector.tmdb import schema
from data_collector.tmdb.journal import Journal, MovieRecord
from data_collector.tmdb.shards import ShardWriter, StoredDocument, encode_record, read_documents

Document = dict[str, Any]

SMALL: Document = {
    "id": 603,
    "title": "The Matrix",
    "original_title": "The Matrix",
    "genres": [],
    "credits": {"cast": [], "crew": []},
    "keywords": {"keywords": []},
}
"""Only the required fields."""


def small(tmdb_id: int = 603, **fields: Any) -> Document:
    """The smallest document, with some fields."""
    return {**SMALL, "id": tmdb_id, **fields}


def stored(document: Document, *, fetched: float = 1_000.0, language: str = "en-US") -> StoredDocument:
    """A document as ``read_documents`` returns it."""
    line = {"tmdbId": document["id"], "language": language, "fetched": fetched, "etag": None, "document": document}
    return StoredDocument(document["id"], fetched, language, json.dumps(line).encode(), f"shard at {document['id']}")


def broken(body: bytes, tmdb_id: int = 603, *, fetched: float = 1_000.0) -> StoredDocument:
    """A line with any bytes."""
    return StoredDocument(tmdb_id, fetched, "en-US", body, f"shard at {tmdb_id}")


def write_shards(folder: Path, documents: Iterable[StoredDocument]) -> None:
    """Write documents to shards, as a crawl does; of a body only the value of ``document``."""
    folder.mkdir(parents=True)
    journal = Journal(folder)
    shards = ShardWriter(folder, journal)
    movies = []
    for each in documents:
        body = json.dumps(json.loads(each.body)["document"]).encode()
        place = shards.append(encode_record(each.tmdb_id, each.language, each.fetched, None, body))
        movies.append(MovieRecord(each.tmdb_id, each.language, "done", 1, each.fetched, each.fetched, place))
    shards.sync()
    journal.commit(movies=movies, lengths=shards.take_lengths())
    shards.close()
    journal.close()
    assert len(list(read_documents(folder))) == len(movies)


def read_tables(folder: Path) -> dict[str, pa.Table]:
    """The tables by name, without ``.parquet``."""
    return {name.removesuffix(".parquet"): pq.read_table(folder / name) for name in schema.SCHEMAS}
