"""The Parquet tables under ``processed/``: file names, columns and types; described in ``docs/data.md``."""

from __future__ import annotations

import pyarrow as pa

FORMAT_VERSION = 1

RATINGS = "ratings.parquet"
MOVIES = "movies.parquet"
USERS = "users.parquet"
LINKS = "links.parquet"
TAGS = "tags.parquet"
ITEM_FEATURES = "item_features.parquet"
USER_FEATURES = "user_features.parquet"
REJECTS = "rejects.parquet"
MANIFEST = "processed.json"
PARQUET_FILES = (RATINGS, MOVIES, USERS, LINKS, TAGS, ITEM_FEATURES, USER_FEATURES, REJECTS)

TIE_FILE = "file"
TIE_HASH = "hash"

MOVIES_SCHEMA = pa.schema(
    [
        pa.field("movieId", pa.int64(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("year", pa.int16()),
        pa.field("genres", pa.list_(pa.string()), nullable=False),
    ]
)

USERS_SCHEMA = pa.schema(
    [
        pa.field("userId", pa.int64(), nullable=False),
        pa.field("age", pa.int16()),
        pa.field("age_group", pa.string()),
        pa.field("gender", pa.string()),
        pa.field("occupation", pa.string()),
        pa.field("zip", pa.string()),
    ]
)

LINKS_SCHEMA = pa.schema(
    [
        pa.field("movieId", pa.int64(), nullable=False),
        pa.field("imdbId", pa.int64()),
        pa.field("tmdbId", pa.int64()),
    ]
)

TAGS_SCHEMA = pa.schema(
    [
        pa.field("userId", pa.int64(), nullable=False),
        pa.field("movieId", pa.int64(), nullable=False),
        pa.field("tag", pa.string(), nullable=False),
        pa.field("timestamp", pa.int64(), nullable=False),
    ]
)

REJECTS_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("content", pa.string(), nullable=False),
    ]
)


def with_id_type(schema: pa.Schema, key: str, kind: pa.DataType) -> pa.Schema:
    """The schema with another type of the ids ``key``, whose columns hold text in data with such ids."""
    return schema.set(schema.get_field_index(key), pa.field(key, kind, nullable=False))


def ratings_schema(
    *,
    dataset: str,
    tie_order: str,
    has_rating: bool,
    has_time: bool,
    user_type: pa.DataType | None = None,
    item_type: pa.DataType | None = None,
) -> pa.Schema:
    """Schema of ``ratings.parquet``; ``rating`` and ``timestamp`` are absent if the data has none."""
    kinds = {"userId": user_type or pa.int64(), "movieId": item_type or pa.int64()}
    fields = [pa.field(name, kind, nullable=False) for name, kind in kinds.items()]
    if has_rating:
        fields.append(pa.field("rating", pa.float32(), nullable=False))
    if has_time:
        fields.append(pa.field("timestamp", pa.int64(), nullable=False))
    return pa.schema(
        fields, metadata={"dataset": dataset, "tie_order": tie_order, "has_time": "true" if has_time else "false"}
    )
