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

from pipeline.blend import Blend
from pipeline.encodings import Encodings
from pipeline.item_filter import ItemFilter
from pipeline.limits import StageLimits
from ranking.base import BaseRanker
from recall.base import BaseRecall
from recall.merge import MergeConfig, merge
from reccore import Candidates, Exclusions, QueryBatch, Vocabulary
from reccore.arrays import BoolArray, FloatArray, IntArray
from rerank.base import BaseReranker

MERGE_SCORE = "merge_score"
RANK_SCORE = "rank_score"
RECALL_RANK = "recall_rank."
RECALL_SCORE = "recall_score."


@dataclass(eq=False)
class Request:
    """A batch of queries on its way through the stages.

    Attributes:
        queries: B queries.
        k: length of the final list.
        exclude: items never to offer, ``rejected`` among them.
        filters: which items the request admits.
        rejected: (r,) items that are excluded because of ``filters`` alone.
        must_include: (m,) items that are always among the candidates and in the list; none of them is excluded.
        diversity: 1 − λ of the reranker, from 0 for the order before it to 1; None = as configured.
        degrade: skip a failing stage, log it and record it in the trace (serving) instead of raising.
        limits: seconds for each stage, where slow ones are skipped too.
        known: (B,) known events by which the rules for short histories go; None = those of each query's own history.
        offers: candidates of every source by name, as they arrive.
        orders: (B, K) items after every stage by its role, as they run.
        encodings: of the latest queries; None = each is encoded anew.
    """

    queries: QueryBatch
    k: int
    exclude: Exclusions
    filters: ItemFilter = field(default_factory=ItemFilter)
    rejected: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    must_include: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    diversity: float | None = None
    degrade: bool = False
    limits: StageLimits = field(default_factory=StageLimits)
    known: IntArray | None = None
    offers: dict[str, Candidates] = field(default_factory=dict)
    orders: dict[str, IntArray] = field(default_factory=dict)
    encodings: Encodings | None = None
    _prepared: dict[str, Any] = field(default_factory=dict)

    def prepared(self, name: str, channel: BaseRecall) -> Any:
        """The queries as the channel encodes them; encoded once per request, whichever stages need them."""
        if name not in self._prepared:
            kept = self.encodings
            queries = self.queries
            self._prepared[name] = channel.prepare(queries) if kept is None else kept.of(name, channel, queries)
        return self._prepared[name]


class ChannelSource:
    """Offers the best ``k`` items of one recall channel.

    Args:
        name: of the channel.
        channel: fitted.
        k: number of items.
        below: only queries with fewer known events get an offer; None = all do.
    """

    role = "source"

    def __init__(self, name: str, channel: BaseRecall, k: int, below: int | None = None) -> None:
        self.name, self.channel, self.k, self.below = name, channel, k, below

    @property
    def component(self) -> object:
        """What does the work, see ``Workers``."""
        return self.channel

    def serves(self, request: Request) -> BoolArray:
        """(B,) which queries get an offer."""
        if self.below is None:
            return np.ones(len(request.queries), dtype=bool)
        short: BoolArray = known_events(request, self.channel.vocabulary) < self.below
        return short

    def fetch(self, request: Request) -> Candidates:
        """(B, ≤ k) candidates."""
        if self.below is not None:
            return self._fetch_some(request, np.flatnonzero(self.serves(request)))
        prepared = request.prepared(self.name, self.channel)
        return self.channel.retrieve(request.queries, self.k, exclude=request.exclude, prepared=prepared)

    def _fetch_some(self, request: Request, rows: IntArray) -> Candidates:
        """(B, ≤ k) candidates of the given rows; the others are empty."""
        if len(rows) == 0:
            return Candidates.empty(len(request.queries))
        offer = self.channel.retrieve(request.queries.select(rows), self.k, exclude=request.exclude.select(rows))
        shape = (len(request.queries), offer.k)
        item_idx, score = np.full(shape, -1, dtype=np.int64), np.full(shape, -np.inf, dtype=np.float32)
        item_idx[rows], score[rows] = offer.item_idx, offer.score
        return Candidates(item_idx, score)


