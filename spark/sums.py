"""Sums for every item over the events of all users."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reccore import Interactions
from spark.events import FitEvents


def item_sums(
    events: FitEvents, sums: Callable[[Interactions], tuple[np.ndarray, ...]], folder: str, n_sums: int
) -> tuple[npt.NDArray[np.float64], ...]:
    """``n_sums`` arrays (N,) of float64, each the sum over all tasks.

    Args:
        events: the events.
        sums: events of some users → ``n_sums`` arrays (N,).
        folder: name of one for the result.
        n_sums: number of arrays.
    """
    from pyspark.sql import functions as F

    columns = [f"sum{at}" for at in range(n_sums)]
    schema = pa.schema([("item", pa.int64()), *((column, pa.float64()) for column in columns)])

    def partial(_: int, part: Interactions) -> Iterator[pa.Table]:
        found = sums(part)
        items = np.flatnonzero(np.any([values != 0 for values in found], axis=0))
        kept = (values[items].astype(np.float64) for values in found)
        yield pa.table([pa.array(column) for column in (items, *kept)], schema=schema)

    added = events.map_users(partial, schema).groupBy("item").agg(*(F.sum(column).alias(column) for column in columns))
    totals = {column: np.zeros(events.n_items) for column in columns}
    for batch in events.read_back(added, folder):
        for column, total in totals.items():
            total[batch["item"].to_numpy()] = batch[column].to_numpy()
    return tuple(totals[column] for column in columns)
