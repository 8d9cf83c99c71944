"""Why a film is recommended: the films of the history that lift it most, measured by asking again without each."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pipeline.inference import Pipeline
from pipeline.stages import Request, known_events
from pipeline.trace import Trace
from reccore import Candidates, Exclusions, QueryBatch, RawId
from reccore.arrays import FloatArray, IntArray, offsets_from_lengths

LATEST = 30
"""How many of the latest films of a history are tried."""
LEAST_LIFT = 1e-4
"""Smaller lifts are rounding errors of float32."""


@dataclass(frozen=True)
class Reason:
    """A film of the history that lifts a recommended film.

    Attributes:
        movie_id: raw id.
        title: with the year.
        lift: how much the film's score, less the mean score of all candidates, falls without it; above 0.
    """

    movie_id: RawId
    title: str
    lift: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def reasons(pipeline: Pipeline, request: Request, candidates: Candidates, most: int = 2) -> list[tuple[Reason, ...]]:
    """The films of the history that lift each film of a list, the strongest first; see ``reasons_of``.

    Args:
        pipeline: that answered.
        request: of one query.
        candidates: its list.
        most: reasons for each film.
    """
    return reasons_of(pipeline, request, candidates.item_idx[0, : int(candidates.counts[0])], most)


def reasons_of(pipeline: Pipeline, request: Request, item_idx: IntArray, most: int = 2) -> list[tuple[Reason, ...]]:
    """The films of the history that lift each item, the strongest first.

    The request is asked again as one batch, each time without one of the latest ``LATEST`` films of the history, up to
    the ranker's scores (without a ranker: the merge's). Channels, merge and features are computed anew, the items are
    always among the candidates, and what was excluded stays so. Whether the history is short, and what follows from it,
    is decided by the whole one, so that all scores are of one scale.

    Args:
        pipeline: that answered.
        request: of one query.
        item_idx: (m,) items.
        most: reasons for each item.

    Returns:
        For each item up to ``most`` reasons; none where no film of the history lifts it, or it is excluded.
    """
    watched = _latest_films(request.queries, pipeline.items.n_items)
    if len(item_idx) == 0 or len(watched) == 0:
        return [() for _ in item_idx]
    batch = without_each(request.queries, watched)
    n = len(batch)
    again = replace(
        request,
        queries=batch,
        exclude=Exclusions(np.arange(n + 1) * len(request.exclude.item_idx), np.tile(request.exclude.item_idx, n)),
        must_include=item_idx,
        limits=request.limits.times(n),
        known=np.repeat(known_events(request, pipeline.vocabulary), n),
        offers={},
        orders={},
        _prepared={},
    )
    score = relative_scores(pipeline, again, item_idx)
    lift = score[0] - score[1:]  # (H, m)
    return [tuple(_strongest(pipeline, watched, lift[:, place], most)) for place in range(len(item_idx))]


def without_each(query: QueryBatch, films: IntArray) -> QueryBatch:
    """A batch of the query itself, and then of the query without each film; user and time stay."""
    kept = [np.arange(len(query.history_idx)), *(np.flatnonzero(query.history_idx != film) for film in films)]
    at = np.concatenate(kept)
    return QueryBatch(
        history_offsets=offsets_from_lengths(np.array([len(events) for events in kept])),
        history_idx=query.history_idx[at],
        user_idx=np.repeat(query.user_idx, len(kept)),
        as_of=np.repeat(query.as_of, len(kept)),
        history_rating=None if query.history_rating is None else query.history_rating[at],
        history_time=None if query.history_time is None else query.history_time[at],
    )


def relative_scores(pipeline: Pipeline, request: Request, item_idx: IntArray) -> FloatArray:
    """(B, m) scores of items that the request must include before the final list is chosen, less the row's mean.

    NaN where a filter of the pipeline drops the item.
    """
    trace = Trace(len(request.queries))
    scored = pipeline.run_stages(request, trace, pipeline.stages[:-1])
    mean = np.where(scored.mask, scored.score, 0.0).sum(axis=1, keepdims=True) / np.maximum(scored.counts, 1)[:, None]
    same = scored.item_idx[:, None, :] == item_idx[None, :, None]  # (B, m, K)
    score = np.take_along_axis(scored.score, same.argmax(axis=2), axis=1) - mean
    return np.where(same.any(axis=2), score, np.float32(np.nan))


def _latest_films(query: QueryBatch, n_items: int) -> IntArray:
    """(H,) the latest films of the history, each once, the latest first."""
    known = query.known_items_only(n_items).history_idx[::-1]
    films, first = np.unique(known, return_index=True)
    latest: IntArray = films[np.argsort(first)][:LATEST]
    return latest


def _strongest(pipeline: Pipeline, watched: IntArray, lift: FloatArray, most: int) -> list[Reason]:
    found = []
    for at in np.argsort(-lift, kind="stable")[:most].tolist():
        if lift[at] > LEAST_LIFT:
            movie = pipeline.vocabulary.items.raw_id(int(watched[at]))
            found.append(Reason(movie, pipeline.items.label(int(watched[at]), movie), float(lift[at])))
    return found
