"""Weighted means of scores: those of the ranker, of the merge and of channels, each in units of its own spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recall.base import BaseRecall
from reccore import Candidates, QueryBatch
from reccore.arrays import BoolArray, FloatArray, IntArray

MERGED = "merged"
"""Name of the channels' merged list in options and reports."""


@dataclass(frozen=True, eq=False)
class Blend:
    """What users with a short history get in place of the ranker's order, see ``ShortHistory``.

    Attributes:
        below: queries with fewer known events are blended.
        ranker: name of the ranker in the weights.
        weights: name of the ranker, ``merged`` or name of a channel → weight.
        without_history: the same for queries without a known event.
        channels: the channels that the weights name.
    """

    below: int
    ranker: str
    weights: Mapping[str, float]
    without_history: Mapping[str, float]
    channels: Mapping[str, BaseRecall]

    @property
    def meaning(self) -> str:
        """What the blended score is, as a phrase."""
        mixed = f"the mean of {shares(self.weights)}, each in units of its deviation"
        return f"for fewer than {self.below} films of history {mixed}"

    def concerned(self, known: IntArray) -> BoolArray:
        """(B,) which queries are blended.

        Args:
            known: (B,) events of each history with items of the catalogue.
        """
        short: BoolArray = known < self.below
        return short

    def weights_for(self, known: int) -> Mapping[str, float]:
        """The weights of a query that is blended and has this number of known events."""
        return self.without_history if known == 0 else self.weights

    def apply(self, own: FloatArray, queries: QueryBatch, candidates: Candidates, known: IntArray) -> FloatArray:
        """(B, K) the ranker's scores ``own``, with the blend in the rows that it concerns."""
        score = own
        for mask, weights in (
            ((known == 0) & self.concerned(known), self.without_history),
            ((known > 0) & self.concerned(known), self.weights),
        ):
            rows = np.flatnonzero(mask)
            if len(rows) == 0:
                continue
            score = score.copy() if score is own else score
            some, asked = candidates.select(rows), queries.select(rows)
            total = np.zeros(some.item_idx.shape, dtype=np.float32)
            of_all = sum(weights.values())
            for name, weight in weights.items():
                given = own[rows] if name == self.ranker else scores_of(name, self.channels, asked, some)
                total += np.float32(weight / of_all) * standardised(given, some.mask)
            score[rows] = np.where(some.mask, total, -np.inf)
        return score


def scores_of(name: str, channels: Mapping[str, BaseRecall], queries: QueryBatch, candidates: Candidates) -> FloatArray:
    """(B, K) scores of the candidates by the merge (``merged``) or by a channel."""
    return candidates.score if name == MERGED else channels[name].score(queries, candidates)


def standardised(score: FloatArray, mask: BoolArray) -> FloatArray:
    """(B, K) scores less their mean over the row, in units of their deviation; 0 on padding and in a row of equals.

    A candidate without a score counts as the lowest of its row.
    """
    known = mask & np.isfinite(score)
    lowest = np.where(known, score, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    filled = np.where(mask, np.where(known, score, np.where(np.isfinite(lowest), lowest, 0.0)), 0.0)
    count = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    centred = np.where(mask, filled - filled.sum(axis=1, keepdims=True) / count, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    found: FloatArray = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)
    return found


def shares(weights: Mapping[str, float]) -> str:
    """Weights as shares, the greatest first."""
    total = sum(weights.values())
    ordered = sorted(weights.items(), key=lambda item: -item[1])
    return ", ".join(f"{weight / total:.0%} {name}" for name, weight in ordered)
