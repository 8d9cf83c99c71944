"""The sentences of an explanation: which stage decided about a film, and what would have had to differ.

They have no figure that the explanation does not have, so that clients can write them in other languages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.facts import Facts, MergeNeed
from pipeline.fates import Fate
from pipeline.views import BLEND, ChannelView, StageView

Verdict = tuple[str, tuple[str, ...]]


def verdict(
    fate: Fate,
    k: int,
    place: int | None,
    channels: Sequence[ChannelView],
    stages: Mapping[str, StageView],
    facts: Facts,
) -> Verdict:
    """Why the film met its fate, and what would have had to differ; arguments as in ``explain.Explanation``."""
    if fate == "excluded":
        return _excluded(facts)
    if fate == "not_offered":
        return _not_offered(channels, facts)
    if fate == "cut_by_merge":
        return _cut_by_merge(channels, stages["merge"], facts)
    if fate == "filtered":
        return _filtered(stages, facts)
    if fate == "ranked_low":
        return _ranked_low(k, stages, facts)
    if fate == "reranked_out":
        return _reranked_out(stages["select"], facts)
    if fate == "displaced":
        why = f"it was chosen for place {facts.chosen:,} of {k:,}, which goes to a film that the request must include"
        return why, ("a request that must include fewer films", "a longer list")
    return _recommended(place, stages, facts), ()


def _excluded(facts: Facts) -> Verdict:
    seen = facts.seen
    if seen is None:
        return "the request excludes it", ("a request that does not exclude it",)
    rating = "" if seen.rating is None else f", rated {seen.rating:g}"
    event = f"event {seen.number:,} of {seen.of:,}{rating}"
    why = f"the user has seen it ({event}), and films of the history are never offered"
    return why, ("a history without it",)


def _filtered(stages: Mapping[str, StageView], facts: Facts) -> Verdict:
    if facts.objections:
        clauses = ", and ".join(map(str, facts.objections))
        return f"the filter of the request rejects it: {clauses}", ("a filter that admits it",)
    return f"the filter {stages['filter'].name!r} dropped it", ("a filter that lets it pass",)


def _not_offered(channels: Sequence[ChannelView], facts: Facts) -> Verdict:
    if not channels:
        return "every channel was skipped", ("a channel that answers",)
    ranked = sorted((c for c in channels if c.rank is not None), key=lambda c: (c.rank or 0) / c.retrieves)
    if not ranked:
        why = ", since it has no event in the data that they learnt from" if facts.no_events else ""
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


def _cut_by_merge(channels: Sequence[ChannelView], merged: StageView, facts: Facts) -> Verdict:
    by = ", ".join(f"{channel.name} (rank {channel.rank:,})" for channel in channels if channel.offered)
    if merged.place is None:
        return f"offered by {by}, and the merge gives it no points", tuple(map(_to_get_points, facts.needs))
    why = f"offered by {by}; the merge puts it at place {merged.place:,} of {merged.of:,} and keeps "
    why += f"the first {merged.limit:,} and, since the history is short, " if merged.first else f"{merged.limit:,}"
    why += f"the first {merged.first:,} of every channel" if merged.first else ""
    helps = []
    if facts.candidates is not None:
        need = facts.candidates
        helps.append(f"at least {need.needed:,} candidates after the merge instead of {need.given:,}")
    if merged.first:
        helps.append(f"a rank among the first {merged.first:,} of a channel")
    if merged.short_by is not None:
        helps.append(
            f"a merged score of {number(merged.last_score)} instead of {number(merged.score)} (short by "
            f"{number(merged.short_by)}): better ranks in the channels, or offers of further ones"
        )
    return why, tuple(helps)


def _to_get_points(need: MergeNeed) -> str:
    if need.setting == "quota":
        return f"{need.channel}: a quota of at least {need.needed:,} instead of {need.given:,}"
    return f"{need.channel}: a weight in the merge above {need.needed:g}"


def _ranked_low(k: int, stages: Mapping[str, StageView], facts: Facts) -> Verdict:
    view, reranked = facts.order, stages.get("select")
    assert view is not None
    who = {"score": f"the ranker {view.name} puts it", BLEND: f"the blend of {view.name} puts it"}.get(view.stage)
    why = f"{who or 'it stands'} at place {view.place:,} of {view.of:,}, and the list has {k:,}"
    helps = [_higher_score(view)]
    if reranked is None:
        helps.append(f"a list of at least {view.place:,} films")
    elif reranked.place is None:
        helps.append(_rules_that_allow_it(reranked))
    elif facts.pool is not None and (view.place or 0) > facts.pool:
        helps.append(f"a place among the first {facts.pool:,}, from which the reranker {reranked.name} chooses")
    else:
        helps.append(f"a list of at least {reranked.place:,} films: the reranker {reranked.name} puts it there")
    return why, tuple(helps)


def _higher_score(view: StageView) -> str:
    if view.short_by is None:
        return f"a place among the first {view.limit:,}"
    return (
        f"a score of {number(view.last_score)}, which place {view.limit:,} has, instead of {number(view.score)} "
        f"(short by {number(view.short_by)})"
    )


def _reranked_out(reranked: StageView, facts: Facts) -> Verdict:
    if reranked.place is None:
        return f"the reranker {reranked.name} leaves it out of lists of any length", (_rules_that_allow_it(reranked),)
    before = None if facts.order is None else facts.order.place
    why = f"the reranker {reranked.name} moves it from place {before:,} to place {reranked.place:,}, and the list has "
    why += f"{reranked.limit:,}"
    helps = [f"a list of at least {reranked.place:,} films"]
    if facts.nearest is not None:
        film = f"{facts.nearest.title} is the nearest (cosine {facts.nearest.cosine:.2f})"
        helps.append(f"less similarity to films of the list: {film}")
    if facts.trade_off is not None:
        helps.append(f"λ (trade_off) of at least {facts.trade_off.needed:.2f} instead of {facts.trade_off.given:.2f}")
    return why, tuple(helps)


def _rules_that_allow_it(reranked: StageView) -> str:
    return f"options of the reranker {reranked.name} that do not exclude it"


def _recommended(place: int | None, stages: Mapping[str, StageView], facts: Facts) -> str:
    merged, ranked, blended = stages["merge"].place, stages.get("score"), stages.get(BLEND)
    way = [] if merged is None else [f"place {merged:,} after the merge"]
    way += [] if ranked is None else [f"place {ranked.place:,} after the ranker"]
    way += [] if blended is None else [f"place {blended.place:,} after the blend"]
    after = f" ({', '.join(way)})" if way else ""
    if facts.must_include == "place":
        return f"the request must include it, which gives it place {place:,} of the list{after}"
    owed = "" if facts.must_include is None else "; the request must include it"
    return f"it is at place {place:,} of the list{after}{owed}"


def ordinal(number: int | None) -> str:
    """``1st``, ``2nd``, ``113th``."""
    value = number or 0
    suffix = "th" if value % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value:,}{suffix}"


def number(value: Any) -> str:
    """Four significant digits."""
    return "–" if value is None else f"{value:.4g}"
