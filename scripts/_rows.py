"""Rows of a comparison from a folder of TOML files, one per row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from reccore import ConfigError
from scripts._cli import MAX_SEED, split_commas
from scripts._settings import deep_merge, read_toml

if TYPE_CHECKING:
    from experiments.runs import Row

Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...], BeforeValidator(split_commas), Field(min_length=1)
]
NOT_OF_A_ROW = {
    "name": "rows are named after their files",
    "seed": "give --seeds",
    "device": "give --device",
    "input": "give --input",
    "protocol": "give --protocol",
}


def read_settings(folder: Path) -> dict[Path, dict[str, Any]]:
    """The TOML files of a folder, one per row, in the order of their names.

    A file whose name starts with _ or . is not a row.

    Raises:
        ConfigError: no such folder, no TOML file in it, or an option that does not belong to a row.
    """
    if not folder.is_dir():
        raise ConfigError(f"--configs {folder} is not a folder; give one that holds a TOML file for every row")
    files = sorted(folder.glob("[!._]*.toml"))
    if not files:
        raise ConfigError(f"--configs {folder} holds no TOML file; put one there for every row")
    found = {}
    for file in files:
        found[file] = read_toml(file)
        for option in NOT_OF_A_ROW.keys() & found[file].keys():
            raise ConfigError(f"{file}: {option} is not an option of a row; {NOT_OF_A_ROW[option]}")
    return found


def read_rows(folder: Path, settings: Mapping[str, Any]) -> list[Row]:
    """The rows of a folder, in the order of their names, with the given settings merged over each.

    Raises:
        ConfigError: see ``read_settings``; or an invalid row. The message names the file and the option.
    """
    from experiments.runs import Row

    return [
        Row.parse(file.stem, deep_merge(values, settings), source=str(file))
        for file, values in read_settings(folder).items()
    ]
