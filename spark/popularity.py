"""Popularity, with the events counted by Spark."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from recall.popularity import Popularity, decayed_counts
from reccore import Holdout, Interactions, RunOptions, TrainingData
from spark.channel import SparkChannel
from spark.events import FitEvents
from spark.sums import item_sums


class SparkPopularity(SparkChannel, Popularity):
    """``Popularity``. The driver holds one number per item."""

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        half_life = self.config.half_life_days
        latest = 0 if half_life is None else _latest_time(self.events)

        def counts(events: Interactions) -> tuple[np.ndarray, ...]:
            return (decayed_counts(events, half_life, latest),)

        self._learn(item_sums(self.events, counts, "popularity", 1)[0], data.items)


def _latest_time(events: FitEvents) -> int:
    """The greatest time of the events; 0 without times, which ``decayed_counts`` refuses."""

    def latest(_: int, part: Interactions) -> Iterator[pa.Table]:
        if part.timestamp is not None:
            yield pa.table({"latest": pa.array([int(part.timestamp.max(initial=0))])})

    found = events.map_users(latest, pa.schema([("latest", pa.int64())])).agg({"latest": "max"}).collect()[0][0]
    return int(found or 0)
