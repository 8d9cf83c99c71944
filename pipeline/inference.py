"""The inference pipeline: from a user or a history to recommendations with titles and reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TypeVar, Unpack

from pipeline.answers import Answer, describe
from pipeline.config import PipelineConfig
from pipeline.encodings import Encodings
from pipeline.history import HistoryStore
from pipeline.limits import Chain, StageLimits, Work, Workers, run_here
from pipeline.must_include import with_must_include, with_the_rest
from pipeline.requests import Asked, make_request
from pipeline.sanity import check_result
from pipeline.stages import (
    ChannelSource,
    Merger,
    OneSource,
    RankerScorer,
    Request,
    RerankSelector,
    Stage,
    known_events,
    with_diversity,
)
from pipeline.trace import Trace
from ranking.base import BaseRanker
from reccore import Candidates, ConfigError, Exclusions, ItemTable, QueryBatch, RawId, Vocabulary
from rerank.base import BaseReranker

T = TypeVar("T")


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
        self.encodings = Encodings()

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
        scorer = self.scorer
        if scorer is not None:
            meanings["rank"] = scorer.meaning
        last = f"the {'merge' if scorer is None else 'rank'} score"
        return meanings | {"final": last if self.reranker is None else with_diversity(self.reranker, diversity).meaning}

    @property
    def ranker(self) -> BaseRanker | None:
        """The ranker; None without one."""
        return None if self.scorer is None else self.scorer.ranker

    @cached_property
    def scorer(self) -> RankerScorer | None:
        """The stage of the ranker; None without one."""
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
        return self.run_stages(request, trace, self.stages), trace

    def steps(self, request: Request, trace: Trace) -> list[tuple[Merger | Stage, Candidates]]:
        """Run a request; returns the merge and every later stage, each with the candidates after it.

        The sources' own candidates are in ``request.offers`` from the merge on.
        """
        passed: list[tuple[Merger | Stage, Candidates]] = []
        self._run(request, self._chain(request, trace, self.stages, lambda *step: passed.append(step)))
        return passed

    def run_stages(self, request: Request, trace: Trace, stages: Sequence[Stage]) -> Candidates:
        """The candidates after the sources, the merge and the given stages, the first ones of the pipeline."""
        return self._run(request, self._chain(request, trace, stages, lambda *_: None))

    def apply(self, stage: Stage, request: Request, before: Candidates, trace: Trace) -> Candidates:
        """The candidates after one stage; after the last one the list, with the films that it must include."""
        return self._run(request, self._applied(stage, request, before, trace))

    def attempt(
        self, part: ChannelSource | Stage, request: Request, trace: Trace, work: Callable[[], T], factor: float = 1.0
    ) -> T | None:
        """What a source's or a stage's component makes of other work than its own; None where it was skipped.

        Args:
            part: whose component works.
            request: its ``degrade`` decides whether a failure is skipped.
            trace: gets a record.
            work: to do.
            factor: how many times the limit of the request it may take.
        """
        limit = request.limits.times(factor).of(part.role)

        def chain() -> Chain[T | None]:
            found: T | None = None
            with trace.record(part.role, part.name, 0, degrade=request.degrade):
                found = yield Work(part.component, work, limit)
            return found

        return self._run(request, chain())

    def _run(self, request: Request, chain: Chain[T]) -> T:
        return run_here(chain) if request.limits == StageLimits() else self._workers.run(chain)

    def _chain(
        self,
        request: Request,
        trace: Trace,
        stages: Sequence[Stage],
        passed: Callable[[Merger | Stage, Candidates], None],
    ) -> Chain[Candidates]:
        candidates = yield from self._merged(request, trace)
        passed(self.merger, candidates)
        for stage in stages:
            candidates = yield from self._applied(stage, request, candidates, trace)
            passed(stage, candidates)
        return candidates

    def _merged(self, request: Request, trace: Trace) -> Chain[Candidates]:
        """The candidates of all sources, merged, and with the films that the request must include.

        Sources run one after another. A thread for each gains nothing on two cores: at best 1.9 ms instead of 1.7 for
        the seven channels of the demo and 2.2 instead of 2.0 on ML-1M, as each takes half a millisecond, mostly Python.
        """
        items_in = 0
        for source in self.sources:
            offer = nothing = Candidates.empty(len(request.queries))
            with trace.record(source.role, source.name, 0, degrade=request.degrade) as entry:
                offer = yield self._work(source, request, partial(source.fetch, request), nothing)
            request.offers[source.name] = offer
            entry.count(offer)
            items_in += entry.items_out
        candidates: Candidates | None = None
        with trace.record(self.merger.role, self.merger.name, items_in, degrade=request.degrade) as entry:
            candidates = self._merge(self.merger, request)
        if candidates is None:
            candidates = self._merge(OneSource(self.merger, request.offers), request)
        entry.count(candidates)
        request.orders[self.merger.role] = candidates.item_idx
        return candidates

    def _merge(self, merger: Merger, request: Request) -> Candidates:
        known = known_events(request, self.vocabulary)
        candidates = with_must_include(merger, request, merger.merge(request.offers, known))
        if request.degrade:
            check_result(merger.role, candidates, Candidates.empty(len(request.queries)), self.items.n_items)
        return candidates

    def _applied(self, stage: Stage, request: Request, before: Candidates, trace: Trace) -> Chain[Candidates]:
        after = before
        items_in = sum(before.counts.tolist())
        with trace.record(stage.role, stage.name, items_in, degrade=request.degrade) as entry:
            after = yield self._work(stage, request, partial(stage.apply, request, before), before)
            entry.count_blended(stage.blended(request))
            request.orders[stage.role] = after.item_idx
        if stage is self.stages[-1]:
            after = with_the_rest(request, before, after.head(request.k))
        entry.count(after)
        return after

    def _work(
        self, part: ChannelSource | Stage, request: Request, work: Callable[[], Candidates], before: Candidates
    ) -> Work:
        """What a source or a stage makes of the candidates before it; checked where a failure is skipped."""

        def checked() -> Candidates:
            found = work()
            check_result(part.role, found, before, self.items.n_items)
            return found

        return Work(part.component, checked if request.degrade else work, request.limits.of(part.role))

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
