"""Checks across rows, the order of events, and atomic writing of the Parquet tables."""

from __future__ import annotations

import json
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from loguru import logger

from dataprep import ids, schema
from dataprep.cleaning import repeated_ids, repeated_pairs, tie_hash, user_chunks
from dataprep.readers.own_columns import described
from dataprep.readers.raw import RawData, RawTable
from dataprep.readers.times import FRACTION
from dataprep.sources import Source
from dataprep.staging import discard_append
from dataprep.ties import Ties
from reccore.errors import DataError
from reccore.options import RunOptions
from reccore.progress import progress

CHUNK_ROWS = 1 << 20
COMPRESSION = "zstd"
POSITION = "position"
OWN_LAYOUT = "own"
REPEATED = "repeated (userId, movieId)"
_INCOMING = ".incoming"
_MOST = 0.5
_DICTIONARY_BYTES = 64 << 20


@dataclass(frozen=True)
class PreprocessReport:
    """Result of a preprocessing run, stored as ``processed.json``.

    Attributes:
        dataset: name of the data set.
        layout: ``ml-100k``, ``ml-1m``, ``ml-10m``, ``csv``, ``atomic`` or ``own``.
        rows: table → rows written.
        n_users: users with ratings.
        n_items: movies with ratings.
        movies_without_record: rated movies that the movies file does not list; they get a row without a title.
        rejects: file → reason → rows rejected.
        tie_order: order of events of equal user and time: ``file`` (row of the file) or ``hash``.
        has_rating: whether events have ratings.
        has_time: whether events have times.
        fingerprint: digest of the source files and the format version.
        format_version: of the tables.
        has_position: whether the source has a column ``position``, which orders events of equal time.
        item_columns: own column of the items → what it is, such as ``number, 12% missing``.
        user_columns: the same of the users.
        sources: file that was read, relative to the folder of the tables → SHA-256.
        appended: what ``dataprep.append`` added later, in order: ``digest`` of the files and of how they were
            read, ``content`` of the events' file (SHA-256), its name ``file``, ``events`` added, and the fingerprint
            ``before``.
        engine: ``local`` or ``spark``, which makes the same tables.
    """

    dataset: str
    layout: str
    rows: dict[str, int]
    n_users: int
    n_items: int
    movies_without_record: int
    rejects: dict[str, dict[str, int]]
    tie_order: str
    has_rating: bool
    has_time: bool
    fingerprint: str
    format_version: int = schema.FORMAT_VERSION
    has_position: bool = False
    item_columns: dict[str, str] = field(default_factory=dict)
    user_columns: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    appended: list[dict[str, Any]] = field(default_factory=list)
    engine: str = "local"

    @property
    def n_rejected(self) -> int:
        return sum(sum(reasons.values()) for reasons in self.rejects.values())


class CheckedRatings(ABC):
    """Ratings without repeated pairs, which can be written in order.

    Attributes:
        raw: the file, the types of its columns, and the rejected rows; ``raw.table`` need not hold the rows.
        finer: those columns that only order events of equal time and are not written.
        n_rows: number of ratings.
        n_users: number of users with ratings.
        rated: (m,) movies with ratings, sorted.
        engine: ``local`` or ``spark``.
    """

    raw: RawTable
    finer: Sequence[str]
    n_rows: int
    n_users: int
    rated: npt.NDArray[Any]
    engine: str

    @abstractmethod
    def write(self, path: Path, report: PreprocessReport, options: RunOptions) -> Ties:
        """Write the rows sorted by (user, time, tie order); returns the ties of own data."""


class LocalRatings(CheckedRatings):
    """Ratings in memory."""

    engine = "local"

    def __init__(self, raw: RawTable, *, unique: bool) -> None:
        self.raw, self._order = _group_by_user(raw, unique=unique)
        self.finer = tuple(self._order)
        self.n_rows = len(self.raw.lines)
        self.n_users = int(np.count_nonzero(np.diff(ids.numbers(self.raw.table["userId"])))) + 1
        self.rated = ids.distinct(self.raw.table["movieId"])

    def write(self, path: Path, report: PreprocessReport, options: RunOptions) -> Ties:
        return _write_ratings(self.raw, self._order, path, report, options)


