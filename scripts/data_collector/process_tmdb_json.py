"""Convert the stored documents of the TMDb crawl into four related Parquet tables in <data_dir>/processed/tmdb/.

By default it uses the latest document of every movie in any language. Rejected documents are listed with the reason in
rejects.parquet. docs/tmdb.md describes the tables.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print(
        "error: run it from the repository's root, as PYTHONPATH=. python scripts/data_collector/process_tmdb_json.py",
        file=sys.stderr,
    )
    sys.exit(2)

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from data_collector.tmdb import FOLDER
from data_collector.tmdb.journal import COMMAND
from reccore.config import ComponentConfig
from reccore.errors import NotReadyError
from scripts._cli import parse_command, run

if TYPE_CHECKING:
    from data_collector.tmdb.shards import StoredDocument
    from data_collector.tmdb.star import TablesReport


class ProcessSettings(ComponentConfig):
    """Options of the command."""

    language: str | None = Field(
        default=None, description="only documents fetched in this language, such as zh-CN (default: any)"
    )


def stored_documents(folder: Path, language: str | None) -> Iterator[StoredDocument]:
    """Read the documents of a crawl, in one language or in all.

    Args:
        folder: folder of the journal and the shards.
        language: requested language, such as ``zh-CN``; None for any.

    Raises:
        NotReadyError: there are none; the message names the command that fetches them.
    """
    from data_collector.tmdb.shards import read_documents

    found = False
    others = set()
    for stored in read_documents(folder):
        if language in (None, stored.language):
            found = True
            yield stored
        else:
            others.add(stored.language)
    if not found:
        there = f" in {language}, only in {', '.join(sorted(others))}" if others else ""
        wanted = f"{COMMAND} --language {language}" if language else COMMAND
        raise NotReadyError(f"no documents of TMDb in {folder}{there}; run first: {wanted}")


def describe(report: TablesReport, folder: Path) -> str:
    """Format the report as text."""
    rows = ", ".join(f"{n:,} {table}" for table, n in report.rows.items() if table != "rejects")
    older = f", {report.superseded:,} of them superseded by a later one of the same movie" if report.superseded else ""
    lines = [f"{folder}: {rows}", f"read: {report.documents:,} documents{older}, in {report.seconds:,.1f} seconds"]
    lines.append(f"rejected: {report.rows['rejects']:,} documents")
    lines += [f"  {n:,} × {reason}" for reason, n in report.rejects.items()]
    if report.nulled:
        lines.append("impossible values, replaced by null:")
        lines += [f"  {n:,} × {reason}" for reason, n in report.nulled.items()]
    if report.repeated_credits:
        lines.append(f"credits dropped, as another movie has a credit with the same id: {report.repeated_credits:,}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, ProcessSettings)
    from data_collector.tmdb.star import write_star

    space = command.workspace
    documents = stored_documents(space.raw / FOLDER, command.settings.language)
    first = next(documents)  # raises where there is none, before a folder is made
    out = space.processed / FOLDER
    report = write_star(chain([first], documents), out, show_progress=command.options.progress)
    command.emit({"folder": str(out), **asdict(report)}, describe(report, out))


if __name__ == "__main__":
    run(main)
