"""New events, films and users in the tables under ``processed/``, as if they had been there from the start.

Preprocessing of the old and the new files together gives the same rows, with three exceptions. A new event that the
tables hold already, with the same user, film, rating and time, is left out, so that files may overlap. What orders
events below the second (a fraction, ``position``) is not stored, so such columns order the new events among
themselves, after stored ones of the same second. And ``rejects.parquet`` lists rows in the order in which they came.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from loguru import logger

from dataprep import ids, schema
from dataprep.events import read_events
from dataprep.merge_events import EventMerge
from dataprep.parquet import read_optional
from dataprep.preprocess import check_share, read_report
from dataprep.readers.checks import OFF_SCALE, on_scale
from dataprep.readers.layouts import rating_scale
from dataprep.readers.own import EventFile, SideFile, read_own
from dataprep.readers.own_columns import described
from dataprep.readers.raw import RawTable
from dataprep.side_rows import appended_features, appended_movies, appended_users, with_id_type_of
from dataprep.staging import finish_append, stage_append
from dataprep.tables import (
    CHUNK_ROWS,
    COMPRESSION,
    PreprocessReport,
    check_rejects,
    first_of_each,
    rejects_table,
)
from reccore.bundle import file_sha256
from reccore.errors import DataError, NotReadyError

_PREPROCESS = "PYTHONPATH=. python scripts/run_preprocessing.py"


@dataclass(frozen=True)
class AppendReport:
    """Result of ``append_events``.

    Attributes:
        already: whether these files were appended before; nothing is changed then.
        events: rows added to ``ratings.parquet``.
        repeated: rows of the file that the tables held already.
        rejects: file → reason → rows rejected.
        new_users: users without events before.
        new_items: films that were neither rated nor listed before.
        without_record: those of them that ``items`` does not list; they get a row without a title.
        fingerprint: of the tables afterwards.
    """

    already: bool
    events: int
    repeated: int
    rejects: dict[str, dict[str, int]]
    new_users: int
    new_items: int
    without_record: int
    fingerprint: str


@dataclass(frozen=True)
class NewFiles:
    """Files to append: events, and optionally films and users, read as ``run_preprocessing.py`` reads own files."""

    events: EventFile
    items: SideFile | None = None
    users: SideFile | None = None

    @property
    def fingerprint(self) -> str:
        """Digest of the contents and of how they are read."""
        sides = [None if side is None else [file_sha256(side.path), side.columns] for side in (self.items, self.users)]
        return hashlib.sha256(json.dumps([self.events.fingerprint, sides]).encode()).hexdigest()


def append_events(
    files: NewFiles, processed: Path, *, max_reject_share: float = 0.01, show: bool = False
) -> AppendReport:
    """Add events to the tables, whole or not at all.

    A run that is killed leaves tables that can be read, and the next one finishes its work. The same files change
    nothing a second time. Time and memory are linear in the stored events, which are read and written once.

    Raises:
        NotReadyError: there are no tables.
        DataError: a file that cannot be read, too many rejected rows, ids or columns unlike those of the tables.
    """
    check_share(max_reject_share)
    finish_append(processed)
    report = stored_report(processed)
    for path in (file.path for file in (files.events, files.items, files.users) if file is not None):
        if not path.is_file():
            raise DataError(f"no such file: {path}")
    digest = files.fingerprint
    if any(part["digest"] == digest for part in report.appended):
        return AppendReport(True, 0, 0, {}, 0, 0, 0, report.fingerprint)
    content = file_sha256(files.events.path)
    known_file = content in {*report.sources.values(), *(part.get("content") for part in report.appended)}
    stored = read_events(processed / schema.RATINGS)
    data = read_own(files.events, files.items, files.users, show)
    movies = read_optional(processed / schema.MOVIES, ("movieId",))
    assert movies is not None  # preprocessing always writes it
    events, repeated = _new_events(data.ratings, stored, report, known_file)
    listed, people = first_of_each(data.movies, "movieId"), first_of_each(data.users, "userId")
    read = [raw for raw in (events.raw, listed, people) if raw is not None]
    for raw in read:
        check_rejects(raw, max_reject_share)
    rated = ids.distinct(events.raw.table["movieId"])
    all_movies, added, without_record = appended_movies(movies, listed, rated)
    tables = {schema.RATINGS: events.merge.in_order(report.tie_order), schema.MOVIES: all_movies}
    tables |= appended_users(processed, people)
    for name, key, given in (
        (schema.ITEM_FEATURES, "movieId", data.item_features),
        (schema.USER_FEATURES, "userId", data.user_features),
    ):
        tables |= appended_features(processed / name, key, given)
    known = ids.distinct(stored["userId"])
    new_users = np.setdiff1d(ids.distinct(events.raw.table["userId"]), known, assume_unique=True)
    rejects = {raw.path.name: raw.rejects.counts() for raw in read if len(raw.rejects)}
    result = AppendReport(
        already=False,
        events=len(events.raw.table),
        repeated=repeated,
        rejects=rejects,
        new_users=len(new_users),
        new_items=added,
        without_record=without_record,
        fingerprint=hashlib.sha256(json.dumps([report.fingerprint, digest]).encode()).hexdigest(),
    )
    if not result.events and all_movies.equals(movies) and set(tables) == {schema.RATINGS, schema.MOVIES}:
        return replace(result, already=True, fingerprint=report.fingerprint)
    tables[schema.REJECTS] = _all_rejects(processed, read)
    _store(processed, tables, _updated(report, result, digest, content, files, tables), report)
    return result


def stored_report(processed: Path) -> PreprocessReport:
    """The manifest of the tables.

    Raises:
        NotReadyError: there are no tables.
        DataError: they have another format.
    """
    if not (processed / schema.RATINGS).is_file():
        raise NotReadyError(f"no tables under {processed}; run first: {_PREPROCESS}")
    report = read_report(processed)
    if report is None:
        raise DataError(f"{processed / schema.MANIFEST} is missing or damaged; run {_PREPROCESS}")
    return report


@dataclass(frozen=True, eq=False)
class _NewEvents:
    """The rows to add, and the same rows behind the stored ones."""

    raw: RawTable
    merge: EventMerge


def _new_events(raw: RawTable, stored: pa.Table, report: PreprocessReport, known_file: bool) -> tuple[_NewEvents, int]:
    """The rows that are new and valid, and the number of those that are stored already.

    Events without times have nothing to be recognised by but their file: all of a known one are stored already.
    """
    raw = _with_columns_of(raw, stored)
    if "rating" in raw.table.column_names:
        scale = rating_scale(report.layout, report.sources)
        raw = raw.reject(~on_scale(raw.table["rating"].to_numpy(), scale), OFF_SCALE)
    unique = report.layout != "own"
    recognisable = report.has_time or unique
    merge, repeated = EventMerge.of(stored, raw.table), 0
    if recognisable or known_file:
        again = merge.repeats(stored.column_names) if recognisable else np.ones(len(raw.table), dtype=bool)
        repeated = int(again.sum())
        merge, raw = merge.without(again), _kept(raw, ~again)
    if unique:
        pairs = merge.later_of_equal(("userId", "movieId"))
        merge, raw = merge.without(pairs), raw.reject(pairs, "repeated (userId, movieId)")
    return _NewEvents(raw, merge), repeated


def _kept(raw: RawTable, kept: np.ndarray) -> RawTable:
    return replace(raw, table=raw.table.filter(pa.array(kept)), lines=raw.lines[kept])


def _with_columns_of(raw: RawTable, stored: pa.Table) -> RawTable:
    """The new rows with the stored columns, and ids of the stored type.

    Raises:
        DataError: a stored column is missing, or ids are text and the stored ones are not.
    """
    missing = [name for name in stored.column_names if name not in raw.table.column_names]
    if missing:
        raise DataError(
            f"{raw.path} has no column {' and '.join(missing)}, which the stored events have; add it, or name it by "
            "--columns"
        )
    table = raw.table
    for name in ("rating", "timestamp"):
        if name in table.column_names and name not in stored.column_names:
            logger.info("{}: column {} is not used, since the stored events have none", raw.path.name, name)
            table = table.drop_columns([name])
    for key in ("userId", "movieId"):
        table = with_id_type_of(table, key, stored[key].type, raw.path)
    return replace(raw, table=table)


def _all_rejects(processed: Path, read: list[RawTable]) -> pa.Table:
    before = read_optional(processed / schema.REJECTS, schema.REJECTS_SCHEMA.names)
    new = rejects_table(read)
    return new if before is None else pa.concat_tables([before.cast(schema.REJECTS_SCHEMA), new])


def _updated(
    report: PreprocessReport,
    result: AppendReport,
    digest: str,
    content: str,
    files: NewFiles,
    tables: Mapping[str, pa.Table],
) -> PreprocessReport:
    """The manifest of the tables with the new rows."""
    ratings = tables[schema.RATINGS]
    counted = {name.removesuffix(".parquet"): len(table) for name, table in tables.items() if name != schema.REJECTS}
    rejects = {name: dict(reasons) for name, reasons in report.rejects.items()}
    for name, reasons in result.rejects.items():
        counts = rejects.setdefault(name, {})
        for reason, n in reasons.items():
            counts[reason] = counts.get(reason, 0) + n
    facts: dict[str, Any] = {}
    for name, field in ((schema.ITEM_FEATURES, "item_columns"), (schema.USER_FEATURES, "user_columns")):
        if name in tables:
            facts[field] = described(tables[name])
    entry = {
        "digest": digest,
        "content": content,
        "file": files.events.path.name,
        "events": result.events,
        "before": report.fingerprint,
    }
    return replace(
        report,
        rows={**report.rows, **counted},
        n_users=report.n_users + result.new_users,
        n_items=len(ids.distinct(ratings["movieId"])),
        movies_without_record=report.movies_without_record + result.without_record,
        rejects=rejects,
        fingerprint=result.fingerprint,
        appended=[*report.appended, entry],
        **facts,
    )


def _store(
    processed: Path, tables: Mapping[str, pa.Table], updated: PreprocessReport, before: PreprocessReport
) -> None:
    """Write the tables and the manifest beside the old ones and put them in their place."""
    target = schema.ratings_schema(
        dataset=before.dataset,
        tie_order=before.tie_order,
        has_rating=before.has_rating,
        has_time=before.has_time,
        user_type=tables[schema.RATINGS]["userId"].type,
        item_type=tables[schema.RATINGS]["movieId"].type,
    )
    try:
        with stage_append(processed) as folder:
            for name, table in tables.items():
                whole = table.cast(target) if name == schema.RATINGS else table
                pq.write_table(whole, folder / name, compression=COMPRESSION, row_group_size=CHUNK_ROWS)
            (folder / schema.MANIFEST).write_text(json.dumps(asdict(updated), indent=2), encoding="utf-8")
        finish_append(processed)
    except OSError as error:
        raise DataError(f"cannot write {processed}: {error.strerror or error}") from error
