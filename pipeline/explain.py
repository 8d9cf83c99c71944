"""Why a film is, or is not, in the list of one request: its way through channels, merge, ranker and reranker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Unpack

import numpy as np

from pipeline.blend import shares
from pipeline.facts import Facts, facts_of
from pipeline.fates import FATES, Fate, Passage, place_of
from pipeline.history import encode_ids
from pipeline.inference import Pipeline
from pipeline.requests import Asked
from pipeline.stages import (
    ChannelSource,
    Filter,
    RankerScorer,
    Request,
    RerankSelector,
    Scorer,
    known_events,
    with_diversity,
)
from pipeline.verdict import verdict
from pipeline.views import BLEND, ChannelView, Contribution, StageView
from ranking.attribution import ITEM
from ranking.base import EXPECTED
from ranking.features import FEATURES
from reccore import Candidates, DataError, RawId

PATIENCE = 100.0
OF_ITEM = "What the ranker knows of the film itself, and how it fits the history."


@dataclass(frozen=True)
class Explanation:
    """What became of one film in one request.

    Attributes:
        movie_id: raw id.
        title: with the year.
        genres: names.
        fate: see ``pipeline.fates.FATES``.
        place: in the final list, from 1; None where it is not in it.
        k: length of the list.
        why: one sentence about the stage that decided.
        would_help: what would have had to differ, one sentence each.
        channels: what each recall channel says about the film.
        stages: the orders that the film stood in after the channels.
        facts: further figures of its fate, which the sentences have too.
        ranker_share: the ranker's part in the order that the reranker receives: 1 where it orders alone, less where the
            history is short and its scores are blended with others, 0 without a ranker.
        contributions: what features add to the ranker's score of the film beyond what they add to that of the mean
            candidate, the strongest first; empty if the ranker did not score it, or has no part in the order.
        skipped: components that the request went on without, such as ``source mf``; the trace and the log say why.
    """

    movie_id: RawId
    title: str
    genres: tuple[str, ...]
    fate: Fate
    place: int | None
    k: int
    why: str
    would_help: tuple[str, ...]
    channels: tuple[ChannelView, ...]
    stages: tuple[StageView, ...]
    facts: Facts
    ranker_share: float
    contributions: tuple[Contribution, ...]
    skipped: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def explain(pipeline: Pipeline, movie: RawId, **asked: Unpack[Asked]) -> Explanation:
    """Follow a film through the request that ``pipeline.recommend`` would answer with the same arguments.

    Args:
        pipeline: ready to answer.
        movie: raw id of the film.
        asked: see ``pipeline.requests.Asked``.

    Raises:
        DataError: the film is not in the catalogue; and as ``Pipeline.recommend``.
    """
    return explain_request(pipeline, movie, pipeline.request(**asked)[0])


def explain_request(pipeline: Pipeline, movie: RawId, request: Request) -> Explanation:
    """Follow a film through a request, which must hold one query.

    Every channel scores the whole catalogue once, and the contributions take some tens of passes of the ranker over
    the candidates: about a second on MovieLens-100K. Where the request has limits, each of these may take ``PATIENCE``
    times as long as in the request itself; what is skipped is left out of the explanation.

    Raises:
        DataError: the film is not in the catalogue.
    """
    k = request.k
    item = int(encode_ids("movie", [movie], pipeline.vocabulary.items)[0])
    if item < 0:
        raise DataError(
            f"movie {movie} is not in the catalogue of this pipeline ({len(pipeline.vocabulary.items):,} films), so no "
            "stage can offer it; correct the id, or train on data that has the film"
        )
    passage = Passage.of_request(pipeline, request)
    fate = FATES[int(passage.fates(np.zeros(1, dtype=np.int64), np.array([item]), k)[0])]
    sources = [source for source in pipeline.sources if source.serves(passage.request).any()]
    channels = _channel_views(pipeline, passage, sources, item)
    stages = stage_views(pipeline, passage, item)
    scorer = _working_scorer(passage)
    share = 0.0 if scorer is None else scorer.share(request)
    contributions = () if scorer is None or not share else ranker_contributions(pipeline, passage, scorer, item)
    place = place_of(passage.final, item)
    by_role = {view.stage: view for view in stages}
    facts = facts_of(pipeline, passage, item, fate, channels, by_role)
    why, would_help = verdict(fate, k, place, channels, by_role, facts)
    return Explanation(
        movie_id=pipeline.vocabulary.items.raw_id(item),
        title=pipeline.items.label(item, pipeline.vocabulary.items.raw_id(item)),
        genres=tuple(pipeline.items.genres_of(item)),
        fate=fate,
        place=place,
        k=k,
        why=why,
        would_help=would_help,
        channels=channels,
        stages=stages,
        facts=facts,
        ranker_share=share,
        contributions=contributions,
        skipped=tuple(f"{stage} {name}" for stage, name in passage.skipped),
    )


def _channel_views(
    pipeline: Pipeline, passage: Passage, sources: Sequence[ChannelSource], item: int
) -> tuple[ChannelView, ...]:
    """What the channels that worked say about an item."""
    request, trace = passage.request, passage.trace
    views = [
        pipeline.attempt(source, request, trace, partial(channel_view, source, request, item), PATIENCE)
        for source in sources
        if (source.role, source.name) not in passage.skipped
    ]
    return tuple(view for view in views if view is not None)


def channel_view(source: ChannelSource, request: Request, item: int) -> ChannelView:
    """What a channel says about an item; the item itself counts as not excluded.

    Where the channel offers the item, rank and score are those of the offer. Elsewhere the rank is that of the
    channel's own score among the scores of all items that are not excluded.
    """
    channel, offer = source.channel, request.offers[source.name]
    place, n_offered = place_of(offer, item), int(offer.counts[0])
    n_items = len(channel.vocabulary.items)
    everything = Candidates(np.arange(n_items, dtype=np.int64)[None], np.zeros((1, n_items), dtype=np.float32))
    prepared = request.prepared(source.name, channel)
    scores = channel.score(request.queries, everything, prepared=prepared)[0]
    rival = np.isfinite(scores) & ~request.exclude.contains(everything.item_idx)[0]
    rival[item] = False
    own, rank = float(scores[item]), place
    if place is not None:
        own = float(offer.score[0, place - 1])
    elif np.isfinite(own):
        before = (scores > own) | ((scores == own) & (np.arange(n_items) < item))
        rank = 1 + int((rival & before).sum())
    return ChannelView(
        name=source.name,
        offered=place is not None,
        rank=rank,
        scored=int(rival.sum()) + int(np.isfinite(own)),
        retrieves=source.k,
        score=own if np.isfinite(own) else None,
        last_score=float(offer.score[0, n_offered - 1]) if n_offered else None,
    )


def stage_views(pipeline: Pipeline, passage: Passage, item: int) -> tuple[StageView, ...]:
    """Where the item stands in the order of the merge, of the ranker and of the reranker, as far as it came.

    Where the history is short, the order of a blend takes the place of the ranker's. Without the stages that were
    skipped.
    """
    request, k = passage.request, passage.request.k
    views = [_merge_view(pipeline, request, item)]
    before = passage.merged
    for stage, after in passage.later:
        if (stage.role, stage.name) in passage.skipped:
            continue
        if isinstance(stage, Filter) and place_of(before, item) is not None and place_of(after, item) is None:
            views.append(StageView(stage.role, stage.name, None, int(after.counts[0]), int(after.counts[0])))
        elif isinstance(stage, Scorer):
            weights = stage.weights(request) if isinstance(stage, RankerScorer) else None
            role, name = (stage.role, stage.name) if weights is None else (BLEND, shares(weights))
            views.append(StageView.in_order(role, name, after, item, k))
        elif isinstance(stage, RerankSelector):
            reranker = with_diversity(stage.reranker, request.diversity)
            whole = reranker.rerank(request.queries, before, max(before.k, 1))
            view = StageView.in_order(stage.role, stage.name, whole, item, k)
            views.append(view.without_scores_beyond(reranker.pool))
        before = after
    return tuple(views)


def _merge_view(pipeline: Pipeline, request: Request, item: int) -> StageView:
    """Where the item stands among all offered ones, and the last place that goes on without a channel's reservation."""
    merger, offers = pipeline.merger, request.offers
    every = merger.unlimited(offers)
    reserved = merger.reserved(every, offers, known_events(request, pipeline.vocabulary), merger.k)
    limit, first = merger.k, 0
    if reserved.any() and every.counts[0] > merger.k:
        ordinary = merger.kept(every, reserved, merger.k) & ~reserved
        limit, first = 1 + int(np.flatnonzero(ordinary[0])[-1]), merger.first_of_each(offers, merger.k)
    return replace(StageView.in_order("merge", merger.name, every, item, limit), first=first)


