"""Popularity: the same list for everyone, of all time or with exponential decay; or one list per genre, mixed.

The baseline of every personalised channel, and the channel that fills short rows after the merge.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse

from recall.base import BaseRecall
from recall.genre_lists import GenreLists, GenresConfig
from recall.topk import top_k_dense, top_k_of_order
from reccore import (
    Bundle,
    Candidates,
    ComponentConfig,
    DataError,
    Exclusions,
    Holdout,
    Interactions,
    ItemTable,
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
        genres: mix the popularity within each genre by the genres of the history; None = one list for everyone.
    """

    half_life_days: float | None = Field(default=None, gt=0)
    genres: GenresConfig | None = None


class Popularity(BaseRecall):
    """Items by their number of events, time-decayed if configured. Answers every query, with an empty history too.

    The history decides only with ``genres``; without, all queries share one list and retrieval costs no scores (B, N).

    Raises (``fit``):
        DataError: ``half_life_days`` without timestamps, or ``genres`` without genres.
    """

    name = "popularity"
    Config = PopularityConfig
    config: PopularityConfig
    weight: FloatArray  # (N,) decayed number of events
    genre_lists: GenreLists | None

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        events = data.interactions
        latest = 0 if events.timestamp is None else int(events.timestamp.max(initial=0))
        self._learn(decayed_counts(events, self.config.half_life_days, latest), data.items)

    def _learn(self, counts: npt.NDArray[np.float64], items: ItemTable) -> None:
        """Take the decayed number of events of each item (N,)."""
        self._set_weight(counts.astype(np.float32))
        genres = self.config.genres
        self.genre_lists = None if genres is None else GenreLists.of(genres, items, self.weight)

    def _set_weight(self, weight: FloatArray) -> None:
        self.weight = weight
        self._order = np.argsort(-weight, kind="stable")  # ties by item index

    def _prepare(self, queries: QueryBatch) -> QueryBatch | sparse.csr_matrix:
        """The queries, or (B, G+1) weights of the lists."""
        return queries if self.genre_lists is None else self.genre_lists.shares(queries)

    def _retrieve(self, prepared: Any, k: int, exclude: Exclusions) -> Candidates:
        if self.genre_lists is not None:
            return top_k_dense(self.genre_lists.scores(prepared), k, exclude)
        return top_k_of_order(self._order, self.weight, k, exclude)

    def _score(self, prepared: Any, item_idx: IntArray) -> FloatArray:
        if self.genre_lists is not None:
            return np.take_along_axis(self.genre_lists.scores(prepared), item_idx, axis=1)
        return self.weight[item_idx]

    def _write(self, bundle: BundleWriter) -> None:
        arrays = {"weight": self.weight}
        if self.genre_lists is not None:
            arrays["genres"] = self.genre_lists.genres
        bundle.arrays("popularity.npz", arrays)

    def _read(self, bundle: Bundle) -> None:
        stored = bundle.arrays("popularity.npz")
        self._set_weight(stored["weight"])
        genres = self.config.genres
        self.genre_lists = None if genres is None else GenreLists(genres, stored["genres"], self.weight)


def decayed_counts(events: Interactions, half_life_days: float | None, latest: int) -> npt.NDArray[np.float64]:
    """(N,) float64 events of each item, each counting 2^(−age / half-life) at the time ``latest``."""
    decay = None
    if half_life_days is not None:
        if events.timestamp is None:
            raise DataError("half_life_days needs timestamps, and this data has none")
        age = (latest - events.timestamp) / SECONDS_PER_DAY
        decay = np.exp2(-age / half_life_days)
    return np.bincount(events.item_idx, weights=decay, minlength=events.n_items).astype(np.float64)
