"""Popularity: the same list for everyone, of all time or with exponential decay of the events.

The baseline of every personalised channel, and the channel that fills short rows after the merge.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from recall.base import BaseRecall
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
    top_k,
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
        self.weight = counts.astype(np.float32)

    def _retrieve(self, prepared: QueryBatch, k: int, exclude: Exclusions) -> Candidates:
        # All queries share one order, so each answer lies among its first k + (number excluded) items.
        width = min(k + int(exclude.lengths.max(initial=0)), len(self.weight))
        first = top_k(self.weight[None, :], width)
        everyone = first.select(np.zeros(len(prepared), dtype=np.int64))
        return everyone.keep(~exclude.contains(everyone.item_idx)).head(k)

    def _score(self, prepared: QueryBatch, item_idx: IntArray) -> FloatArray:
        return self.weight[item_idx]

    def _write(self, bundle: BundleWriter) -> None:
        bundle.arrays("popularity.npz", {"weight": self.weight})

    def _read(self, bundle: Bundle) -> None:
        self.weight = bundle.arrays("popularity.npz")["weight"]
