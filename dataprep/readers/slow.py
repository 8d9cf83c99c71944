"""Parser of blocks with invalid rows, which reports the line and the reason of each."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataprep.readers.columns import ARROW_TYPE, WHOLE_NUMBERS, ColumnSpec, Kind, RejectedRows
from reccore.arrays import BoolArray, IntArray

_REPLACEMENT = "\ufffd"
_QUOTED_FIELD = '("(?:[^"]|"")*"|(?:[^"{0}][^{0}]*)?)'
_INTEGER = r"^-?[0-9]+$"
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_MAX_INT64 = str(2**63 - 1)


def parse_slow(
    data: bytes, separator: str, quoted: bool, specs: Sequence[ColumnSpec], first_line: int, rejects: RejectedRows
) -> tuple[pa.Table, IntArray]:
    """Parse a block column by column and reject the rows that cannot be parsed.

    Args:
        data: whole lines.
        separator: one character.
        quoted: whether fields may be in double quotes.
        specs: all columns of the file.
        first_line: line number of the block's first line.
        rejects: receives the rows that cannot be parsed. Blank lines are ignored.

    Returns:
        The columns, without those of kind SKIP, of the valid rows, with null for an empty number; and their line
        numbers.
    """
    rows, broken = _split_lines(data)
    lines = np.arange(first_line, first_line + len(rows), dtype=np.int64)
    blank = _mask(pc.equal(pc.utf8_trim_whitespace(rows), ""))
    rejects.add(lines[broken], "not valid UTF-8")
    kept = ~(broken | blank)
    rows, lines = rows.filter(pa.array(kept)), lines[kept]

    columns, fits = _split_quoted(rows, separator, specs) if quoted else _split_plain(rows, separator, specs)
    rejects.add(lines[~fits], "wrong number of fields")
    lines = lines[fits]

    good = np.ones(len(lines), dtype=np.bool_)
    parsed = {}
    for spec, text in columns.items():
        values, problems = _convert(text, spec)
        for bad, reason in problems:
            rejects.add(lines[bad & good], reason)
            good &= ~bad
        parsed[spec.name] = values
    return pa.table(parsed).filter(pa.array(good)), lines[good]


def _mask(values: pa.Array | pa.ChunkedArray) -> BoolArray:
    return np.asarray(pc.fill_null(values, False), dtype=np.bool_)


def _split_lines(data: bytes) -> tuple[pa.Array, BoolArray]:
    """Lines as strings, and the mask (n,) of lines that are not valid UTF-8."""
    raw = _lines_of(data, pa.binary())
    try:
        data.decode("utf-8")
        broken = np.zeros(len(raw), dtype=np.bool_)
        rows = raw.cast(pa.string())
    except UnicodeDecodeError:
        rows = _lines_of(data.decode("utf-8", errors="replace").encode(), pa.string())
        genuine = _mask(pc.match_substring(raw, _REPLACEMENT.encode()))
        broken = _mask(pc.match_substring(rows, _REPLACEMENT)) & ~genuine
    return pc.utf8_rtrim(rows, "\r"), broken


def _lines_of(data: bytes, kind: pa.DataType) -> pa.Array:
    return pc.list_flatten(pc.split_pattern(pa.array([data.removesuffix(b"\n")], kind), "\n"))


def _split_plain(
    rows: pa.Array, separator: str, specs: Sequence[ColumnSpec]
) -> tuple[dict[ColumnSpec, pa.Array], BoolArray]:
    parts = pc.split_pattern(rows, separator)
    fits = np.asarray(pc.equal(pc.list_value_length(parts), len(specs)), dtype=np.bool_)
    flat = pc.list_flatten(parts.filter(pa.array(fits)))
    first = np.arange(int(fits.sum()), dtype=np.int64) * len(specs)
    columns = {f: flat.take(pa.array(first + i)) for i, f in enumerate(specs) if f.kind is not Kind.SKIP}
    return columns, fits


def _split_quoted(
    rows: pa.Array, separator: str, specs: Sequence[ColumnSpec]
) -> tuple[dict[ColumnSpec, pa.Array], BoolArray]:
    one = _QUOTED_FIELD.format(re.escape(separator))
    pattern = separator.join(one.replace("(", f"(?P<f{i}>", 1) for i in range(len(specs)))
    parts = pc.extract_regex(rows, f"^{pattern}$")
    fits = np.asarray(parts.is_valid(), dtype=np.bool_)
    parts = parts.filter(pa.array(fits))
    columns = {f: _unquote(parts.field(i)) for i, f in enumerate(specs) if f.kind is not Kind.SKIP}
    return columns, fits


def _unquote(text: pa.Array) -> pa.Array:
    inside = pc.replace_substring(pc.utf8_slice_codeunits(text, 1, -1), '""', '"')
    return pc.if_else(pc.starts_with(text, '"'), inside, text)


def _convert(text: pa.Array, spec: ColumnSpec) -> tuple[pa.Array, list[tuple[BoolArray, str]]]:
    """Typed values, null if empty or invalid, and masks (n,) of the invalid rows with their reasons."""
    if spec.kind is Kind.TEXT:
        return text, []
    text = pc.utf8_trim_whitespace(text)
    if spec.kind is Kind.TEXT_ID:
        return text.cast(ARROW_TYPE[spec.kind]), []
    if spec.kind is Kind.ID:
        text = pc.replace_substring_regex(text, r"\.0*$", "")
    empty = pc.equal(text, "")
    whole = spec.kind in WHOLE_NUMBERS
    matches = pc.match_substring_regex(text, _INTEGER if whole else NUMBER)
    problems = [
        (_mask(pc.invert(pc.or_(empty, matches))), f"{spec.name} is not a {'whole ' if whole else ''}number"),
    ]
    if whole:
        digits = pc.replace_substring_regex(text, "^-?0*", "")
        length = pc.utf8_length(digits)
        outside = pc.or_(pc.greater(length, 19), pc.and_(pc.equal(length, 19), pc.greater(digits, _MAX_INT64)))
        outside = pc.and_(matches, outside)
        problems.append((_mask(outside), f"{spec.name} is outside 64 bits"))
        matches = pc.and_not(matches, outside)
    text = pc.replace_substring_regex(text, r"^\+", "")
    return pc.if_else(matches, text, pa.scalar(None, pa.string())).cast(ARROW_TYPE[spec.kind]), problems