def known_events(request: Request, vocabulary: Vocabulary) -> IntArray:
    """(B,) events of each history with items of the catalogue, by which the rules for short histories go."""
    if request.known is not None:
        return request.known
    return request.queries.known_items_only(len(vocabulary.items)).lengths


class Merger:
    """Merges the offers of all sources into at most ``k`` candidates and keeps their scores as ``merge_score``.

    Args:
        config: method and options.
        k: number of candidates.
        fill: name of the source that fills short rows; None = no filling.
        first: number of items of every source that queries with a short history keep, whatever their merged place is.
        below: which queries these are, by their number of known events.
    """

    role = "merge"

    def __init__(self, config: MergeConfig, k: int, fill: str | None, first: int = 0, below: int = 0) -> None:
        self.name, self.config, self.k, self.fill, self.first, self.below = config.kind, config, k, fill, first, below

    @property
    def meaning(self) -> str:
        """What the merged score is, as a phrase."""
        return self.config.meaning

    def merge(self, offers: Mapping[str, Candidates], known: IntArray) -> Candidates:
        """Candidates with the score and rank of every source as features.

        Args:
            offers: candidates of every source.
            known: (B,) known events of each history.

        Returns:
            (B, ≤ k). Where the history is short, the first items of every source take up to half of the places from
            those at the end.
        """
        if self.first_of_each(offers, self.k) == 0 or not (known < self.below).any():
            return self._merge(offers, self.k)
        every = self.unlimited(offers)
        return every.keep(self.kept(every, self.reserved(every, offers, known, self.k), self.k)).head(self.k)

    def first_of_each(self, offers: Mapping[str, Candidates], k: int) -> int:
        """Number of items of every source that short histories keep among k candidates: half of these at most."""
        return min(self.first, k // (2 * len(offers)))

    def reserved(self, every: Candidates, offers: Mapping[str, Candidates], known: IntArray, k: int) -> BoolArray:
        """(B, K) the first items of every source, in the rows of short histories.

        Args:
            every: (B, K) all offered items, merged.
            offers: candidates of every source.
            known: (B,) known events of each history.
            k: number of candidates.
        """
        found = np.zeros(every.item_idx.shape, dtype=bool)
        for name in offers:
            found |= every.features[RECALL_RANK + name] <= self.first_of_each(offers, k)
        return found & (known < self.below)[:, None]

    def kept(self, every: Candidates, reserved: BoolArray, k: int) -> BoolArray:
        """(B, K) the reserved items, and the first others until there are k."""
        others = every.mask & ~reserved
        room = k - reserved.sum(axis=1, keepdims=True)
        found: BoolArray = reserved | (others & (np.cumsum(others, axis=1) <= room))
        return found

    def unlimited(self, offers: Mapping[str, Candidates]) -> Candidates:
        """The same order with every offered item."""
        return self._merge(offers, max(sum(offer.k for offer in offers.values()), 1))

    def _merge(self, offers: Mapping[str, Candidates], k: int) -> Candidates:
        merged = merge(self.config, offers, k, fill=self.fill)
        return merged.with_features({MERGE_SCORE: np.where(merged.mask, merged.score, np.nan)})


class OneSource(Merger):
    """In place of a merge that fails: the candidates of one source in its own order.

    It is the source with the greatest weight in the merge among those that offer anything, the first of equals; the
    one that fills short rows if no other does.

    Args:
        merger: that fails.
        offers: of all sources.
    """

    def __init__(self, merger: Merger, offers: Mapping[str, Candidates]) -> None:
        super().__init__(merger.config, merger.k, merger.fill)
        weights: Mapping[str, float] = getattr(merger.config, "weights", {})

        def worth(name: str) -> tuple[bool, float]:
            return bool(offers[name].mask.any()), weights.get(name, 0.0 if name == merger.fill else 1.0)

        self.source = max(offers, key=worth)

    def _merge(self, offers: Mapping[str, Candidates], k: int) -> Candidates:
        chosen = offers[self.source].head(k)
        nothing: FloatArray = np.full(chosen.score.shape, np.nan, dtype=np.float32)
        score = np.where(chosen.mask, chosen.score, nothing)
        rank = np.where(chosen.mask, np.arange(1, chosen.k + 1, dtype=np.float32), nothing)
        features = {MERGE_SCORE: score}
        for name in offers:
            features[RECALL_SCORE + name] = score if name == self.source else nothing
            features[RECALL_RANK + name] = rank if name == self.source else nothing
        return Candidates(chosen.item_idx, chosen.score, features)


class Stage(ABC):
    """A stage after the merge.

    Attributes:
        role: hydrate, filter, score or select.
        name: of the component, for the trace.
    """

    role: ClassVar[str]
    name: str

    @property
    def component(self) -> object:
        """What does the work, see ``Workers``: other stages with the same component are skipped while it hangs."""
        return self

    def blended(self, request: Request) -> BoolArray:
        """(B,) True for the queries whose order is not the component's alone, by a rule of the stage's options."""
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
    """Scores with a trained ranker, and queries with a short history by a blend of its scores and others.

    Args:
        ranker: fitted.
        blend: what is blended for which queries; None = nothing.
    """

    def __init__(self, ranker: BaseRanker, blend: Blend | None = None) -> None:
        self.name, self.ranker, self.blend = ranker.name, ranker, blend

    @property
    def component(self) -> object:
        return self.ranker

    @property
    def meaning(self) -> str:
        """What the score is, as a phrase."""
        own = f"the score of the ranker {self.name}, the higher the likelier"
        return own if self.blend is None else f"{own}; {self.blend.meaning}"

    def blended(self, request: Request) -> BoolArray:
        if self.blend is None:
            return super().blended(request)
        return self.blend.concerned(known_events(request, self.ranker.vocabulary))

    def weights(self, request: Request) -> Mapping[str, float] | None:
        """Whose scores are blended for the first query, with their weights; None where the ranker orders alone."""
        if self.blend is None or not self.blended(request)[0]:
            return None
        return self.blend.weights_for(int(known_events(request, self.ranker.vocabulary)[0]))

    def share(self, request: Request) -> float:
        """The ranker's part in the order of the first query, from 0 to 1."""
        weights = self.weights(request)
        if self.blend is None or weights is None:
            return 1.0
        return weights.get(self.blend.ranker, 0.0) / sum(weights.values())

    def score(self, request: Request, candidates: Candidates) -> FloatArray:
        return self.served(self.ranker.score(request.queries, candidates), request, candidates)

    def served(self, own: FloatArray, request: Request, candidates: Candidates) -> FloatArray:
        """(B, K) what the candidates are ordered by, from the ranker's own scores (B, K)."""
        if self.blend is None:
            return own
        return self.blend.apply(own, request.queries, candidates, known_events(request, self.ranker.vocabulary))


class RerankSelector(Selector):
    """Chooses the final list with a reranker."""

    def __init__(self, reranker: BaseReranker) -> None:
        self.name, self.reranker = reranker.name, reranker

    def apply(self, request: Request, candidates: Candidates) -> Candidates:
        return with_diversity(self.reranker, request.diversity).rerank(request.queries, candidates, request.k)


def with_diversity(reranker: BaseReranker, diversity: float | None) -> BaseReranker:
    """The reranker with the trade-off that a request asks for; None = as it is configured."""
    return reranker if diversity is None else reranker.with_trade_off(1.0 - diversity)


class TopSelector(Selector):
    """Chooses the first items."""

    name = "top"

    def apply(self, request: Request, candidates: Candidates) -> Candidates:
        return candidates.head(request.k)
