"""Validation of typed values, shared by all readers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dataprep.readers.columns import MISSING_TEXT, NUMBERS, OPTIONAL, ColumnSpec, Kind, RejectedRows, Scale
from reccore.arrays import BoolArray, IntArray

OFF_SCALE = "rating is outside the scale"
_LARGEST = float(2**62)
_EXACT = float(2**53)  # larger floats stand for several whole numbers
_LOOSE = (Kind.FLOAT_ID, Kind.LOOSE_INT)
_TO_WHOLE = (Kind.FLOAT_TIME, *_LOOSE)


def check_values(
    table: pa.Table, specs: Sequence[ColumnSpec], lines: IntArray, rejects: RejectedRows, scale: Scale
) -> tuple[pa.Table, IntArray]:
    """Reject rows with empty, negative, non-finite or out-of-scale values.

    Args:
        table: n rows, already of the types of their columns.
        specs: of the columns to check.
        lines: (n,) line number of each row.
        rejects: receives the rejected rows, each with the first reason from left to right.
        scale: valid ratings.

    Returns:
        The valid rows and their line numbers. Times and whole numbers are int64.
    """
    kinds = {spec.name: spec.kind for spec in specs}
    good: BoolArray | None = None
    for spec in specs:
        if spec.kind is Kind.SKIP:
            continue
        for bad, reason in _problems(table[spec.name], spec, scale):
            if not bad.any():
                continue
            if good is None:
                good = np.ones(len(lines), dtype=np.bool_)
            rejects.add(lines[bad & good], reason)
            good &= ~bad
    if good is not None:
        table, lines = table.filter(pa.array(good)), lines[good]
    for at, name in enumerate(table.column_names):
        if kinds[name] in _TO_WHOLE:
            table = table.set_column(at, name, pc.cast(pc.floor(table[name]), pa.int64()))
    return table, lines


def _problems(column: pa.ChunkedArray, spec: ColumnSpec, scale: Scale) -> Iterable[tuple[BoolArray, str]]:
    if spec.kind in (Kind.TEXT, Kind.OWN):
        return
    if spec.kind is Kind.TEXT_ID:
        yield _missing_ids(column), f"{spec.name} is empty"
        return
    if column.null_count:
        if spec.kind not in OPTIONAL:
            yield np.asarray(column.is_null()), f"{spec.name} is empty"
        column = pc.fill_null(column, 0)
    values = column.to_numpy()
    if spec.kind in NUMBERS:
        finite = np.isfinite(values)
        yield ~finite, f"{spec.name} is not a number"
        if spec.kind is Kind.RATING:
            yield finite & ~on_scale(values, scale), OFF_SCALE
        elif spec.kind in _TO_WHOLE:
            if spec.kind in _LOOSE:
                yield finite & (values != np.floor(values)), f"{spec.name} is not a whole number"
            yield finite & (values < 0), f"{spec.name} is negative"
            yield finite & (values > (_EXACT if spec.kind is Kind.FLOAT_ID else _LARGEST)), f"{spec.name} is too large"
    elif len(values) and values.min() < 0:
        yield values < 0, f"{spec.name} is negative"


def _missing_ids(column: pa.ChunkedArray) -> BoolArray:
    """(n,) whether an id of text is missing; every text is looked at once."""
    masks = [np.empty(0, dtype=np.bool_)]
    for chunk in column.chunks:
        text = pc.utf8_lower(pc.utf8_trim_whitespace(chunk.dictionary))
        of_text = np.append(np.asarray(pc.is_in(text, pa.array(MISSING_TEXT)), dtype=np.bool_), True)
        masks.append(of_text[np.asarray(pc.fill_null(chunk.indices, len(text)))])
    return np.concatenate(masks)


def on_scale(rating: npt.NDArray[np.float32], scale: Scale) -> BoolArray:
    """(n,) whether ratings, all finite, are values of a scale."""
    if scale is Scale.ANY:
        return np.ones(len(rating), dtype=np.bool_)
    step = 1.0 if scale is Scale.WHOLE_STARS else 0.5  # also the lowest rating
    valid: BoolArray = (rating >= step) & (rating <= 5) & (rating / step == np.floor(rating / step))
    return valid
