"""Items in blocks of about equal work, and the similarity matrix from the rows that the tasks computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from reccore.arrays import IntArray, offsets_from_lengths, ragged_positions, row_of_each
from spark.events import TASKS_PER_CORE, FitEvents
from spark.parts import ddl

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ROWS = pa.schema([("item", pa.int64()), ("ids", pa.list_(pa.int32())), ("values", pa.list_(pa.float32()))])
WORK_PER_BLOCK = 1 << 22
WORK_PER_ITEM = 1 << 6
"""Bounds a block to 65,536 items, however little work they are."""


def block_starts(events: FitEvents, work: npt.NDArray[np.float64]) -> IntArray:
    """(B+1,) first item of each block of consecutive items, and N.

    Args:
        events: decides the least number of blocks.
        work: (N,) cost of each item; a block has some millions, or a single item.
    """
    total = np.cumsum(work + WORK_PER_ITEM)
    least = TASKS_PER_CORE * events.spark.sparkContext.defaultParallelism
    step = max(min(WORK_PER_BLOCK, float(total[-1]) / least), 1.0)
    inside = np.searchsorted(total, np.arange(step, total[-1], step)) + 1
    return np.unique([0, *inside[inside < len(work)], len(work)])


def similarity_matrix(
    events: FitEvents,
    blocks: DataFrame,
    neighbours: Callable[[int, pa.Table], tuple[np.ndarray, np.ndarray]],
    starts: IntArray,
    name: str,
) -> sparse.csr_matrix:
    """The (N, N) float32 CSR with sorted columns of rows that are computed in blocks.

    The driver holds the matrix: 8 bytes an entry.

    Args:
        events: the events.
        blocks: rows with a column ``block``.
        neighbours: number of a block and its rows → (R, K) ids, -1 = none, and (R, K) similarities.
        starts: (B+1,) first item of each block.
        name: of a folder for the result.
    """

    def rows(table: pa.Table) -> pa.Table:
        block = table["block"][0].as_py()
        ids, values = neighbours(block, table)
        order = np.argsort(np.where(ids < 0, np.iinfo(ids.dtype).max, ids), axis=1, kind="stable")
        ids, values = np.take_along_axis(ids, order, axis=1), np.take_along_axis(values, order, axis=1)
        found = ids >= 0
        offsets = pa.array(offsets_from_lengths(found.sum(axis=1)), pa.int32())
        lists = (
            pa.ListArray.from_arrays(offsets, pa.array(part[found].astype(kind)))
            for part, kind in ((ids, np.int32), (values, np.float32))
        )
        return pa.table([pa.array(np.arange(starts[block], starts[block + 1])), *lists], schema=ROWS)

    return _assemble(events, blocks.groupBy("block").applyInArrow(rows, ddl(ROWS)), name)


def _assemble(events: FitEvents, rows: DataFrame, name: str) -> sparse.csr_matrix:
    lengths = np.zeros(events.n_items, dtype=np.int64)
    for batch in events.read_back(rows, name):
        lengths[batch["item"].to_numpy()] = batch["ids"].value_lengths().to_numpy()
    indptr = offsets_from_lengths(lengths)
    indices, data = np.empty(indptr[-1], dtype=np.int32), np.empty(indptr[-1], dtype=np.float32)
    for batch in events.read_again(name):
        items = batch["item"].to_numpy()
        at = ragged_positions(indptr[items], lengths[items])
        indices[at], data[at] = batch["ids"].flatten().to_numpy(), batch["values"].flatten().to_numpy()
    return sparse.csr_matrix((data, indices, indptr), shape=(events.n_items, events.n_items))


def lists_of(offsets: IntArray, values: IntArray) -> pa.ListArray:
    """Rows of whole numbers."""
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.int32()))


def arrays_of(column: pa.ChunkedArray) -> tuple[IntArray, np.ndarray]:
    """Offsets (n+1,) and values of a column of lists."""
    lists = column.combine_chunks()
    return offsets_from_lengths(lists.value_lengths().to_numpy()), lists.flatten().to_numpy()


def blocks_of_users(offsets: IntArray, items: IntArray, starts: IntArray) -> tuple[IntArray, IntArray]:
    """Distinct pairs of a user and a block that has one of the user's items."""
    n_blocks = len(starts) - 1
    pairs = np.unique(row_of_each(offsets) * n_blocks + np.searchsorted(starts, items, side="right") - 1)
    return pairs // n_blocks, pairs % n_blocks
