"""Popularity: the same list for everyone, of all time or with exponential decay of the events.

The baseline of every personalised channel, and the channel that fills short rows after the merge.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from recall.base import BaseRecall
from recall.topk import top_k_of_order
from reccore import (
    Bundle,
    Candidates,
    ComponentConfig,
    DataError,
    Exclusions,
    Holdout,
    QueryBatch,
    RunOptions,
    TrainingData,
)
from reccore.arrays import FloatArray, IntArray
from reccore.bundle import BundleWriter

SECONDS_PER_DAY = 86_400.0


class PopularityConfig(ComponentConfig):
    """Options of ``Popularity``.

    Attributes:
        half_life_days: exponential decay of the events, in days before the last event of the fit split; None = no
            decay.
    """

    half_life_days: float | None = Field(default=None, gt=0)


class Popularity(BaseRecall):
    """Items by their number of events, time-decayed if configured. Answers every query, with an empty history too."""

    name = "popularity"
    Config = PopularityConfig
    config: PopularityConfig
    weight: FloatArray  # (N,)

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        events, half_life = data.interactions, self.config.half_life_days
        decay = None
        if half_life is not None:
            if events.timestamp is None:
                raise DataError("half_life_days needs timestamps, and this data has none")
            age = (events.timestamp.max(initial=0) - events.timestamp) / SECONDS_PER_DAY
            decay = np.exp2(-age / half_life)
        counts = np.bincount(events.item_idx, weights=decay, minlength=events.n_items)
        self._set_weight(counts.astype(np.float32))

    def _set_weight(self, weight: FloatArray) -> None:
        self.weight = weight
        self._order = np.argsort(-weight, kind="stable")  # ties by item index

    def _retrieve(self, prepared: QueryBatch, k: int, exclude: Exclusions) -> Candidates:
        return top_k_of_order(self._order, self.weight, k, exclude)

    def _score(self, prepared: QueryBatch, item_idx: IntArray) -> FloatArray:
        return self.weight[item_idx]

    def _write(self, bundle: BundleWriter) -> None:
        bundle.arrays("popularity.npz", {"weight": self.weight})

    def _read(self, bundle: Bundle) -> None:
        self._set_weight(bundle.arrays("popularity.npz")["weight"])
