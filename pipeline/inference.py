"""The inference pipeline: from a user or a history to recommendations with titles and reasons."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Unpack

import numpy as np

from pipeline.answers import Answer, describe
from pipeline.config import PipelineConfig
from pipeline.history import HistoryStore
from pipeline.limits import Workers
from pipeline.must_include import with_must_include, with_the_rest
from pipeline.requests import Asked, make_request
from pipeline.sanity import check_result
from pipeline.stages import ChannelSource, Merger, RankerScorer, Request, RerankSelector, Stage, with_diversity
from pipeline.trace import Trace
from ranking.base import BaseRanker
from reccore import Candidates, ConfigError, Exclusions, ItemTable, QueryBatch, RawId, Vocabulary
from rerank.base import BaseReranker


class Pipeline:
    """Stages in a row: sources → merge → further stages, the last of which selects the final list."""

    def __init__(
        self,
        config: PipelineConfig,
        *,
        sources: Sequence[ChannelSource],
        merger: Merger,
        stages: Sequence[Stage],
        items: ItemTable,
        vocabulary: Vocabulary,
        histories: HistoryStore,
    ) -> None:
        self.config = config
        self.sources = tuple(sources)
        self.merger = merger
        self.stages = tuple(stages)
        self.items = items
        self.vocabulary = vocabulary
        self.histories = histories
        self._workers = Workers()

    @cached_property
    def query_time(self) -> bool:
        """Whether a channel reads ``as_of`` as the time of the event to predict."""
        return any(source.channel.query_time for source in self.sources)

    @property
    def sources_for_all(self) -> tuple[ChannelSource, ...]:
        """The sources that serve every query."""
        return tuple(source for source in self.sources if source.below is None)

    def score_meanings(self, diversity: float | None = None) -> dict[str, str]:
        """What the scores ``merge``, ``rank`` and ``final`` of a recommendation mean, one phrase each.

        Args:
            diversity: that the request asked for.
        """
        meanings = {"merge": self.merger.meaning}
        scorer = self._scorer
        if scorer is not None:
            meanings["rank"] = scorer.meaning
        last = f"the {'merge' if scorer is None else 'rank'} score"
        return meanings | {"final": last if self.reranker is None else with_diversity(self.reranker, diversity).meaning}

    @property
    def ranker(self) -> BaseRanker | None:
        """The ranker; None without one."""
        return None if self._scorer is None else self._scorer.ranker

    @cached_property
    def _scorer(self) -> RankerScorer | None:
        return next((stage for stage in self.stages if isinstance(stage, RankerScorer)), None)

    @cached_property
    def reranker(self) -> BaseReranker | None:
        """The reranker that selects the final list; None without one."""
        return next((stage.reranker for stage in self.stages if isinstance(stage, RerankSelector)), None)

    def run(
        self, queries: QueryBatch, k: int, *, exclude: Exclusions | None = None, degrade: bool = False
    ) -> tuple[Candidates, Trace]:
        """Answer a batch.

        Args:
            queries: B queries.
            k: length of the lists, at least 1.
            exclude: items never to offer; by default the whole history of each query.
            degrade: skip a failing stage, log it and record it in the trace (serving) instead of raising.

        Returns:
            (B, ≤ k) candidates with the features of all stages, and the trace.
        """
        excluded = Exclusions.of_history(queries) if exclude is None else exclude
        return self.run_request(Request(queries, k, excluded, degrade=degrade))

    def run_request(self, request: Request) -> tuple[Candidates, Trace]:
        """Answer a request, as ``run`` does."""
        trace = Trace(len(request.queries))
        ((_, candidates),) = deque(self.steps(request, trace), maxlen=1)
        return candidates, trace

    def steps(self, request: Request, trace: Trace) -> Iterator[tuple[Merger | Stage, Candidates]]:
        """Run a request; yields the merge and every later stage, each with the candidates after it.

        The sources' own candidates are in ``request.offers`` from the merge on. Sources run one after another: in a
        thread each they took longer, 7.1 ms instead of 6.1 at the median for the seven channels of the demo on two
        cores, since most of a source is Python and half of the time is one channel's.
        """
        candidates = self.merged(request, trace)
        yield self.merger, candidates
        yield from self.later(request, candidates, trace)

    def merged(self, request: Request, trace: Trace) -> Candidates:
        """The candidates of all sources, merged, and with the films that the request must include."""
        items_in = 0
        for source in self.sources:
            offer = Candidates.empty(len(request.queries))
            with trace.record(source.role, source.name, 0, degrade=request.degrade) as entry:
                offer = self._work(source, request, partial(source.fetch, request), offer)
            request.offers[source.name] = offer
            entry.count(offer)
            items_in += entry.items_out
        with trace.record(self.merger.role, self.merger.name, items_in) as entry:
            candidates = with_must_include(self.merger, request, self.merger.merge(request.offers))
        entry.count(candidates)
        request.orders[self.merger.role] = candidates.item_idx
        return candidates

    def later(self, request: Request, candidates: Candidates, trace: Trace) -> Iterator[tuple[Stage, Candidates]]:
        """Run the stages after the merge, see ``steps``."""
        for stage in self.stages:
            candidates = self.apply(stage, request, candidates, trace)
            yield stage, candidates

    def apply(self, stage: Stage, request: Request, before: Candidates, trace: Trace) -> Candidates:
        """The candidates after one stage; after the last one the list, with the films that it must include."""
        after = before
        items_in = int(np.count_nonzero(before.mask))
        with trace.record(stage.role, stage.name, items_in, degrade=request.degrade) as entry:
            after = self._work(stage, request, partial(stage.apply, request, before), before)
            entry.blended = int(np.count_nonzero(stage.blended(request)))
            request.orders[stage.role] = after.item_idx
        if stage is self.stages[-1]:
            after = with_the_rest(request, before, after.head(request.k))
        entry.count(after)
        return after

    def _work(
        self, part: ChannelSource | Stage, request: Request, work: Callable[[], Candidates], before: Candidates
    ) -> Candidates:
        """What a source or a stage makes of the candidates before it; checked where a failure is skipped."""
        found = self._workers.call(part.component, work, request.limits.of(part.role))
        if request.degrade:
            check_result(part.role, found, before, self.items.n_items)
        return found

    def recommend(self, **asked: Unpack[Asked]) -> Answer:
        """Recommend films to one user.

        Args:
            asked: see ``pipeline.requests.Asked``.

        Raises:
            DataError: see ``pipeline.requests.make_request``.
        """
        request, unknown = self.request(**asked)
        candidates, trace = self.run_request(request)
        return self.answer(request, candidates, trace, unknown)

    def request(self, **asked: Unpack[Asked]) -> tuple[Request, tuple[RawId, ...]]:
        """The request for one user that ``recommend`` answers, and the raw ids of the history that are unknown.

        Arguments and errors are those of ``recommend``.
        """
        return make_request(self, **asked)

    def answer(self, request: Request, candidates: Candidates, trace: Trace, unknown: tuple[RawId, ...] = ()) -> Answer:
        """Candidates of a request of one query with titles, channels and scores."""
        pool = None if self.reranker is None else self.reranker.pool
        ranked = self.config.ranker is not None
        items = describe(request, candidates, self.items, self.vocabulary, ranked=ranked, pool=pool)
        known = self.vocabulary.items.decode(request.queries.history_idx)
        return Answer(items, trace, tuple(known.tolist()), unknown)

    def source(self, channel: str) -> ChannelSource:
        """The source of a recall channel.

        Raises:
            ConfigError: the pipeline has no channel of that name.
        """
        found = next((source for source in self.sources if source.name == channel), None)
        if found is None:
            raise ConfigError(
                f"the pipeline has no channel {channel!r}; it has {', '.join(source.name for source in self.sources)}"
            )
        return found