def write_tables(
    data: RawData,
    out: Path,
    dataset: str,
    source: Source,
    max_reject_share: float,
    options: RunOptions,
    ratings: CheckedRatings | None = None,
) -> PreprocessReport:
    """Check, sort and write all tables of a data set.

    Args:
        data: the data set as read.
        out: folder of the tables.
        dataset: its name.
        source: the files that were read.
        max_reject_share: share of a file's rows that may be rejected.
        options: whether to show progress.
        ratings: the ratings where they are not in ``data``.

    Raises:
        DataError: too many rejected rows, no rows left, or the tables cannot be written.
    """
    ratings = ratings or LocalRatings(data.ratings, unique=data.unique_pairs)
    movies = first_of_each(data.movies, "movieId")
    users = first_of_each(data.users, "userId")
    links = first_of_each(data.links, "movieId")
    tables = [raw for raw in (ratings.raw, movies, users, links, data.tags) if raw is not None]
    for raw in tables:
        check_rejects(raw, max_reject_share)
    if not ratings.n_rows:
        raise DataError(f"{ratings.raw.path}: no rows are left; {len(ratings.raw.rejects):,} were rejected")

    id_type = ids.array_of(ratings.rated).type
    listed = (
        schema.with_id_type(schema.MOVIES_SCHEMA, "movieId", id_type).empty_table() if movies is None else movies.table
    )
    catalogue, added = with_rated(listed, ratings.rated)
    optional = {
        name: raw.table
        for name, raw in ((schema.USERS, users), (schema.LINKS, links), (schema.TAGS, data.tags))
        if raw is not None
    }
    own = ((schema.ITEM_FEATURES, data.item_features), (schema.USER_FEATURES, data.user_features))
    optional |= {name: table for name, table in own if table is not None}
    report = _report(data, dataset, source, ratings, added, tables)
    for name, table in {schema.MOVIES: catalogue, **optional}.items():
        report.rows[name.removesuffix(".parquet")] = len(table)

    existed = out.is_dir()
    incoming = out / _INCOMING
    shutil.rmtree(incoming, ignore_errors=True)
    try:
        incoming.mkdir(parents=True)
        _write_side_tables(incoming, tables, {schema.MOVIES: catalogue, **optional})
        ties = ratings.write(incoming / schema.RATINGS, report, options)
        (incoming / schema.MANIFEST).write_text(json.dumps(asdict(report), indent=2), encoding="utf-8")
        _move_into_place(incoming, out)
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
        if not existed and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
    if data.layout == OWN_LAYOUT and report.has_time and not report.has_position:
        ties.warn(ratings.raw.path)
    if report.movies_without_record:
        logger.warning("{:,} rated movies are not in the movies file; they are kept without a title", added)
    return report


def _report(
    data: RawData, dataset: str, source: Source, ratings: CheckedRatings, added: int, tables: Sequence[RawTable]
) -> PreprocessReport:
    columns = ratings.raw.table.column_names
    return PreprocessReport(
        dataset=dataset,
        layout=data.layout,
        rows={"ratings": ratings.n_rows},
        n_users=ratings.n_users,
        n_items=len(ratings.rated),
        movies_without_record=added if data.movies is not None else 0,
        rejects={raw.path.name: raw.rejects.counts() for raw in tables if len(raw.rejects)},
        tie_order=data.tie_order,
        has_rating="rating" in columns,
        has_time="timestamp" in columns,
        fingerprint=source.fingerprint,
        has_position=POSITION in ratings.finer,
        item_columns={} if data.item_features is None else described(data.item_features),
        user_columns={} if data.user_features is None else described(data.user_features),
        sources=source.files,
        engine=ratings.engine,
    )


def _group_by_user(raw: RawTable, *, unique: bool) -> tuple[RawTable, dict[str, np.ndarray]]:
    """Sort rows by user, stably, and with ``unique`` reject later rows of a repeated (user, movie).

    Returns the ratings, and those of their columns (n,) that only order events of equal time, the last one first.
    """
    users = ids.numbers(raw.table["userId"])
    if np.any(users[1:] < users[:-1]):
        order = np.argsort(users, kind="stable")
        raw.table, raw.lines = raw.table.take(pa.array(order)), raw.lines[order]
        users = users[order]
    if unique:
        repeated = repeated_pairs(users, ids.numbers(raw.table["movieId"]), CHUNK_ROWS)
        raw = raw.reject(repeated, REPEATED)
    finer = {name: raw.table[name].to_numpy() for name in (POSITION, FRACTION) if name in raw.table.column_names}
    raw.table = raw.table.drop_columns(list(finer))
    return raw, finer


def first_of_each(raw: RawTable | None, key: str) -> RawTable | None:
    if raw is None:
        return None
    return raw.reject(repeated_ids(ids.numbers(raw.table[key])), f"repeated {key}")


def with_rated(movies: pa.Table, rated: npt.NDArray[Any]) -> tuple[pa.Table, int]:
    """Movies sorted by id, with a row without title for every unlisted rated movie, and the number of those."""
    target = schema.with_id_type(schema.MOVIES_SCHEMA, "movieId", ids.array_of(rated).type)
    missing = np.setdiff1d(rated, ids.values(movies["movieId"]), assume_unique=True)
    blank = pa.table(
        [
            ids.array_of(missing),
            pa.array([""] * len(missing), pa.string()),
            pa.nulls(len(missing), pa.int16()),
            pa.array([[]] * len(missing), pa.list_(pa.string())),
        ],
        schema=target,
    )
    return pa.concat_tables([movies, blank]).sort_by("movieId"), len(missing)


