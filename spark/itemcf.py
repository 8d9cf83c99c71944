"""Item-based collaborative filtering, with the rows of the similarity matrix computed by Spark."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from scipy import sparse

from recall.cooccurrence import neighbours_of_block
from recall.itemcf import ItemCF, ItemCFConfig, neighbour_rule, norms_of, user_weights, weight_sums, weighted_histories
from recall.unique_events import latest_distinct
from reccore import Holdout, Interactions, RunOptions, TrainingData
from reccore.arrays import ragged_positions
from reccore.threads import limit_threads
from spark.channel import SparkChannel
from spark.events import FitEvents
from spark.neighbours import arrays_of, block_starts, blocks_of_users, lists_of, similarity_matrix
from spark.sums import item_sums

HISTORIES = pa.schema([("block", pa.int64()), ("user", pa.int64()), ("items", pa.list_(pa.int32()))])


class SparkItemCF(SparkChannel, ItemCF):
    """``ItemCF``, by the same compiled loop over the same histories in the same order.

    A task has the histories of the users of its block of items, at most ``history_cap`` events each. The driver holds
    the matrix.
    """

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        self.similarity = item_similarity(self.events, self.config)


def item_similarity(events: FitEvents, config: ItemCFConfig) -> sparse.csr_matrix:
    """``recall.itemcf.item_similarity``."""

    def sums(part: Interactions) -> tuple[np.ndarray, ...]:
        kept = weighted_histories(part, config)
        return weight_sums(kept, part.n_items), np.bincount(kept.items, minlength=part.n_items)

    total, counts = item_sums(events, sums, "norms", 2)
    starts = block_starts(events, counts)
    norm = events.spark.sparkContext.broadcast(norms_of(total))

    def histories(first: int, part: Interactions) -> Iterator[pa.Table]:
        offsets, items = latest_distinct(part, config.history_cap)
        user, block = blocks_of_users(offsets, items, starts)
        lengths = np.diff(offsets)[user]
        rows = lists_of(np.concatenate([[0], np.cumsum(lengths)]), items[ragged_positions(offsets[user], lengths)])
        yield pa.table([pa.array(block), pa.array(user + first), rows], schema=HISTORIES)

    def neighbours(block: int, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        limit_threads(1)
        offsets, items = arrays_of(table.sort_by("user")["items"])
        weight = user_weights(np.diff(offsets), config)
        return neighbours_of_block(
            int(starts[block]),
            int(starts[block + 1]),
            offsets,
            items,
            weight=weight,
            norm=norm.value,
            pairs=neighbour_rule(config),
        )

    return similarity_matrix(events, events.map_users(histories, HISTORIES), neighbours, starts, "itemcf")
