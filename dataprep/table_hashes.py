"""Which tables prepared data was made from, and whether they are still the tables at hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dataprep import schema
from reccore.bundle import file_sha256
from reccore.errors import ArtefactError

TMDB = "tmdb"
_READ = (
    schema.RATINGS,
    schema.MOVIES,
    schema.USERS,
    schema.LINKS,
    schema.TAGS,
    schema.ITEM_FEATURES,
    schema.USER_FEATURES,
)


def table_hashes(processed: Path) -> dict[str, str]:
    """File → SHA-256 of every table under ``processed/`` that preparing reads, those of TMDb included.

    Reads the files once, some 1 GB per second.
    """
    files = [processed / name for name in _READ] + sorted((processed / TMDB).glob("*.parquet"))
    return {file.relative_to(processed).as_posix(): file_sha256(file) for file in files if file.is_file()}


def changed_tables(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Tables that were added, removed or changed, in order of their names."""
    return sorted(name for name in {*then, *now} if then.get(name) != now.get(name))


def check_tables(processed: Path, then: Mapping[str, str], protocol: str) -> None:
    """Refuse prepared data whose tables changed since; tables that are gone altogether are no change.

    Args:
        processed: folder of the tables.
        then: their hashes when the data was prepared.
        protocol: of the prepared data, for the command in the message.

    Raises:
        ArtefactError: names the tables that changed and the command that prepares the data again.
    """
    now = table_hashes(processed)
    changed = changed_tables(then, now)
    if now and changed:
        raise ArtefactError(
            f"the tables under {processed} changed after the data was prepared ({', '.join(changed)}); "
            f"run again: PYTHONPATH=. python scripts/prepare_two_tower_data.py --protocol {protocol}"
        )
