"""The figures of an explanation that channels and stages do not show: its sentences are written from all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.fates import Fate, Passage, place_in, place_of
from pipeline.inference import Pipeline
from pipeline.item_filter import Objection
from pipeline.stages import Request, known_events, with_diversity
from pipeline.views import BLEND, ChannelView, StageView
from recall.merge.methods import QuotaConfig, WeightedMergeConfig
from reccore import RawId
from rerank.base import BaseReranker


@dataclass(frozen=True)
class SeenEvent:
    """The latest event of the film in the history.

    Attributes:
        number: from 1, the oldest.
        of: number of events.
        rating: None of an event without one.
    """

    number: int
    of: int
    rating: float | None


@dataclass(frozen=True)
class MergeNeed:
    """What a channel that offers the film would need for the merge to give it points.

    Attributes:
        channel: name.
        setting: of the merge: ``quota`` must be at least, and ``weight`` must be above ``needed``.
        needed: the least quota, or the present weight.
        given: the present value.
    """

    channel: str
    setting: Literal["quota", "weight"]
    needed: float
    given: float


@dataclass(frozen=True)
class CandidatesNeed:
    """How many candidates after the merge would hold the film.

    Attributes:
        needed: from this number on.
        given: the present number.
    """

    needed: int
    given: int


@dataclass(frozen=True)
class SimilarFilm:
    """The film of the list whose vector is nearest.

    Attributes:
        movie_id: raw id.
        title: with the year.
        cosine: of both vectors.
    """

    movie_id: RawId
    title: str
    cosine: float


@dataclass(frozen=True)
class TradeOff:
    """The reranker's λ, from 0, diversity alone, to 1, the ranker's order.

    Attributes:
        given: in this request.
        needed: the lowest in steps of .01 from which on, up to 1, the film is in the list.
    """

    given: float
    needed: float


@dataclass(frozen=True)
class Facts:
    """Figures of one film's fate; each is empty or None where it does not belong to that fate.

    Attributes:
        seen: ``excluded``: its event in the history; None where the request excludes it.
        no_events: ``not_offered``: the data that the channels learnt from have no event of it.
        needs: ``cut_by_merge`` without points: for each channel that offers it.
        candidates: ``cut_by_merge`` with points.
        objections: ``filtered``: conditions of the request's filter that it fails; empty where a filter of the pipeline
            dropped it.
        order: ``ranked_low`` and ``reranked_out``: its place in the order that the reranker receives.
        pool: ``ranked_low``: how many of that order's first films the reranker chooses from; None = all.
        nearest: ``reranked_out``: the film of the list that is most similar; None without vectors.
        trade_off: ``reranked_out``: None where no λ would keep it, or the reranker has none.
        chosen: ``displaced``: the place that it was chosen for.
        must_include: ``recommended``: what it owes to ``must_include`` of the request: its ``place`` in the list, or
            that it was a ``candidate``; None = nothing.
    """

    seen: SeenEvent | None = None
    no_events: bool = False
    needs: tuple[MergeNeed, ...] = ()
    candidates: CandidatesNeed | None = None
    objections: tuple[Objection, ...] = ()
    order: StageView | None = None
    pool: int | None = None
    nearest: SimilarFilm | None = None
    trade_off: TradeOff | None = None
    chosen: int | None = None
    must_include: Literal["place", "candidate"] | None = None


def facts_of(
    pipeline: Pipeline,
    passage: Passage,
    item: int,
    fate: Fate,
    channels: Sequence[ChannelView],
    stages: Mapping[str, StageView],
) -> Facts:
    """The figures of an item's fate.

    Args:
        pipeline: that answered.
        passage: of a request of one query.
        item: index.
        fate: of the item.
        channels: what each channel says about it.
        stages: its standing after each stage, by role.
    """
    if fate == "excluded":
        return Facts(seen=_seen(passage, item))
    if fate == "not_offered":
        return Facts(no_events=_has_no_events(pipeline, item))
    if fate == "cut_by_merge":
        place = stages["merge"].place
        if place is None:
            return Facts(needs=_needs(pipeline, channels))
        return Facts(candidates=_candidates(pipeline, passage.request, place))
    if fate == "filtered":
        rejected = item in passage.request.rejected
        return Facts(objections=passage.request.filters.objections(pipeline.items, item) if rejected else ())
    if fate == "ranked_low":
        reranker = pipeline.reranker if "select" in stages else None
        return Facts(order=_order(passage, item, stages), pool=None if reranker is None else reranker.pool)
    if fate == "reranked_out":
        return _of_reranking(pipeline, passage, item, stages)
    if fate == "displaced":
        return Facts(chosen=place_in(passage.chosen, item))
    return Facts(must_include=_owed(passage, item))


def _seen(passage: Passage, item: int) -> SeenEvent | None:
    queries = passage.request.queries
    at = np.flatnonzero(queries.history_idx == item)
    if not len(at):
        return None
    rating = None if queries.history_rating is None else float(queries.history_rating[at[-1]])
    return SeenEvent(int(at[-1]) + 1, len(queries.history_idx), None if rating != rating else rating)


def _has_no_events(pipeline: Pipeline, item: int) -> bool:
    count = pipeline.items.statistics.get("count")
    return count is not None and not np.nan_to_num(count[item])


def _needs(pipeline: Pipeline, channels: Sequence[ChannelView]) -> tuple[MergeNeed, ...]:
    return tuple(_need(pipeline, channel) for channel in channels if channel.offered)


def _need(pipeline: Pipeline, channel: ChannelView) -> MergeNeed:
    method = pipeline.merger.config
    is_fill = channel.name == pipeline.merger.fill
    if isinstance(method, QuotaConfig):
        quota = method.quota.get(channel.name, 0 if is_fill else channel.retrieves)
        return MergeNeed(channel.name, "quota", channel.rank or 0, quota)
    weight = method.weight(channel.name, is_fill=is_fill) if isinstance(method, WeightedMergeConfig) else 0.0
    return MergeNeed(channel.name, "weight", weight, weight)


def _candidates(pipeline: Pipeline, request: Request, place: int) -> CandidatesNeed:
    """Where the history is short, more candidates reserve more places for every channel: each number is tried."""
    merger, known = pipeline.merger, known_events(request, pipeline.vocabulary)
    if not (known < merger.below).any():
        return CandidatesNeed(place, merger.k)  # nothing has a place of its own
    every = merger.unlimited(request.offers)

    def cut(k: int) -> bool:
        reserved = merger.reserved(every, request.offers, known, k)
        return not merger.kept(every, reserved, k)[0, place - 1]

    last = next((k for k in range(every.k, merger.k, -1) if cut(k)), merger.k)
    return CandidatesNeed(last + 1, merger.k)


def _order(passage: Passage, item: int, stages: Mapping[str, StageView]) -> StageView:
    """Where the item stands in what the reranker receives; named for ranker or blend, or for the merge without one."""
    last = stages.get("score") or stages.get(BLEND) or stages["merge"]
    return StageView.in_order(last.stage, last.name, passage.before_selection, item, passage.request.k)


def _of_reranking(pipeline: Pipeline, passage: Passage, item: int, stages: Mapping[str, StageView]) -> Facts:
    order = _order(passage, item, stages)
    if pipeline.reranker is None or stages["select"].place is None:
        return Facts(order=order)
    reranker = with_diversity(pipeline.reranker, passage.request.diversity)
    return Facts(order=order, nearest=_nearest(pipeline, passage, item), trade_off=_trade_off(reranker, passage, item))


def _nearest(pipeline: Pipeline, passage: Passage, item: int) -> SimilarFilm | None:
    vectors = None if pipeline.reranker is None else pipeline.reranker.vectors
    final = passage.final
    chosen = final.item_idx[0][final.mask[0]]
    if vectors is None or not len(chosen):
        return None
    cosine = vectors[chosen] @ vectors[item]
    best = int(chosen[int(cosine.argmax())])
    movie = pipeline.vocabulary.items.raw_id(best)
    return SimilarFilm(movie, pipeline.items.label(best, movie), float(cosine.max()))


def _trade_off(reranker: BaseReranker, passage: Passage, item: int) -> TradeOff | None:
    if reranker.trade_off is None:
        return None
    request, enough = passage.request, None
    for hundredths in range(100, int(reranker.trade_off * 100), -1):
        trade_off = hundredths / 100
        changed = reranker.with_trade_off(trade_off).rerank(request.queries, passage.before_selection, request.k)
        if place_of(changed, item) is None:
            break
        enough = trade_off
    return None if enough is None else TradeOff(reranker.trade_off, enough)


def _owed(passage: Passage, item: int) -> Literal["place", "candidate"] | None:
    request, selected = passage.request, place_in(passage.chosen, item)
    if item in request.must_include and (selected is None or selected > request.k):
        return "place"
    offered = any(place_of(offer, item) is not None for offer in request.offers.values())
    return None if offered else "candidate"
