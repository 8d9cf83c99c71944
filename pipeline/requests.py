"""From what a caller asks for one user to the request that the stages answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from pipeline.history import EventLike, encode_ids, extended_query, history_query
from pipeline.item_filter import ItemFilter
from pipeline.limits import StageLimits
from pipeline.stages import Request
from reccore import DataError, Exclusions, QueryBatch, RawId
from reccore.arrays import IntArray

if TYPE_CHECKING:
    from pipeline.inference import Pipeline


class Asked(TypedDict, total=False):
    """What one user asks for; every key may be left out.

    Attributes:
        user: raw user id; the stored history is used unless one is given.
        history: events, oldest first; may be empty. An event is a raw movie id, (id, rating), (id, rating, time), a
            mapping of these names or an ``Event``. Unknown ids are ignored and reported.
        new_events: what the user did since the stored history, oldest first; see ``extended_query``.
        k: number of films; by default 10.
        exclude: raw movie ids not to offer, in addition to the history.
        as_of: Unix seconds to recommend for, by default now; only for a pipeline with a channel that reads the query's
            time. The history is used whole, later events included.
        filters: which films to offer. The channels leave out the others, so that lists are full where the catalogue
            has enough films.
        must_include: raw movie ids that are always among the candidates and in the list, though seen or rejected by
            ``filters``; they take its lowest places if they are not chosen.
        diversity: from 0, the order of the ranker, to 1, diversity alone; None = as the reranker is configured. Needs a
            reranker with a trade-off between the two.
        degrade: skip a failing stage, log it and record it in the trace (serving) instead of raising.
        limits: seconds after which a slow stage is skipped as a failing one is; only with ``degrade``.
    """

    user: RawId | None
    history: Sequence[EventLike] | None
    new_events: Sequence[EventLike]
    k: int
    exclude: Sequence[RawId]
    as_of: int | None
    filters: ItemFilter | None
    must_include: Sequence[RawId]
    diversity: float | None
    degrade: bool
    limits: StageLimits | None


def make_request(
    pipeline: Pipeline,
    *,
    user: RawId | None = None,
    history: Sequence[EventLike] | None = None,
    new_events: Sequence[EventLike] = (),
    k: int = 10,
    exclude: Sequence[RawId] = (),
    as_of: int | None = None,
    filters: ItemFilter | None = None,
    must_include: Sequence[RawId] = (),
    diversity: float | None = None,
    degrade: bool = False,
    limits: StageLimits | None = None,
) -> tuple[Request, tuple[RawId, ...]]:
    """The request, and the raw ids of the history that are unknown; arguments are those of ``Asked``.

    Raises:
        DataError: neither user nor history, an unknown user without a history, new events without a stored history,
            k below 1, ids that are no whole numbers, invalid events, an ``as_of`` that no channel reads, a filter by
            what the catalogue does not have, films in ``must_include`` that are unknown, excluded or too many, a
            ``diversity`` out of range or without a reranker that has it, or ``limits`` without ``degrade``.
    """
    if k < 1:
        raise DataError(f"k must be at least 1, got {k}", "k")
    if limits is not None and not degrade:
        raise DataError("limits skip what is slow, which needs degrade=True; without it nothing is skipped")
    check_diversity(pipeline, diversity)
    query, unknown = _query(pipeline, user, history, new_events)
    query = _with_query_time(pipeline, query, as_of)
    more = encode_ids("exclude", exclude, pipeline.vocabulary.items)
    included = _included(pipeline, must_include, more, k)
    filters = filters or ItemFilter()
    own = np.concatenate([query.history_idx, more])
    rejected = _rejected(pipeline, filters, np.concatenate([own, included]))
    excluded = np.concatenate([own[~np.isin(own, included)] if len(included) else own, rejected])
    exclusions = Exclusions(np.array([0, len(excluded)], dtype=np.int64), excluded)
    request = Request(
        query,
        k,
        exclusions,
        filters=filters,
        rejected=rejected,
        must_include=included,
        diversity=diversity,
        degrade=degrade,
        limits=limits or StageLimits(),
        encodings=None if pipeline.query_time else pipeline.encodings,  # with a time of its own no query comes again
    )
    return request, unknown


def _query(
    pipeline: Pipeline, user: RawId | None, history: Sequence[EventLike] | None, new_events: Sequence[EventLike]
) -> tuple[QueryBatch, tuple[RawId, ...]]:
    """The request as a batch of one, and the raw movie ids that are not in the catalogue."""
    if len(new_events) and (user is None or history is not None):
        raise DataError("new events follow the stored history of a user; give the user, and no history")
    if history is not None:
        users = pipeline.vocabulary.users
        user_idx = np.full(1, -1, dtype=np.int64) if user is None else encode_ids("user", [user], users)
        return history_query(history, pipeline.vocabulary, user_idx)
    if user is None:
        raise DataError("give a user, a history, or both")
    stored = pipeline.histories.history([user])
    return extended_query(stored, new_events, pipeline.vocabulary) if len(new_events) else (stored, ())


def _with_query_time(pipeline: Pipeline, query: QueryBatch, as_of: int | None) -> QueryBatch:
    if not pipeline.query_time:
        if as_of is not None:
            raise DataError(
                f"as_of {as_of} would change nothing: no channel of this pipeline reads the query's time; "
                "leave it out, or build the pipeline with a channel trained with --query_time",
                "as_of",
            )
        return query
    return replace(query, as_of=np.array([int(time.time()) if as_of is None else as_of], dtype=np.int64))


def check_diversity(pipeline: Pipeline, diversity: float | None) -> None:
    """Raise ``DataError`` unless the diversity is from 0 to 1, and the pipeline's reranker has a trade-off.

    None, the configured one, is always right.
    """
    if diversity is None:
        return
    if not 0.0 <= diversity <= 1.0:
        raise DataError(f"diversity is from 0 to 1, got {diversity}", "diversity")
    reranker = pipeline.reranker
    if reranker is None or reranker.trade_off is None:
        has = "no reranker" if reranker is None else f"the reranker {reranker.name}, which has no such trade-off"
        message = f"diversity {diversity:g} would change nothing: this pipeline has {has}; leave it out"
        raise DataError(message, "diversity")


def _rejected(pipeline: Pipeline, filters: ItemFilter, others: IntArray) -> IntArray:
    """(r,) the films that the filter does not admit, without ``others``."""
    if filters == ItemFilter():
        return np.empty(0, dtype=np.int64)
    admitted = filters.allowed(pipeline.items)
    admitted[others[others >= 0]] = True
    return np.flatnonzero(~admitted)


def _included(pipeline: Pipeline, must_include: Sequence[RawId], excluded: IntArray, k: int) -> IntArray:
    """(m,) the films of ``must_include``, each once."""
    given = encode_ids("must_include", must_include, pipeline.vocabulary.items)
    for place, (movie, item) in enumerate(zip(must_include, given.tolist(), strict=True)):
        field = f"must_include.{place}"
        if item < 0:
            message = f"movie {movie} of must_include is not in the catalogue; correct the id, or leave it out"
            raise DataError(message, field)
        if item in excluded:
            raise DataError(f"movie {movie} is in must_include and in exclude; leave it out of one of them", field)
    included = np.array(list(dict.fromkeys(given.tolist())), dtype=np.int64)
    if len(included) > k:
        message = f"must_include has {len(included)} films and the list only {k}; ask for a greater k"
        raise DataError(message, "must_include")
    return included
