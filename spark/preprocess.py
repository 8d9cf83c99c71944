"""Raw files → validated Parquet tables, with the ratings on Spark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dataprep.preprocess import check_share, source_of
from dataprep.readers.layouts import find_layout
from dataprep.readers.own_vectors import VectorSource, with_vectors
from dataprep.readers.raw import RawTable
from dataprep.tables import PreprocessReport, write_tables
from reccore import ConfigError
from reccore.bundle import temporary_folder
from reccore.options import RunOptions
from spark.ratings import SparkRatings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RANGE_BYTES = 64 << 20
"""What one task reads."""
_UNSUPPORTED = "atomic"


def preprocess(
    spark: SparkSession,
    source_dir: Path,
    out: Path,
    *,
    item_vectors: Sequence[VectorSource] = (),
    user_vectors: Sequence[VectorSource] = (),
    max_reject_share: float = 0.01,
    options: RunOptions | None = None,
) -> PreprocessReport:
    """``dataprep.preprocess.preprocess`` with the ratings read, checked and sorted by Spark.

    The other tables are read by this process: their size is that of the catalogue or of the list of users, not of the
    events.

    Args:
        spark: the session.
        source_dir, out, item_vectors, user_vectors, max_reject_share, options: as for the local engine.

    Raises:
        ConfigError: a layout that only the local engine reads.
        DataError: as the local engine.
    """
    options = options or RunOptions()
    check_share(max_reject_share)
    layout, folder = find_layout(source_dir)
    if layout.name == _UNSUPPORTED:
        raise ConfigError("--engine spark does not read RecBole's atomic files; leave it out")
    file = layout.ratings(folder)
    with temporary_folder(out.with_name(f"{out.name}.spark")) as work:
        nothing = RawTable(file.path, file.empty(), np.empty(0, dtype=np.int64))
        data = with_vectors(
            layout.complete(folder, nothing, options.progress), item_vectors, user_vectors, options.progress
        )
        ratings = SparkRatings(
            spark,
            file,
            tie_order=data.tie_order,
            max_reject_share=max_reject_share,
            work=work,
            range_bytes=RANGE_BYTES,
        )
        source = source_of(source_dir, item_vectors, user_vectors, out)
        return write_tables(data, out, source_dir.resolve().name, source, max_reject_share, options, ratings)
