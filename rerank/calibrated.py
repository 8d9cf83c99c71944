"""Calibrated recommendations: a list whose genres have the shares that they have in the history.

Steck, Calibrated recommendations (RecSys 2018), equations 1 to 6:

    maximise over lists I   λ·Σ_{i∈I} rel(i) − (1−λ)·KL(p ‖ q̃(I)),   q̃ = (1−α)·q + α·p

p(g) is the share of genre g in the history and q(g) in the list; a film spreads a weight of one over its genres. Items
p(g) is the share of genre g in the history and q(g) in the list; a film spreads a weight of one over its genres. Items
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from numba import njit
from pydantic import Field

from reccore import Bundle, Candidates, ComponentConfig, ConfigError, ItemTable, Labels, QueryBatch, Vocabulary
from reccore.arrays import FloatArray, ragged_positions, row_of_each
from reccore.bundle import BundleWriter
from rerank.greedy import Choice, GreedyConfig, GreedyReranker, no_choice, relevance_of

_GENRES_FILE = "genres.npz"


class CalibratedConfig(GreedyConfig):
    """Options of calibration: those of ``GreedyConfig``, and how distributions are estimated.

    Attributes:
        smoothing: α in (0, 1), which keeps the divergence finite. Genres of the history that are missing from the list
            cost the more, the lower it is.
        half_life: an event counts half as much as one that is this many events later; None = all events count alike.
    """

    smoothing: float = Field(0.01, gt=0.0, lt=1.0)
    half_life: float | None = Field(50.0, gt=0.0)


class Calibrated(GreedyReranker):
    """Greedy calibration by genres over the first candidates of each query.

    Takes O(picks·(L + G)) time per query for L genres of all films of the pool and G genres of the catalogue. Without
    genres in the history there is nothing to calibrate to, and the input's order stays. Of equal objectives the earlier
    candidate wins. The score is the gain of the step, or the gain before it if that is lower.
    """

    name: ClassVar[str] = "calibrated"
    Config: ClassVar[type[ComponentConfig]] = CalibratedConfig
    config: CalibratedConfig

    def __init__(self, config: CalibratedConfig | Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        self._genres = Labels((), np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64))

    def _fit(self, items: ItemTable, vectors: FloatArray | None, vocabulary: Vocabulary) -> None:
        if items.genres is None or not len(items.genres.idx):
            raise ConfigError("reranker 'calibrated' needs genres and no item has one; choose another method")
        self._genres = items.genres

    def history_genres(self, queries: QueryBatch) -> npt.NDArray[np.float64]:
        """(B, G) p: share of each genre in each history; zeros for a history without genres."""
        offsets, n_genres = self._genres.offsets, len(self._genres)
        known = queries.known_items_only(len(offsets) - 1)
        row, length = row_of_each(known.history_offsets), np.diff(offsets)[known.history_idx]
        weight = 1.0 / np.maximum(length, 1)
        if self.config.half_life is not None:
            age = known.history_offsets[row + 1] - 1 - np.arange(len(row))
            weight *= 0.5 ** (age / self.config.half_life)
        genre = self._genres.idx[ragged_positions(offsets[known.history_idx], length)]
        key = np.repeat(row, length) * n_genres + genre
        mass = np.bincount(key, weights=np.repeat(weight, length), minlength=len(queries) * n_genres)
        mass = mass.reshape(len(queries), n_genres).astype(np.float64)  # without any event the counts are integers
        total = mass.sum(axis=1, keepdims=True)
        shares: npt.NDArray[np.float64] = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
        return shares

    def _choose(self, queries: QueryBatch, pool: Candidates, picks: int) -> Choice:
        relevance = relevance_of(pool.score, pool.mask, self.config.relevance)
        columns, objective = no_choice(len(pool), picks)
        _choose_rows(
            self._genres.offsets,
            self._genres.idx,
            pool.item_idx,
            pool.counts,
            relevance,
            self.history_genres(queries),
            self.config.trade_off,
            self.config.smoothing,
            columns,
            objective,
        )
        return columns, np.minimum.accumulate(objective, axis=1)

    def _write(self, bundle: BundleWriter) -> None:
        bundle.arrays(_GENRES_FILE, self._genres.to_arrays())

    def _read(self, bundle: Bundle) -> None:
        self._genres = Labels.from_arrays(bundle.arrays(_GENRES_FILE))


@njit(nogil=True, cache=True)
def _choose_rows(
    offsets: np.ndarray,
    genres: np.ndarray,
    item_idx: np.ndarray,
    counts: np.ndarray,
    relevance: np.ndarray,
    wanted: np.ndarray,
    trade_off: float,
    smoothing: float,
    columns: np.ndarray,
    objective: np.ndarray,
) -> None:
    """Fill ``columns`` and ``objective`` (B, picks) row by row."""
    n_genres = wanted.shape[1]
    for row in range(len(item_idx)):
        n, p = counts[row], wanted[row]
        mass, n_films = np.zeros(n_genres), 0  # genres of the list, and its films that have one
        free = np.ones(n, dtype=np.bool_)
        before = _divergence(p, mass, n_films, smoothing)
        terms = np.zeros(n_genres)
        for pick in range(min(n, columns.shape[1])):
            share = (1.0 - smoothing) / (n_films + 1)
            plain = 0.0  # the divergence after a film with genres, as if all of them were outside the history
            for g in range(n_genres):
                terms[g] = -p[g] * np.log(share * mass[g] / p[g] + smoothing) if p[g] > 0.0 else 0.0
                plain += terms[g]
            best, best_value = -1, -np.inf
            for c in range(n):
                if not free[c]:
                    continue
                first, last = offsets[item_idx[row, c]], offsets[item_idx[row, c] + 1]
                after = plain if last > first else before
                for at in range(first, last):
                    g = genres[at]
                    if p[g] > 0.0:
                        added = mass[g] + 1.0 / (last - first)
                        after += -p[g] * np.log(share * added / p[g] + smoothing) - terms[g]
                value = trade_off * relevance[row, c] + (1.0 - trade_off) * (before - after)
                if value > best_value:  # of equals the first
                    best, best_value = c, value
            columns[row, pick], objective[row, pick] = best, best_value
            free[best] = False
            first, last = offsets[item_idx[row, best]], offsets[item_idx[row, best] + 1]
            for at in range(first, last):
                mass[genres[at]] += 1.0 / (last - first)
            n_films += 1 if last > first else 0
            before = _divergence(p, mass, n_films, smoothing)


@njit(nogil=True, cache=True)
def _divergence(p: np.ndarray, mass: np.ndarray, n_films: int, smoothing: float) -> float:
    """KL(p ‖ q̃) of a list with these genres; Σ p log(p / q̃) = −Σ p log((1−α)·q/p + α)."""
    share = (1.0 - smoothing) / max(n_films, 1)
    total = 0.0
    for g in range(len(p)):
        if p[g] > 0.0:
            total -= p[g] * np.log(share * mass[g] / p[g] + smoothing)
    return total
