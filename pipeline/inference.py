"""The inference pipeline: from a user or a history to recommendations with titles and reasons."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pipeline.config import PipelineConfig
from pipeline.stages import RANK_SCORE, ChannelSource, Stage
from pipeline.trace import Trace
from recall.merge import merge
from reccore import Candidates, DataError, Exclusions, Interactions, ItemTable, QueryBatch, Vocabulary
from reccore.arrays import IntArray

RECALL_RANK = "recall_rank."
RECALL_SCORE = "recall_score."


@dataclass(frozen=True)
class Recommendation:
    """One recommended film.

    Attributes:
        movie_id: raw id.
        title: with the year; ``movie <id>`` where none is known.
        genres: names.
        channels: channel → rank at which it offered the film.
        scores: score of each stage: ``recall.<channel>``, ``merge``, ``rank``, ``final``.
    """

    movie_id: int
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
        history: raw movie ids the answer rests on, oldest first.
        unknown: movie ids of the request that the catalogue does not hold.
    """

    items: tuple[Recommendation, ...]
    trace: Trace
    history: tuple[int, ...]
    unknown: tuple[int, ...]


class Pipeline:
    """Stages in a row: sources → merge → hydrate → filter → score → select."""

    def __init__(
        self,
        config: PipelineConfig,
        *,
        sources: Sequence[ChannelSource],
        stages: Sequence[Stage],
        items: ItemTable,
        vocabulary: Vocabulary,
        histories: Interactions,
    ) -> None:
        self.config = config
        self.sources = tuple(sources)
        self.stages = tuple(stages)
        self.items = items
        self.vocabulary = vocabulary
        self.histories = histories

    @property
    def query_time(self) -> bool:
        """Whether a channel reads ``as_of`` as the time for which films are asked."""
        return any(source.channel.query_time for source in self.sources)

    def run(
        self, queries: QueryBatch, k: int, *, exclude: Exclusions | None = None, degrade: bool = False
    ) -> tuple[Candidates, Trace]:
        """Answer a batch.

        Args:
            queries: B queries.
            k: length of the lists, at least 1.
            exclude: by default the whole history of each query.
            degrade: pass over a failing stage and note it in the trace (serving) instead of raising.

        Returns:
            (B, ≤ k) candidates with the features of all stages, and the trace.
        """
        exclude = Exclusions.of_history(queries) if exclude is None else exclude
        trace = Trace(len(queries))
        candidates = self.recall(queries, exclude, trace, degrade=degrade)
        for stage in self.stages:
            candidates = _apply(stage, queries, candidates, exclude, k, trace, degrade)
        return candidates.head(k), trace

    def recall(self, queries: QueryBatch, exclude: Exclusions, trace: Trace, *, degrade: bool = False) -> Candidates:
        """The first half alone: what the channels offer, merged."""
        offers: dict[str, Candidates] = {}
        for source in self.sources:
            offers[source.name] = Candidates.empty(len(queries))
            with trace.record(source.stage, source.name, 0, degrade=degrade) as entry:
                offers[source.name] = offered = source.fetch(queries, exclude)
                entry.items_out, entry.unanswered = int(offered.counts.sum()), int((offered.counts == 0).sum())
        offered_items = sum(int(offer.counts.sum()) for offer in offers.values())
        with trace.record("merge", self.config.merge.method, offered_items) as entry:
            merged = merge(self.config.merge, offers, self.config.candidates, fill=self.config.fill)
            merged = merged.with_features({"merge_score": np.where(merged.mask, merged.score, np.nan)})
            entry.items_out, entry.unanswered = int(merged.counts.sum()), int((merged.counts == 0).sum())
        return merged

    def prepare(self, queries: QueryBatch, exclude: Exclusions | None = None) -> Candidates:
        """Candidates as the ranker meets them: recalled, merged, hydrated and filtered."""
        exclude = Exclusions.of_history(queries) if exclude is None else exclude
        trace = Trace(len(queries))
        candidates = self.recall(queries, exclude, trace)
        for stage in self.stages:
            if stage.stage in ("hydrate", "filter"):
                candidates = _apply(stage, queries, candidates, exclude, candidates.k, trace, False)
        return candidates

    def recommend(
        self,
        *,
        user: int | None = None,
        history: Sequence[int] | None = None,
        k: int = 10,
        exclude: Sequence[int] = (),
        as_of: int | None = None,
        degrade: bool = False,
    ) -> Answer:
        """Recommend films to one user.

        Args:
            user: raw user id; the stored history is used unless one is given.
            history: raw movie ids, oldest first; may be empty. Unknown ids are passed over and reported.
            k: number of films.
            exclude: raw movie ids not to offer, beside the history.
            as_of: Unix seconds for which films are asked, by default now; only for a pipeline in which a channel
                reads the query's time. The history is taken as it is, later events and all.

        Raises:
            DataError: neither user nor history, an unknown user without a history, k below 1, ids that are
                no whole numbers, or an ``as_of`` that nothing would read.
        """
        if k < 1:
            raise DataError(f"k must be at least 1, got {k}")
        query, unknown = self._query(user, history)
        query = self._asked_at(query, as_of)
        more = self.vocabulary.items.encode(_raw_ids("exclude", exclude))
        excluded = np.concatenate([query.history_idx, more])
        exclusions = Exclusions(np.array([0, len(excluded)], dtype=np.int64), excluded)
        candidates, trace = self.run(query, k, exclude=exclusions, degrade=degrade)
        items = tuple(self._describe(candidates, column) for column in range(int(candidates.counts[0])))
        return Answer(items, trace, tuple(self.vocabulary.items.decode(query.history_idx).tolist()), unknown)

    def _query(self, user: int | None, history: Sequence[int] | None) -> tuple[QueryBatch, tuple[int, ...]]:
        if user is None and history is None:
            raise DataError("give a user, a history, or both")
        users = self.vocabulary.users
        user_idx = np.full(1, -1, dtype=np.int64) if user is None else users.encode(_raw_ids("user", [user]))
        if history is None:
            if user_idx[0] < 0:
                raise DataError(f"user {user} is not known here; give a history of movie ids instead")
            return self.histories.queries(user_idx), ()
        raw = _raw_ids("history", history)
        idx = self.vocabulary.items.encode(raw)
        query = QueryBatch.from_histories([idx[idx >= 0].tolist()], user_idx=user_idx)
        return query, tuple(raw[idx < 0].tolist())

    def _asked_at(self, query: QueryBatch, as_of: int | None) -> QueryBatch:
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
        scores |= {
            stage: known[name] for stage, name in (("merge", "merge_score"), ("rank", RANK_SCORE)) if name in known
        }
        movie_id = int(self.vocabulary.items.decode(item))
        return Recommendation(
            movie_id=movie_id,
            title=self.items.label(item, movie_id),
            genres=tuple(self.items.genres_of(item)),
            channels={n.removeprefix(RECALL_RANK): int(v) for n, v in known.items() if n.startswith(RECALL_RANK)},
            scores=scores | {"final": float(candidates.score[0, column])},
        )


def _raw_ids(what: str, values: Sequence[int]) -> IntArray:
    ids = np.asarray(values)
    if ids.size and (ids.ndim != 1 or not np.can_cast(ids.dtype, np.int64)):
        raise DataError(f"{what} must hold whole numbers of at most 64 bits, got {values!r}")
    return ids.astype(np.int64)


def _apply(
    stage: Stage,
    queries: QueryBatch,
    candidates: Candidates,
    exclude: Exclusions,
    k: int,
    trace: Trace,
    degrade: bool,
) -> Candidates:
    """Run one stage under the trace; what a failed stage was given passes on unchanged."""
    result = candidates
    with trace.record(stage.stage, stage.name, int(candidates.counts.sum()), degrade=degrade) as entry:
        result = stage.apply(queries, candidates, exclude, k)
        entry.unanswered = int((result.counts == 0).sum())
    entry.items_out = int(result.counts.sum())
    return result
