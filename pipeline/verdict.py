"""The sentences of an explanation: which stage decided about a film, and what would have had to differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.fates import Fate, Passage, place_in, place_of
from pipeline.inference import Pipeline
from pipeline.stages import with_diversity
from pipeline.views import ChannelView, StageView
from recall.merge.methods import QuotaConfig, WeightedMergeConfig
from reccore import Candidates


def verdict(
    pipeline: Pipeline,
    passage: Passage,
    item: int,
    fate: Fate,
    channels: Sequence[ChannelView],
    stages: Sequence[StageView],
) -> tuple[str, tuple[str, ...]]:
    """Why the film met its fate, and what would have had to differ."""
    by_stage = {view.stage: view for view in stages}
    if fate == "excluded":
        return _excluded(passage, item)
    if fate == "not_offered":
        return _not_offered(pipeline, item, channels)
    if fate == "cut_by_merge":
        return _cut_by_merge(pipeline, channels, by_stage["merge"])
    if fate == "filtered":
        return _filtered(pipeline, passage, item, by_stage)
    if fate == "ranked_low":
        return _ranked_low(pipeline, passage, item, by_stage)
    if fate == "reranked_out":
        return _reranked_out(pipeline, passage, item, by_stage)
    if fate == "displaced":
        return _displaced(passage, item)
    return _recommended(passage, item, by_stage), ()


def _excluded(passage: Passage, item: int) -> tuple[str, tuple[str, ...]]:
    queries = passage.request.queries
    at = np.flatnonzero(queries.history_idx == item)
    if not len(at):
        return "the request excludes it", ("a request that does not exclude it",)
    rating = "" if queries.history_rating is None else f", rated {queries.history_rating[at[-1]]:g}"
    place = f"event {at[-1] + 1:,} of {len(queries.history_idx):,}{rating}"
    why = f"the user has seen it ({place}), and films of the history are never offered"
    return why, ("a history without it",)


def _filtered(
    pipeline: Pipeline, passage: Passage, item: int, stages: dict[str, StageView]
) -> tuple[str, tuple[str, ...]]:
    objections = passage.request.filters.objections(pipeline.items, item)
    if item in passage.request.rejected:
        return f"the filter of the request rejects it: {', and '.join(objections)}", ("a filter that admits it",)
    return f"the filter {stages['filter'].name!r} dropped it", ("a filter that lets it pass",)


def _not_offered(pipeline: Pipeline, item: int, channels: Sequence[ChannelView]) -> tuple[str, tuple[str, ...]]:
    if not channels:
        return "every channel was skipped", ("a channel that answers",)
    ranked = sorted((c for c in channels if c.rank is not None), key=lambda c: (c.rank or 0) / c.retrieves)
    if not ranked:
        count = pipeline.items.statistics.get("count")
        known = count is not None and np.nan_to_num(count[item]) == 0
        why = ", since it has no event in the data that they learnt from" if known else ""
        return f"no channel has a score for it{why}", ("events of the film, or a channel that needs none",)
    nearest = ranked[0]
    why = f"no channel offers it; the nearest is {nearest.name}, which ranks it {ordinal(nearest.rank)} and offers "
    return why + f"{nearest.retrieves:,}", tuple(_to_be_offered(channel) for channel in ranked)


def _to_be_offered(channel: ChannelView) -> str:
    rank = channel.rank or 0
    if rank <= channel.retrieves:
        return f"{channel.name}: an exact search would offer it at rank {rank:,}; its index did not return it"
    short = "" if channel.short_by is None else f", or a score higher by {number(channel.short_by)}"
    return f"{channel.name}: at least {rank:,} items of the channel instead of {channel.retrieves:,}{short}"


def _cut_by_merge(
    pipeline: Pipeline, channels: Sequence[ChannelView], merged: StageView
) -> tuple[str, tuple[str, ...]]:
    offered = [channel for channel in channels if channel.offered]
    by = ", ".join(f"{channel.name} (rank {channel.rank:,})" for channel in offered)
    if merged.place is None:
        return f"offered by {by}, and the merge gives it no points", tuple(
            _to_get_points(pipeline, channel) for channel in offered
        )
    why = f"offered by {by}; the merge puts it at place {merged.place:,} of {merged.of:,} and keeps {merged.limit:,}"
    short = merged.short_by
    helps = [f"at least {merged.place:,} candidates after the merge instead of {merged.limit:,}"]
    if short is not None:
        helps.append(
            f"a merged score of {number(merged.last_score)} instead of {number(merged.score)} (short by "
            f"{number(short)}): better ranks in the channels, or offers of further ones"
        )
    return why, tuple(helps)


def _to_get_points(pipeline: Pipeline, channel: ChannelView) -> str:
    method = pipeline.merger.config
    is_fill = channel.name == pipeline.merger.fill
    if isinstance(method, QuotaConfig):
        quota = method.quota.get(channel.name, 0 if is_fill else channel.retrieves)
        return f"{channel.name}: a quota of at least {channel.rank:,} instead of {quota:,}"
    weight = method.weight(channel.name, is_fill=is_fill) if isinstance(method, WeightedMergeConfig) else 0.0
    return f"{channel.name}: a weight in the merge above {weight:g}"


def _ranked_low(
    pipeline: Pipeline, passage: Passage, item: int, stages: dict[str, StageView]
) -> tuple[str, tuple[str, ...]]:
    k = passage.request.k
    if "score" in stages:
        view, who = stages["score"], f"the ranker {stages['score'].name} puts it"
    else:
        view = StageView.in_order("merge", stages["merge"].name, passage.before_selection, item, k)
        who = "it stands"
    why = f"{who} at place {view.place:,} of {view.of:,}, and the list has {k:,}"
    helps = [_higher_score(view)]
    if "select" not in stages or pipeline.reranker is None:
        return why, (*helps, f"a list of at least {view.place:,} films")
    reranked, pool = stages["select"], pipeline.reranker.pool
    if reranked.place is None:
        helps.append(_rules_that_allow_it(reranked))
    elif pool is not None and (view.place or 0) > pool:
        helps.append(f"a place among the first {pool:,}, from which the reranker {reranked.name} chooses")
    else:
        helps.append(f"a list of at least {reranked.place:,} films: the reranker {reranked.name} puts it there")
    return why, tuple(helps)


def _higher_score(view: StageView) -> str:
    short = view.short_by
    if short is None:
        return f"a place among the first {view.limit:,}"
    return (
        f"a score of {number(view.last_score)}, which place {view.limit:,} has, instead of {number(view.score)} "
        f"(short by {number(short)})"
    )


def _reranked_out(
    pipeline: Pipeline, passage: Passage, item: int, stages: dict[str, StageView]
) -> tuple[str, tuple[str, ...]]:
    reranked, before = stages["select"], place_of(passage.before_selection, item)
    if reranked.place is None:
        return f"the reranker {reranked.name} leaves it out of lists of any length", (_rules_that_allow_it(reranked),)
    why = f"the reranker {reranked.name} moves it from place {before:,} to place {reranked.place:,}, and the list has "
    why += f"{reranked.limit:,}"
    twin = _most_similar(pipeline, passage.final, item)
    helps = [f"a list of at least {reranked.place:,} films"]
    if twin is not None:
        title, similarity = twin
        helps.append(f"less similarity to films of the list: {title} is the nearest (cosine {similarity:.2f})")
    helps += _sufficient_trade_off(pipeline, passage, item)
    return why, tuple(helps)


def _rules_that_allow_it(reranked: StageView) -> str:
    return f"options of the reranker {reranked.name} that do not exclude it"


def _most_similar(pipeline: Pipeline, final: Candidates, item: int) -> tuple[str, float] | None:
    """Title of the recommended film whose vector is nearest to the item's, and their cosine."""
    vectors = None if pipeline.reranker is None else pipeline.reranker.vectors
    chosen = final.item_idx[0][final.mask[0]]
    if vectors is None or not len(chosen):
        return None
    cosine = vectors[chosen] @ vectors[item]
    best = int(chosen[int(cosine.argmax())])
    return pipeline.items.label(best, pipeline.vocabulary.items.raw_id(best)), float(cosine.max())