def _working_scorer(passage: Passage) -> RankerScorer | None:
    """The stage of the ranker; None without one, or where it was skipped."""
    scorer = next((stage for stage, _ in passage.later if isinstance(stage, RankerScorer)), None)
    return None if scorer is None or (scorer.role, scorer.name) in passage.skipped else scorer


def ranker_contributions(
    pipeline: Pipeline, passage: Passage, scorer: RankerScorer, item: int
) -> tuple[Contribution, ...]:
    """Contributions of features to the ranker's score of the item, the strongest first, without those that are 0.

    Each is relative to its mean over the candidates of the request, so that they sum to the score minus the mean score.
    """
    given = passage.to_rank
    place = None if given is None else place_of(given, item)
    if given is None or place is None:
        return ()
    work = partial(scorer.ranker.contributions, passage.request.queries, given)
    values = pipeline.attempt(scorer, passage.request, passage.trace, work, PATIENCE) or {}
    found = [
        Contribution(name, float(of_all[0, place - 1] - of_all[0, given.mask[0]].mean()), meaning(name))
        for name, of_all in values.items()
        if name != EXPECTED
    ]
    return tuple(sorted((one for one in found if one.value), key=lambda one: -abs(one.value)))


def meaning(feature: str) -> str:
    """First sentence of a feature's declaration; "" for a name that is declared nowhere."""
    if feature == ITEM:
        return OF_ITEM
    declared = next((one for one in FEATURES.values() if one.may_be(feature)), None)
    return "" if declared is None else (declared.compute.__doc__ or "").strip().partition("\n")[0]
