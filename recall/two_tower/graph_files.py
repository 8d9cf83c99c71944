"""A given item–item graph: a Parquet edge list, or a matrix with the movieIds of its rows."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger
from scipy import sparse

from dataprep.readers.columns import ColumnSpec, Kind
from dataprep.readers.parquet import parquet_columns, read_parquet
from recall.two_tower.graph import ItemGraph
from reccore import DataError, IdMap
from reccore.arrays import IntArray

ENDS = ("movieId_1", "movieId_2")
WEIGHT = "weight"
ROWS_PER_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class _Edges:
    """Raw movieIds (E,) of either end, and weights (E,) float64."""

    one: IntArray
    other: IntArray
    weight: np.ndarray


def read_item_graph(path: Path, items: IdMap) -> ItemGraph:
    """Read a graph over raw movieIds; those that ``items`` does not hold are left out, and counted in the log.

    - ``.parquet``: columns movieId_1, movieId_2 and optionally weight (else 1), a row for every edge.
    - ``.npz``: a square matrix as ``scipy.sparse.save_npz`` writes it.
    - ``.npy``: a square dense matrix; read in blocks of rows.

    A matrix needs the movieId of each of its rows: under the key ``ids`` of the .npz, or in ``<stem>_ids.npy``
    beside the file. Edges count in both directions, the heaviest of repeated ones, and none from an item to itself.
    What the weights were computed from is the giver's matter: they must know nothing of events to be predicted.

    Raises:
        DataError: no such file, another format, missing columns or ids, a matrix that is not square, a weight
            that is negative or not a finite number, or no edge between two known items.
    """
    readers = {".parquet": _read_parquet, ".npz": _read_npz, ".npy": _read_npy}
    if path.suffix not in readers:
        raise DataError(f"an item graph is a file ending in {', '.join(readers)}, got {path}")
    if not path.is_file():
        raise DataError(f"no item graph at {path}")
    edges = readers[path.suffix](path)
    wrong = ~(np.isfinite(edges.weight) & (edges.weight >= 0))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"{path}: weights must be finite and not negative, got {edges.weight[first]} between movieId "
            f"{edges.one[first]} and {edges.other[first]} ({int(wrong.sum())} such edges)"
        )
    return _over_catalogue(edges, items, path)


def _over_catalogue(edges: _Edges, items: IdMap, path: Path) -> ItemGraph:
    one, other = items.encode(edges.one), items.encode(edges.other)
    known = (one >= 0) & (other >= 0)
    unknown = np.unique(np.concatenate([edges.one[one < 0], edges.other[other < 0]]))
    if len(unknown):
        logger.warning("{}: {:,} movieIds that are not in the data are left out", path, len(unknown))
    one, other, weight = one[known], other[known], edges.weight[known]
    order = np.lexsort((weight, other, one))
    one, other, weight = one[order], other[order], weight[order]
    last = np.ones(len(one), dtype=np.bool_)  # of repeated edges the heaviest
    last[:-1] = (one[1:] != one[:-1]) | (other[1:] != other[:-1])
    matrix = sparse.coo_matrix((weight[last], (one[last], other[last])), shape=(len(items), len(items)))
    graph = ItemGraph.of(matrix)
    if graph.n_edges == 0:
        raise DataError(f"{path} joins no two movies of the data; are its ids raw movieIds?")
    return graph


def _read_parquet(path: Path) -> _Edges:
    names = parquet_columns(path)
    missing = [name for name in ENDS if name not in names]
    if missing:
        raise DataError(f"{path} lacks the column {', '.join(missing)}; it holds {', '.join(names)}")
    fields = [ColumnSpec(name, Kind.ID) for name in ENDS]
    if WEIGHT in names:
        fields.append(ColumnSpec(WEIGHT, Kind.ORDER))
    read = read_parquet(path, fields)
    if len(read.rejects):
        lines, reasons = read.rejects.in_order()
        raise DataError(f"{path}, row {lines[0]}: {reasons[0]} ({len(read.rejects)} such rows)")
    one, other = (read.table[name].to_numpy() for name in ENDS)
    weight = read.table[WEIGHT].to_numpy() if WEIGHT in names else np.ones(len(one))
    return _Edges(one, other, weight)


def _read_npz(path: Path) -> _Edges:
    try:
        matrix = sparse.coo_matrix(sparse.csr_matrix(sparse.load_npz(path)))
        with np.load(path, allow_pickle=False) as stored:
            ids = stored["ids"] if "ids" in stored.files else None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as a sparse matrix of scipy: {error}") from error
    _check_square(matrix.shape, path)
    ids = _checked_ids(ids, f"the key ids of {path}", path, matrix.shape[0])
    return _Edges(ids[matrix.row], ids[matrix.col], _real(matrix.data, path))


def _read_npy(path: Path) -> _Edges:
    matrix = _load_npy(path)
    _check_square(matrix.shape, path)
    ids = _checked_ids(None, "", path, len(matrix))
    rows, columns, values = zip(*_non_zero(matrix), strict=True)
    return _Edges(ids[np.concatenate(rows)], ids[np.concatenate(columns)], _real(np.concatenate(values), path))


def _non_zero(matrix: np.ndarray) -> Iterator[tuple[IntArray, IntArray, np.ndarray]]:
    """Row, column and value of all that is not 0, in blocks of rows of a matrix mapped from its file."""
    for start in range(0, len(matrix), ROWS_PER_BLOCK):
        block = np.asarray(matrix[start : start + ROWS_PER_BLOCK])
        rows, columns = np.nonzero(block)
        yield rows + start, columns, block[rows, columns]


def _load_npy(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an array of numbers: {error}") from error
    return array


def _check_square(shape: tuple[int, ...], path: Path) -> None:
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise DataError(f"{path} must hold a square matrix, items by items; its shape is {shape}")


def _checked_ids(ids: np.ndarray | None, source: str, path: Path, n_rows: int) -> IntArray:
    """The movieId of each row of a matrix; from the file beside it where ``ids`` is None."""
    if ids is None:
        beside = path.with_name(f"{path.stem}_ids.npy")
        if not beside.is_file():
            within = f"put them under the key ids of {path.name}, or" if path.suffix == ".npz" else "put them"
            raise DataError(f"{path} needs the movieId of each of its rows: {within} in {beside}")
        ids, source = np.asarray(_load_npy(beside)), str(beside)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise DataError(f"{source} must be a list of whole numbers, got {ids.dtype} of shape {ids.shape}")
    if len(ids) != n_rows:
        raise DataError(f"{source} names {len(ids)} movieIds, but the matrix has {n_rows} rows")
    if len(np.unique(ids)) != len(ids):
        raise DataError(f"{source} names a movieId twice")
    return ids.astype(np.int64)


def _real(values: np.ndarray, path: Path) -> Any:
    """Weights as float64."""
    if not (np.issubdtype(values.dtype, np.floating) or values.dtype.kind in "iub"):
        raise DataError(f"{path} must hold numbers, got {values.dtype}")
    return values.astype(np.float64)
