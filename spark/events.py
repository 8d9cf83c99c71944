"""Events of prepared data, read by the tasks from the files of its bundle, some users each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from reccore import Bundle, Interactions
from reccore.arrays import IntArray
from reccore.threads import limit_threads
from spark.lines import map_range
from spark.parts import read_parts, write_parts

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

EVENTS_PER_TASK = 1 << 20
TASKS_PER_CORE = 2


@dataclass(frozen=True, eq=False)
class FitEvents:
    """The fit split of prepared data.

    Attributes:
        spark: the session.
        folder: files of the prepared bundle, which do not change.
        work: folder for files of this run.
        user_offsets: (U+1,) offsets of all events.
        fit_stop: (U,) number of fit events of each user.
        n_items: size of the catalogue.
    """

    spark: SparkSession
    folder: Path
    work: Path
    user_offsets: IntArray
    fit_stop: IntArray
    n_items: int

    @classmethod
    def of(cls, spark: SparkSession, bundle: Path, events: Interactions, fit_stop: IntArray, work: Path) -> FitEvents:
        """Keep the files of the bundle, in case it is replaced meanwhile, and write the cuts where tasks find them."""
        folder = work / "prepared"
        Bundle.open(bundle, kind="prepared").link_to(folder)
        np.save(work / "fit_stop.npy", fit_stop, allow_pickle=False)
        return cls(spark, folder, work, events.user_offsets, fit_stop, events.n_items)

    @property
    def n_users(self) -> int:
        return len(self.fit_stop)

    @cached_property
    def first_users(self) -> IntArray:
        """(T+1,) first user of each task, and U; tasks have about equal numbers of events."""
        n = int(self.user_offsets[-1])
        cores = self.spark.sparkContext.defaultParallelism
        step = max(min(EVENTS_PER_TASK, n // (TASKS_PER_CORE * cores)), 1)
        inside = np.searchsorted(self.user_offsets, np.arange(step, n, step))
        return np.unique([0, *inside, self.n_users])

    def map_users(self, make: Callable[[int, Interactions], Iterator[pa.Table]], schema: pa.Schema) -> DataFrame:
        """Tables of ``make``, called with the first user of a task and the fit events of its users."""
        folder, stops, first_users = self.folder, self.work / "fit_stop.npy", self.first_users

        def make_task(at: int) -> Iterator[pa.Table]:
            limit_threads(1)  # a task has one core
            users = int(first_users[at]), int(first_users[at + 1])
            events = Interactions.load(folder, users)
            yield from make(users[0], events.first(np.load(stops, mmap_mode="r")[slice(*users)]))

        return map_range(self.spark, len(first_users) - 1, make_task, schema)

    def read_back(self, frame: DataFrame, name: str) -> Iterator[pa.RecordBatch]:
        """Let Spark write a frame, and read it a batch at a time."""
        write_parts(frame, self.work / name)
        return self.read_again(name)

    def read_again(self, name: str) -> Iterator[pa.RecordBatch]:
        """What ``read_back`` has written."""
        return read_parts(self.work / name)
