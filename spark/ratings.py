"""Ratings that Spark has read, checked and sorted, for ``dataprep.tables``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from loguru import logger

from dataprep import schema
from dataprep.readers.columns import RejectedRows
from dataprep.readers.delimited import DelimitedFile, check_end, no_rows
from dataprep.readers.raw import RawTable
from dataprep.tables import CHUNK_ROWS, COMPRESSION, REPEATED, CheckedRatings, PreprocessReport, ratings_schema
from dataprep.ties import Ties
from reccore.options import RunOptions
from spark.lines import LineRanges, count_lines, read_rows
from spark.parts import read_column, read_parts, whole_users, write_parts

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_EXAMPLES = 3


@dataclass
class CountedRejects(RejectedRows):
    """Rejected rows of which all are counted, and the first few or all are known by line."""

    by_reason: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(self.by_reason.values())

    def counts(self) -> dict[str, int]:
        return dict(self.by_reason)


@dataclass
class RemoteTable(RawTable):
    """A file whose valid rows are in Spark; ``table`` has its columns and no rows."""

    n_valid: int = 0

    @property
    def n_seen(self) -> int:
        return self.n_valid + len(self.rejects)


class SparkRatings(CheckedRatings):
    """Ratings of a text file.

    The driver holds the line numbers of rejected rows, as long as they are no more than may be rejected, and the ids of
    the movies.

    Args:
        spark: the session.
        file: the file and how to read it.
        tie_order: order of events of equal user and time.
        max_reject_share: share of rows that may be rejected.
        work: folder for files of this run.
        range_bytes: size of what one task reads.

    Raises:
        DataError: the file holds no rows, or ends in the middle of one.
    """

    engine = "spark"
    finer = ()

    def __init__(
        self,
        spark: SparkSession,
        file: DelimitedFile,
        *,
        tie_order: str,
        max_reject_share: float,
        work: Path,
        range_bytes: int,
    ) -> None:
        from pyspark import StorageLevel
        from pyspark.sql import Window
        from pyspark.sql import functions as F

        self._work = work
        ranges = LineRanges.of(file.path, file.dialect.skip, range_bytes)
        lengths = count_lines(spark, ranges)
        rows, columns = read_rows(spark, file, ranges, lengths, with_hash=tie_order == schema.TIE_HASH)
        rows = rows.persist(StorageLevel.DISK_ONLY)
        invalid = rows.where("reason is not null").select("line", "reason")
        if rows.isEmpty():
            raise no_rows(file.path, file.dialect)
        if not ranges.ends_whole():
            last = int(lengths.sum()) + ranges.skip
            check_end(file.path, last, not invalid.where(F.col("line") == last).isEmpty())
        of_pair = Window.partitionBy("userId", "movieId").orderBy("line")
        valid = rows.where("reason is null").withColumn("nth", F.row_number().over(of_pair))
        valid = valid.persist(StorageLevel.DISK_ONLY)
        self._rows = valid.where("nth = 1").drop("nth", "reason")
        self._order = [name for name in ("userId", "timestamp", "tie", "line") if name in self._rows.columns]
        repeated = valid.where("nth > 1").select("line", F.lit(REPEATED).alias("reason"))
        self.n_rows = self._rows.count()
        rejects = _collect(invalid.unionByName(repeated), self.n_rows, max_reject_share)
        self.raw = RemoteTable(
            file.path, columns.empty_table(), np.empty(0, dtype=np.int64), rejects, n_valid=self.n_rows
        )
        self.n_users = self._rows.select("userId").distinct().count()
        write_parts(self._rows.select("movieId").distinct().orderBy("movieId"), work / "rated")
        self.rated = read_column(work / "rated", "movieId")

    def write(self, path: Path, report: PreprocessReport, options: RunOptions) -> Ties:
        """Spark sorts, this process joins the sorted parts; memory for about a million rows."""
        target = ratings_schema(self.raw, report)
        in_order = self._rows.repartitionByRange("userId").sortWithinPartitions(*self._order)
        write_parts(in_order.select(*target.names), self._work / "ratings")
        with pq.ParquetWriter(path, target, compression=COMPRESSION) as writer:
            for chunk in whole_users(read_parts(self._work / "ratings"), "userId", CHUNK_ROWS):
                writer.write_table(chunk.cast(target).combine_chunks(), row_group_size=len(chunk))
        return Ties()


def _collect(rejects: DataFrame, n_valid: int, max_share: float) -> CountedRejects:
    counts = {row["reason"]: int(row["count"]) for row in rejects.groupBy("reason").count().collect()}
    n = sum(counts.values())
    few: Any = rejects if n <= max_share * (n + n_valid) else rejects.orderBy("line").limit(_EXAMPLES)
    found = CountedRejects(by_reason=counts)
    if n:
        table = few.toArrow()
        reasons = table["reason"].to_numpy(zero_copy_only=False)
        for reason in counts:
            found.add(table["line"].to_numpy()[reasons == reason], reason)
        logger.warning("{:,} rows rejected", n)
    return found