def _sufficient_trade_off(pipeline: Pipeline, passage: Passage, item: int) -> list[str]:
    """The lowest λ in steps of .01 from which on, up to 1, the film is in the list; empty for a reranker without λ."""
    request = passage.request
    reranker = None if pipeline.reranker is None else with_diversity(pipeline.reranker, request.diversity)
    if reranker is None or reranker.trade_off is None:
        return []
    enough = None
    for hundredths in range(100, int(reranker.trade_off * 100), -1):
        trade_off = hundredths / 100
        changed = reranker.with_trade_off(trade_off).rerank(request.queries, passage.before_selection, request.k)
        if place_of(changed, item) is None:
            break
        enough = trade_off
    return [] if enough is None else [f"λ (trade_off) of at least {enough:.2f} instead of {reranker.trade_off:.2f}"]


def _displaced(passage: Passage, item: int) -> tuple[str, tuple[str, ...]]:
    request, place = passage.request, place_in(passage.chosen, item)
    why = f"it was chosen for place {place:,} of {request.k:,}, which goes to a film that the request must include"
    return why, ("a request that must include fewer films", "a longer list")


def _recommended(passage: Passage, item: int, stages: dict[str, StageView]) -> str:
    request, place = passage.request, place_of(passage.final, item)
    merged, ranked, selected = stages["merge"].place, stages.get("score"), place_in(passage.chosen, item)
    way = [] if merged is None else [f"place {merged:,} after the merge"]
    way += [] if ranked is None else [f"place {ranked.place:,} after the ranker"]
    after = f" ({', '.join(way)})" if way else ""
    if item in request.must_include and (selected is None or selected > request.k):
        return f"the request must include it, which gives it place {place:,} of the list{after}"
    offered = any(place_of(offer, item) is not None for offer in request.offers.values())
    return f"it is at place {place:,} of the list{after}" + ("" if offered else "; the request must include it")


def ordinal(number: int | None) -> str:
    """``1st``, ``2nd``, ``113th``."""
    value = number or 0
    suffix = "th" if value % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value:,}{suffix}"


def number(value: Any) -> str:
    """Four significant digits."""
    return "–" if value is None else f"{value:.4g}"
