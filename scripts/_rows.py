"""Rows of a comparison from a folder of TOML files, one per row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from reccore import ConfigError
from scripts._cli import MAX_SEED, Names, split_commas
from scripts._settings import deep_merge, read_toml

if TYPE_CHECKING:
    from experiments.runs import Row
    from reccore.component import Registry

Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...], BeforeValidator(split_commas), Field(min_length=1)
]
NOUNS = {"recall": "channel", "ranking": "ranker"}
NOT_OF_A_ROW = {
    "name": "rows are named after their files",
    "seed": "give --seeds",
    "device": "give --device",
    "input": "give --input",
    "protocol": "give --protocol",
}


def read_rows(
    folder: Path, settings: Mapping[str, Any], *, only: Names = (), registry: Registry[Any] | None = None
) -> list[Row]:
    """The rows of a folder, in the order of their names, with the given settings merged over each.

    A file whose name starts with _ or . is not a row.

    Args:
        folder: of TOML files.
        settings: merged over each of them.
        only: names of the rows to take; none = all.
        registry: of the components that rows are made of; None = the recall channels.

    Raises:
        ConfigError: no such folder, no TOML file in it, an invalid row, or a name of ``only`` that is not among them;
            the message names the file and the option.
    """
    from experiments.runs import Row
    from recall import CHANNELS

    if not folder.is_dir():
        raise ConfigError(f"--configs {folder} is not a folder; give one that holds a TOML file for every row")
    files = sorted(folder.glob("[!._]*.toml"))
    if not files:
        raise ConfigError(f"--configs {folder} holds no TOML file; put one there for every row")
    registry = CHANNELS if registry is None else registry
    rows = []
    for file in files:
        row = deep_merge(read_toml(file), settings)
        for option in NOT_OF_A_ROW.keys() & row.keys():
            raise ConfigError(f"{file}: {option} is not an option of a row; {NOT_OF_A_ROW[option]}")
        rows.append(Row.parse(file.stem, row, source=str(file), registry=registry))
    names = [row.name for row in rows]
    for unknown in (name for name in only if name not in names):
        raise ConfigError(f"--only names no {NOUNS[registry.kind]} {unknown!r}; the folder has {', '.join(names)}")
    return [row for row in rows if not only or row.name in only]
