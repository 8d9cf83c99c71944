"""The inference pipeline: from a user or a history to recommendations with titles and reasons."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pipeline.config import PipelineConfig
from pipeline.history import EventLike, HistoryStore, encode_ids, extended_query, history_query
from pipeline.stages import (
    MERGE_SCORE,
    RANK_SCORE,
    RECALL_RANK,
    ChannelSource,
    Merger,
    RankerScorer,
    Request,
    RerankSelector,
    Stage,
)
from pipeline.trace import Trace
from ranking.base import BaseRanker
from reccore import Candidates, ConfigError, DataError, Exclusions, ItemTable, QueryBatch, RawId, Vocabulary
from rerank.base import BaseReranker

RECALL_SCORE = "recall_score."
STAGE_SCORES = (("merge", MERGE_SCORE), ("rank", RANK_SCORE))


@dataclass(frozen=True)
class Recommendation:
    """One recommended film.

    Attributes:
        movie_id: raw id.
        title: with the year; ``movie <id>`` where none is known.
        genres: names.
        channels: channel → its rank of the film, where it offered it.
        scores: score of each stage: ``recall.<channel>``, ``merge``, ``rank``, ``final``. Places beyond the pool from
            which the reranker chooses have no ``final``: there the order of the stage before goes on.
    """

    movie_id: RawId
    title: str
    genres: tuple[str, ...]
    channels: dict[str, int]
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Answer:
    """What ``recommend`` returns.

    Attributes:
        items: best first.
        trace: what each stage did.
        history: raw movie ids of the history used, oldest first.
        unknown: movie ids of the request that are not in the catalogue.
    """

    items: tuple[Recommendation, ...]
    trace: Trace
    history: tuple[RawId, ...]
    unknown: tuple[RawId, ...]


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

    @property
    def query_time(self) -> bool:
        """Whether a channel reads ``as_of`` as the time of the event to predict."""
        return any(source.channel.query_time for source in self.sources)

    @property
    def sources_for_all(self) -> tuple[ChannelSource, ...]:
        """The sources that serve every query."""
        return tuple(source for source in self.sources if source.below is None)

    def score_meanings(self) -> dict[str, str]:
        """What the scores ``merge``, ``rank`` and ``final`` of a recommendation mean, one phrase each."""
        meanings = {"merge": self.merger.meaning}
        scorer = self._scorer
        if scorer is not None:
            meanings["rank"] = scorer.meaning
        last = f"the {'merge' if scorer is None else 'rank'} score"
        return meanings | {"final": last if self.reranker is None else self.reranker.meaning}

    @property
    def ranker(self) -> BaseRanker | None:
        """The ranker; None without one."""
        return None if self._scorer is None else self._scorer.ranker

    @property
    def _scorer(self) -> RankerScorer | None:
        return next((stage for stage in self.stages if isinstance(stage, RankerScorer)), None)

    @property
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
        request = Request(queries, k, Exclusions.of_history(queries) if exclude is None else exclude)
        trace = Trace(len(queries))
        ((_, candidates),) = deque(self.steps(request, trace, degrade=degrade), maxlen=1)
        return candidates.head(k), trace

    def steps(
        self, request: Request, trace: Trace, *, degrade: bool = False
    ) -> Iterator[tuple[Merger | Stage, Candidates]]:
        """Run a request; yields the merge and every later stage, each with the candidates after it.

        The sources' own candidates are in ``request.offers`` from the merge on.
        """
        for source in self.sources:
            offer = request.offers[source.name] = Candidates.empty(len(request.queries))
            with trace.record(source.role, source.name, 0, degrade=degrade) as entry:
                offer = request.offers[source.name] = source.fetch(request)
            entry.count(offer)
        items_in = sum(int(offer.counts.sum()) for offer in request.offers.values())
        with trace.record(self.merger.role, self.merger.name, items_in) as entry:
            candidates = self.merger.merge(request.offers)
        entry.count(candidates)
        yield self.merger, candidates
        for stage in self.stages:
            with trace.record(stage.role, stage.name, int(candidates.counts.sum()), degrade=degrade) as entry:
                candidates = stage.apply(request, candidates)
                entry.blended = int(stage.blended(request).sum())
            entry.count(candidates)
            yield stage, candidates

    def recommend(
        self,
        *,
        user: RawId | None = None,
        history: Sequence[EventLike] | None = None,
        new_events: Sequence[EventLike] = (),
        k: int = 10,
        exclude: Sequence[RawId] = (),
        as_of: int | None = None,
        degrade: bool = False,
    ) -> Answer:
        """Recommend films to one user.

        Args:
            user: raw user id; the stored history is used unless one is given.
            history: events, oldest first; may be empty. An event is a raw movie id, (id, rating), (id, rating, time),
                a mapping of these names or an ``Event``. Unknown ids are ignored and reported.
            new_events: what the user did since the stored history, oldest first; see ``extended_query``.
            k: number of films.
            exclude: raw movie ids not to offer, in addition to the history.
            as_of: Unix seconds to recommend for, by default now; only for a pipeline with a channel that reads the
                query's time. The history is used whole, later events included.

        Raises:
            DataError: neither user nor history, an unknown user without a history, new events without a stored
                history, k below 1, ids that are no whole numbers, invalid events, or an ``as_of`` that no channel
                reads.
        """
        request, unknown = self.request(
            user=user, history=history, new_events=new_events, k=k, exclude=exclude, as_of=as_of
        )
        candidates, trace = self.run(request.queries, k, exclude=request.exclude, degrade=degrade)
        return self.answer(request, candidates, trace, unknown)

    def answer(self, request: Request, candidates: Candidates, trace: Trace, unknown: tuple[RawId, ...] = ()) -> Answer:
        """Candidates of a request of one query with titles, reasons and scores."""
        items = tuple(self._describe(candidates, column) for column in range(int(candidates.counts[0])))
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

    def request(
        self,
        *,
        user: RawId | None = None,
        history: Sequence[EventLike] | None = None,
        new_events: Sequence[EventLike] = (),
        k: int = 10,
        exclude: Sequence[RawId] = (),
        as_of: int | None = None,
    ) -> tuple[Request, tuple[RawId, ...]]:
        """The request for one user that ``recommend`` answers, and the raw ids of the history that are unknown.

        Arguments and errors are those of ``recommend``.
        """
        if k < 1:
            raise DataError(f"k must be at least 1, got {k}")
        query, unknown = self._query(user, history, new_events)
        query = self._with_query_time(query, as_of)
        more = encode_ids("exclude", exclude, self.vocabulary.items)
        excluded = np.concatenate([query.history_idx, more])
        return Request(query, k, Exclusions(np.array([0, len(excluded)], dtype=np.int64), excluded)), unknown

    def _query(
        self, user: RawId | None, history: Sequence[EventLike] | None, new_events: Sequence[EventLike]
    ) -> tuple[QueryBatch, tuple[RawId, ...]]:
        """The request as a batch of one, and the raw movie ids that are not in the catalogue."""
        if len(new_events) and (user is None or history is not None):
            raise DataError("new events follow the stored history of a user; give the user, and no history")
        if history is not None:
            users = self.vocabulary.users
            user_idx = np.full(1, -1, dtype=np.int64) if user is None else encode_ids("user", [user], users)
            return history_query(history, self.vocabulary, user_idx)
        if user is None:
            raise DataError("give a user, a history, or both")
        stored = self.histories.history([user])
        return extended_query(stored, new_events, self.vocabulary) if len(new_events) else (stored, ())

    def _with_query_time(self, query: QueryBatch, as_of: int | None) -> QueryBatch:
        if not self.query_time:
            if as_of is not None:
                raise DataError(
                    f"as_of {as_of} would change nothing: no channel of this pipeline reads the query's time; "
                    "leave it out, or build the pipeline with a channel trained with --query_time"
                )
            return query
        return replace(query, as_of=np.array([int(time.time()) if as_of is None else as_of], dtype=np.int64))

    def _describe(self, candidates: Candidates, column: int) -> Recommendation:
        item = int(candidates.item_idx[0, column])
        features = {name: float(values[0, column]) for name, values in candidates.features.items()}
        known = {name: value for name, value in features.items() if np.isfinite(value)}
        scores = {f"recall.{n.removeprefix(RECALL_SCORE)}": v for n, v in known.items() if n.startswith(RECALL_SCORE)}
        stages = STAGE_SCORES if self.config.ranker is not None else STAGE_SCORES[:1]
        scores |= {stage: known[name] for stage, name in stages if name in known}
        movie_id = self.vocabulary.items.raw_id(item)
        return Recommendation(
            movie_id=movie_id,
            title=self.items.label(item, movie_id),
            genres=tuple(self.items.genres_of(item)),
            channels={n.removeprefix(RECALL_RANK): int(v) for n, v in known.items() if n.startswith(RECALL_RANK)},
            scores=scores | self._final_score(candidates, column),
        )

    def _final_score(self, candidates: Candidates, column: int) -> dict[str, float]:
        """The score that the list is ordered by; none beyond the pool from which a reranker chooses."""
        pool = None if self.reranker is None else self.reranker.pool
        return {} if pool is not None and column >= pool else {"final": float(candidates.score[0, column])}
