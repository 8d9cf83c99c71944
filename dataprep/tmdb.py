"""Metadata of TMDb as columns of the item table.

Read from the tables under ``processed/tmdb/`` (``docs/tmdb.md``), joined by ``links.parquet``. The metadata does not
depend on events, so it is the same for every split; but its values are those of the day of the crawl. ``LATER`` names
the features that change with people's opinions: for an event years before the crawl, today's votes contain the future.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from loguru import logger

from dataprep.labels import first_of_each, frequent_labels, pairs_of_lists
from dataprep.overview_vectors import ENCODER, has_sentence_encoder, overview_vectors, sentence_vectors
from dataprep.parquet import read_typed
from reccore import DataError, IdMap, ItemTable, Labels
from reccore.arrays import FloatArray, IntArray, offsets_from_lengths, ragged_positions
from reccore.bundle import recover_bundle

MetadataName = Literal[
    "director",
    "cast",
    "company",
    "keywords",
    "language",
    "budget",
    "revenue",
    "runtime",
    "vote_average",
    "vote_count",
    "popularity",
    "overview",
    "overview_sentences",
]
"""All features; the option ``metadata`` of a model selects among them."""

LATER = frozenset({"revenue", "vote_average", "vote_count", "popularity"})
"""Features that depend on what happened between the film's release and the crawl."""

NUMBERS = {
    "budget": "budget",
    "revenue": "revenue",
    "runtime": "runtime",
    "vote_average": "voteAverage",
    "vote_count": "voteCount",
    "popularity": "popularity",
}
MIN_ITEMS = 2
"""A person or keyword of a single film is as specific as the film's id."""
MAX_LABELS = 10_000
MAX_DIRECTORS, MAX_CAST, MAX_COMPANIES, MAX_KEYWORDS = 3, 5, 3, 16

_LIST = pa.list_(pa.string())
_MOVIES = pa.schema(
    [("tmdbId", pa.int64()), ("originalLanguage", pa.string()), ("overview", pa.string()), ("keywords", _LIST)]
    + [(column, pa.float64()) for column in NUMBERS.values()]
)
_CREDITS = pa.schema([("tmdbId", pa.int64()), ("personId", pa.int64()), ("job", pa.string()), ("billing", pa.int32())])
_PEOPLE = pa.schema([("personId", pa.int64()), ("name", pa.string())])
_COMPANIES = pa.schema(
    [("tmdbId", pa.int64()), ("companyId", pa.int64()), ("name", pa.string()), ("position", pa.int32())]
)
_LINKS = pa.schema([("movieId", pa.int64()), ("tmdbId", pa.int64())])

CRAWL = "PYTHONPATH=. python scripts/data_collector/run_batch_crawl.py"
PROCESS = "PYTHONPATH=. python scripts/data_collector/process_tmdb_json.py"
PREPARE = "PYTHONPATH=. python scripts/prepare_two_tower_data.py"


def metadata_to_read(items: ItemTable, names: Collection[str]) -> tuple[str, ...]:
    """Check that the table has the named features, and return them; warns about those in ``LATER``.

    Raises:
        DataError: the table lacks one; the message says which, and what to run.
    """
    present = {*items.labels, *items.numbers, *items.vectors} - items.own
    missing = [name for name in names if name not in present]
    if missing == ["overview_sentences"] and "overview" in present:
        raise DataError(
            f"metadata overview_sentences needs the package {ENCODER}, and this data was prepared without it; run "
            f"first: pip install {ENCODER}, then {PREPARE}; or use overview, which needs no package"
        )
    if missing:
        raise DataError(
            f"metadata {', '.join(missing)} is not in this data, which has "
            f"{', '.join(name for name in get_args(MetadataName) if name in present) or 'no metadata of TMDb'}; "
            f"run first: {CRAWL}, {PROCESS}, {PREPARE}; or leave it out of metadata"
        )
    later = sorted(LATER.intersection(names))
    if later:
        logger.warning(
            "{}: TMDb's values are those of the day of the crawl, after the events to predict. Figures of this model "
            "are not comparable with those of models without these features",
            ", ".join(later),
        )
    return tuple(names)


def with_tmdb(items: ItemTable, ids: IdMap, processed: Path) -> ItemTable:
    """Add the metadata of the TMDb tables to the item table; unchanged if there are no such tables.

    A film without a tmdbId, or unknown to TMDb, has no labels, NaN numbers and zero vectors; two films with the same
    tmdbId get the same values. Labels on fewer than two films of the catalogue are dropped, and at most the 10,000 most
    frequent of each kind are kept.

    Args:
        items: the catalogue, N items.
        ids: its movieIds.
        processed: folder of the processed tables.

    Raises:
        DataError: a table is missing or not in the format of ``process_tmdb_json.py``.
    """
    folder = processed / "tmdb"
    recover_bundle(folder)  # finish a replacement of the tables that was killed
    movies = read_typed(folder / "movies.parquet", _MOVIES)
    if movies is None:
        return items
    links = read_typed(processed / "links.parquet", _LINKS)
    if links is None:
        logger.warning("{} is not used: links.parquet, which maps movieId to tmdbId, is missing", folder)
        return items
    rows = IdMap.of(movies["tmdbId"].to_numpy())
    movies = movies.take(np.argsort(movies["tmdbId"].to_numpy(), kind="stable"))
    if len(rows) != len(movies):
        raise DataError(f"{folder / 'movies.parquet'} has a repeated tmdbId; run again: {PROCESS}")
    row = rows_of_items(links, ids, rows)
    logger.info("TMDb has {:,} of {:,} films", int((row >= 0).sum()), len(row))
    labels = {
        **_labels_of_movies(movies.select(["originalLanguage", "keywords"]), row),
        **_labels_of_credits(folder, rows, row),
    }
    numbers = {name: _number(movies[column], row) for name, column in NUMBERS.items()}
    return replace(
        items,
        labels={**items.labels, **{name: found for name, found in labels.items() if len(found)}},
        numbers={**items.numbers, **{name: found for name, found in numbers.items() if np.isfinite(found).any()}},
        vectors={**items.vectors, **_vectors_of_texts(movies["overview"], row)},
    )


