"""From the body of a request to the pipeline's arguments, and from its answer to ours."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from msgspec.structs import asdict

from pipeline import Answer, Event, ItemFilter, Recommendation, StageLimits, StageRecord, run_together
from pipeline.reasons import Reason as PipelineReason
from pipeline.reasons import reasons
from pipeline.stages import Request
from pipeline.trade_offs import genre_diversity
from reccore import IdMap, RawId, parse_raw_id
from serving.errors import invalid
from serving.live_histories import tolerant_reading
from serving.metrics import Metrics
from serving.model import Model
from serving.responses import (
    FoundBy,
    Reason,
    RecommendationAnswer,
    Recommended,
    StageTime,
    TraceAnswer,
    encode,
)
from serving.schemas import DiverseListRequest, Filters, ListRequest, RecommendationRequest

AHEAD = 86_400
"""Seconds by which a client's clock may be ahead of the service's."""
_STAGES = ("merge", "rank", "final")


@dataclass(frozen=True, eq=False)
class ListCall:
    """A body of ``POST /v1/recommendations``, the model that answers it, and the id of the request."""

    model: Model
    body: RecommendationRequest
    trace_id: str


def recommend(calls: Sequence[ListCall], metrics: Metrics, limits: StageLimits) -> list[bytes | Exception]:
    """The encoded answer to each call, or the error that it has; the pipeline answers those of a model together."""
    found: dict[int, bytes | Exception] = {}
    by_model: dict[int, list[int]] = {}
    for at, call in enumerate(calls):
        by_model.setdefault(id(call.model), []).append(at)
    for rows in by_model.values():
        found |= zip(rows, _recommend([calls[at] for at in rows], metrics, limits), strict=True)
    return [found[at] for at in range(len(calls))]


def _recommend(calls: Sequence[ListCall], metrics: Metrics, limits: StageLimits) -> list[bytes | Exception]:
    started, pipeline = perf_counter(), calls[0].model.pipeline
    found: list[bytes | Exception] = [b""] * len(calls)
    asked: dict[int, tuple[Request, tuple[RawId, ...], bool]] = {}
    for at, call in enumerate(calls):
        try:
            with tolerant_reading() as reading:
                arguments = list_arguments(call.model, call.body)
                request, unknown = pipeline.request(**arguments, degrade=True, limits=limits)
            asked[at] = request, unknown, reading.failed
        except Exception as error:  # of this call alone
            found[at] = error
    results = run_together(pipeline, [request for request, *_ in asked.values()])
    for (at, (request, unknown, store_failed)), (candidates, trace) in zip(asked.items(), results, strict=True):
        try:
            answer = pipeline.answer(request, candidates, trace, unknown)
            milliseconds = (perf_counter() - started) * 1e3
            why = reasons(pipeline, request, candidates) if calls[at].body.explain else [() for _ in answer.items]
            if store_failed:
                metrics.degraded.labels("store").inc()
            degraded = metrics.observe_stages(trace.stages) or store_failed
            found[at] = encode(_answer(calls[at], answer, why, milliseconds, degraded=degraded))
        except Exception as error:
            found[at] = error
    return found


def list_arguments(model: Model, body: ListRequest) -> dict[str, Any]:
    """The arguments of ``Pipeline.request`` that a body gives.

    Raises:
        ApiError: neither user nor history, ids of the wrong kind, a rating outside the scale, or a time in the future.
    """
    vocabulary = model.pipeline.vocabulary
    if body.user_id is None and body.history is None:
        raise invalid("user_id", "give user_id, history, or both")
    if body.user_id is not None:
        check_ids(vocabulary.users, "user_id", [body.user_id], single=True)
    check_ids(vocabulary.items, "exclude", body.exclude)
    check_ids(vocabulary.items, "must_include", body.must_include)
    arguments: dict[str, Any] = {
        "user": body.user_id,
        "k": body.k,
        "exclude": body.exclude,
        "must_include": body.must_include,
        "filters": item_filter(model, body.filters),
    }
    if isinstance(body, DiverseListRequest) and body.diversity is not None:
        if not model.info.has_diversity:
            raise invalid("diversity", "this model has no reranker with a trade-off; leave it out")
        arguments["diversity"] = body.diversity
    if body.history is not None:
        check_ids(vocabulary.items, "history", (event["movie_id"] for event in body.history), ".movie_id")
        now = int(time.time())
        for place, event in enumerate(body.history):
            check_rating(model, event.get("rating"), f"history.{place}.rating")
            check_time(event.get("time"), now, f"history.{place}.time")
        arguments["history"] = [Event(**event) for event in body.history]
    return arguments


def item_filter(model: Model, given: Filters) -> ItemFilter | None:
    """The filter that a body gives; None if it admits every film.

    Raises:
        ApiError: an unknown genre, or a first year after the last one.
    """
    if given == Filters():
        return None
    known = {name.casefold() for name in model.pipeline.items.genre_names}
    for field, names in (("genres", given.genres), ("not_genres", given.not_genres)):
        unknown = [name for name in names if name.casefold() not in known]
        if unknown:
            listed = ", ".join(model.pipeline.items.genre_names)
            raise invalid(f"filters.{field}", f"no film has the genre {unknown[0]!r}; known: {listed}")
    if given.year_from is not None and given.year_to is not None and given.year_from > given.year_to:
        raise invalid("filters.year_from", "is after year_to")
    return ItemFilter(tuple(given.genres), tuple(given.not_genres), given.year_from, given.year_to, given.min_ratings)


def check_ids(ids: IdMap, field: str, values: Iterable[RawId], suffix: str = "", *, single: bool = False) -> None:
    """Raise ``ApiError`` where an id is text and the data's ids are whole numbers."""
    if ids.is_text:
        return
    for place, value in enumerate(values):
        if isinstance(value, str) and not isinstance(parse_raw_id(value), int):
            raise invalid(field if single else f"{field}.{place}{suffix}", "must be a whole number, as ids here are")


