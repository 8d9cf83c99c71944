"""One file of a user's own data, in Parquet or CSV, to typed, validated columns."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from loguru import logger

from dataprep import ids
from dataprep.readers.blocks import first_line, line_blocks
from dataprep.readers.columns import CSV, MISSING_TEXT, ColumnSpec, Dialect, Kind, RejectedRows
from dataprep.readers.delimited import header_names, read_delimited
from dataprep.readers.own_columns import own_kinds
from dataprep.readers.parquet import parquet_columns, read_parquet
from dataprep.readers.raw import RawTable
from dataprep.readers.roles import ITEM, USER, ColumnNames, Role, find_roles
from dataprep.readers.slow import NUMBER, parse_slow
from reccore.errors import DataError

_SEPARATORS = (",", "\t", ";", "|")
_SAMPLE_BYTES = 4 << 20
_TOLERATED = 0.01
"""Ids are whole numbers if no more than this share of them is anything else; such rows are then rejected."""
_WHOLE = r"^(0|-?[1-9][0-9]{0,18})$"
_FLOAT = r"^-?(0|[1-9][0-9]*)\.[0-9]*$"
_NOT_WHOLE = ("is not a whole number", "is outside 64 bits", "is too large")


@dataclass(frozen=True)
class _TextFile:
    """How to read a text file: its columns in order, by name or number, and its dialect."""

    names: list[str]
    dialect: Dialect


def read_own_file(
    path: Path,
    roles: Sequence[Role],
    show: bool,
    *,
    names: ColumnNames | None = None,
    text_ids: bool = False,
    own: Collection[str] | None = None,
) -> RawTable:
    """Read a Parquet or CSV file, the latter also compressed with gzip.

    Args:
        path: the file.
        roles: the columns that have a meaning.
        show: whether to show progress.
        names: columns that the caller names; the others are recognised by their spelling.
        text_ids: whether ids are text even where they are whole numbers.
        own: read the other columns too, as ``dataprep.readers.own_columns`` takes them; these names are reserved.
            None = ignore them.

    Returns:
        The valid rows, with the roles' names in the tables. Ids are int64 or text; times are as the file has them.

    Raises:
        DataError: no such file, not readable, cut short, no rows, a missing or ambiguous column, or an own column of a
            reserved name.
    """
    names = names or ColumnNames()
    with existing(path).open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if not is_parquet and path.suffix in {".parquet", ".pq"}:
        raise DataError(f"{path} is {'empty' if not path.stat().st_size else 'not a Parquet file'}")
    types = parquet_columns(path) if is_parquet else {}
    text = None if is_parquet else _text_file(path, roles, names)
    columns = list(types) if text is None else text.names
    found = find_roles(path, columns, roles, names)
    rest = [name for name in columns if name not in found]
    taken = {} if own is None else own_kinds(path, {name: types.get(name) for name in rest}, own)
    ignored = [name for name in rest if name not in taken]
    if ignored and not (text and text.dialect.skip == 0):
        logger.info("{}: ignored columns: {}", path.name, ", ".join(ignored))
    kinds = {name: role.kind for name, role in found.items()} | taken
    if text is None:
        kinds |= _parquet_kinds(path, kinds, types, text_ids=text_ids)
        raw = read_parquet(path, [ColumnSpec(name, kind) for name, kind in kinds.items()], show=show)
    else:
        raw = _read_text(path, text, kinds, show, text_ids=text_ids)
    table = raw.table.rename_columns({name: role.name for name, role in found.items()})
    for at, name in enumerate(table.column_names):
        if name in (USER.name, ITEM.name) and ids.is_text(table[name]):
            table = table.set_column(at, name, ids.trimmed(table[name]))
    return replace(raw, table=table)


def existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path} is a folder, not a file" if path.is_dir() else f"no such file: {path}")
    return path


def _parquet_kinds(
    path: Path, kinds: Mapping[str, Kind], types: Mapping[str, pa.DataType], *, text_ids: bool
) -> dict[str, Kind]:
    """Kinds of ids and times by the types of the columns."""
    chosen = {}
    for name, kind in kinds.items():
        given = types[name].value_type if pa.types.is_dictionary(types[name]) else types[name]
        if kind is Kind.ID and (pa.types.is_string(given) or pa.types.is_large_string(given) or text_ids):
            chosen[name] = Kind.TEXT_ID
        elif kind is Kind.TIME:
            if pa.types.is_boolean(given) or pa.types.is_nested(given) or pa.types.is_binary(given):
                raise DataError(f"column {name} of {path} has type {given}; times are numbers, dates or ISO 8601 text")
            chosen[name] = Kind.OWN
    return chosen


def _text_file(path: Path, roles: Sequence[Role], names: ColumnNames) -> _TextFile:
    header = first_line(path)
    separator = max(_SEPARATORS, key=header.count)
    cells = next(csv.reader([header], delimiter=separator))
    if names.by_number(cells):
        if any(role.is_called(cell) for role in roles for cell in cells):
            raise DataError(
                f"the first line of {path} is a header: {', '.join(cells)}; name its columns, not their numbers, with "
                f"{names.option}"
            )
        return _TextFile([str(at) for at in range(1, len(cells) + 1)], replace(CSV, separator=separator, skip=0))
    return _TextFile(header_names(path, separator), replace(CSV, separator=separator))


def _read_text(path: Path, text: _TextFile, kinds: Mapping[str, Kind], show: bool, *, text_ids: bool) -> RawTable:
    chosen = {**kinds, **_kinds_in(path, text, kinds)}
    if text_ids:
        chosen |= {name: Kind.TEXT_ID for name, kind in kinds.items() if kind is Kind.ID}
    raw = read_delimited(path, text.dialect, _specs(text.names, chosen), show=show)
    mixed = [
        name
        for name in kinds
        if chosen[name] is Kind.ID
        and sum(raw.rejects.counts().get(f"{_column(name)} {reason}", 0) for reason in _NOT_WHOLE)
        > _TOLERATED * raw.n_seen
    ]
    if mixed:  # beyond the sample ids are text
        chosen |= dict.fromkeys(mixed, Kind.TEXT_ID)
        raw = read_delimited(path, text.dialect, _specs(text.names, chosen), show=show)
    return replace(raw, table=raw.table.rename_columns({_column(name): name for name in chosen}))


def _column(name: str) -> str:
    """What reasons call a column, which in a file without a header only has a number."""
    return f"column {name}" if name.isdecimal() else name


def _specs(names: Sequence[str], kinds: Mapping[str, Kind]) -> list[ColumnSpec]:
    return [
        ColumnSpec(_column(name), kinds[name]) if name in kinds else ColumnSpec(f"_{at}", Kind.SKIP)
        for at, name in enumerate(names)
    ]


def _kinds_in(path: Path, text: _TextFile, kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    """Kinds of ids and times by the first rows of the file."""
    open_ = {name for name, kind in kinds.items() if kind in (Kind.ID, Kind.TIME)}
    block = next(line_blocks(path, skip=text.dialect.skip, size=_SAMPLE_BYTES), None)
    if block is None or not open_:
        return {}
    specs = _specs(text.names, dict.fromkeys(open_, Kind.TEXT))
    sample, _ = parse_slow(block.data, text.dialect.separator, True, specs, block.first_line, RejectedRows())
    chosen = {}
    for name in open_:
        values = pc.utf8_trim_whitespace(sample[_column(name)].combine_chunks())
        values = values.filter(pc.invert(pc.is_in(pc.utf8_lower(values), pa.array(MISSING_TEXT))))
        chosen[name] = _time_kind(values) if kinds[name] is Kind.TIME else _id_kind(values)
    return chosen


def _id_kind(values: pa.Array) -> Kind:
    """Ids with leading zeros are text, since 007 is not 7."""
    n_whole, n_float = (_count(values, pattern) for pattern in (_WHOLE, _FLOAT))
    if _count(values, "^0[0-9]") or len(values) - n_whole - n_float > _TOLERATED * len(values):
        return Kind.TEXT_ID
    return Kind.FLOAT_ID if n_float else Kind.ID


def _time_kind(values: pa.Array) -> Kind:
    """Numbers that are whole, other numbers, or dates in text."""
    n_whole, n_numbers = _count(values, r"^-?[0-9]+$"), _count(values, NUMBER)
    if len(values) and 2 * n_numbers <= len(values):
        return Kind.TEXT
    return Kind.TIME if n_whole == n_numbers else Kind.ORDER


def _count(values: pa.Array, pattern: str) -> int:
    return int(pc.sum(pc.match_substring_regex(values, pattern)).as_py() or 0)