def rows_of_items(links: pa.Table, ids: IdMap, rows: IdMap) -> IntArray:
    """(N,) row of each item in the movies table, -1 = none."""
    known = links.filter(pc.is_valid(links["tmdbId"]))
    item = ids.encode(known["movieId"].to_numpy())
    row = np.full(len(ids), -1, dtype=np.int64)
    row[item[item >= 0]] = rows.encode(known["tmdbId"].to_numpy())[item >= 0]
    return row


def _number(column: pa.ChunkedArray, row: IntArray) -> FloatArray:
    """(N,) float32, NaN = unknown."""
    values = np.append(column.fill_null(float("nan")).to_numpy(), np.nan)
    taken: FloatArray = values[row].astype(np.float32)  # row -1 is the appended NaN
    return taken


def _aligned(column: pa.ChunkedArray, row: IntArray) -> pa.Array:
    """The column's values for the N items, null = unknown."""
    return column.combine_chunks().take(pa.array(np.maximum(row, 0), mask=row < 0))


def _labels_of_movies(movies: pa.Table, row: IntArray) -> dict[str, Labels]:
    """Labels from the movies table."""
    language = _aligned(movies["originalLanguage"], row)
    single = pa.ListArray.from_arrays(pa.array(np.arange(len(row) + 1), pa.int32()), language.fill_null(""))
    found = {}
    for name, lists, most in (("language", single, 1), ("keywords", _aligned(movies["keywords"], row), MAX_KEYWORDS)):
        names, item, label = pairs_of_lists(lists)
        found[name] = _frequent(item, label, names, len(row), most)
    return found


def _labels_of_credits(folder: Path, rows: IdMap, row: IntArray) -> dict[str, Labels]:
    """Labels from the tables of people and companies."""
    people = _read(folder / "people.parquet", _PEOPLE)
    credits = folder / "movie_people.parquet"
    directors = _read(credits, _CREDITS, rows=pc.field("job") == "Director")
    cast = _read(credits, _CREDITS, rows=pc.field("billing") < MAX_CAST).sort_by("billing")
    companies = _read(folder / "movie_companies.parquet", _COMPANIES).sort_by("position")
    return {
        "director": _named_labels(directors, "personId", people, rows, row, MAX_DIRECTORS),
        "cast": _named_labels(cast, "personId", people, rows, row, MAX_CAST),
        "company": _named_labels(companies, "companyId", companies, rows, row, MAX_COMPANIES),
    }


def _read(path: Path, schema: pa.Schema, *, rows: pc.Expression | None = None) -> pa.Table:
    table = read_typed(path, schema, rows=rows)
    if table is None:
        raise DataError(f"{path} is missing, but other TMDb tables exist; run again: {PROCESS}")
    return table


def _named_labels(table: pa.Table, key: str, named: pa.Table, rows: IdMap, row: IntArray, most: int) -> Labels:
    """Labels from rows (tmdbId, ``key``) in order of importance, with the names that ``named`` has for ``key``."""
    thing = IdMap.of(table[key].to_numpy())
    movie, label = rows.encode(table["tmdbId"].to_numpy()), thing.encode(table[key].to_numpy())
    once = first_of_each(movie, label, len(thing))
    once = once[movie[once] >= 0]
    once = once[np.argsort(movie[once], kind="stable")]
    offsets = offsets_from_lengths(np.bincount(movie[once], minlength=len(rows)))
    lengths = np.where(row >= 0, np.diff(offsets)[row], 0)
    at = once[ragged_positions(np.where(row >= 0, offsets[:-1][row], 0), lengths)]
    item = np.repeat(np.arange(len(row), dtype=np.int64), lengths)
    shown = named["name"].take(pc.index_in(pa.array(thing.ids), value_set=named[key].combine_chunks()))
    names = pc.coalesce(shown, pa.array(thing.ids).cast(pa.string())).to_pylist()
    return _frequent(item, label[at], names, len(row), most)


def _frequent(item: IntArray, label: IntArray, names: Sequence[str], n_items: int, most: int) -> Labels:
    return frequent_labels(item, label, names, n_items, min_items=MIN_ITEMS, max_labels=MAX_LABELS, max_per_item=most)


def _vectors_of_texts(column: pa.ChunkedArray, row: IntArray) -> dict[str, FloatArray]:
    """Vectors of the overviews, by each available encoder."""
    texts = np.array(_aligned(column, row).fill_null("").to_pylist(), dtype=object)
    found = {"overview": overview_vectors(texts)}
    if has_sentence_encoder():
        found["overview_sentences"] = sentence_vectors(texts)
    return {name: vectors for name, vectors in found.items() if vectors is not None and vectors.any()}