def check_rating(model: Model, rating: float | None, field: str) -> None:
    """Raise ``ApiError`` for a rating outside the scale of the data."""
    scale = model.info.rating_scale
    if rating is not None and scale is not None and not scale[0] <= rating <= scale[1]:
        raise invalid(field, f"must be from {scale[0]:g} to {scale[1]:g}, as ratings here are")


def check_time(given: int | None, now: int, field: str) -> None:
    """Raise ``ApiError`` for a time more than ``AHEAD`` seconds after now.

    It would stay the latest of its history whatever happens until then. Most such times are in milliseconds.
    """
    if given is not None and given > now + AHEAD:
        raise invalid(field, f"must be in Unix seconds, which are {now} now, and at most a day ahead of them")


def _answer(
    call: ListCall, answer: Answer, why: Sequence[Sequence[PipelineReason]], milliseconds: float, *, degraded: bool
) -> RecommendationAnswer:
    model = call.model
    items = model.catalogue.ids.encode([item.movie_id for item in answer.items])
    return RecommendationAnswer(
        trace_id=call.trace_id,
        model_version=model.version,
        degraded=degraded,
        user_id=call.body.user_id,
        history_length=len(answer.history),
        unknown=list(answer.unknown),
        items=[
            _recommended(model, int(item), place, found, reasons_of_film)
            for place, (item, found, reasons_of_film) in enumerate(zip(items, answer.items, why, strict=True), start=1)
        ],
        genre_diversity=rounded(genre_diversity(model.pipeline.items, items)),
        trace=TraceAnswer(
            milliseconds=round(milliseconds, 3),
            stages=[_stage_time(one) for one in answer.trace.stages],
        ),
    )


def _stage_time(record: StageRecord) -> StageTime:
    """A stage for clients: of an exception its kind alone, as its message is for the log."""
    error = None if record.error is None else record.error.partition(":")[0]
    milliseconds = round(record.milliseconds, 3)
    return StageTime(record.stage, record.name, record.items_in, record.items_out, milliseconds, error)


def _recommended(
    model: Model, item: int, place: int, found: Recommendation, why: Sequence[PipelineReason]
) -> Recommended:
    film = model.catalogue.film(item)
    return Recommended(
        **asdict(film),
        place=place,
        places=found.places,
        scores={stage: found.scores[stage] for stage in _STAGES if stage in found.scores},
        channels=[FoundBy(name, rank) for name, rank in sorted(found.channels.items(), key=lambda one: one[1])],
        reasons=[Reason(one.movie_id, one.title, one.lift) for one in why],
    )


def rounded(value: float | None) -> float | None:
    """Four decimals."""
    return None if value is None else round(value, 4)
