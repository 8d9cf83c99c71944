"""Raw files → validated Parquet tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from loguru import logger

from dataprep import schema
from dataprep.readers.layouts import find_layout, source_files
from dataprep.readers.own import EventFile, SideFile, read_own, same_ids, used_files
from dataprep.readers.own_vectors import VectorSource, with_vectors
from dataprep.sources import Source
from dataprep.tables import PreprocessReport, write_tables
from reccore.errors import ConfigError
from reccore.options import RunOptions

__all__ = ["PreprocessReport", "preprocess", "preprocess_own", "read_report"]


def preprocess(
    source_dir: Path,
    out: Path,
    *,
    item_vectors: Sequence[VectorSource] = (),
    user_vectors: Sequence[VectorSource] = (),
    max_reject_share: float = 0.01,
    options: RunOptions | None = None,
) -> PreprocessReport:
    """Read a MovieLens folder of any layout and write the tables.

    Args:
        source_dir: folder of the raw files; its name becomes the name of the data set.
        out: folder of the tables; files of other steps in it are not touched.
        item_vectors, user_vectors: own vectors of movies and users.
        max_reject_share: share of a file's rows that may be rejected.
        options: whether to show progress.

    Raises:
        DataError: unknown layout, missing or empty file, missing column, vectors that cannot be read, or too many
            rejected rows; ``out`` is then not changed.
    """
    options = options or RunOptions()
    check_share(max_reject_share)
    layout, folder = find_layout(source_dir)
    _warn_of_appended(out)
    data = with_vectors(layout.read(folder, options.progress), item_vectors, user_vectors, options.progress)
    source = source_of(source_dir, item_vectors, user_vectors, out)
    return write_tables(data, out, source_dir.resolve().name, source, max_reject_share, options)


def preprocess_own(
    interactions: EventFile,
    items: SideFile | None,
    users: SideFile | None,
    out: Path,
    *,
    item_vectors: Sequence[VectorSource] = (),
    user_vectors: Sequence[VectorSource] = (),
    max_reject_share: float = 0.01,
    options: RunOptions | None = None,
) -> PreprocessReport:
    """Read own Parquet or CSV files (columns: ``dataprep.readers.own.read_own``) and write the tables.

    Repeated (user, item) events are kept. Without ``items`` every movie gets a row without title.

    Raises:
        ConfigError: columns that cannot be named so.
        DataError: as ``preprocess``.
    """
    options = options or RunOptions()
    check_share(max_reject_share)
    _warn_of_appended(out)
    data = read_own(interactions, items, users, options.progress)
    data = with_vectors(data, item_vectors, user_vectors, options.progress)
    files = [*used_files(interactions, items, users), *_files(item_vectors, user_vectors)]
    reading = [asdict(file) | {"path": None} for file in (interactions, items, users) if file is not None]
    return write_tables(
        same_ids(data), out, interactions.name, Source.of(files, out, reading), max_reject_share, options
    )


def source_of(
    source_dir: Path, item_vectors: Sequence[VectorSource], user_vectors: Sequence[VectorSource], out: Path
) -> Source:
    """The files of a MovieLens folder and the vectors that are read with it."""
    return Source.of([*source_files(source_dir), *_files(item_vectors, user_vectors)], out)


def _files(*sources: Sequence[VectorSource]) -> list[Path]:
    return [path for part in sources for source in part for path in (source.matrix, source.ids)]


def read_report(out: Path) -> PreprocessReport | None:
    """The report of the run that wrote ``out``; None if there is none of this format version."""
    try:
        stored = json.loads((out / schema.MANIFEST).read_text(encoding="utf-8"))
        report = PreprocessReport(**stored)
    except (OSError, ValueError, TypeError):
        return None
    return report if report.format_version == schema.FORMAT_VERSION else None


def _warn_of_appended(out: Path) -> None:
    """Say that events which came by ``update.py`` are not in the files that are read now."""
    report = read_report(out)
    if report is not None and report.appended:
        n_events = sum(part["events"] for part in report.appended)
        files = ", ".join(part["file"] for part in report.appended)
        logger.warning("the tables held {:,} events that update.py had added from {}; add them again", n_events, files)


def check_share(share: float) -> None:
    """Raise ``ConfigError`` unless a share of rows lies between 0 and 1."""
    if not 0 <= share <= 1:
        raise ConfigError(f"max_reject_share must be between 0 and 1, got {share}")
