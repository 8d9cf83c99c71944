"""A given item–item graph: a Parquet list of edges between raw movieIds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from loguru import logger
from scipy import sparse

from dataprep import ids
from dataprep.readers.columns import ColumnSpec, Kind
from dataprep.readers.parquet import parquet_columns, read_parquet
from reccore import DataError, IdMap
from reccore.arrays import IntArray

ENDS = ("movieId_1", "movieId_2")
WEIGHT = "weight"


def read_item_graph(path: Path, items: IdMap) -> sparse.csr_matrix:
    """Read an item–item graph as a symmetric (N, N) matrix over ``items``.

    The file has columns movieId_1, movieId_2 and optionally weight (else 1), one row per edge. Edges count in both
    directions, of repeated ones the heaviest. Edges with a movieId that ``items`` does not hold are left out, and
    counted in the log. The weights must not depend on events that are to be predicted.

    Raises:
        DataError: no such file, not Parquet, a missing column, a bad row, a weight that is negative or not finite,
            or no edge between two known items.
    """
    if path.suffix != ".parquet":
        raise DataError(f"an item graph is a .parquet file with columns {', '.join(ENDS)} and weight, got {path}")
    if not path.is_file():
        raise DataError(f"no item graph at {path}")
    one, other, weight = _read_edges(path)
    wrong = ~(np.isfinite(weight) & (weight >= 0))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"{path}: weights must be finite and not negative, got {weight[first]} between movieId "
            f"{one[first]} and {other[first]} ({int(wrong.sum())} such edges)"
        )
    row, column = items.encode(one), items.encode(other)
    known = (row >= 0) & (column >= 0)
    unknown = np.unique(np.concatenate([one[row < 0], other[column < 0]]))
    if len(unknown):
        logger.warning("{}: {:,} movieIds that are not in the data are left out", path, len(unknown))
    graph = _heaviest(row[known], column[known], weight[known], len(items))
    if graph.nnz == 0:
        raise DataError(f"{path} joins no two movies of the data; are its ids raw movieIds?")
    return graph


def _heaviest(row: IntArray, column: IntArray, weight: np.ndarray, n_items: int) -> sparse.csr_matrix:
    """Symmetric matrix without a diagonal; of repeated edges the heaviest counts."""
    kept = (row != column) & (weight > 0)
    row, column, weight = row[kept], column[kept], weight[kept]
    order = np.lexsort((weight, column, row))
    row, column, weight = row[order], column[order], weight[order]
    last = np.ones(len(row), dtype=np.bool_)
    last[:-1] = (row[1:] != row[:-1]) | (column[1:] != column[:-1])
    matrix = sparse.csr_matrix((weight[last], (row[last], column[last])), shape=(n_items, n_items))
    return matrix.maximum(matrix.T).tocsr()


def _is_text(kind: pa.DataType) -> bool:
    return not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _read_edges(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any], np.ndarray]:
    """Raw movieIds (E,) of either end, and weights (E,) float64."""
    names = parquet_columns(path)
    missing = [name for name in ENDS if name not in names]
    if missing:
        raise DataError(f"{path} lacks the column {', '.join(missing)}; it holds {', '.join(names)}")
    fields = [ColumnSpec(name, Kind.TEXT_ID if _is_text(names[name]) else Kind.ID) for name in ENDS]
    if WEIGHT in names:
        fields.append(ColumnSpec(WEIGHT, Kind.ORDER))
    read = read_parquet(path, fields)
    if len(read.rejects):
        lines, reasons = read.rejects.in_order()
        raise DataError(f"{path}, row {lines[0]}: {reasons[0]} ({len(read.rejects)} such rows)")
    one, other = (ids.values(read.table[name]) for name in ENDS)
    weight = read.table[WEIGHT].to_numpy() if WEIGHT in names else np.ones(len(one))
    return one, other, weight
