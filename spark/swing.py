"""Swing, with the users of each item drawn and the rows of the similarity matrix computed by Spark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy import sparse

from recall.swing import Swing, SwingConfig, SwingTerms, draws, swing_block
from recall.unique_events import latest_distinct
from reccore import Holdout, Interactions, RunOptions, TrainingData
from reccore.arrays import IntArray, offsets_from_lengths, row_of_each
from reccore.threads import limit_threads
from spark.channel import SparkChannel
from spark.events import FitEvents
from spark.neighbours import arrays_of, block_starts, lists_of, similarity_matrix
from spark.sums import item_sums

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DRAWS = pa.schema([("item", pa.int64()), ("user", pa.int64()), ("draw", pa.float64())])
HISTORIES = pa.schema([("user", pa.int64()), ("items", pa.list_(pa.int32()))])


class SparkSwing(SparkChannel, Swing):
    """``Swing``, by the same draws and the same compiled loop over the same users in the same order.

    A task has the histories of the users that were drawn for its block of items, at most ``history_cap`` events each.
    The driver holds the matrix.
    """

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        self.similarity = swing_similarity(self.events, self.config, options.seed)


def swing_similarity(events: FitEvents, config: SwingConfig, seed: int) -> sparse.csr_matrix:
    """``recall.swing.swing_similarity``."""

    def counts(part: Interactions) -> tuple[np.ndarray, ...]:
        return (np.bincount(latest_distinct(part, config.history_cap)[1], minlength=part.n_items),)

    def histories(first: int, part: Interactions) -> Iterator[pa.Table]:
        offsets, items = latest_distinct(part, config.history_cap)
        users = np.arange(first, first + part.n_users)
        yield pa.table([pa.array(users), lists_of(offsets, items)], schema=HISTORIES)

    n_users = item_sums(events, counts, "users", 1)[0].astype(np.int64)
    n_drawn = np.minimum(n_users, config.users_per_item)
    starts = block_starts(events, (n_drawn * n_drawn).astype(np.float64))
    shared = events.spark.sparkContext.broadcast(n_users)

    def neighbours(block: int, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        limit_threads(1)
        table = table.sort_by("user")
        offsets, items = arrays_of(table["items"])
        chosen_offsets, chosen = arrays_of(table["chosen"])  # of each user, the items that it was drawn for
        order = np.argsort(chosen, kind="stable")
        size = int(starts[block + 1] - starts[block])
        item_offsets = offsets_from_lengths(np.bincount(chosen - starts[block], minlength=size))
        terms = SwingTerms.of(np.diff(offsets), shared.value, config)
        users = row_of_each(chosen_offsets)[order]
        return swing_block(int(starts[block]), item_offsets, users, offsets, items, terms)

    drawn = _drawn(events, config, seed, starts).join(events.map_users(histories, HISTORIES), "user")
    return similarity_matrix(events, drawn, neighbours, starts, "swing")


def _drawn(events: FitEvents, config: SwingConfig, seed: int, starts: IntArray) -> DataFrame:
    """For each block and user the items (``chosen``) that the user was drawn for."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    places = _first_places(events, config)

    def drawing(first: int, part: Interactions) -> Iterator[pa.Table]:
        offsets, items = latest_distinct(part, config.history_cap)
        draw = draws(seed, places[first], len(items))
        yield pa.table([pa.array(items), pa.array(row_of_each(offsets) + first), pa.array(draw)], schema=DRAWS)

    of_item = Window.partitionBy("item").orderBy("draw", "user")
    ranked = events.map_users(drawing, DRAWS).withColumn("nth", F.row_number().over(of_item))
    inside = [int(start) for start in starts[1:-1]]

    def with_block(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            block = np.searchsorted(inside, batch["item"].to_numpy(), side="right")
            yield batch.select(["item", "user"]).append_column("block", pa.array(block, pa.int64()))

    placed = ranked.where(F.col("nth") <= config.users_per_item).mapInArrow(
        with_block, "item bigint, user bigint, block bigint"
    )
    return placed.groupBy("block", "user").agg(F.sort_array(F.collect_list(F.col("item").cast("int"))).alias("chosen"))


def _first_places(events: FitEvents, config: SwingConfig) -> dict[int, int]:
    """First user of each task → place of its first event among the latest distinct events of all users."""

    def count(first: int, part: Interactions) -> Iterator[pa.Table]:
        n = len(latest_distinct(part, config.history_cap)[1])
        yield pa.table({"first": pa.array([first]), "n": pa.array([n])})

    counted = events.map_users(count, pa.schema([("first", pa.int64()), ("n", pa.int64())])).orderBy("first").toArrow()
    places = offsets_from_lengths(counted["n"].to_numpy())
    return dict(zip(counted["first"].to_pylist(), places.tolist(), strict=False))
