"""Matrix factorisation for implicit feedback by the ALS of Spark's MLlib.

Hu, Koren and Volinsky, ICDM 2008, as ``recall.mf``, with one difference: MLlib multiplies the regularisation of a user
or item by its number of events (Zhou et al., AAIM 2008). ``reg`` is therefore divided by the geometric mean of the mean
numbers of events of users and items, so that the average row is regularised as the local engine does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from recall.mf import MF
from reccore import DataError, Holdout, Interactions, RunOptions, TrainingData
from reccore.arrays import FloatArray, row_of_each
from spark.channel import SparkChannel
from spark.events import FitEvents

PAIRS = pa.schema([("user", pa.int32()), ("item", pa.int32()), ("n", pa.float32())])


class SparkMF(SparkChannel, MF):
    """``MF``. The driver holds the item factors; users' factors stay in Spark and are not kept."""

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        c = self.config
        self._index(item_factors(self.events, c.embedding_size, c.epochs, c.reg, c.alpha, options.seed), options.seed)


def item_factors(events: FitEvents, size: int, epochs: int, reg: float, alpha: float, seed: int) -> FloatArray:
    """(N, D) float32; 0 for items without events.

    Raises:
        DataError: there are no events.
    """
    from pyspark import StorageLevel
    from pyspark.ml.recommendation import ALS

    def pairs(first: int, part: Interactions) -> Iterator[pa.Table]:
        matrix = part.to_csr()
        users = row_of_each(matrix.indptr) + first
        columns = (users.astype(np.int32), matrix.indices.astype(np.int32), matrix.data)
        yield pa.table([pa.array(column) for column in columns], schema=PAIRS)

    counted = events.map_users(pairs, PAIRS).persist(StorageLevel.MEMORY_AND_DISK)
    n, n_users, n_items = counted.selectExpr("count(*)", "count(distinct user)", "count(distinct item)").collect()[0]
    if not n:
        raise DataError("mf needs at least one event to learn from")
    events.spark.sparkContext.setCheckpointDir((events.work / "checkpoints").resolve().as_uri())
    als = ALS(
        rank=size,
        maxIter=epochs,
        regParam=reg / float(np.sqrt((n / n_users) * (n / n_items))),
        implicitPrefs=True,
        alpha=alpha,
        userCol="user",
        itemCol="item",
        ratingCol="n",
        seed=seed,
    )
    model = als.fit(counted)
    factors = np.zeros((events.n_items, size), dtype=np.float32)
    for batch in events.read_back(model.itemFactors, "factors"):
        factors[batch["id"].to_numpy()] = batch["features"].flatten().to_numpy().reshape(len(batch), size)
    counted.unpersist()
    return factors