def check_rejects(raw: RawTable, max_share: float) -> None:
    """Raise ``DataError`` if more than this share of a file's rows is rejected."""
    n_rejected = len(raw.rejects)
    if n_rejected <= max_share * raw.n_seen:
        return
    counts = ", ".join(f"{n:,} × {reason}" for reason, n in raw.rejects.counts().items())
    lines, reasons = raw.rejects.in_order()
    texts = raw.content(lines[:3])
    examples = "; ".join(
        f"line {line}: {reason}: {text!r}" for line, reason, text in zip(lines[:3], reasons, texts, strict=False)
    )
    share = n_rejected / raw.n_seen
    way_out = (
        f"to continue without them, give --max_reject_share {math.ceil(share * 1000) / 1000:g}"
        if share < _MOST
        else "most rows are invalid, so look at the separator, the columns and the units of the file"
    )
    raise DataError(
        f"{raw.path}: {n_rejected:,} of {raw.n_seen:,} rows ({share:.1%}) are invalid, more than {max_share:.1%}: "
        f"{counts}. First: {examples}; {way_out}"
    )


def rejects_table(tables: Sequence[RawTable]) -> pa.Table:
    parts = []
    for raw in tables:
        lines, reasons = raw.rejects.in_order()
        texts = raw.content(lines)
        columns = [pa.array([raw.path.name] * len(lines), pa.string()), pa.array(lines), pa.array(reasons, pa.string())]
        parts.append(pa.table([*columns, pa.array(texts, pa.string())], schema=schema.REJECTS_SCHEMA))
    return pa.concat_tables(parts)


def _write_side_tables(folder: Path, read: Sequence[RawTable], tables: Mapping[str, pa.Table]) -> None:
    for name, table in {**tables, schema.REJECTS: rejects_table(read)}.items():
        pq.write_table(table, folder / name, compression=COMPRESSION)


def _write_ratings(
    ratings: RawTable, order_by: Mapping[str, np.ndarray], path: Path, report: PreprocessReport, options: RunOptions
) -> Ties:
    """Sort by (user, time, tie order) and write, in chunks of whole users; returns the ties of own data."""
    table, target = ratings.table, ratings_schema(ratings, report)
    encoded = {name: ids.as_text(table[name]) for name in ("userId", "movieId") if ids.is_text(table[name])}
    columns = {name: (encoded[name].indices if name in encoded else table[name]).to_numpy() for name in target.names}
    users, movies, times = columns["userId"], columns["movieId"], columns.get("timestamp")
    n_rows, ties = len(users), Ties()
    with (
        pq.ParquetWriter(path, target, compression=COMPRESSION, **_dictionaries(encoded)) as writer,
        progress("sort and write ratings", n_rows, unit="rows", enabled=options.progress) as advance,
    ):
        for part in user_chunks(users, CHUNK_ROWS):
            keys: list[Any] = []
            if report.tie_order == schema.TIE_HASH:
                keys.append(tie_hash(users[part], movies[part]))
            keys += [values[part] for values in order_by.values()]
            if times is not None:
                keys.append(times[part])
            # Stable; without keys the rows are already in order.
            order = np.lexsort((*keys, users[part])) if keys else slice(None)
            chunk = [_array(values[part][order], encoded.get(name)) for name, values in columns.items()]
            if times is not None and report.layout == OWN_LAYOUT:
                when = [times, *(order_by[name] for name in order_by if name == FRACTION)]
                ties += Ties.of(users[part], [values[part][order] for values in when], movies[part][order])
            writer.write_table(pa.table(chunk, schema=target), row_group_size=part.stop - part.start)
            advance(part.stop - part.start)
    return ties


def ratings_schema(ratings: RawTable, report: PreprocessReport) -> pa.Schema:
    """Schema of ``ratings.parquet`` with ids of the types that they have here."""
    return schema.ratings_schema(
        dataset=report.dataset,
        tie_order=report.tie_order,
        has_rating=report.has_rating,
        has_time=report.has_time,
        user_type=ratings.table["userId"].type,
        item_type=ratings.table["movieId"].type,
    )


def _dictionaries(encoded: Mapping[str, pa.DictionaryArray]) -> dict[str, Any]:
    """Options of the writer that keep ids of text a dictionary in the file, however many there are."""
    if not encoded:
        return {}
    return {"use_dictionary": [*encoded, "rating"], "dictionary_pagesize_limit": _DICTIONARY_BYTES}


def _array(values: np.ndarray, texts: pa.DictionaryArray | None) -> pa.Array:
    """The values, or the texts whose places they are."""
    return pa.array(values) if texts is None else pa.DictionaryArray.from_arrays(pa.array(values), texts.dictionary)


def _move_into_place(incoming: Path, out: Path) -> None:
    """Replace the tables of ``out``. The manifest is deleted first and written last, so a killed run leaves none."""
    (out / schema.MANIFEST).unlink(missing_ok=True)
    discard_append(out)
    for name in schema.PARQUET_FILES:
        if (incoming / name).is_file():
            (incoming / name).replace(out / name)
        else:
            (out / name).unlink(missing_ok=True)
    (incoming / schema.MANIFEST).replace(out / schema.MANIFEST)
