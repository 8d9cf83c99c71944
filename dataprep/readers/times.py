"""Times of own events: numbers in any unit, dates, and ISO 8601 text, to Unix seconds and what lies below them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from loguru import logger

from dataprep.cleaning import parse_dates
from dataprep.readers.raw import RawTable
from dataprep.readers.slow import NUMBER
from reccore.arrays import BoolArray, IntArray

TimeUnit = Literal["s", "ms", "us", "ns"]

FRACTION = "fraction"
"""Column of what a time has below the second, in parts of one second that are the same for all rows."""
_PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_LATEST = 10**11  # in seconds the year 5138, in milliseconds 1973
_SAMPLE = 100_000


def with_seconds(raw: RawTable, unit: TimeUnit | None) -> RawTable:
    """Replace the column timestamp by whole Unix seconds, and add ``fraction`` where times are finer than that.

    Args:
        raw: rows with a column timestamp of numbers, dates or text.
        unit: of times that are numbers; None = by their size.

    Returns:
        The rows with valid times.
    """
    raw = raw.reject(np.asarray(raw.table["timestamp"].is_null()), "timestamp is empty")
    kind = raw.table["timestamp"].type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        whole = raw.table["timestamp"].cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False)
        return _split(_with(raw, whole.cast(pa.int64())), "us")
    if not _is_number(kind):
        raw, unit = _from_text(raw, unit)
    elif not pa.types.is_integer(kind):
        raw = _with(raw, raw.table["timestamp"].cast(pa.float64()))
        raw = raw.reject(~np.isfinite(raw.table["timestamp"].to_numpy()), "timestamp is not a number")
    return _split(raw, unit or _detected(raw))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _with(raw: RawTable, times: pa.Array | pa.ChunkedArray) -> RawTable:
    at = raw.table.column_names.index("timestamp")
    return replace(raw, table=raw.table.set_column(at, "timestamp", times))


def _from_text(raw: RawTable, unit: TimeUnit | None) -> tuple[RawTable, TimeUnit | None]:
    """Text as numbers of ``unit`` if most of it is numbers, else as microseconds."""
    text = pc.utf8_trim_whitespace(raw.table["timestamp"].cast(pa.string()).combine_chunks())
    numeric = pc.match_substring_regex(text, NUMBER)
    if 2 * (pc.sum(numeric).as_py() or 0) > len(text):
        raw = raw.reject(~_mask(numeric), "timestamp is not a number")
        kept = pc.replace_substring_regex(text.filter(numeric), r"^\+", "")
        return _with(raw, kept.cast(pa.float64())), unit
    micros = parse_dates(text)
    raw = _with(raw, micros)
    return raw.reject(np.asarray(micros.is_null()), "timestamp is neither a number nor an ISO 8601 time"), "us"


def _mask(values: pa.Array) -> BoolArray:
    return np.asarray(values, dtype=np.bool_)


def _detected(raw: RawTable) -> TimeUnit:
    """The unit in which the median time lies before the year 5138."""
    times = raw.table["timestamp"].to_numpy()
    if not len(times):
        return "s"
    median = float(np.median(times[:: max(1, len(times) // _SAMPLE)]))
    fitting = (unit for unit, per_second in _PER_SECOND.items() if median < _LATEST * per_second)
    unit: TimeUnit = next(fitting, "ns")
    if unit != "s":
        logger.warning(
            "{}: times such as {:.0f} are read as {}; if that is wrong, give --time_unit s, ms, us or ns",
            raw.path.name,
            median,
            unit,
        )
    return unit


def _split(raw: RawTable, unit: TimeUnit) -> RawTable:
    per_second = _PER_SECOND[unit]
    times = raw.table["timestamp"].to_numpy()
    raw, times = _kept(raw, times, times < 0, "timestamp is negative")
    late = times >= _LATEST * per_second
    raw, times = _kept(raw, times, late, f"timestamp is after the year 5138, read in {unit}")
    if times.dtype.kind == "f":
        seconds = np.floor(times / per_second).astype(np.int64)
        fraction = np.round((times / per_second - seconds) * 10**6).astype(np.int64)
    elif per_second == 1:
        return raw if raw.table["timestamp"].type == pa.int64() else _with(raw, pa.array(times.astype(np.int64)))
    else:
        seconds, fraction = np.divmod(times.astype(np.int64), per_second)
    raw = _with(raw, pa.array(seconds))
    return replace(raw, table=raw.table.append_column(FRACTION, pa.array(fraction))) if fraction.any() else raw


def _kept(raw: RawTable, times: IntArray, bad: BoolArray, reason: str) -> tuple[RawTable, IntArray]:
    return (raw.reject(bad, reason), times[~bad]) if bad.any() else (raw, times)
