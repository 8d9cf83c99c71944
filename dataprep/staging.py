"""Several changed tables as one step: written beside the old ones, then put in their place, also after a kill."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataprep import schema

_INCOMPLETE = ".append.incomplete"
_APPEND = ".append"


@contextmanager
def stage_append(out: Path) -> Iterator[Path]:
    """A folder for changed tables and their manifest, which is complete, under its final name, once the block ends."""
    incoming = out / _INCOMPLETE
    shutil.rmtree(incoming, ignore_errors=True)
    try:
        incoming.mkdir()
        yield incoming
        incoming.rename(out / _APPEND)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def finish_append(out: Path) -> None:
    """Put the tables of a complete ``stage_append`` in their place, or the rest of them after a killed run.

    The manifest comes last, and the ratings right before it: until then the tables hold the old events, and perhaps
    more movies and users, which does no harm.
    """
    staged = out / _APPEND
    if not staged.is_dir():
        return
    for name in (*(name for name in schema.PARQUET_FILES if name != schema.RATINGS), schema.RATINGS, schema.MANIFEST):
        if (staged / name).is_file():
            (staged / name).replace(out / name)
    shutil.rmtree(staged)


def discard_append(out: Path) -> None:
    """Drop what a killed run staged: the tables are made anew."""
    shutil.rmtree(out / _APPEND, ignore_errors=True)
