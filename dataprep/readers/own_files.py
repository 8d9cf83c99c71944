"""One file of a user's own data, in Parquet or CSV, to typed, validated columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from loguru import logger

from dataprep.readers.blocks import first_line, line_blocks
from dataprep.readers.columns import CSV, ColumnSpec, Kind
from dataprep.readers.delimited import header_names, read_delimited
from dataprep.readers.own_columns import own_kinds
from dataprep.readers.parquet import parquet_columns, read_parquet
from dataprep.readers.raw import RawTable
from reccore.errors import DataError

_SEPARATORS = (",", "\t", ";", "|")
_ITEM_NAMES = ("movieId", "itemId")


def read_own_file(
    path: Path,
    required: dict[str, Kind],
    optional: dict[str, Kind],
    show: bool,
    *,
    item: bool = False,
    own: Collection[str] | None = None,
) -> RawTable:
    """Read a Parquet or CSV file.

    Args:
        path: the file.
        required: name → kind of the columns it must have.
        optional: name → kind of the columns that are read where it has them.
        show: whether to show progress.
        item: whether it must also have movieId or itemId, which is renamed to movieId.
        own: read the other columns too, as ``dataprep.readers.own_columns`` takes them; these names are reserved.
            None = ignore them.

    Raises:
        DataError: no such file, not readable, no rows, a missing column, ids that are not whole numbers, or an own
            column of a reserved name.
    """
    with existing(path).open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if not is_parquet and path.suffix in {".parquet", ".pq"}:
        raise DataError(f"{path} is {'empty' if not path.stat().st_size else 'not a Parquet file'}")
    separator = "" if is_parquet else _separator(path)
    types = parquet_columns(path) if is_parquet else {}
    names = list(types) if is_parquet else header_names(path, separator)
    kinds = dict(required)
    if item:
        kinds[_item_name(path, names)] = Kind.ID
    missing = [name for name in kinds if name not in names]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; its columns are {', '.join(names)}")
    kinds |= {name: kind for name, kind in optional.items() if name in names}
    rest = [name for name in names if name not in kinds]
    if own is not None:
        taken = own_kinds(path, {name: types.get(name) for name in rest}, own)
        kinds |= taken
        rest = [name for name in rest if name not in taken]
    if rest:
        logger.info("{}: ignored columns: {}", path.name, ", ".join(rest))
    if is_parquet:
        raw = read_parquet(path, [ColumnSpec(name, kind) for name, kind in kinds.items()], show=show)
    else:
        raw = _read_csv(path, separator, names, kinds, show)
    return replace(raw, table=raw.table.rename_columns({"itemId": "movieId"} if "itemId" in kinds else {}))


def existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path} is a folder, not a file" if path.is_dir() else f"{path} does not exist")
    return path


def _item_name(path: Path, names: Sequence[str]) -> str:
    found = [name for name in _ITEM_NAMES if name in names]
    if len(found) > 1:
        raise DataError(f"{path} has both movieId and itemId; drop or rename one of them")
    if not found:
        raise DataError(f"{path} has no column movieId or itemId; its columns are {', '.join(names)}")
    return found[0]


def _separator(path: Path) -> str:
    """The most frequent separator in the header."""
    header = first_line(path)
    return max(_SEPARATORS, key=header.count)


def _read_csv(path: Path, separator: str, names: Sequence[str], kinds: dict[str, Kind], show: bool) -> RawTable:
    dialect = replace(CSV, separator=separator)
    kinds = dict(kinds)
    if "timestamp" in kinds:
        kinds["timestamp"] = _time_kind(path, dialect.separator, list(names).index("timestamp"))
    specs = [
        ColumnSpec(name, kinds[name]) if name in kinds else ColumnSpec(f"_{i}", Kind.SKIP)
        for i, name in enumerate(names)
    ]
    raw = read_delimited(path, dialect, specs, show=show)
    for name, kind in kinds.items():
        if kind is Kind.ID and 2 * raw.rejects.counts().get(f"{name} is not a whole number", 0) > raw.n_seen:
            raise DataError(
                f"column {name} of {path} does not contain whole numbers (line {raw.rejects.in_order()[0][0]}: "
                f"{raw.content(raw.rejects.in_order()[0][:1])[0]!r}); number the ids first, "
                "for example with pandas.factorize"
            )
    return raw


def _time_kind(path: Path, separator: str, at: int) -> Kind:
    """Kind of the times, from the first row."""
    block = next(line_blocks(path, skip=1, size=1 << 10), None)
    cells = [] if block is None else block.data.split(b"\n")[0].decode("utf-8", "replace").split(separator)
    cell = cells[at].strip(' "\r') if at < len(cells) else ""
    if ":" in cell or cell.count("-") == 2:
        return Kind.TEXT
    return Kind.FLOAT_TIME if "." in cell else Kind.TIME
