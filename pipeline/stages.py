"""The stages of a request: source, merge, hydrator, filter, scorer, selector.

A stage turns the candidates of a batch of queries into other candidates and is independent of the stages around it.
The pipeline runs the stages in order, times them and counts the items that go in and out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ranking.base import BaseRanker
from recall.base import BaseRecall
from recall.merge import MergeConfig, RRFConfig, merge
from reccore import Candidates, Exclusions, QueryBatch
from reccore.arrays import BoolArray, FloatArray
from rerank.base import BaseReranker

MERGE_SCORE = "merge_score"
RANK_SCORE = "rank_score"
RECALL_RANK = "recall_rank."
MERGED = "merged"
"""Name of the channels' merged list in options and reports."""
PLACE_OFFSET = RRFConfig().k0


@dataclass(eq=False)
class Request:
    """A batch of queries on its way through the stages.

    Attributes:
        queries: B queries.
        k: length of the final list.
        exclude: items never to offer.
        offers: candidates of every source by name, as they arrive.
    """

    queries: QueryBatch
    k: int
    exclude: Exclusions
    offers: dict[str, Candidates] = field(default_factory=dict)
    _prepared: dict[str, Any] = field(default_factory=dict)

    def prepared(self, name: str, channel: BaseRecall) -> Any:
        """The queries as the channel encodes them; encoded once per request, whichever stages need them."""
        if name not in self._prepared:
            self._prepared[name] = channel.prepare(self.queries)
        return self._prepared[name]


class ChannelSource:
    """Offers the best ``k`` items of one recall channel."""

    role = "source"

    def __init__(self, name: str, channel: BaseRecall, k: int) -> None:
        self.name, self.channel, self.k = name, channel, k

    def fetch(self, request: Request) -> Candidates:
        """(B, ≤ k) candidates."""
        prepared = request.prepared(self.name, self.channel)
        return self.channel.retrieve(request.queries, self.k, exclude=request.exclude, prepared=prepared)


class Merger:
    """Merges the offers of all sources into at most ``k`` candidates and keeps their scores as ``merge_score``."""

    role = "merge"

    def __init__(self, config: MergeConfig, k: int, fill: str | None) -> None:
        self.name, self.config, self.k, self.fill = config.kind, config, k, fill

    @property
    def meaning(self) -> str:
        """What the merged score is, as a phrase."""
        return self.config.meaning

    def merge(self, offers: Mapping[str, Candidates]) -> Candidates:
        """(B, ≤ k) candidates with the score and rank of every source as features."""
        merged = merge(self.config, offers, self.k, fill=self.fill)
        return merged.with_features({MERGE_SCORE: np.where(merged.mask, merged.score, np.nan)})


class Stage(ABC):
    """A stage after the merge.

    Attributes:
        role: hydrate, filter, score or select.
        name: of the component, for the trace.
    """

    role: ClassVar[str]
    name: str

    def bypassed(self, request: Request) -> BoolArray:
        """(B,) True for the queries that the stage leaves to the stages around it, by a rule of its options."""
        return np.zeros(len(request.queries), dtype=bool)

    @abstractmethod
    def apply(self, request: Request, candidates: Candidates) -> Candidates:
        """The candidates to pass on."""


class Hydrator(Stage):
    """Adds features; items and order stay."""

    role: ClassVar[str] = "hydrate"

    @abstractmethod
    def features(self, request: Request, candidates: Candidates) -> Mapping[str, FloatArray]:
        """Name → (B, K), NaN on padding and where there is no value."""

    def apply(self, request: Request, candidates: Candidates) -> Candidates:
        return candidates.with_features(self.features(request, candidates))


class Filter(Stage):
    """Drops candidates; the order of the others stays."""

    role: ClassVar[str] = "filter"

    @abstractmethod
    def keep(self, request: Request, candidates: Candidates) -> BoolArray:
        """(B, K), True for the candidates to keep."""

    def apply(self, request: Request, candidates: Candidates) -> Candidates:
        return candidates.keep(self.keep(request, candidates))


class Scorer(Stage):
    """Scores every candidate, reorders by the score and keeps it as ``rank_score``."""

    role: ClassVar[str] = "score"

    @abstractmethod
    def score(self, request: Request, candidates: Candidates) -> FloatArray:
        """(B, K) scores in the order of the candidates."""

    def apply(self, request: Request, candidates: Candidates) -> Candidates:
        score = self.score(request, candidates)
        return candidates.with_features({RANK_SCORE: np.where(candidates.mask, score, np.nan)}).reordered(score)


class Selector(Stage):
    """Chooses the final list of at most ``request.k`` items."""

    role: ClassVar[str] = "select"


class SeenFilter(Filter):
    """Drops excluded items, whichever source offered them."""

    name = "seen"

    def keep(self, request: Request, candidates: Candidates) -> BoolArray:
        return ~request.exclude.contains(candidates.item_idx)


class RankerScorer(Scorer):
    """Scores with a trained ranker, and queries with a short history by another order.

    Args:
        ranker: fitted.
        least_events: of the catalogue, in the history of a query that the ranker scores.
        order: of the candidates of queries with fewer events: ``merged``, or the name of a channel, whose candidates
            come first in its order and the others after them in the merged order.
    """

    def __init__(self, ranker: BaseRanker, least_events: int = 0, order: str = MERGED) -> None:
        self.name, self.ranker = ranker.name, ranker
        self.least_events, self.order = least_events, order

    @property
    def meaning(self) -> str:
        """What the score is, as a phrase."""
        own = f"the score of the ranker {self.name}, the higher the likelier"
        if self.least_events == 0:
            return own
        order = "the merged order" if self.order == MERGED else f"the order of {self.order}"
        return f"{own}; for fewer than {self.least_events} films of history, {order}"

    def bypassed(self, request: Request) -> BoolArray:
        known = request.queries.known_items_only(len(self.ranker.vocabulary.items))
        short: BoolArray = known.lengths < self.least_events
        return short

    def score(self, request: Request, candidates: Candidates) -> FloatArray:
        bypassed = self.bypassed(request)
        if not bypassed.any():
            return self.ranker.score(request.queries, candidates)
        score = candidates.score if self.order == MERGED else channel_first(candidates, self.order)
        rows = np.flatnonzero(~bypassed)
        if len(rows):
            score = score.copy()
            score[rows] = self.ranker.score(request.queries.select(rows), candidates.select(rows))
        return score


def channel_first(candidates: Candidates, channel: str) -> FloatArray:
    """(B, K) scores that put what a channel offered first, in its order, and the others after that as they stand.

    The score of place p is 1 / (``PLACE_OFFSET`` + p), as reciprocal-rank fusion of one channel gives it.
    """
    rank = candidates.features[RECALL_RANK + channel]
    order = np.argsort(np.where(np.isnan(rank), np.inf, rank), axis=1, kind="stable")  # (B, K) columns, best first
    place = np.argsort(order, axis=1, kind="stable") + 1
    score: FloatArray = np.where(candidates.mask, 1.0 / (PLACE_OFFSET + place), -np.inf).astype(np.float32)
    return score


class RerankSelector(Selector):
    """Chooses the final list with a reranker."""

    def __init__(self, reranker: BaseReranker) -> None:
        self.name, self.reranker = reranker.name, reranker

    def apply(self, request: Request, candidates: Candidates) -> Candidates:
        return self.reranker.rerank(request.queries, candidates, request.k)


class TopSelector(Selector):
    """Chooses the first items."""

    name = "top"

    def apply(self, request: Request, candidates: Candidates) -> Candidates:
        return candidates.head(request.k)
